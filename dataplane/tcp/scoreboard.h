// What was sent and is not acknowledged: one record for each frame, in order of sequence. A record is in flight, lost
// (to be sent again) or acknowledged out of order; the sums over them are what may still be sent (RFC 6675's pipe).
// Records are shared by all connections and bounded for each.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/units.h"
#include "dataplane/net/segment.h"
#include "dataplane/tcp/index_pool.h"

namespace penstock::tcp {

enum class SentState : uint8_t { in_flight, lost, sacked };

struct SentRecord {
  SeqNumber first;
  uint32_t length = 0;  // of the sequence space: FIN counts
  Nanoseconds sent_at = 0;
  uint32_t next = no_index;
  SentState state = SentState::in_flight;
  bool retransmitted = false;
  SeqNumber end() const { return first + length; }
};

// One connection's.
struct Scoreboard {
  uint32_t first = no_index;
  uint32_t last = no_index;
  uint32_t count = 0;
  uint32_t in_flight_bytes = 0;
  uint32_t lost_bytes = 0;
  uint32_t sacked_bytes = 0;
  bool empty() const { return first == no_index; }
};

class RecordPool {
 public:
  explicit RecordPool(uint32_t count) : records_(count) {}

  // False: no record left.
  bool append(Scoreboard& board, SeqNumber first, uint32_t length, Nanoseconds now);
  // Calls acknowledged(record) for each record, or beginning of one, below `ack`.
  template <class Acknowledged>
  void acknowledge(Scoreboard& board, SeqNumber ack, Acknowledged&& acknowledged) {
    while (board.first != no_index && records_[board.first].first < ack) {
      SentRecord& record = records_[board.first];
      const bool whole = record.end() <= ack;
      const uint32_t length = whole ? record.length : ack - record.first;
      acknowledged(record, length, whole);
      sum_of(board, record.state) -= length;
      if (!whole) {
        record.first = ack;
        record.length -= length;
        return;
      }
      pop_front(board);
    }
  }
  // Marks what a block covers; calls sacked(record) for each record it newly covers. Records are split at its edges.
  template <class Sacked>
  void sack(Scoreboard& board, const net::SackBlock& block, Sacked&& sacked) {
    for (uint32_t index = board.first; index != no_index; index = records_[index].next) {
      SentRecord* record = &records_[index];
      if (block.end <= record->first) return;
      if (record->end() <= block.first || record->state == SentState::sacked) continue;
      if (record->first < block.first) {
        // The rest is the next one; without a record for it this one stays as it is: too little is known, never too
        // much.
        (void)split(board, index, block.first - record->first);
        continue;
      }
      if (block.end < record->end() && !split(board, index, block.end - record->first)) continue;
      record = &records_[index];
      sacked(*record);
      set_state(board, *record, SentState::sacked);
    }
  }
  template <class Visit>
  void for_each(Scoreboard& board, Visit&& visit) {
    for (uint32_t index = board.first; index != no_index; index = records_[index].next) visit(records_[index]);
  }
  void set_state(Scoreboard& board, SentRecord& record, SentState state) {
    sum_of(board, record.state) -= record.length;
    record.state = state;
    sum_of(board, state) += record.length;
  }
  // Cuts a record in two; false: no record for the second.
  bool split(Scoreboard& board, uint32_t index, uint32_t length);
  uint32_t first_lost(const Scoreboard& board) const;
  SentRecord& operator[](uint32_t index) { return records_[index]; }
  const SentRecord& operator[](uint32_t index) const { return records_[index]; }
  void clear(Scoreboard& board);
  void check_invariants(const Scoreboard& board, SeqNumber una, SeqNumber nxt) const;
  uint32_t free_count() const { return records_.free_count(); }
  uint64_t memory_bytes() const { return records_.memory_bytes(); }

 private:
  static uint32_t& sum_of(Scoreboard& board, SentState state) {
    return state == SentState::in_flight ? board.in_flight_bytes
           : state == SentState::lost    ? board.lost_bytes
                                         : board.sacked_bytes;
  }
  void pop_front(Scoreboard& board);

  IndexPool<SentRecord> records_;
};

}  // namespace penstock::tcp
