// What lives have met of all that the product's tables provide for. Looked at from outside: recovery's findings as the
// comparison at each start gets them, verdicts on sequence numbers likewise, error codes as the lanes count them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/metrics.h"
#include "storage/log.h"
#include "storage/recovered.h"
#include "tests/simulator/faults.h"
#include "tests/storage/footer_agreement.h"

namespace penstock::sim {

struct Coverage {
  static constexpr size_t states = static_cast<size_t>(LogState::read_only) + 1;
  static constexpr size_t troubles = static_cast<size_t>(LogTrouble::damaged) + 1;

  test::RowCounts rows;
  std::array<uint64_t, error_code_slots> answers{};  // by error code + 1
  std::array<uint64_t, states> log_states{};         // as they were when a life ended
  std::array<uint64_t, troubles> log_troubles{};

  Coverage& operator+=(const Coverage& other);
};

const char* to_string(LogTrouble trouble);

// One named thing that can be reached.
struct Reachable {
  const char* kind;
  std::string name;
  uint64_t count;
  bool expected;  // of every campaign of some thousand lives
};
// In the order of their tables.
std::vector<Reachable> list(const FaultCounts& faults, const Coverage& coverage);

}  // namespace penstock::sim
