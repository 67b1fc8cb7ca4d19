// Whether the last cut of the congestion window was needed. What was thought lost and comes by itself was only late:
// seen by the timestamp echoed for it (Eifel, RFC 3522 3.2), by its arrival before it was sent again, or by D-SACKs of
// all that was sent again (RFC 3708 3).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "dataplane/tcp/congestion.h"
#include "dataplane/tcp/scoreboard.h"

namespace penstock::tcp {

class Undo {
 public:
  // The window is about to be cut while [first, end) is out; `sent`: our timestamp when the first of it was sent.
  void cut(const Congestion& congestion, SeqNumber first, SeqNumber end, uint32_t sent) {
    before_ = congestion.growth();
    first_ = first;
    end_ = end;
    sent_clock_ = sent;
    repeated_bytes_ = 0;
    possible_ = true;
  }
  void forget() { possible_ = false; }
  void sent_again(uint32_t bytes, uint32_t clock) {
    if (repeated_bytes_ == 0) repeated_clock_ = clock;
    repeated_bytes_ += std::max(bytes, 1u);
  }
  // The first that was thought lost is acknowledged; `echo` of the acknowledgement, if it has timestamps. True: the cut
  // was not needed.
  bool arrived(const SentRecord& record, std::optional<uint32_t> echo) {
    if (!possible_) return false;
    if (!record.retransmitted) return true;
    // D-SACKs may tell; an echo from before can't be right.
    if (!echo.has_value() || static_cast<int32_t>(*echo - sent_clock_) < 0) return false;
    possible_ = static_cast<int32_t>(*echo - repeated_clock_) < 0;
    return possible_;
  }
  // True: with this all that was sent again has arrived twice.
  bool arrived_twice(const net::SackBlock& block) {
    if (!possible_ || repeated_bytes_ == 0 || block.first < first_ || block.end > end_) return false;
    repeated_bytes_ -= std::min(repeated_bytes_, block.end - block.first);
    return repeated_bytes_ == 0;
  }
  const Congestion::Growth& before() const { return before_; }

 private:
  Congestion::Growth before_;
  SeqNumber first_, end_;
  uint32_t repeated_bytes_ = 0;  // sent again, and not reported twice
  uint32_t sent_clock_ = 0;
  uint32_t repeated_clock_ = 0;  // our timestamp when the first was sent again
  bool possible_ = false;
};

}  // namespace penstock::tcp
