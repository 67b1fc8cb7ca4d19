// How much may be in flight: slow start and congestion avoidance (RFC 5681, initial window RFC 6928), growth by CUBIC
// (RFC 9438) or as in RFC 5681. Which segments are lost is decided elsewhere.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/tcp/tcp_config.h"

namespace penstock::tcp {

class Congestion {
 public:
  struct Growth {
    uint64_t window = 0;
    uint64_t threshold = UINT64_MAX;
    uint64_t counted = 0;         // acknowledged bytes that have not made the window grow yet
    double cubic_max = 0;         // W_max, segments
    double cubic_estimate = 0;    // W_est, segments
    double cubic_k = 0;           // seconds
    Nanoseconds epoch_start = 0;  // 0: begins with the next acknowledgement
  };

  void start(CongestionKind kind, uint32_t mss);
  // Our SYN-ACK was lost: a cautious start (RFC 5681 3.1).
  void start_after_loss() { now_.window = mss_; }
  void set_mss(uint32_t mss) { mss_ = mss; }

  // `bytes` were acknowledged for the first time and no loss is being repaired. `limited`: the window was what kept us
  // from sending more; otherwise it does not grow (RFC 9438 5.8, RFC 7661).
  void acknowledged(uint64_t bytes, Nanoseconds smoothed_rtt, bool limited, Nanoseconds now);
  // Loss was detected while `in_flight` bytes were out: once for each recovery.
  void lost(uint64_t in_flight);
  void timed_out(uint64_t in_flight, bool first_timeout);
  // The last cut was not needed: all is as `before` it (RFC 9438 4.9.2), the window at least as large.
  void restore(const Growth& before);
  // Nothing was sent for longer than the retransmission timeout (RFC 5681 4.1).
  void idle();

  const Growth& growth() const { return now_; }
  uint64_t window() const { return now_.window; }
  uint64_t threshold() const { return now_.threshold; }
  bool slow_start() const { return now_.window < now_.threshold; }
  static uint64_t initial_window(uint32_t mss);

 private:
  void reduce(uint64_t in_flight);
  void grow_cubic(uint64_t bytes, Nanoseconds smoothed_rtt, Nanoseconds now);

  CongestionKind kind_ = CongestionKind::cubic;
  uint32_t mss_ = 536;
  Growth now_;
};

}  // namespace penstock::tcp
