#include "dataplane/tcp/congestion.h"

#include <algorithm>
#include <cmath>

namespace penstock::tcp {

namespace {

constexpr double cubic_c = 0.4, cubic_beta = 0.7;  // RFC 9438 4.1, 4.6
constexpr uint64_t window_max = uint64_t{1} << 30;

}  // namespace

uint64_t Congestion::initial_window(uint32_t mss) {
  return std::min<uint64_t>(10ull * mss, std::max<uint64_t>(2ull * mss, 14'600));  // RFC 6928 2
}

void Congestion::start(CongestionKind kind, uint32_t mss) {
  *this = {};
  kind_ = kind;
  mss_ = mss;
  now_.window = initial_window(mss);
}

void Congestion::acknowledged(uint64_t bytes, Nanoseconds smoothed_rtt, bool limited, Nanoseconds now) {
  if (!limited) {
    now_.epoch_start = 0;  // time without a full window must not count as growth
    return;
  }
  if (slow_start()) {
    // RFC 3465 2.1 with L = 2 would count two segments for an acknowledgement; peers stretch acknowledgements over
    // many segments, so all bytes count (RFC 9406's concern is met by the bursts being paced by acknowledgements).
    const uint64_t growth = std::min(bytes, now_.threshold - now_.window);
    now_.window = std::min(now_.window + growth, window_max);
    bytes -= growth;
    if (bytes == 0) return;
  }
  if (kind_ == CongestionKind::cubic) return grow_cubic(bytes, smoothed_rtt, now);
  // RFC 5681 3.1: a segment for each window of acknowledged bytes.
  now_.counted += bytes;
  while (now_.counted >= now_.window) {
    now_.counted -= now_.window;
    now_.window = std::min<uint64_t>(now_.window + mss_, window_max);
  }
}

// RFC 9438 4.2 to 4.5.
void Congestion::grow_cubic(uint64_t bytes, Nanoseconds smoothed_rtt, Nanoseconds now) {
  const double window = static_cast<double>(now_.window) / mss_;
  if (now_.epoch_start == 0) {
    now_.epoch_start = now;
    now_.cubic_estimate = window;
    if (window < now_.cubic_max) {
      now_.cubic_k = std::cbrt((now_.cubic_max - window) / cubic_c);
    } else {
      now_.cubic_k = 0;
      now_.cubic_max = window;
    }
  }
  const double segments = static_cast<double>(bytes) / mss_;
  const double seconds = static_cast<double>(now - now_.epoch_start + smoothed_rtt) / second_ns - now_.cubic_k;
  const double target = std::clamp(cubic_c * seconds * seconds * seconds + now_.cubic_max, window, 1.5 * window);
  // 4.3: as fast as Reno at least.
  const double alpha = now_.cubic_estimate >= now_.cubic_max ? 1.0 : 3 * (1 - cubic_beta) / (1 + cubic_beta);
  now_.cubic_estimate += alpha * segments / window;
  const double grown = std::max(window + (target - window) / window * segments, now_.cubic_estimate);
  now_.window = std::min(std::max(now_.window, static_cast<uint64_t>(grown * mss_)), window_max);
}

void Congestion::reduce(uint64_t in_flight) {
  now_.counted = 0;
  now_.epoch_start = 0;
  const double window = static_cast<double>(now_.window) / mss_;
  if (kind_ == CongestionKind::cubic) {
    // RFC 9438 4.7, fast convergence: a window that stays below the last maximum gives room to others.
    now_.cubic_max = window < now_.cubic_max ? window * (1 + cubic_beta) / 2 : window;
  }
  const double beta = kind_ == CongestionKind::cubic ? cubic_beta : 0.5;
  const auto reduced = static_cast<uint64_t>(static_cast<double>(in_flight) * beta);
  now_.threshold = std::max<uint64_t>(reduced, 2ull * mss_);
}

void Congestion::lost(uint64_t in_flight) {
  reduce(in_flight);
  now_.window = now_.threshold;
}

void Congestion::timed_out(uint64_t in_flight, bool first_timeout) {
  // RFC 5681 3.1: only the first timeout of a segment lowers the threshold.
  if (first_timeout) reduce(in_flight);
  now_.counted = 0;
  now_.epoch_start = 0;
  now_.window = mss_;
}

void Congestion::restore(const Growth& before) {
  const uint64_t window = std::max(now_.window, before.window);
  now_ = before;
  now_.window = window;
}

void Congestion::idle() {
  now_.window = std::min(now_.window, initial_window(mss_));
  now_.epoch_start = 0;
}

}  // namespace penstock::tcp
