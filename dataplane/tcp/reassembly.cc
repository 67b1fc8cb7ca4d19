#include "dataplane/tcp/reassembly.h"

#include <algorithm>

#include "dataplane/base/mutation.h"

namespace penstock::tcp {

ReassemblyPool::Verdict ReassemblyPool::insert(Reassembly& list, SeqNumber seq, const Piece& piece,
                                               net::SackBlock& duplicate) {
  duplicate = {seq, seq};
  SeqNumber at = seq;
  const SeqNumber end = seq + piece.length;
  ++list.clock;
  bool stored = false, full = false;
  uint32_t previous = no_index, current = list.first_range;
  while (current != no_index && ranges_[current].end < at) {
    previous = current;
    current = ranges_[current].next;
  }
  // Now `current` ends at or behind `at`, or there is none.
  while (at < end) {
    const bool inside = current != no_index && ranges_[current].first <= at;
    if (inside && at < ranges_[current].end) {
      const SeqNumber known_end = earlier(end, ranges_[current].end);
      if (duplicate.first == duplicate.end) duplicate = {at, known_end};
      ranges_[current].touched = list.clock;
      at = known_end;
      continue;
    }
    const uint32_t following = inside ? ranges_[current].next : current;
    const SeqNumber gap_end = following == no_index ? end : earlier(end, ranges_[following].first);
    const uint32_t known = mutated(Mutation::misplace_overlap) ? 0 : at - seq;
    const Piece part{piece.data + known, gap_end - at, piece.buffer};
    if (!inside) {
      const uint32_t fresh = list.range_count < bounds_.ranges_max ? ranges_.take() : no_index;
      if (fresh == no_index) {
        full = true;
        break;
      }
      ranges_[fresh] = {at, at, no_index, no_index, list.clock, current};
      if (!append(list, ranges_[fresh], part)) {
        ranges_.give(fresh);
        full = true;
        break;
      }
      (previous == no_index ? list.first_range : ranges_[previous].next) = fresh;
      ++list.range_count;
      current = fresh;
    } else if (!append(list, ranges_[current], part)) {
      full = true;
      break;
    }
    stored = true;
    ranges_[current].touched = list.clock;
    at = gap_end;
    if (following != no_index && ranges_[following].first == at) join_next(list, current);
  }
  if (stored || !mutated(Mutation::leak_duplicate)) buffers_.release(piece.buffer, Holder::reassembly);
  return full ? Verdict::full : stored ? Verdict::stored : Verdict::duplicate;
}

bool ReassemblyPool::append(Reassembly& list, Range& range, const Piece& piece) {
  if (range.last_piece != no_index) {
    // Copied right behind the piece before, as short payload is: one piece then.
    Piece& last = pieces_[range.last_piece].piece;
    if (last.buffer == piece.buffer && last.data + last.length == piece.data) {
      last.length += piece.length;
      range.end += piece.length;
      list.bytes += piece.length;
      return true;
    }
  }
  const uint32_t entry = list.piece_count < bounds_.pieces_max ? pieces_.take() : no_index;
  if (entry == no_index) return false;
  buffers_.hold(piece.buffer, Holder::reassembly);
  pieces_[entry] = {piece, no_index};
  (range.last_piece == no_index ? range.first_piece : pieces_[range.last_piece].next) = entry;
  range.last_piece = entry;
  range.end += piece.length;
  ++list.piece_count;
  list.bytes += piece.length;
  return true;
}

void ReassemblyPool::join_next(Reassembly& list, uint32_t range_index) {
  Range& range = ranges_[range_index];
  const uint32_t gone = range.next;
  const Range& next = ranges_[gone];
  pieces_[range.last_piece].next = next.first_piece;
  range.last_piece = next.last_piece;
  range.end = next.end;
  range.next = next.next;
  ranges_.give(gone);
  --list.range_count;
}

bool ReassemblyPool::take_front(Reassembly& list, SeqNumber at, uint64_t bytes_max, Piece& taken) {
  if (list.empty() || bytes_max == 0) return false;
  Range& range = ranges_[list.first_range];
  if (range.first != at) return false;
  const uint32_t entry = range.first_piece;
  Piece& piece = pieces_[entry].piece;
  taken = piece;
  if (taken.length > bytes_max) {
    taken.length = static_cast<uint32_t>(bytes_max);
    buffers_.hold(taken.buffer, Holder::reassembly);
    piece.data += taken.length;
    piece.length -= taken.length;
  } else {
    range.first_piece = pieces_[entry].next;
    pieces_.give(entry);
    --list.piece_count;
  }
  range.first += taken.length;
  list.bytes -= taken.length;
  if (range.first_piece == no_index) {
    const uint32_t gone = list.first_range;
    list.first_range = range.next;
    ranges_.give(gone);
    --list.range_count;
  }
  return true;
}

SeqNumber ReassemblyPool::contiguous_end(const Reassembly& list, SeqNumber at) const {
  if (list.empty() || ranges_[list.first_range].first != at) return at;
  return ranges_[list.first_range].end;
}

uint32_t ReassemblyPool::sack_blocks(const Reassembly& list, SeqNumber received,
                                     std::span<net::SackBlock> blocks) const {
  std::array<uint32_t, net::sack_blocks_max> touched;
  uint32_t count = 0;
  for (uint32_t index = list.first_range; index != no_index; index = ranges_[index].next) {
    const Range& range = ranges_[index];
    if (range.first <= received) continue;
    // Insertion into the few best, latest first; ages are compared so that the clock may wrap.
    uint32_t place = count;
    while (place > 0 && list.clock - touched[place - 1] > list.clock - range.touched) --place;
    if (place >= blocks.size()) continue;
    if (count < blocks.size()) ++count;
    for (uint32_t i = count - 1; i > place; --i) {
      blocks[i] = blocks[i - 1];
      touched[i] = touched[i - 1];
    }
    blocks[place] = {range.first, range.end};
    touched[place] = range.touched;
  }
  return count;
}

net::SackBlock ReassemblyPool::range_at(const Reassembly& list, SeqNumber seq) const {
  for (uint32_t index = list.first_range; index != no_index; index = ranges_[index].next) {
    const Range& range = ranges_[index];
    if (within(seq, range.first, range.end)) return {range.first, range.end};
  }
  return {seq, seq};
}

void ReassemblyPool::clear(Reassembly& list) {
  while (list.first_range != no_index) {
    const uint32_t range = list.first_range;
    for (uint32_t entry = ranges_[range].first_piece; entry != no_index;) {
      const uint32_t next = pieces_[entry].next;
      buffers_.release(pieces_[entry].piece.buffer, Holder::reassembly);
      pieces_.give(entry);
      entry = next;
    }
    list.first_range = ranges_[range].next;
    ranges_.give(range);
  }
  list = {};
}

void ReassemblyPool::check_invariants(const Reassembly& list) const {
  uint32_t ranges = 0, pieces = 0;
  uint64_t bytes = 0;
  for (uint32_t index = list.first_range; index != no_index; index = ranges_[index].next) {
    const Range& range = ranges_[index];
    ++ranges;
    uint32_t length = 0, last = no_index;
    for (uint32_t entry = range.first_piece; entry != no_index; entry = pieces_[entry].next) {
      check(pieces_[entry].piece.length > 0, "an empty piece waits");
      length += pieces_[entry].piece.length;
      last = entry;
      ++pieces;
    }
    check(last == range.last_piece, "range ends at another piece", last, range.last_piece);
    check(range.first + length == range.end, "range of another length than its pieces", length);
    check(length > 0, "empty range");
    check(range.next == no_index || range.end < ranges_[range.next].first, "ranges touch");
    bytes += length;
  }
  check(ranges == list.range_count, "count of ranges", ranges, list.range_count);
  check(pieces == list.piece_count, "count of pieces", pieces, list.piece_count);
  check(bytes == list.bytes, "count of waiting bytes", static_cast<long long>(bytes), list.bytes);
}

}  // namespace penstock::tcp
