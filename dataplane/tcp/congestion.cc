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
  window_ = initial_window(mss);
}

void Congestion::acknowledged(uint64_t bytes, Nanoseconds smoothed_rtt, bool limited, Nanoseconds now) {
  if (!limited) {
    epoch_start_ = 0;  // time without a full window must not count as growth
    return;
  }
  if (slow_start()) {
    // RFC 3465 2.1 with L = 2 would count two segments for an acknowledgement; peers stretch acknowledgements over
    // many segments, so all bytes count (RFC 9406's concern is met by the bursts being paced by acknowledgements).
    const uint64_t growth = std::min(bytes, threshold_ - window_);
    window_ = std::min(window_ + growth, window_max);
    bytes -= growth;
    if (bytes == 0) return;
  }
  if (kind_ == CongestionKind::cubic) return grow_cubic(bytes, smoothed_rtt, now);
  // RFC 5681 3.1: a segment for each window of acknowledged bytes.
  counted_ += bytes;
  while (counted_ >= window_) {
    counted_ -= window_;
    window_ = std::min<uint64_t>(window_ + mss_, window_max);
  }
}

// RFC 9438 4.2 to 4.5.
void Congestion::grow_cubic(uint64_t bytes, Nanoseconds smoothed_rtt, Nanoseconds now) {
  const double window = static_cast<double>(window_) / mss_;
  if (epoch_start_ == 0) {
    epoch_start_ = now;
    cubic_estimate_ = window;
    if (window < cubic_max_) {
      cubic_k_ = std::cbrt((cubic_max_ - window) / cubic_c);
    } else {
      cubic_k_ = 0;
      cubic_max_ = window;
    }
  }
  const double segments = static_cast<double>(bytes) / mss_;
  const double seconds = static_cast<double>(now - epoch_start_ + smoothed_rtt) / second_ns - cubic_k_;
  const double target = std::clamp(cubic_c * seconds * seconds * seconds + cubic_max_, window, 1.5 * window);
  // 4.3: as fast as Reno at least.
  const double alpha = cubic_estimate_ >= cubic_max_ ? 1.0 : 3 * (1 - cubic_beta) / (1 + cubic_beta);
  cubic_estimate_ += alpha * segments / window;
  const double grown = std::max(window + (target - window) / window * segments, cubic_estimate_);
  window_ = std::min(std::max(window_, static_cast<uint64_t>(grown * mss_)), window_max);
}

void Congestion::reduce(uint64_t in_flight) {
  counted_ = 0;
  epoch_start_ = 0;
  const double window = static_cast<double>(window_) / mss_;
  if (kind_ == CongestionKind::cubic) {
    // RFC 9438 4.7, fast convergence: a window that stays below the last maximum gives room to others.
    cubic_max_ = window < cubic_max_ ? window * (1 + cubic_beta) / 2 : window;
  }
  const double beta = kind_ == CongestionKind::cubic ? cubic_beta : 0.5;
  const auto reduced = static_cast<uint64_t>(static_cast<double>(in_flight) * beta);
  threshold_ = std::max<uint64_t>(reduced, 2ull * mss_);
}

void Congestion::lost(uint64_t in_flight) {
  reduce(in_flight);
  window_ = threshold_;
}

void Congestion::timed_out(uint64_t in_flight, bool first_timeout) {
  // RFC 5681 3.1: only the first timeout of a segment lowers the threshold.
  if (first_timeout) reduce(in_flight);
  counted_ = 0;
  epoch_start_ = 0;
  window_ = mss_;
}

void Congestion::idle() {
  window_ = std::min(window_, initial_window(mss_));
  epoch_start_ = 0;
}

}  // namespace penstock::tcp
