#include "storage/retention.h"

#include <algorithm>

#include "dataplane/base/mutation.h"

namespace penstock {

// Not faster than a clock that runs a tenth too fast.
bool RetentionClock::follows(Milliseconds from, Milliseconds to, Nanoseconds elapsed) {
  return to - from <= (elapsed + elapsed / 10 + second_ns) / millisecond_ns;
}

Milliseconds RetentionClock::believe(Nanoseconds now, Milliseconds wall) {
  if (!started_) {
    started_ = true;
    at_ = now;
    wall_ = wall;
    const bool near = newest_ < 0 || wall - newest_ <= trusted_after_ns / millisecond_ns;
    time_ = near ? wall : newest_;
    jumped_ = !near;
    jumped_at_ = now;
    return time_;
  }
  const Nanoseconds elapsed = now - at_;
  if (follows(time_, wall, elapsed) || mutated(Mutation::believe_clock)) {
    time_ = wall;
    jumped_ = false;
  } else {
    const bool steady = jumped_ && wall >= wall_ && follows(wall_, wall, elapsed);
    if (!steady) jumped_at_ = now;
    jumped_ = true;
    time_ = now - jumped_at_ >= trusted_after_ns ? wall : time_ + elapsed / millisecond_ns;
  }
  at_ = now;
  wall_ = wall;
  return time_;
}

}  // namespace penstock
