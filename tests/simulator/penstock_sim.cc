// Lives of the simulated node: one, line by line, or a campaign of many.
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/simulator/campaign.h"

namespace {

using penstock::sim::Campaign;
using penstock::sim::Life;
using penstock::sim::Plan;
using penstock::sim::Reachable;
using penstock::sim::Totals;

unsigned long long number(uint64_t value) { return value; }

// A line: SEED [tcp|sockets] [# what it found]. Without either, both.
std::vector<Life> lives_of_file(const std::string& path) {
  std::vector<Life> lives;
  std::ifstream file(path);
  if (!file) throw CLI::ValidationError("--file", path + " cannot be read");
  for (std::string line; std::getline(file, line);) {
    line.resize(std::min(line.find('#'), line.size()));
    std::istringstream words(line);
    uint64_t seed = 0;
    if (!(words >> seed)) {
      if (line.find_first_not_of(" \t") != std::string::npos) throw CLI::ValidationError("--file", "what is: " + line);
      continue;
    }
    std::string how;
    words >> how;
    if (how != "" && how != "tcp" && how != "sockets") throw CLI::ValidationError("--file", "what is: " + line);
    if (how != "tcp") lives.push_back({seed, false});
    if (how != "sockets") lives.push_back({seed, true});
  }
  return lives;
}

int show(const Life& life) {
  const penstock::sim::WorldSummary sum = penstock::sim::World(life.seed, true, life.over_tcp).run();
  std::printf("seed %llu over %s: %.3f s simulated in %llu steps, %u crashes, %llu batches acknowledged, %llu errors "
              "answered, trace %016llx\n",
              number(life.seed), life.over_tcp ? "our TCP" : "sockets", static_cast<double>(sum.simulated_ns) / 1e9,
              number(sum.steps), sum.crashes, number(sum.acknowledged), number(sum.storage_errors),
              number(sum.trace_hash));
  for (const auto& each : list(sum.faults, sum.coverage)) {
    if (each.count > 0) std::printf("  %s: %s (%llu)\n", each.kind, each.name.c_str(), number(each.count));
  }
  return 0;
}

template <class Wanted>
void print_by_kind(const char* begin, const std::vector<Reachable>& all, Wanted&& wanted) {
  std::string_view kind;
  for (const Reachable& each : all) {
    if (!wanted(each)) continue;
    if (kind == each.kind) {
      std::printf("; ");
    } else {
      std::printf("%s%s%s: ", kind.empty() ? "" : "\n", begin, each.kind);
    }
    kind = each.kind;
    std::printf("%s", each.name.c_str());
    if (each.count > 0) std::printf(" %llu", number(each.count));
  }
  if (!kind.empty()) std::printf("\n");
}

// What was met and what was not; whether everything was met that every campaign of some minutes meets.
bool report(const Totals& totals) {
  const penstock::sim::WorldSummary& sum = totals.sum;
  std::printf("%llu lives, %llu of them over our TCP, traces %016llx: %u crashes, %llu batches acknowledged, %llu errors "
              "answered, %llu drive errors, %llu segments released, %llu records expired, %llu footers read, %llu lives "
              "of topics\n",
              number(totals.lives), number(totals.over_tcp), number(totals.traces), sum.crashes,
              number(sum.acknowledged), number(sum.storage_errors), number(sum.drive_errors),
              number(sum.segments_released), number(sum.records_expired), number(sum.footers_read),
              number(sum.topic_lives));
  const auto all = list(sum.faults, sum.coverage);
  print_by_kind("", all, [](const Reachable& each) { return each.count > 0; });
  const auto missed = [](const Reachable& each) { return each.count == 0 && each.expected; };
  print_by_kind("never met, as usual: ", all, [](const Reachable& each) { return each.count == 0 && !each.expected; });
  print_by_kind("never met: ", all, missed);
  return std::ranges::none_of(all, missed);
}

uint64_t fresh_seed() {
  std::random_device device;
  // Few enough digits to be typed again.
  return uint64_t{device()} * 1'000'000 % 1'000'000'000'000;
}

}  // namespace

int main(int argc, char** argv) {
  // What a life has given back the next one takes: pages are not returned and faulted in again.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  CLI::App app("Lives of the simulated node, each from one seed: the whole node in one process and in virtual time.");
  std::optional<uint64_t> seed;
  std::string range, file;
  double minutes = 0;
  bool tcp = false, sockets = false, covers = false;
  Plan plan{.jobs = static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN)), .program = argv[0]};
  auto* one = app.add_option("--seed", seed, "One life, line by line");
  auto* seeds = app.add_option("--seeds", range, "A campaign of these, A..B; without, of fresh ones for --minutes");
  auto* listed = app.add_option("--file", file, "Those listed there: a line each, SEED [tcp|sockets] [# remark]");
  app.add_option("--minutes", minutes, "Ends the campaign after so long")->check(CLI::PositiveNumber);
  auto* over = app.add_flag("--tcp", tcp, "All clients come over frames and our TCP");
  app.add_flag("--sockets", sockets, "All clients come over simulated streams; without either, one life in three over our TCP")
      ->excludes(over);
  app.add_option("--jobs", plan.jobs, "Processes, else one a core")->check(CLI::Range(1, 256));
  app.add_option("--failures", plan.failures_max, "Ends the campaign after so many; 10")->check(CLI::PositiveNumber);
  app.add_flag("--twice", plan.twice, "Each life once more: its trace must be the same");
  app.add_flag("--covers", covers, "Fails if a fault or row that every campaign of some minutes meets was not met");
  one->excludes(seeds)->excludes(listed);
  seeds->excludes(listed);
  try {
    app.parse(argc, argv);
    if (tcp || sockets) plan.over_tcp = tcp;
    if (seed) return show(penstock::sim::life_of(*seed, plan.over_tcp));
    if (!file.empty()) {
      plan.listed = lives_of_file(file);
    } else if (!range.empty()) {
      unsigned long long first = 0, last = 0;
      char more = 0;
      if (std::sscanf(range.c_str(), "%llu..%llu%c", &first, &last, &more) != 2 || first > last) {
        throw CLI::ValidationError("--seeds", "wants A..B");
      }
      plan.first = first, plan.last = last;
    } else {
      if (minutes == 0) throw CLI::ValidationError("--minutes", "wanted, or --seed, --seeds, --file");
      plan.first = fresh_seed();
      std::printf("fresh seeds from %llu\n", number(plan.first));
    }
    if (!file.empty() && plan.listed.empty()) {
      std::printf("0 passed, 0 failed\n");
      return 0;
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (minutes > 0) plan.time = std::chrono::milliseconds(static_cast<int64_t>(minutes * 60'000));
  const Totals totals = Campaign(plan).run();
  bool well = totals.failed == 0;
  if (plan.listed.empty() && !report(totals) && covers) {
    std::printf("FAILED: every campaign of some minutes meets these\n");
    well = false;
  }
  std::printf("%llu passed, %llu failed\n", number(totals.lives), number(totals.failed + (totals.failed == 0 && !well ? 1 : 0)));
  return well ? 0 : 1;
}
