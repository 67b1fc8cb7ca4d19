// The TCP of one lane: tables, and the work on them, a file for each idea:
//
//   input.cc        a frame, to whom it belongs
//   listen.cc       SYN, SYN-RECEIVED, cookies
//   receive.cc      a segment of a connection: the checks in RFC 9293's order, and the fast path past them
//   deliver.cc      payload: in order to the reader, out of order to reassembly
//   window.cc       credit, right edge, budget
//   acknowledge.cc  what the peer acknowledges
//   repair.cc       loss found, loss repaired
//   output.cc       the next frame of a connection
//   reply.cc        frames that belong to no connection
//   timers.cc       deadlines
//   close.cc        ends
//   linger.cc       FIN-WAIT-2 and TIME-WAIT
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/timer_wheel.h"
#include "dataplane/frames.h"
#include "dataplane/net/frame_reader.h"
#include "dataplane/net/icmp_reader.h"
#include "dataplane/net/neighbour.h"
#include "dataplane/net/rate_limit.h"
#include "dataplane/net/reply_queue.h"
#include "dataplane/tcp/connection.h"
#include "dataplane/tcp/events.h"
#include "dataplane/tcp/flow_table.h"
#include "dataplane/tcp/half_open.h"
#include "dataplane/tcp/option_writer.h"
#include "dataplane/tcp/tcp_config.h"
#include "dataplane/tcp/tcp_stack.h"

namespace penstock::tcp {

using net::Segment;

// What a segment that is not part of a connection's data says.
struct BareSegment {
  const net::Flow& flow;
  const net::LinkPath& link;
  SeqNumber seq;
  SeqNumber ack;
  uint8_t flags = 0;
  uint16_t window = 0;
};

class Core {
 public:
  Core(const TcpConfig& config, const PortFeatures& features, Arena arena, BufferTable& buffers,
       BufferAllocator& headers);
  ~Core();

  // ---- as TcpStack
  void begin_poll(Nanoseconds now);
  void on_frame(const ReceivedFrame& frame);
  bool has_event_room() const { return events_.has_burst_room(); }
  bool next_event(StreamEvent& event);
  void end_poll();
  const TransmitFrame* outgoing();
  void outgoing_taken() { staged_ = false; }
  void allow(StreamId id, uint64_t byte_count);
  size_t send(StreamId id, std::span<const Piece> pieces);
  void request_done(StreamId id);
  void close(StreamId id);
  void abort(StreamId id);
  uint64_t receive_cost(uint64_t byte_count) const;
  void stop_accepting() { accepting_ = false; }
  Nanoseconds next_deadline() const;
  const TcpCounters& counters() const { return counters_; }
  TcpConnectionView view(StreamId id) const;
  uint32_t open_connections() const { return connections_.taken_count(); }
  uint32_t half_open_connections() const { return half_open_.taken_count(); }
  uint32_t lingering_connections() const { return lingering_.taken_count(); }
  uint64_t window_bytes() const { return edges_bytes_; }
  uint64_t memory_bytes() const;
  void check_invariants() const;

 private:
  // ---- input.cc
  void on_segment(const Segment& segment);
  void on_icmp_error(const net::IcmpError& error);
  FlowPlace find(const net::Flow& flow, uint32_t hash) const;
  void path_mtu(Connection& connection, uint32_t mtu_bytes);

  // ---- listen.cc
  void on_no_connection(const Segment& segment, uint32_t hash);
  void on_syn(const Segment& segment, uint32_t hash);
  void on_half_open(uint32_t index, const Segment& segment, uint32_t hash);
  void on_cookie(const Segment& segment, uint32_t hash);
  void send_cookie(const Segment& segment);
  void send_syn_ack(HalfOpen& entry);
  void drop_half_open(uint32_t index);
  void on_half_open_timer(uint32_t index);
  uint32_t open_connection(const Segment& segment, const SynOptions& options, SeqNumber iss, SeqNumber irs,
                           uint32_t window_bytes, uint32_t hash);
  bool listens(const net::Flow& flow) const;
  SynOptions options_of(const Segment& syn) const;
  uint16_t advertised_mss(bool v4) const { return v4 ? mss_v4_ : mss_v6_; }

  // ---- receive.cc
  void receive(Connection& connection, const Segment& segment);
  void receive_in_order(Connection& connection, const Segment& segment);
  bool timestamp_acceptable(Connection& connection, const Segment& segment);
  bool sequence_acceptable(Connection& connection, const Segment& segment);
  bool acknowledged_alone(Connection& connection, const Segment& segment);
  void receive_reset(Connection& connection, const Segment& segment);
  void receive_fin(Connection& connection, const Segment& segment);
  void finish_received(Connection& connection);
  void challenge(Connection& connection);
  void remember_timestamp(Connection& connection, const Segment& segment);

  // ---- deliver.cc
  void receive_data(Connection& connection, const Segment& segment);
  void deliver_waiting(Connection& connection);
  void deliver(Connection& connection, const Piece& piece);
  // The piece as it is kept: short payload copied behind other short payload. Holds its buffer once for `holder`.
  Piece settle(Connection& connection, const Piece& piece, bool brief, Holder holder);
  void place(Connection& connection, SeqNumber seq, const Piece& piece, bool brief);
  void drop_tail(Connection& connection);
  void take_from_frame(BufferIndex buffer, Holder holder);

  // ---- window.cc
  void close_edge(Connection& connection);
  uint16_t advertise(Connection& connection);
  bool window_update_due(const Connection& connection) const;
  uint32_t least_window(const Connection& connection) const;
  uint32_t overshoot_max(const Connection& connection) const;
  uint32_t asked_window(const Connection& connection) const;
  uint32_t wanted_window(const Connection& connection) const;
  void wait_for_budget(Connection& connection);
  bool worth_advertising(const Connection& connection, uint32_t wanted) const;
  uint32_t promised(const Connection& connection) const;
  void received_in_order(Connection& connection, uint32_t bytes);
  void serve_budget();

  // ---- acknowledge.cc
  bool receive_ack(Connection& connection, const Segment& segment);
  void acknowledged(Connection& connection, const Segment& segment);
  bool read_sacks(Connection& connection, const Segment& segment);
  void update_window(Connection& connection, const Segment& segment, bool advances);
  void release_queue(Connection& connection, uint32_t bytes);

  // ---- repair.cc
  void find_losses(Connection& connection);
  void enter_recovery(Connection& connection);
  void note_cut(Connection& connection);
  void undo_cut(Connection& connection);
  void count_duplicate_ack(Connection& connection);
  void on_retransmit_timeout(Connection& connection);
  void arm_loss_timer(Connection& connection);
  void set_loss_timer(Connection& connection, LossTimer what, Nanoseconds deadline);

  // ---- output.cc
  enum class Produced : uint8_t { frame, nothing, blocked };
  Produced produce(Connection& connection);
  Produced retransmit(Connection& connection, uint32_t record_index);
  Produced send_new(Connection& connection, bool past_congestion);
  Produced send_probe(Connection& connection);
  Produced send_bare(Connection& connection, SeqNumber seq);
  uint32_t sendable(Connection& connection, bool past_congestion);
  bool fin_due(const Connection& connection) const;
  bool ack_due(Connection& connection);
  // Builds the next frame; `payload_bytes` may come back smaller. False: no memory for its headers.
  bool stage(Connection& connection, SeqNumber seq, uint32_t& payload_bytes, uint8_t flags);
  // False: SACK blocks had to stay out.
  bool write_options(Connection& connection, OptionWriter& options, uint32_t payload_bytes);
  void acknowledgement_left(Connection& connection, bool complete);
  void list(Connection& connection);

  // ---- reply.cc
  std::byte* write_tcp_headers(std::byte* to, const BareSegment& segment, std::span<const uint8_t> options,
                               uint32_t payload_bytes, bool checksums_by_port);
  bool reply(const BareSegment& segment, const OptionWriter& options);
  void reply_reset(const Segment& to);
  void send_reset(Connection& connection);
  void reply_ack(Connection& connection);

  // ---- timers.cc
  void on_timer(Connection& connection);
  void arm(Connection& connection);
  void on_persist(Connection& connection);
  void on_keepalive(Connection& connection);

  // ---- close.cc
  void set_state(Connection& connection, TcpState state);
  void end_connection(Connection& connection);  // told as `closed`; everything it held goes back
  void time_out(Connection& connection);
  Connection* find(StreamId id);
  uint32_t index_of(const Connection& connection) const {
    return static_cast<uint32_t>(&connection - &connections_[0]);
  }
  StreamId id_of(const Connection& connection) const { return {index_of(connection), connection.generation}; }

  // ---- linger.cc
  void linger(Connection& connection, LingerState state);
  void on_lingering(uint32_t index, const Segment& segment, uint32_t hash);
  void set_lingering(uint32_t index, LingerState state);
  void answer_lingering(Lingering& entry);
  void drop_lingering(uint32_t index);
  void expire_lingering();

  uint32_t timestamp_clock(uint32_t offset) const { return FlowSecret::timestamp_clock(now_, offset); }
  void count(TcpCount which, uint64_t amount = 1) { counters_.add(which, amount); }

  const TcpConfig config_;
  const TcpTimes& times_;
  const PortFeatures features_;
  const FlowSecret secret_;
  Arena arena_;
  BufferTable& buffers_;
  TcpCounters counters_;
  const uint32_t brief_bytes_;
  uint16_t mss_v4_ = 0;
  uint16_t mss_v6_ = 0;
  uint8_t window_scale_ = 0;
  bool accepting_ = true;
  bool blocked_ = false;  // output waits for memory
  Nanoseconds now_ = 0;

  net::LocalAddresses addresses_;
  net::FrameReader frame_reader_;
  net::SegmentReader segment_reader_;
  net::HeaderMemory header_memory_;
  net::ReplyQueue replies_;
  net::Neighbour neighbour_;
  net::IcmpReader icmp_;
  net::RateLimit resets_{1000};  // a second

  IndexPool<Connection> connections_;
  TimerWheel timers_;
  FlowTable flows_;
  IndexPool<HalfOpen> half_open_;
  TimerWheel half_open_timers_;
  IndexPool<Lingering> lingering_;
  IndexList<Lingering> fin_wait_2_;
  IndexList<Lingering> time_wait_;
  ReassemblyPool reassembly_;
  RecordPool records_;
  PiecePool send_pool_;
  EventRing events_;
  IndexList<Connection> output_;
  uint32_t budget_first_ = no_index;
  uint32_t budget_last_ = no_index;
  static constexpr uint64_t budget_step_bytes = 4096;  // what is left must be worth opening an edge for
  uint64_t edges_bytes_ = 0;                           // the sum of all edges beyond what was received
  Nanoseconds cookie_sent_at_ = 0;
  bool cookies_sent_ = false;

  uint32_t last_received_ = 0;  // the connection of the last segment

  // The frame being read: which of its pieces' buffers have been passed on.
  std::span<const Piece> frame_pieces_;
  uint32_t frame_taken_ = 0;

  // The frame to be sent next.
  bool staged_ = false;
  TransmitFrame staged_frame_;
  uint8_t staged_flags_ = 0;
  static constexpr uint32_t staged_pieces_max = 64;
  std::array<Piece, staged_pieces_max> staged_pieces_;
};

}  // namespace penstock::tcp
