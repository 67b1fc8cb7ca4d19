// penstock serve | config | log dump | log verify | log export | doctor | version
//
// Exit codes: 0 well; 1 it failed; 2 the command line or the configuration is wrong. The log commands have their own.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "tools/penstock/config_page.h"
#include "tools/penstock/doctor/doctor.h"
#include "tools/penstock/log_dump.h"
#include "tools/penstock/log_export.h"
#include "tools/penstock/log_verify.h"
#include "tools/penstock/serve.h"
#include "tools/penstock/version.h"

namespace penstock {
namespace {

constexpr int exit_usage = 2;

struct ConfigOptions {
  std::string config_path;
  std::vector<std::string> settings;
};

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int run_serve(const ConfigOptions& options) {
  const std::expected<Config, std::string> config = load_config(options.config_path, options.settings);
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().c_str());
    return exit_usage;
  }
  return serve(*config);
}

int run_doctor(const ConfigOptions& given, const DoctorOptions& options) {
  const std::expected<Config, std::string> config = load_config(given.config_path, given.settings);
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().c_str());
    return exit_usage;
  }
  return run_doctor(*config, options);
}

void add_config_options(CLI::App& command, ConfigOptions& options) {
  command.add_option("-c,--config", options.config_path,
                     "TOML file; every key has a default, so none is needed (see `penstock config`)");
  command
      .add_option("-s,--set", options.settings,
                  "key=value, wins over the file; may be given several times (--set lanes=2 --set port=19092)")
      ->allow_extra_args(false);
}

int run(int argument_count, char** arguments) {
  CLI::App app{"Penstock: a node that takes in records over Kafka's protocol and keeps them on NVMe.\n", "penstock"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text());
  app.get_formatter()->column_width(32);

  ConfigOptions serve_options;
  CLI::App* serve_command =
      app.add_subcommand("serve", "Runs the node until SIGTERM or SIGINT; both let it finish what is under way.");
  add_config_options(*serve_command, serve_options);

  bool markdown = false;
  CLI::App* config_command =
      app.add_subcommand("config", "Prints every configuration key with its meaning and default.");
  config_command->add_flag("--markdown", markdown, "As docs/CONFIGURATION.md has it");

  LogDumpOptions dump_options;
  CLI::App* log_command = app.add_subcommand("log", "Looks at the log of a data directory.");
  log_command->require_subcommand(1);
  CLI::App* dump_command =
      log_command->add_subcommand("dump", "Prints what each lane's segments hold; changes nothing.");
  dump_command->add_option("directory", dump_options.directory, "The data directory")->required();
  dump_command->add_option("--lane", dump_options.lane, "Only this lane");
  dump_command->add_flag("--verbose", dump_options.verbose, "Every commit and every batch");

  LogVerifyOptions verify_options;
  CLI::App* verify_command = log_command->add_subcommand(
      "verify",
      "Reads every byte of the log and names what is missing or damaged; changes nothing, and the node may be running. "
      "Exit code 0: whole, 1: damaged, 2: it cannot be read.");
  verify_command->add_option("directory", verify_options.directory, "The data directory, or that of one lane")
      ->required();
  verify_command->add_option("--lane", verify_options.lane, "Only this lane");
  verify_command->add_flag("--json", verify_options.json, "The result as one JSON object");

  LogExportOptions export_options;
  CLI::App* export_command = log_command->add_subcommand(
      "export",
      "Writes the topics of a stopped node in Apache Kafka's format on disk. Exit code 0: all, 1: without what is "
      "missing or damaged, 2: it could not be done.");
  export_command->add_option("directory", export_options.directory, "The data directory")->required();
  export_command->add_option("to", export_options.to, "A directory that is empty or does not exist")->required();
  CLI::Option* topic = export_command->add_option("--topic", export_options.topic, "Only this topic");
  export_command->add_option("--partition", export_options.partition, "Only this partition of it")->needs(topic);
  export_command
      ->add_option("--segment-bytes", export_options.segment_bytes,
                   "Kafka's segment.bytes: a file is closed before it grows beyond")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{INT32_MAX}));

  ConfigOptions doctor_config;
  DoctorOptions doctor_options;
  CLI::App* doctor_command = app.add_subcommand(
      "doctor",
      "Checks whether this machine suits the configuration, and prints what to type where it does not "
      "(docs/HARDWARE.md). Exit code 0: nothing fails.");
  add_config_options(*doctor_command, doctor_config);
  doctor_command->add_option("--card", doctor_options.card,
                             "The network card, by PCI address or interface; not needed where there is one only");
  doctor_command->add_flag("--bypass", doctor_options.bypass,
                           "Check the card for being driven by the node itself, past the kernel");
  doctor_command->add_flag("--json", doctor_options.json, "As one JSON object");
  doctor_command->add_option("--root", doctor_options.root)->group("");

  CLI::App* version_command = app.add_subcommand("version", "Prints the version.");

  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (serve_command->parsed()) return run_serve(serve_options);
  if (config_command->parsed()) print(markdown ? config_as_markdown() : config_as_toml());
  if (dump_command->parsed()) return log_dump(dump_options);
  if (verify_command->parsed()) return log_verify(verify_options);
  if (export_command->parsed()) return log_export(export_options);
  if (doctor_command->parsed()) return run_doctor(doctor_config, doctor_options);
  if (version_command->parsed()) print(version_text() + "\n");
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argument_count, char** arguments) {
  try {
    return penstock::run(argument_count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock: %s\n", error.what());
    return 1;
  }
}
