// Which of the segments sent are lost, by time: RACK (RFC 8985). A segment is lost when one sent enough later has
// arrived; "enough" is zero until the network is seen to reorder, so three segments acknowledged out of order bring
// fast retransmit as in RFC 6675.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/base/units.h"
#include "dataplane/tcp/rtt.h"
#include "dataplane/tcp/scoreboard.h"

namespace penstock::tcp {

class Rack {
 public:
  // 6.2 steps 2 and 3, for each record newly acknowledged, also out of order.
  void delivered(const SentRecord& record, Nanoseconds now, const RoundTrip& round_trip) {
    const Nanoseconds rtt = now - record.sent_at;
    if (!record.retransmitted) {
      if (has_forward_ && record.end() < forward_) {
        reordering_seen_ = true;
      }
    } else if (rtt < round_trip.minimum()) {
      return;  // an acknowledgement of the first transmission, not of this one
    }
    if (!has_forward_ || record.end() > forward_) forward_ = record.end();
    has_forward_ = true;
    rtt_ = rtt;
    if (sent_after(record.sent_at, record.end(), sent_at_, end_)) {
      sent_at_ = record.sent_at;
      end_ = record.end();
    }
  }
  // 6.2 step 4: a retransmission that was not needed widens the window, for 16 recoveries.
  void duplicate_reported(SeqNumber una, SeqNumber nxt) {
    if (in_duplicate_round_ && una < duplicate_round_) return;
    in_duplicate_round_ = true;
    duplicate_round_ = nxt;
    window_factor_ = static_cast<uint8_t>(std::min(window_factor_ + 1, 255));
    window_recoveries_ = 16;
  }
  // A segment that was sent again came by itself, behind later ones (Eifel, D-SACK): RFC 8985 6.2 step 3 sees only
  // what was sent once.
  void reordered() { reordering_seen_ = true; }
  void recovery_ended() {
    if (window_recoveries_ > 0 && --window_recoveries_ == 0) window_factor_ = 1;
  }

  struct Judgement {
    bool lost_any = false;
    Nanoseconds judge_again_in = 0;  // 0: nothing is in doubt
  };
  // 6.2 step 5.
  Judgement judge(RecordPool& records, Scoreboard& board, const RoundTrip& round_trip, uint32_t mss, bool recovering,
                  Nanoseconds now) const {
    Judgement judgement;
    if (sent_at_ == 0) return judgement;
    const Nanoseconds patience = rtt_ + reorder_window(records, board, round_trip, mss, recovering);
    records.for_each(board, [&](SentRecord& record) {
      if (record.state != SentState::in_flight) return;
      if (!sent_after(sent_at_, end_, record.sent_at, record.end())) return;
      const Nanoseconds left = record.sent_at + patience - now;
      if (left <= 0) {
        records.set_state(board, record, SentState::lost);
        judgement.lost_any = true;
      } else {
        judgement.judge_again_in = std::max(judgement.judge_again_in, left);
      }
    });
    return judgement;
  }
  bool reordering_seen() const { return reordering_seen_; }

 private:
  static constexpr uint32_t duplicate_threshold = 3;

  static bool sent_after(Nanoseconds a_at, SeqNumber a_end, Nanoseconds b_at, SeqNumber b_end) {
    return a_at > b_at || (a_at == b_at && a_end > b_end);
  }
  Nanoseconds reorder_window(RecordPool& records, Scoreboard& board, const RoundTrip& round_trip, uint32_t mss,
                             bool recovering) const {
    if (!reordering_seen_) {
      if (recovering) return 0;
      uint32_t segments = board.sacked_bytes / std::max(mss, 1u), frames = 0;
      records.for_each(board, [&](SentRecord& record) { frames += record.state == SentState::sacked; });
      if (std::max(segments, frames) >= duplicate_threshold) return 0;
    }
    return std::min(window_factor_ * (round_trip.minimum() / 4), round_trip.smoothed());
  }

  Nanoseconds sent_at_ = 0;  // of the segment sent last among those that have arrived
  Nanoseconds rtt_ = 0;
  SeqNumber end_;
  SeqNumber forward_;  // the highest sequence acknowledged, in order or not
  SeqNumber duplicate_round_;
  uint8_t window_factor_ = 1;
  uint8_t window_recoveries_ = 0;
  bool has_forward_ = false;
  bool reordering_seen_ = false;
  bool in_duplicate_round_ = false;
};

}  // namespace penstock::tcp
