#include "dataplane/tcp/tcp_stack.h"

#include "dataplane/tcp/core.h"

namespace penstock {

const char* to_string(TcpState state) {
  switch (state) {
    case TcpState::closed:
      return "CLOSED";
    case TcpState::established:
      return "ESTABLISHED";
    case TcpState::fin_wait_1:
      return "FIN-WAIT-1";
    case TcpState::close_wait:
      return "CLOSE-WAIT";
    case TcpState::closing:
      return "CLOSING";
    case TcpState::last_ack:
      return "LAST-ACK";
  }
  return "?";
}

TcpStack::TcpStack(const TcpConfig& config, const PortFeatures& features, Arena arena, BufferTable& buffers,
                   BufferAllocator& headers)
    : core_(std::make_unique<tcp::Core>(config, features, arena, buffers, headers)) {}
TcpStack::~TcpStack() = default;

void TcpStack::begin_poll(Nanoseconds now) { core_->begin_poll(now); }
void TcpStack::on_frame(const ReceivedFrame& frame) { core_->on_frame(frame); }
bool TcpStack::has_event_room() const { return core_->has_event_room(); }
bool TcpStack::next_event(StreamEvent& event) { return core_->next_event(event); }
void TcpStack::end_poll() { core_->end_poll(); }
const TransmitFrame* TcpStack::outgoing() { return core_->outgoing(); }
void TcpStack::outgoing_taken() { core_->outgoing_taken(); }
void TcpStack::allow(StreamId id, uint64_t byte_count) { core_->allow(id, byte_count); }
size_t TcpStack::send(StreamId id, std::span<const Piece> pieces) { return core_->send(id, pieces); }
void TcpStack::request_done(StreamId id) { core_->request_done(id); }
void TcpStack::close(StreamId id) { core_->close(id); }
void TcpStack::abort(StreamId id) { core_->abort(id); }
uint64_t TcpStack::receive_cost(uint64_t byte_count) const { return core_->receive_cost(byte_count); }
void TcpStack::stop_accepting() { core_->stop_accepting(); }
Nanoseconds TcpStack::next_deadline() const { return core_->next_deadline(); }
const TcpCounters& TcpStack::counters() const { return core_->counters(); }
TcpConnectionView TcpStack::view(StreamId id) const { return core_->view(id); }
uint32_t TcpStack::open_connections() const { return core_->open_connections(); }
uint32_t TcpStack::half_open_connections() const { return core_->half_open_connections(); }
uint32_t TcpStack::time_wait_connections() const { return core_->lingering_connections(); }
uint64_t TcpStack::window_bytes() const { return core_->window_bytes(); }
uint64_t TcpStack::memory_bytes() const { return core_->memory_bytes(); }
void TcpStack::check_invariants() const { core_->check_invariants(); }

}  // namespace penstock
