// Payload: in order to the reader as far as its credit goes, everything else to reassembly.
#include <algorithm>
#include <cstring>

#include "dataplane/base/mutation.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::receive_data(Connection& c, const Segment& segment) {
  const uint32_t bytes = segment.payload_bytes();
  if (bytes == 0 || c.fin_received) return;
  const SeqNumber first = segment.seq(), end = first + bytes;
  if (c.reader_closed) {
    if (end <= c.rcv_nxt) return;
    // RFC 1122 4.2.2.13: data that nobody will read resets.
    count(TcpCount::drop_data_after_close);
    send_reset(c);
    return end_connection(c);
  }
  if (bytes > c.rcv_segment_bytes)
    c.rcv_segment_bytes = std::min<uint32_t>(bytes, advertised_mss(c.flow.local.is_v4()));
  if (first > c.rcv_nxt) count(TcpCount::segments_out_of_order);
  if (first < c.rcv_nxt) {
    count(TcpCount::drop_duplicate_data);
    if (c.has_sack) c.duplicate = {first, earlier(end, c.rcv_nxt)};
  }
  if (end > c.rcv_edge) {
    count(TcpCount::drop_beyond_window);
    c.ack_now = true;
  }

  // A peer that contradicts itself: nothing comes behind its FIN.
  const SeqNumber limit = c.fin_seen ? earlier(c.rcv_edge, c.fin_at) : c.rcv_edge;
  const SeqNumber kept_first = later(first, c.rcv_nxt), kept_end = earlier(end, limit);
  if (kept_first < kept_end) {
    const bool brief = kept_end - kept_first < brief_bytes_;
    SeqNumber at = first;
    for (Piece piece : segment.payload().span()) {
      const SeqNumber piece_first = later(at, kept_first), piece_end = earlier(at + piece.length, kept_end);
      const SeqNumber here = at;
      at += piece.length;
      if (piece_first >= piece_end) continue;
      piece.data += piece_first - here;
      piece.length = piece_end - piece_first;
      place(c, piece_first, piece, brief);
    }
    // What reassembly now has without a hole.
    const SeqNumber delivered = c.rcv_nxt - c.undelivered;
    const SeqNumber whole = reassembly_.contiguous_end(c.reassembly, delivered);
    const SeqNumber received = later(c.rcv_nxt, mutated(Mutation::acknowledge_beyond_hole) ? kept_end : whole);
    const uint32_t more = received - c.rcv_nxt;
    received_in_order(c, more);
    c.undelivered += more;
    deliver_waiting(c);
    if (c.fin_seen && !c.fin_received && c.rcv_nxt >= c.fin_at) finish_received(c);
  }
  list(c);
}

// Bytes within the window that are new at their beginning.
void Core::place(Connection& c, SeqNumber seq, const Piece& piece, bool brief) {
  // What the reader waits for goes there even when reassembly is full: up to the first range, which then follows, or
  // up to the end of the credit.
  const bool next = seq == c.rcv_nxt && c.undelivered == 0 && events_.has_room();
  const uint32_t before_range =
      c.reassembly.empty() ? piece.length : std::min(piece.length, reassembly_.first(c.reassembly) - seq);
  const auto taken = static_cast<uint32_t>(std::min<uint64_t>(before_range, c.credit));
  if (next && taken > 0) {
    const Piece front{piece.data, taken, piece.buffer};
    // Settled whole if it is whole: room behind a part would be the rest of it.
    deliver(c, settle(c, front, brief && taken == piece.length, Holder::request));
    c.credit -= taken;
    received_in_order(c, taken);
    if (taken < piece.length) {
      place(c, seq + taken, {piece.data + taken, piece.length - taken, piece.buffer}, brief);
    }
    return;
  }
  net::SackBlock duplicate;
  const Piece kept = settle(c, piece, brief, Holder::reassembly);
  switch (reassembly_.insert(c.reassembly, seq, kept, duplicate)) {
    case ReassemblyPool::Verdict::stored:
      break;
    case ReassemblyPool::Verdict::duplicate:
      count(TcpCount::drop_duplicate_data);
      break;
    case ReassemblyPool::Verdict::full:
      count(TcpCount::drop_reassembly_full);
      break;
  }
  if (duplicate.first != duplicate.end && c.has_sack) c.duplicate = duplicate;
}

void Core::received_in_order(Connection& c, uint32_t bytes) {
  c.rcv_nxt += bytes;
  edges_bytes_ -= bytes;
  count(TcpCount::bytes_received, bytes);
}

Piece Core::settle(Connection& c, const Piece& piece, bool brief, Holder holder) {
  if (!brief) {
    take_from_frame(piece.buffer, holder);
    return piece;
  }
  if (c.tail_open && c.tail.length >= piece.length) {
    const Piece copy{c.tail.data, piece.length, c.tail.buffer};
    std::memcpy(copy.data, piece.data, piece.length);
    buffers_.hold(copy.buffer, holder);
    c.tail.data += piece.length;
    c.tail.length -= piece.length;
    count(TcpCount::bytes_copied, piece.length);
    return copy;
  }
  // It stays where it is, and what is behind it in its buffer is where the next ones go. A buffer that several frames
  // share (aggregation by the card) has no room that is ours.
  const bool ours = buffers_.holders(piece.buffer) == 1;
  take_from_frame(piece.buffer, holder);
  if (ours) {
    drop_tail(c);
    const std::byte* buffer_end = arena_.at(piece.buffer) + buffers_.bytes(piece.buffer);
    std::byte* behind = piece.data + piece.length;
    c.tail = {behind, static_cast<uint32_t>(buffer_end - behind), piece.buffer};
    c.tail_open = true;
    buffers_.hold(piece.buffer, Holder::reassembly);
  }
  return piece;
}

void Core::drop_tail(Connection& c) {
  if (!c.tail_open) return;
  c.tail_open = false;
  buffers_.release(c.tail.buffer, Holder::reassembly);
}

void Core::deliver(Connection& c, const Piece& piece) {
  Event& event = events_.push();
  event.kind = StreamEventKind::data;
  event.stream = id_of(c);
  event.piece = piece;
}

void Core::deliver_waiting(Connection& c) {
  Piece piece;
  while (c.undelivered > 0 && events_.has_room()) {
    const uint64_t bytes_max = std::min<uint64_t>(c.credit, c.undelivered);
    if (!reassembly_.take_front(c.reassembly, c.delivered(), bytes_max, piece)) break;
    buffers_.pass(piece.buffer, Holder::reassembly, Holder::request);
    c.undelivered -= piece.length;
    c.credit -= piece.length;
    deliver(c, piece);
  }
  if (c.undelivered > 0) {
    if (c.credit > 0) list(c);  // the events are full: goes on from there
    return;
  }
  if (c.fin_received && !c.finish_told && !c.reader_closed) {
    c.finish_told = true;
    Event& event = events_.push();
    event.kind = StreamEventKind::peer_finished;
    event.stream = id_of(c);
  }
}

}  // namespace penstock::tcp
