// The next frame of a connection. In the order of urgency: what was lost, a loss probe, new data, and an
// acknowledgement by itself only when no data carries it.
#include <algorithm>

#include "dataplane/net/checksum.h"
#include "dataplane/net/frame_writer.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::list(Connection& c) {
  if (c.listed) return;
  c.listed = true;
  output_.push_back(connections_, index_of(c));
}

const TransmitFrame* Core::outgoing() {
  if (staged_) return &staged_frame_;
  if (!replies_.empty()) {
    staged_pieces_[0] = replies_.take();
    staged_frame_ = TransmitFrame{{staged_pieces_.data(), 1}};
    staged_ = true;
    count(TcpCount::frames_sent);
    return &staged_frame_;
  }
  while (output_.first() != no_index) {
    const uint32_t index = output_.first();
    switch (produce(connections_[index])) {
      case Produced::frame:
        staged_ = true;
        count(TcpCount::frames_sent);
        return &staged_frame_;
      case Produced::blocked:
        blocked_ = true;
        count(TcpCount::transmit_memory_waits);
        return nullptr;
      case Produced::nothing:
        output_.remove(connections_, index);
        connections_[index].listed = false;
        break;
    }
  }
  return nullptr;
}

Core::Produced Core::produce(Connection& c) {
  if (c.undelivered > 0 && c.credit > 0) deliver_waiting(c);
  if (c.board.lost_bytes > 0) {
    const uint32_t index = records_.first_lost(c.board);
    const uint32_t next_bytes = std::min<uint32_t>(records_[index].length, c.mss);
    if (c.retransmit_now || c.board.in_flight_bytes + next_bytes <= c.congestion.window()) return retransmit(c, index);
    c.window_limited = true;
  }
  if (c.probe_due) {
    if (const Produced sent = send_probe(c); sent != Produced::nothing) return sent;
  }
  if (const Produced sent = send_new(c, false); sent != Produced::nothing) return sent;
  if (c.persist_due) {
    c.persist_due = false;
    if (c.board.empty() && c.unsent() > 0) {
      count(TcpCount::window_probes_sent);
      // RFC 9293 3.8.6.1 wants an octet of new data. As Linux: one that the peer has, so that nothing is in flight that
      // a closed window would throw away; it is answered all the same (3.10.7.4).
      const Produced sent = send_bare(c, c.snd_una - 1);
      arm_loss_timer(c);
      return sent;
    }
  }
  if (c.keepalive_due) {
    c.keepalive_due = false;
    count(TcpCount::keepalives_sent);
    return send_bare(c, c.snd_una - 1);  // RFC 1122 4.2.3.6
  }
  if (ack_due(c)) return send_bare(c, c.snd_nxt);
  if (c.board.empty() || c.loss_timer == LossTimer::none) arm_loss_timer(c);
  return Produced::nothing;
}

// Bytes of new data that may go now. Nagle's algorithm is off: a response is written whole.
uint32_t Core::sendable(Connection& c, bool past_congestion) {
  const uint64_t unsent = c.unsent();
  if (unsent == 0 && c.board.lost_bytes == 0) c.window_limited = false;
  if (unsent == 0 || c.fin_sent) return 0;
  const uint32_t used = c.snd_nxt - c.snd_una;
  const uint32_t window = c.snd_wnd > used ? c.snd_wnd - used : 0;
  // RFC 3042: each of the first two duplicate acknowledgements lets a segment out.
  const uint64_t limited_transmit = c.repair == Repair::none ? uint64_t{std::min(c.duplicate_acks, 2u)} * c.mss : 0;
  const uint64_t congestion = c.congestion.window() + limited_transmit;
  uint64_t room = congestion > c.board.in_flight_bytes ? congestion - c.board.in_flight_bytes : 0;
  if (past_congestion) room = std::max<uint64_t>(room, c.mss);
  const uint32_t burst_max =
      features_.segmentation ? std::max<uint32_t>(features_.segmentation_bytes_max, c.mss) : c.mss;
  uint32_t bytes = static_cast<uint32_t>(std::min<uint64_t>({unsent, window, burst_max}));
  c.window_limited = room < bytes || room == bytes;
  bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, room));
  if (bytes > c.mss) bytes -= bytes % c.mss;
  // RFC 9293 3.8.6.2.1: a full segment, the end of what there is, or half of the largest window; less only when the
  // persist timer says so.
  const bool worth =
      bytes >= c.mss || bytes == unsent || (bytes > 0 && bytes >= c.snd_wnd_max / 2) || (c.persist_due && bytes > 0);
  return worth ? bytes : 0;
}

bool Core::fin_due(const Connection& c) const { return c.fin_queued && !c.fin_sent && c.unsent() == 0; }

Core::Produced Core::send_new(Connection& c, bool past_congestion) {
  const Nanoseconds idle = now_ - c.last_sent_at;
  if (c.board.empty() && c.unsent() > 0 && idle > c.round_trip.timeout(times_)) c.congestion.idle();
  uint32_t bytes = sendable(c, past_congestion);
  const bool fin_alone = bytes == 0 && fin_due(c);
  if (bytes == 0 && !fin_alone) return Produced::nothing;
  if (c.board.count >= config_.send_records_max || records_.free_count() == 0) {
    // Acknowledgements make room; without any of our own the persist timer tries again.
    count(TcpCount::transmit_memory_waits);
    return Produced::nothing;
  }
  const bool may_fin = c.fin_queued && !c.fin_sent;
  uint8_t flags = net::flag_ack;
  if (bytes == c.unsent() && bytes > 0) flags |= net::flag_psh;
  if (may_fin && bytes == c.unsent()) flags |= net::flag_fin;
  if (!stage(c, c.snd_nxt, bytes, flags)) return Produced::blocked;
  const bool fin = (staged_flags_ & net::flag_fin) != 0;
  const uint32_t length = bytes + (fin ? 1 : 0);
  if (c.board.empty()) c.progress_at = now_;
  records_.append(c.board, c.snd_nxt, length, now_);
  c.snd_nxt += length;
  c.fin_sent = c.fin_sent || fin;
  c.persist_due = false;
  c.last_sent_at = now_;
  count(TcpCount::bytes_sent, bytes);
  if (c.loss_timer == LossTimer::persist || c.loss_timer == LossTimer::probe) c.loss_timer = LossTimer::none;
  arm_loss_timer(c);
  return Produced::frame;
}

Core::Produced Core::retransmit(Connection& c, uint32_t index) {
  const bool fin = c.fin_sent && records_[index].end() == c.snd_nxt;
  uint32_t bytes = records_[index].length - (fin ? 1 : 0);
  if (bytes > c.mss) bytes = c.mss;
  if (bytes < records_[index].length - (fin ? 1 : 0) && records_.free_count() == 0) return Produced::blocked;
  uint8_t flags = net::flag_ack;
  if (records_[index].first + bytes + (fin ? 1 : 0) == c.snd_nxt) flags |= net::flag_psh | (fin ? net::flag_fin : 0);
  if (!stage(c, records_[index].first, bytes, flags)) return Produced::blocked;
  const uint32_t length = bytes + ((staged_flags_ & net::flag_fin) != 0 ? 1 : 0);
  if (length < records_[index].length) records_.split(c.board, index, length);
  SentRecord& record = records_[index];
  records_.set_state(c.board, record, SentState::in_flight);
  record.retransmitted = true;
  record.sent_at = now_;
  c.undo.sent_again(bytes, timestamp_clock(c.timestamp_offset));
  c.retransmit_now = false;
  c.last_sent_at = now_;
  count(TcpCount::segments_retransmitted);
  count(TcpCount::bytes_retransmitted, bytes);
  if (c.loss_timer == LossTimer::persist) c.loss_timer = LossTimer::none;
  arm_loss_timer(c);
  return Produced::frame;
}

// RFC 8985 7.3: new data if there is any, else the last segment again.
Core::Produced Core::send_probe(Connection& c) {
  c.probe_due = false;
  if (c.board.empty()) return Produced::nothing;
  count(TcpCount::loss_probes);
  c.probe_out = true;
  Produced sent = send_new(c, true);
  if (sent == Produced::nothing) {
    uint32_t index = c.board.last;
    if (records_[index].length > c.mss && records_.free_count() > 0) {
      records_.split(c.board, index, records_[index].length - std::min<uint32_t>(c.mss, records_[index].length - 1));
      index = c.board.last;
    }
    if (records_[index].state == SentState::sacked) return Produced::nothing;
    sent = retransmit(c, index);
  }
  c.probe_end = c.snd_nxt;
  c.loss_timer = LossTimer::none;
  arm_loss_timer(c);
  return sent;
}

Core::Produced Core::send_bare(Connection& c, SeqNumber seq) {
  uint32_t none = 0;
  if (!stage(c, seq, none, net::flag_ack)) return Produced::blocked;
  count(TcpCount::acks_sent);
  return Produced::frame;
}

// RFC 5681 4.2, RFC 1122 4.2.3.2: every second full segment, or after a while. All of a burst together: the sender's
// window grows by bytes, and the burst was there at once.
bool Core::ack_due(Connection& c) {
  if (c.ack_now || window_update_due(c)) return true;
  const uint32_t waiting = c.rcv_nxt - c.rcv_acked;
  if (waiting == 0) return false;
  if (waiting >= 2 * c.rcv_segment_bytes) return true;
  if (c.quick_acks > 0) {
    --c.quick_acks;
    return true;
  }
  if (c.ack_deadline == never_ns) {
    c.ack_deadline = now_ + times_.delayed_ack;
    arm(c);
  }
  return false;
}

// A frame with an acknowledgement has been made. `complete`: it said all there was to say.
void Core::acknowledgement_left(Connection& c, bool complete) {
  c.rcv_acked = c.rcv_nxt;
  if (!complete) return;
  c.ack_now = false;
  c.ack_deadline = never_ns;
}

bool Core::write_options(Connection& c, OptionWriter& options, uint32_t payload_bytes) {
  if (c.has_timestamps) options.timestamps(timestamp_clock(c.timestamp_offset), c.ts_recent);
  if (!c.has_sack) return true;
  const bool duplicate = c.duplicate.first != c.duplicate.end;
  if (!duplicate && c.reassembly.empty()) return true;
  const uint32_t room = payload_bytes == 0 ? OptionWriter::sacks_bytes(net::sack_blocks_max)
                                           : c.mss - std::min<uint32_t>(c.mss, payload_bytes);
  uint32_t blocks_max = std::min(options.sack_room(), net::sack_blocks_max);
  while (blocks_max > 0 && OptionWriter::sacks_bytes(blocks_max) > room) --blocks_max;
  if (blocks_max == 0) return false;
  std::array<net::SackBlock, net::sack_blocks_max> blocks;
  uint32_t block_count = 0;
  if (duplicate) {
    // RFC 2883 4: first what came twice, then the block that holds it, if it is beyond the acknowledgment.
    blocks[block_count++] = c.duplicate;
    c.duplicate = {};
    count(TcpCount::duplicate_sacks_sent);
    const net::SackBlock around = reassembly_.range_at(c.reassembly, blocks[0].first);
    if (around.first != around.end && around.first > c.rcv_nxt && block_count < blocks_max)
      blocks[block_count++] = around;
  }
  std::array<net::SackBlock, net::sack_blocks_max> ranges;
  const uint32_t range_count = reassembly_.sack_blocks(c.reassembly, c.rcv_nxt, ranges);
  for (uint32_t i = 0; i < range_count && block_count < blocks_max; ++i) {
    if (block_count == 2 && duplicate && ranges[i].first == blocks[1].first) continue;
    blocks[block_count++] = ranges[i];
  }
  options.sacks({blocks.data(), block_count});
  count(TcpCount::sack_blocks_sent, block_count);
  return true;
}

bool Core::stage(Connection& c, SeqNumber seq, uint32_t& payload_bytes, uint8_t flags) {
  // Payload as the port takes it: in so many pieces, the headers being the first.
  const uint32_t pieces_max = std::min(features_.pieces_max, staged_pieces_max);
  uint32_t piece_count = 1, bytes = 0;
  if (payload_bytes > 0) {
    c.queue.slice(seq - c.snd_una, payload_bytes).for_each([&](const Piece& piece) {
      if (piece_count == pieces_max) return;
      staged_pieces_[piece_count++] = piece;
      bytes += piece.length;
    });
  }
  if (bytes < payload_bytes) {
    // Cut by the number of pieces: whole segments, if it is more than one.
    if (bytes > c.mss) {
      uint32_t excess = bytes % c.mss;
      bytes -= excess;
      for (; excess > 0; --piece_count) {
        Piece& last = staged_pieces_[piece_count - 1];
        if (last.length > excess) {
          last.length -= excess;
          break;
        }
        excess -= last.length;
      }
    }
    flags &= static_cast<uint8_t>(~(net::flag_fin | net::flag_psh));
  }
  OptionWriter options;
  const bool complete = write_options(c, options, bytes);
  const bool v4 = c.flow.local.is_v4();
  const uint32_t link_bytes = net::link_header_bytes(c.link), network_bytes = net::network_header_bytes(v4);
  const uint32_t tcp_bytes = static_cast<uint32_t>(sizeof(net::TcpHeader) + options.bytes().size());
  const Piece headers = header_memory_.take(link_bytes + network_bytes + tcp_bytes);
  if (headers.buffer == no_buffer) return false;
  const uint16_t window = advertise(c);
  const bool by_port = features_.transmit_checksums;
  std::byte* tcp_header =
      write_tcp_headers(headers.data, {c.flow, c.link, seq, c.rcv_nxt, flags, window}, options.bytes(), bytes, by_port);
  staged_pieces_[0] = headers;
  auto& header = *reinterpret_cast<net::TcpHeader*>(tcp_header);
  net::Checksum checksum;
  checksum.add_pseudo_header(c.flow.local, c.flow.remote, net::protocol_tcp, tcp_bytes + bytes);
  if (by_port) {
    header.checksum = checksum.sum();
  } else {
    checksum.add(tcp_header, tcp_bytes);
    for (uint32_t i = 1; i < piece_count; ++i) checksum.add(staged_pieces_[i]);
    header.checksum = checksum.finish();
  }
  for (uint32_t i = 1; i < piece_count; ++i) buffers_.hold(staged_pieces_[i].buffer, Holder::send);
  staged_frame_.pieces = {staged_pieces_.data(), piece_count};
  staged_frame_.network_header_at = static_cast<uint16_t>(link_bytes);
  staged_frame_.transport_header_at = static_cast<uint16_t>(link_bytes + network_bytes);
  staged_frame_.fill_checksums = by_port;
  staged_frame_.segment_payload_bytes = bytes > c.mss ? c.mss : uint16_t{0};
  staged_flags_ = flags;
  payload_bytes = bytes;
  count(TcpCount::segments_sent);
  acknowledgement_left(c, complete);
  return true;
}

// Takes pieces while there is room for their bytes; the last may go beyond it.
size_t Core::send(StreamId id, std::span<const Piece> pieces) {
  Connection* c = find(id);
  size_t taken = 0;
  for (const Piece& piece : pieces) {
    if (c == nullptr || c->reader_closed || piece.length == 0) {
      // As a kernel would: taken, and lost with the connection.
      buffers_.release(piece.buffer, Holder::send);
    } else {
      const bool room = c->queue_pieces < config_.send_pieces_max && c->queue.size() < config_.send_bytes_max;
      if (!room || !c->queue.push_back(send_pool_, piece)) break;
      ++c->queue_pieces;
    }
    ++taken;
  }
  if (c != nullptr && taken > 0) list(*c);
  return taken;
}

}  // namespace penstock::tcp
