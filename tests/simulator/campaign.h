// Many lives, in a process for each core. A process that fails, dies or does not come to an end takes one life with it,
// which is told with the command that shows it again; another process goes on behind it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulator/world.h"

namespace penstock::sim {

struct Life {
  uint64_t seed = 0;
  bool over_tcp = false;
  bool operator==(const Life&) const = default;
};

// Clients of one life in three come over our TCP, of the others over simulated streams, unless that is said.
Life life_of(uint64_t seed, std::optional<bool> over_tcp);

struct Plan {
  std::vector<Life> listed;  // these, or
  uint64_t first = 1, last = UINT64_MAX;
  std::optional<bool> over_tcp;
  std::optional<std::chrono::milliseconds> time;
  uint32_t jobs = 1;
  uint32_t failures_max = 10;
  bool twice = false;   // each life once more: its trace must be the same
  std::string program;  // for the command that shows a failure again

  uint64_t count() const { return listed.empty() ? last - first + 1 : listed.size(); }  // 0: 2^64
  Life at(uint64_t index) const { return listed.empty() ? life_of(first + index, over_tcp) : listed[index]; }
};

struct Totals {
  uint64_t lives = 0, over_tcp = 0, failed = 0;
  uint64_t traces = 0;  // of all lives, in any order: the same for the same lives
  WorldSummary sum;
};

class Campaign {
 public:
  explicit Campaign(const Plan& plan);
  ~Campaign();
  // Tells what fails as it happens, and how it goes: each second on a terminal, else every ten.
  Totals run();
  double seconds() const;

 private:
  struct Worker;
  void start(Worker& worker);
  void take_report(Worker& worker);
  void ended(Worker& worker);
  std::string progress() const;
  bool time_is_up() const;

  const Plan plan_;
  const std::chrono::steady_clock::time_point start_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Totals totals_;
};

}  // namespace penstock::sim
