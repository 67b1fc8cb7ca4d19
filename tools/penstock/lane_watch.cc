#include "tools/penstock/lane_watch.h"

#include <cstring>

namespace penstock {
namespace {

std::string named(uint64_t error) { return " (" + std::string(std::strerror(static_cast<int>(error))) + ")"; }

std::string no_space(const LaneHealth& health) {
  return "the drive gives no further segment" + named(health.space_error);
}

// In LogState::read_only.
std::string why_read_only(const LaneHealth& health) {
  switch (health.trouble) {
    case LogTrouble::no_space:
      return no_space(health) + "; it goes on by itself when records expire or there is room";
    case LogTrouble::write_failed:
      return "the drive failed twice to write" + named(health.drive_error) +
             "; what was acknowledged is there and can be read; look at the drive, then restart the node";
    case LogTrouble::found_unflushed:
      return "what it found at start could not be flushed" + named(health.drive_error) +
             "; look at the drive, then restart the node";
    case LogTrouble::damaged:
      return "its log is damaged, see the lines of its start; `penstock log verify` names what is missing";
    case LogTrouble::none:
    case LogTrouble::rewriting:
      break;
  }
  return "it is stopping";
}

}  // namespace

LaneHealth health_of(const LaneMetrics& metrics) {
  return {.state = static_cast<LogState>(metrics.log_state.get()),
          .trouble = static_cast<LogTrouble>(metrics.log_trouble.get()),
          .write_errors = metrics.write_errors.get(),
          .read_errors = metrics.read_errors.get(),
          .drive_error = metrics.drive_error.get(),
          .space_error = metrics.space_error.get(),
          .read_error = metrics.read_error.get(),
          .writes = metrics.writes.get(),
          .inflight_bytes = metrics.inflight_bytes.get()};
}

std::optional<std::string> why_not_ready(const LaneHealth& health) {
  switch (health.state) {
    case LogState::starting:
      return "prepares its first segment";
    case LogState::read_only:
      return "is read-only: " + why_read_only(health);
    case LogState::writable:
    case LogState::recovering:
      break;
  }
  return std::nullopt;
}

std::vector<LaneWatch::Line> LaneWatch::look(const LaneHealth& now_is, Nanoseconds now) {
  std::vector<Line> lines;
  if (now_is.write_errors > before_.write_errors)
    lines.push_back({Weight::warning, std::to_string(now_is.write_errors - before_.write_errors) +
                                          " writes or flushes failed" + named(now_is.drive_error) +
                                          "; nothing acknowledged is lost"});
  if (now_is.read_errors > before_.read_errors)
    lines.push_back({Weight::warning, std::to_string(now_is.read_errors - before_.read_errors) + " reads failed" +
                                          named(now_is.read_error) + "; the records asked for were not served"});
  look_at_state(now_is, lines);
  look_for_stall(now_is, now, lines);
  before_ = now_is;
  return lines;
}

void LaneWatch::look_at_state(const LaneHealth& now_is, std::vector<Line>& lines) const {
  const bool read_only = now_is.state == LogState::read_only, was_read_only = before_.state == LogState::read_only;
  const bool short_of_space = now_is.trouble == LogTrouble::no_space;
  if (read_only && (!was_read_only || now_is.trouble != before_.trouble)) {
    lines.push_back({Weight::error, "read-only: " + why_read_only(now_is)});
  } else if (was_read_only && !read_only) {
    lines.push_back({Weight::info, "takes records again"});
  } else if (short_of_space && !read_only && before_.trouble != LogTrouble::no_space) {
    lines.push_back({Weight::warning, no_space(now_is) + "; records are refused when the present one is full"});
  }
}

void LaneWatch::look_for_stall(const LaneHealth& now_is, Nanoseconds now, std::vector<Line>& lines) {
  const auto seconds = [&] { return std::to_string((now - progress_at_) / second_ns) + " s"; };
  const bool waits = now_is.inflight_bytes > 0 && now_is.writes == before_.writes && before_.inflight_bytes > 0;
  if (waits && !stall_said_ && now - progress_at_ >= stalled_ns) {
    stall_said_ = true;
    lines.push_back({Weight::warning, "the drive has completed no write for " + seconds() + "; producers wait"});
  }
  if (waits) return;
  if (stall_said_) lines.push_back({Weight::info, "the drive goes on after " + seconds()});
  stall_said_ = false;
  progress_at_ = now;
}

}  // namespace penstock
