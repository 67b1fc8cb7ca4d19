// Lives of the simulated node, one after the other: simulate --seeds A..B [--tcp] [--trace]. A failed check ends the
// program after naming the seed; the same seed shows the same life again, with --trace line by line. With --tcp the
// clients reach the node over frames and our TCP.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/simulator/world.h"

namespace {

volatile uint64_t seed_under_way = 0;
const char* volatile how = "";

void name_the_seed(int) {
  char line[200];
  const auto seed = static_cast<unsigned long long>(seed_under_way);
  const int length = std::snprintf(line, sizeof line,
                                   "\nFAILED seed %llu. Again, line by line: simulate --seeds %llu..%llu%s --trace\n",
                                   seed, seed, seed, how);
  std::fflush(stdout);
  std::fwrite(line, 1, static_cast<size_t>(length), stderr);
  std::signal(SIGABRT, SIG_DFL);
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long first = 1, last = 100;
  bool trace = false, over_tcp = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--trace") == 0) {
      trace = true;
    } else if (std::strcmp(argv[i], "--tcp") == 0) {
      over_tcp = true;
      how = " --tcp";
    } else if (std::strcmp(argv[i], "--seeds") == 0 && i + 1 < argc &&
               std::sscanf(argv[i + 1], "%llu..%llu", &first, &last) == 2 && first <= last) {
      ++i;
    } else {
      std::fprintf(stderr, "usage: simulate [--seeds A..B] [--tcp] [--trace]\n");
      return 2;
    }
  }
  std::signal(SIGABRT, name_the_seed);
  const auto start = std::chrono::steady_clock::now();
  penstock::sim::WorldSummary sum;
  for (unsigned long long seed = first; seed <= last; ++seed) {
    seed_under_way = seed;
    penstock::sim::World world(seed, trace, over_tcp);
    const penstock::sim::WorldSummary one = world.run();
    sum.steps += one.steps;
    sum.simulated_ns += one.simulated_ns;
    sum.crashes += one.crashes;
    sum.acknowledged += one.acknowledged;
    sum.storage_errors += one.storage_errors;
    sum.drive_errors += one.drive_errors;
    sum.segments_released += one.segments_released;
    sum.records_expired += one.records_expired;
    sum.footers_read += one.footers_read;
    sum.topic_lives += one.topic_lives;
    sum.faults += one.faults;
    sum.trace_hash = sum.trace_hash * 31 + one.trace_hash;
    if (trace || (seed - first + 1) % 1000 == 0 || seed == last) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      std::printf(
          "seed %llu: %llu lives, %u crashes, %llu acknowledged, %llu errors answered, %llu drive errors, "
          "%llu segments released, %llu records expired, %llu footers read, %llu lives of topics, %.0f simulated s in %.1f s, trace "
          "%016llx\n",
          seed, seed - first + 1, sum.crashes, static_cast<unsigned long long>(sum.acknowledged),
          static_cast<unsigned long long>(sum.storage_errors), static_cast<unsigned long long>(sum.drive_errors),
          static_cast<unsigned long long>(sum.segments_released), static_cast<unsigned long long>(sum.records_expired),
          static_cast<unsigned long long>(sum.footers_read), static_cast<unsigned long long>(sum.topic_lives),
          static_cast<double>(sum.simulated_ns) / 1e9, seconds,
          static_cast<unsigned long long>(sum.trace_hash));
      std::fflush(stdout);
    }
  }
  for (size_t i = 0; i < penstock::sim::fault_names.size(); ++i) {
    const auto count = static_cast<unsigned long long>(sum.faults[static_cast<penstock::sim::Fault>(i)]);
    std::printf("%s%s %llu", i == 0 ? "faults: " : ", ", penstock::sim::fault_names[i], count);
  }
  std::printf("\n%llu passed, 0 failed\n", last - first + 1);
  return 0;
}
