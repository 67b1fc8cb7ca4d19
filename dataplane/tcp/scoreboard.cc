#include "dataplane/tcp/scoreboard.h"

namespace penstock::tcp {

bool RecordPool::append(Scoreboard& board, SeqNumber first, uint32_t length, Nanoseconds now) {
  const uint32_t index = records_.take();
  if (index == no_index) return false;
  records_[index] = {first, length, now, no_index, SentState::in_flight, false};
  (board.last == no_index ? board.first : records_[board.last].next) = index;
  board.last = index;
  ++board.count;
  board.in_flight_bytes += length;
  return true;
}

bool RecordPool::split(Scoreboard& board, uint32_t index, uint32_t length) {
  SentRecord& record = records_[index];
  check(length > 0 && length < record.length, "split outside a record", length, record.length);
  const uint32_t second = records_.take();
  if (second == no_index) return false;
  records_[second] = record;
  records_[second].first = record.first + length;
  records_[second].length = record.length - length;
  record.length = length;
  record.next = second;
  if (board.last == index) board.last = second;
  ++board.count;
  return true;
}

uint32_t RecordPool::first_lost(const Scoreboard& board) const {
  if (board.lost_bytes == 0) return no_index;
  uint32_t index = board.first;
  while (index != no_index && records_[index].state != SentState::lost) index = records_[index].next;
  return index;
}

void RecordPool::pop_front(Scoreboard& board) {
  const uint32_t index = board.first;
  board.first = records_[index].next;
  if (board.first == no_index) board.last = no_index;
  --board.count;
  records_.give(index);
}

void RecordPool::clear(Scoreboard& board) {
  while (board.first != no_index) pop_front(board);
  board = {};
}

void RecordPool::check_invariants(const Scoreboard& board, SeqNumber una, SeqNumber nxt) const {
  uint32_t count = 0, sums[3] = {};
  SeqNumber at = una;
  for (uint32_t index = board.first; index != no_index; index = records_[index].next) {
    const SentRecord& record = records_[index];
    check(record.first == at, "records leave a gap", record.first.value, at.value);
    check(record.length > 0, "empty record");
    at = record.end();
    sums[static_cast<int>(record.state)] += record.length;
    ++count;
  }
  check(at == nxt, "records end before what was sent", at.value, nxt.value);
  check(count == board.count, "count of records", count, board.count);
  check(sums[0] == board.in_flight_bytes, "bytes in flight", sums[0], board.in_flight_bytes);
  check(sums[1] == board.lost_bytes, "bytes lost", sums[1], board.lost_bytes);
  check(sums[2] == board.sacked_bytes, "bytes acknowledged out of order", sums[2], board.sacked_bytes);
}

}  // namespace penstock::tcp
