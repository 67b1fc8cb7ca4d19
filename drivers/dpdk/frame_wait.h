// How a lane with a port sleeps: in its ring, until a completion, a wake, the deadline or a frame.
//
//   nothing to do -> interrupts on -> one more look, for frames that came before -> sleep -> interrupts off
//
// An interrupt's file is watched by the ring, which says at once when it is readable already; so no frame is slept
// over. A port without interrupts is looked at again after 50 us, doubling to 1 ms; so is one that says it has frames
// and then gives none.
#pragma once

#include "dataplane/base/units.h"
#include "drivers/dpdk/dpdk_frames.h"
#include "drivers/uring/ring.h"

namespace penstock {

class FrameWait {
 public:
  FrameWait(DpdkFrames& frames, Ring& ring) : frames_(frames), ring_(ring) {}

  // After a poll of the lane that found frames or other work.
  void worked(bool frames) {
    if (frames) {
      pause_ = pause_min_ns;
      false_alarm_ = false;
    }
    if (armed_) disarm();
  }
  // After one that did not. True: it slept.
  bool idle(Nanoseconds now, Nanoseconds deadline);

 private:
  static constexpr Nanoseconds pause_min_ns = 50'000, pause_max_ns = millisecond_ns;
  void disarm();
  void sleep_a_moment(Nanoseconds now, Nanoseconds deadline);

  DpdkFrames& frames_;
  Ring& ring_;
  Nanoseconds pause_ = pause_min_ns;
  bool armed_ = false;
  bool false_alarm_ = false;
};

}  // namespace penstock
