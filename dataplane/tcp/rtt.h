// Round-trip time and retransmission timeout: RFC 6298.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/tcp/tcp_config.h"

namespace penstock::tcp {

class RoundTrip {
 public:
  void start(const TcpTimes& times) { *this = {}, rto_ = times.rto_initial; }

  // 2.2, 2.3; alpha 1/8, beta 1/4, K 4. Only of segments sent once (3, Karn's algorithm).
  void sample(Nanoseconds rtt, const TcpTimes& times) {
    if (rtt <= 0) rtt = 1;
    if (smoothed_ == 0) {
      smoothed_ = rtt;
      variation_ = rtt / 2;
    } else {
      const Nanoseconds deviation = smoothed_ > rtt ? smoothed_ - rtt : rtt - smoothed_;
      variation_ += (deviation - variation_) / 4;
      smoothed_ += (rtt - smoothed_) / 8;
    }
    minimum_ = minimum_ == 0 ? rtt : std::min(minimum_, rtt);
    backoff_ = 0;
    // 2.4: a minimum of 1 s SHOULD be kept; Linux and we keep 200 ms.
    rto_ = std::clamp(smoothed_ + std::max<Nanoseconds>(4 * variation_, millisecond_ns), times.rto_min, times.rto_max);
  }
  // 5.5: the timer is doubled for each timeout in a row.
  void back_off() { backoff_ = std::min(backoff_ + 1, 30u); }
  void forget_backoff() { backoff_ = 0; }
  Nanoseconds timeout(const TcpTimes& times) const {
    Nanoseconds timeout = rto_;
    for (uint32_t i = 0; i < backoff_ && timeout < times.rto_max; ++i) timeout *= 2;
    return std::min(timeout, times.rto_max);
  }
  Nanoseconds smoothed() const { return smoothed_; }  // 0: no sample yet
  Nanoseconds minimum() const { return minimum_; }

 private:
  Nanoseconds smoothed_ = 0;
  Nanoseconds variation_ = 0;
  Nanoseconds minimum_ = 0;
  Nanoseconds rto_ = second_ns;
  uint32_t backoff_ = 0;
};

}  // namespace penstock::tcp
