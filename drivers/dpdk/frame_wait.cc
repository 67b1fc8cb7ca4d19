#include "drivers/dpdk/frame_wait.h"

#include <algorithm>

namespace penstock {

bool FrameWait::idle(Nanoseconds now, Nanoseconds deadline) {
  if (false_alarm_) {
    false_alarm_ = false;
    sleep_a_moment(now, deadline);
    return true;
  }
  if (!armed_) {
    frames_.begin_interrupts();
    if (frames_.interrupt_file() < 0) {
      sleep_a_moment(now, deadline);
      return true;
    }
    armed_ = true;
    if (!ring_.watching()) ring_.watch(frames_.interrupt_file());
    ring_.poll();
    return false;
  }
  // Not if the file was readable when the watch began: that look may have come too early to find the frame.
  const bool sleeps = ring_.watching();
  if (sleeps) ring_.wait(now, deadline);
  if (!ring_.watching()) {
    disarm();
    false_alarm_ = true;  // unless frames are found
  }
  return sleeps;
}

void FrameWait::disarm() {
  armed_ = false;
  frames_.end_interrupts();
}

void FrameWait::sleep_a_moment(Nanoseconds now, Nanoseconds deadline) {
  ring_.wait(now, std::min(deadline, now + pause_));
  pause_ = std::min(2 * pause_, pause_max_ns);
}

}  // namespace penstock
