// Says what is wrong with a lane's log: a line for the operator when something changes, and why the node is not ready.
// Looks at the lane's counters from outside, once a second, so the lane itself says nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/metrics.h"
#include "storage/log.h"

namespace penstock {

// What a lane's counters say of its log.
struct LaneHealth {
  LogState state = LogState::starting;
  LogTrouble trouble = LogTrouble::none;
  uint64_t write_errors = 0, read_errors = 0;
  uint64_t drive_error = 0, space_error = 0, read_error = 0;  // errno of the last
  uint64_t writes = 0, inflight_bytes = 0;
};
LaneHealth health_of(const LaneMetrics& metrics);

// nullopt: it is ready. Else a sentence without its end.
std::optional<std::string> why_not_ready(const LaneHealth& health);

class LaneWatch {
 public:
  // A write that takes longer than this is worth a word.
  static constexpr Nanoseconds stalled_ns = 5 * second_ns;

  enum class Weight : uint8_t { info, warning, error };
  struct Line {
    Weight weight{};
    std::string text;
  };
  // What there is to say since the last look.
  std::vector<Line> look(const LaneHealth& now_is, Nanoseconds now);

 private:
  void look_at_state(const LaneHealth& now_is, std::vector<Line>& lines) const;
  void look_for_stall(const LaneHealth& now_is, Nanoseconds now, std::vector<Line>& lines);

  LaneHealth before_;
  Nanoseconds progress_at_ = 0;  // when the drive last completed a write, or had none to complete
  bool stall_said_ = false;
};

}  // namespace penstock
