// penstock serve | config | log dump | version
//
// Exit codes: 0 well; 1 it failed; 2 the command line or the configuration is wrong.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "tools/penstock/config_page.h"
#include "tools/penstock/log_dump.h"
#include "tools/penstock/serve.h"
#include "tools/penstock/version.h"

namespace penstock {
namespace {

constexpr int exit_usage = 2;

struct ServeOptions {
  std::string config_path;
  std::vector<std::string> settings;
};

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int run_serve(const ServeOptions& options) {
  const std::expected<Config, std::string> config = load_config(options.config_path, options.settings);
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().c_str());
    return exit_usage;
  }
  return serve(*config);
}

int run(int argument_count, char** arguments) {
  CLI::App app{"Penstock: a node that takes in records over Kafka's protocol and keeps them on NVMe.\n", "penstock"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text());
  app.get_formatter()->column_width(32);

  ServeOptions serve_options;
  CLI::App* serve_command =
      app.add_subcommand("serve", "Runs the node until SIGTERM or SIGINT; both let it finish what is under way.");
  serve_command->add_option("-c,--config", serve_options.config_path,
                            "TOML file; every key has a default, so none is needed (see `penstock config`)");
  serve_command
      ->add_option("-s,--set", serve_options.settings,
                   "key=value, wins over the file; may be given several times (--set lanes=2 --set port=19092)")
      ->allow_extra_args(false);

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

  CLI::App* version_command = app.add_subcommand("version", "Prints the version.");

  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (serve_command->parsed()) return run_serve(serve_options);
  if (config_command->parsed()) print(markdown ? config_as_markdown() : config_as_toml());
  if (dump_command->parsed()) return log_dump(dump_options);
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
