// Lines for the operator: one event a line, to standard error, with time and level.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

#include "dataplane/base/units.h"

namespace penstock {

void start_operator_log(std::string_view level);  // debug, info, warn, error

// A report of several lines becomes several lines of the log, each after `prefix`.
void log_lines(std::string_view report, std::string_view prefix = "",
               spdlog::level::level_enum level = spdlog::level::info);

// For lines that a peer can cause: so many in a burst, then one for each interval, and a word on those left out.
// Time is an argument.
class LineLimit {
 public:
  static constexpr uint32_t burst_max = 20;
  static constexpr Nanoseconds interval_ns = second_ns;

  // Whether a line may be written now.
  bool allow(Nanoseconds now) {
    const auto earned = static_cast<uint64_t>((now - since_) / interval_ns);
    if (earned > 0) {
      since_ += static_cast<Nanoseconds>(earned) * interval_ns;
      left_ = static_cast<uint32_t>(earned + left_ < burst_max ? earned + left_ : burst_max);
    }
    if (left_ == 0) {
      ++left_out_;
      return false;
    }
    --left_;
    return true;
  }
  // Lines refused since the last call.
  uint64_t take_left_out() {
    const uint64_t count = left_out_;
    left_out_ = 0;
    return count;
  }

 private:
  Nanoseconds since_ = 0;
  uint32_t left_ = burst_max;
  uint64_t left_out_ = 0;
};

}  // namespace penstock
