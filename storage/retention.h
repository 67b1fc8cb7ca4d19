// What a partition keeps, and which clock decides. Kafka's retention.ms, retention.bytes and cleanup.policy.
//
// The unit that expires is a *stretch*: the batches of one partition in one segment, as Kafka expires the segment files
// of a partition. A stretch has expired when its newest record is older than the partition may keep, or when the
// stretches after it hold all the bytes that the partition is to keep; and the stretches before it have expired.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"

namespace penstock {

struct RetentionPolicy {
  Milliseconds age_max = -1;  // ms; -1: any
  int64_t bytes_max = -1;     // -1: any
};

// `now`: -1 when no clock is believed. `timestamp`: of the stretch's newest record, -1 when it has none.
// `bytes_behind`: of the stretches after it.
constexpr bool has_expired(const RetentionPolicy& policy, Milliseconds now, Milliseconds timestamp,
                           uint64_t bytes_behind) {
  const bool by_age = policy.age_max >= 0 && timestamp >= 0 && now - timestamp > policy.age_max;
  const bool by_size = policy.bytes_max >= 0 && bytes_behind >= static_cast<uint64_t>(policy.bytes_max);
  return by_age || by_size;
}

// The wall clock, as far as retention believes it. Going back keeps more, and is believed at once. A clock that runs
// ahead of elapsed time would expire what it should not: it is believed when it has kept to its new time for
// `trusted_after_ns`, and until then the old time goes on. At start, a clock far ahead of the newest record in the log
// is such a jump: the node was off for long, or its clock is wrong.
class RetentionClock {
 public:
  static constexpr Nanoseconds trusted_after_ns = 600 * second_ns;

  // `newest`: the largest timestamp in what was written last, -1: none.
  explicit RetentionClock(Milliseconds newest) : newest_(newest) {}

  // The time now. `now` never goes back.
  Milliseconds believe(Nanoseconds now, Milliseconds wall);

 private:
  static bool follows(Milliseconds from, Milliseconds to, Nanoseconds elapsed);

  Milliseconds newest_;
  bool started_ = false;
  Milliseconds time_ = -1;  // believed, at `at_`
  Nanoseconds at_ = 0;
  bool jumped_ = false;
  Nanoseconds jumped_at_ = 0;
  Milliseconds wall_ = -1;  // of the clock that is not believed, at `at_`
};

}  // namespace penstock
