// How a lane with a port sleeps: in its ring, until a completion, a wake, the deadline or a frame.
//
//   nothing to do -> interrupts on -> one more look, for frames that came before -> sleep -> interrupts off
//
// An interrupt's file is watched by the ring, which says at once when it is readable already; so no frame is slept
// over. A port without interrupts is looked at again after 50 us, doubling to 1 ms; so is one that says it has frames
// and then gives none. One whose frames come again and again without an interrupt is not trusted with them any more.
#pragma once

#include <algorithm>

#include "dataplane/base/units.h"
#include "drivers/uring/ring.h"

namespace penstock {

template <class Frames>
class FrameWait {
 public:
  static constexpr uint32_t missed_max = 8;  // in a row

  FrameWait(Frames& frames, Ring& ring) : frames_(frames), ring_(ring) {}

  // After a poll of the lane that found frames or other work.
  void worked(bool frames) {
    if (frames) {
      pause_ = pause_min_ns;
      false_alarm_ = false;
    }
    if (!armed_) return;
    if (frames && slept_) doubt();
    disarm();
  }

  // After one that did not. True: it slept.
  bool idle(Nanoseconds now, Nanoseconds deadline) {
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
      slept_ = false;
      if (!ring_.watching()) ring_.watch(frames_.interrupt_file());
      ring_.poll();
      return false;
    }
    // Not if the file was readable when the watch began: that look may have come too early to find the frame.
    const bool sleeps = ring_.watching();
    if (sleeps) ring_.wait(now, deadline);
    slept_ = true;
    if (!ring_.watching()) {
      missed_ = 0;
      disarm();
      false_alarm_ = true;  // unless frames are found
    }
    return sleeps;
  }

 private:
  static constexpr Nanoseconds pause_min_ns = 50'000, pause_max_ns = millisecond_ns;

  void disarm() {
    armed_ = false;
    frames_.end_interrupts();
  }

  // There are frames, and something else ended the sleep. By chance, if the interrupt comes now.
  void doubt() {
    ring_.poll();
    missed_ = ring_.watching() ? missed_ + 1 : 0;
    if (missed_ == missed_max) frames_.give_up_interrupts("frames came without one");
  }

  void sleep_a_moment(Nanoseconds now, Nanoseconds deadline) {
    ring_.wait(now, std::min(deadline, now + pause_));
    pause_ = std::min(2 * pause_, pause_max_ns);
  }

  Frames& frames_;
  Ring& ring_;
  Nanoseconds pause_ = pause_min_ns;
  uint32_t missed_ = 0;
  bool armed_ = false;
  bool slept_ = false;  // since armed
  bool false_alarm_ = false;
};

}  // namespace penstock
