// A lane's Kafka broker: connections, requests, responses. It does no I/O: stream events and control messages come in,
// calls to StreamPort and Log go out, time is an argument.
//
//   on_stream(data) -> cut requests by their length prefix (receive.cc) -> dispatch by API (dispatch.cc)
//     -> handlers (produce.cc, fetch.cc, ...) -> respond() appends to the connection's responses
//   work(): durable position -> produce responses ready; new data -> fetches wake; memory -> reservations granted;
//           responses at the front of their connection are sent (send.cc), fetched batches taken as the stream takes
//           them
//
// Only two arrows run backward: durable position to acknowledgements, acknowledgements to send.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/mailbox.h"
#include "dataplane/base/timer_wheel.h"
#include "dataplane/control/messages.h"
#include "dataplane/kafka/frame.h"
#include "dataplane/metrics.h"
#include "dataplane/session/connection.h"
#include "dataplane/session/reservations.h"
#include "dataplane/session/stream_port.h"
#include "storage/log.h"

namespace penstock {

struct BrokerConfig {
  uint32_t lane = 0;
  uint32_t connections_max = 10'000;
  uint64_t receive_bytes = 64 * MiB;           // budget of reservations, by buffer
  uint64_t request_bytes_max = 16 * MiB;       // largest request; its cost is at most half of receive_bytes
  uint64_t send_bytes = 16 * MiB;              // bytes given to streams and not sent yet, over all connections
  uint32_t extra_responses = 16'384;           // waiting ones, beyond one for each connection
  uint32_t fetch_parts_max = 65'536;           // partitions with batches in waiting answers
  uint32_t fetch_waiters_max = 65'536;         // partitions waited for, beyond one for each connection
  Nanoseconds idle_max_ns = 600 * second_ns;   // connections.max.idle.ms
  Nanoseconds stall_max_ns = 30 * second_ns;   // a request without progress for this long is closed
  Nanoseconds slow_reader_ns = 1 * second_ns;  // who takes nothing for so long gives way when others wait for memory
};

// What a handler made of a request.
enum class Outcome : uint8_t {
  responded,  // a response was appended (or nothing is owed)
  blocked,    // the connection's `blocked` says why; the handler runs again from the start
  malformed,  // close the connection
  too_large,  // the answer is: close the connection
};

struct RequestContext {
  uint32_t connection_index = 0;
  Connection* connection = nullptr;
  kafka::OpenedRequest request;
  PieceRange whole;  // header and body, for the control plane
  kafka::Version version = 0;
  Nanoseconds now = 0;
  Milliseconds wall_ms = 0;
  bool too_large = false;  // the response is larger than what can be encoded, or may be
};

class Broker {
 public:
  // `send_buffers` gives out the memory of responses; it and `log` are this lane's own.
  Broker(const BrokerConfig& config, Log& log, Arena arena, BufferTable& buffers, BufferAllocator& send_buffers,
         PiecePool& pieces, StreamPort& port, Mailbox<ToControl>& control, LaneMetrics& metrics);
  ~Broker();

  void on_stream(const StreamEvent& event, Nanoseconds now, Milliseconds wall_ms);
  void on_control(ToLane&& message, Nanoseconds now, Milliseconds wall_ms);
  // Everything that became possible since the last call; returns how many things were done.
  uint32_t work(Nanoseconds now, Milliseconds wall_ms);
  Nanoseconds next_deadline() const;

  // stop was asked for and all is drained, or the caller ran out of patience.
  bool stopping() const { return stopping_; }
  bool stopped() const { return stopped_; }
  // What a stop waits for, in a line; for the operator when the deadline passes.
  std::string pending_report() const;
  // Lets go of every buffer; for shutdown and the simulator's leak check.
  void release_all();

  // ---- for the handlers ----
  Log& log() { return log_; }
  const CatalogView& view() const { return *view_; }
  uint32_t lane() const { return config_.lane; }
  LaneMetrics& metrics() { return metrics_; }
  kafka::Scratch& scratch() { return scratch_; }
  PiecePool& pieces() { return pieces_; }
  BufferTable& buffers() { return buffers_; }
  const Endpoint& local_of(const RequestContext& context) const { return context.connection->local; }

  // Whether responses of `byte_count` encoded bytes surely find memory now.
  bool has_send_memory(uint64_t byte_count) const;
  // Whether they ever will: requests that wait with what they have achieved hold at most half of that memory, so an
  // answer of the other half finds its room in the end.
  bool may_be_answered(uint64_t byte_count) const;
  // Encodes `message` and appends it; false when there is no memory now (nothing was done). `splices` receives
  // where record bytes go.
  template <class Message>
  [[nodiscard]] Response* respond(RequestContext& context, const Message& message,
                                  std::span<kafka::Splice> splices = {},
                                  std::span<const kafka::Splice>* spliced = nullptr);
  Response* respond_encoded(RequestContext& context, std::span<const std::byte> frame);
  // The same for header and body without the length prefix.
  Response* respond_unprefixed(RequestContext& context, std::span<const std::byte> header_and_body);
  // For acks=0: nothing is sent, but the request's memory stays accounted until `commit` is durable.
  [[nodiscard]] bool respond_silently(RequestContext& context, CommitSequence commit);
  // Responded if there is a response; blocked for room if only memory was lacking; too_large if it never fits.
  Outcome outcome_of(RequestContext& context, const Response* response);
  void await_commit(Response& response, CommitSequence commit);
  void count_error(kafka::ErrorCode error);

  // Progress of a request that has to wait and start over. Save replaces; false when there is no memory for it, which
  // is at most half of the memory of responses.
  [[nodiscard]] bool save_progress(Connection& connection, std::span<const ProgressRow> rows, CommitSequence commit);
  std::span<const ProgressRow> progress_rows(const Connection& connection) const;
  void drop_progress(Connection& connection);

  void block(uint32_t connection_index, Blocked why);
  // One line for the operator, at most one a second; what was left out is counted.
  void notice(std::string text);
  void wait_for(uint32_t connection_index, PartitionSlot slot);  // blocked fetch; may fail silently when none is left
  uint32_t take_part() { return parts_.take(); }
  FetchPart& part(uint32_t index) { return parts_[index]; }
  uint32_t parts_left() const { return parts_.free_count(); }

  // Sends `message` to the control plane on behalf of this connection; its answer comes to on_control.
  void ask_control(uint32_t connection_index, ToControl&& message);
  // A producer id of this lane's block. nullopt: one was asked for, block(control) and come again; or, if
  // no_producer_ids(), the catalog has just failed to give any.
  bool no_producer_ids() const { return no_producer_ids_; }
  std::optional<int64_t> take_producer_id(uint32_t connection_index);
  // Errors of ensure_topics for the request that is being run again.
  std::span<const int16_t> ensured_errors() const { return ensured_errors_; }

  // The control plane's answer to the request that is being run again; empty when it is run for the first time.
  std::span<const std::byte> control_answer() const { return control_answer_; }

  // What a connection reads from the drive for: it may do both at once, each of one batch.
  enum class ReadFor : uint8_t { response, request };
  uint64_t token_of(uint32_t connection_index, ReadFor what) const {
    return uint64_t{connections_[connection_index].stream.generation} << 32 | connection_index << 1 |
           static_cast<uint32_t>(what);
  }

 private:
  // receive.cc
  Nanoseconds now_ = 0;  // of the call under way
  Milliseconds wall_ms_ = 0;
  void open(const StreamEvent& event);
  void receive(uint32_t index, const Piece& piece);
  void advance(uint32_t index);
  void want(uint32_t index, uint64_t frame_bytes);
  void finish_request(uint32_t index, uint64_t frame_bytes);
  void allow(uint32_t index, uint64_t byte_count);
  void grant_waiting();
  void close_malformed(uint32_t index, const char* why);
  void peer_finished(uint32_t index);
  void abort(uint32_t index);
  void begin_close(uint32_t index);
  void forget(uint32_t index);
  void sweep();
  void check_idle(uint32_t index);
  void relieve();

  // dispatch.cc
  Outcome dispatch(RequestContext& context);

  // wake.cc
  uint32_t acknowledge();
  void fail_lost(Response& response);
  template <class Message, class Undo>
  void fail_lost(Response& response, Undo&& undo);
  uint32_t wake_fetches();
  uint32_t resume_reads();
  uint32_t retry_room();
  void leave_room_list(uint32_t index);
  void drop_waiters(uint32_t index);
  void unblock(uint32_t index);
  void tell_control(ToControl&& message);
  void apply_view(std::shared_ptr<const CatalogView> view);
  void drain();

  // send.cc
  bool encode_to_pieces(std::span<const std::byte> frame, PieceList& to);
  Response* append_response(RequestContext& context, PieceList&& bytes);
  void list_pump(uint32_t index);
  void pump(uint32_t index);
  bool stage_next(uint32_t index);
  bool offer(uint32_t index);
  void free_response(uint32_t response_index);
  void free_parts(uint32_t part_index);
  bool cannot_serve(uint32_t index, const FetchPart& part, const char* why, kafka::ErrorCode error);

  bool live(const Connection& connection) const { return connection.state == ConnectionState::open; }
  // It has as many responses under way as it may: whole requests may lie behind, advance() goes on when one has left.
  bool held_back(const Connection& connection) const {
    return connection.blocked == Blocked::no && connection.response_count >= responses_per_connection_max;
  }
  void release(BufferIndex buffer, Holder holder) { buffers_.release(buffer, holder); }

  const BrokerConfig config_;
  Log& log_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& send_buffers_;
  PiecePool& pieces_;
  StreamPort& port_;
  Mailbox<ToControl>& control_;
  LaneMetrics& metrics_;

  std::shared_ptr<const CatalogView> view_;
  std::unique_ptr<Connection[]> connections_;
  uint32_t open_count_ = 0;
  uint32_t index_end_ = 0;  // connections at or above this index were never used
  Pool<Response, &Response::next> responses_;
  Pool<FetchPart, &FetchPart::next_part> parts_;
  Pool<Waiter, &Waiter::next> waiters_;
  Reservations reservations_;
  TimerWheel fetch_timers_;

  uint32_t commit_first_ = no_index;  // responses in commit order
  uint32_t commit_last_ = no_index;
  uint32_t room_first_ = no_index;  // connections blocked for room, oldest first
  uint32_t room_last_ = no_index;
  std::vector<uint64_t> reads_done_;
  std::vector<uint32_t> wake_list_;
  std::vector<uint32_t> pump_list_;
  std::vector<uint32_t> pump_next_;
  uint64_t unsent_bytes_ = 0;
  uint64_t progress_bytes_ = 0;  // of send memory
  Nanoseconds next_sweep_ = 0;
  Nanoseconds sweep_interval_ns_ = second_ns;
  bool send_pressure_ = false;  // somebody waited for what readers hold, since relieve() last looked
  Nanoseconds next_relief_ = 0;
  uint64_t receive_bytes_all_ = 0;

  struct ProducerIds {
    int64_t next = 0;
    int64_t end = 0;
    bool empty() const { return next == end; }
  };
  ProducerIds producer_ids_;
  ProducerIds producer_ids_behind_;  // asked for before the others ended
  bool no_producer_ids_ = false;
  bool producer_ids_asked_ = false;
  std::vector<uint32_t> producer_id_waiters_;
  std::span<const int16_t> ensured_errors_;
  std::span<const std::byte> control_answer_;
  std::vector<ToControl> control_backlog_;
  Nanoseconds next_notice_ = 0;
  uint64_t notices_left_out_ = 0;
  uint64_t next_token_ = 1;

  std::unique_ptr<std::byte[]> scratch_memory_;
  kafka::Scratch scratch_;
  std::unique_ptr<std::byte[]> encode_memory_;
  bool stopping_ = false;
  bool stopped_ = false;
};

inline constexpr uint64_t scratch_bytes =
    24 * MiB;  // decoded arrays and response arrays of one request; touched as used
inline constexpr uint64_t encode_bytes = 16 * MiB;                // one encoded response without record bytes
inline constexpr uint64_t small_credit_bytes = arena_unit_bytes;  // what a connection may send without a reservation
inline constexpr uint64_t unsent_per_connection_max = 1 * MiB;

template <class Message>
Response* Broker::respond(RequestContext& context, const Message& message, std::span<kafka::Splice> splices,
                          std::span<const kafka::Splice>* spliced) {
  const auto encoded = kafka::encode_response(context.request.header.correlation_id, message, context.version,
                                              {encode_memory_.get(), encode_bytes}, splices);
  if (!encoded.has_value()) {
    context.too_large = true;
    return nullptr;
  }
  if (spliced != nullptr) *spliced = encoded->splices;
  return respond_encoded(context, encoded->bytes);
}

}  // namespace penstock
