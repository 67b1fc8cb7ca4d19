#include "tools/penstock/kernel_world.h"

#include <spdlog/spdlog.h>

namespace penstock {

std::expected<void, std::string> KernelWorld::create(BufferTable& buffers, BufferAllocator&) {
  auto streams = KernelStreams::create(
      *setup_.ring, setup_.arena->arena(), buffers, receive_buffers_,
      {.listen = setup_.listen,
       .streams_max = setup_.connections_max,
       .small_buffers = setup_.memory.small_buffer_count,
       .warn = [lane = setup_.place.lane](std::string_view line) { spdlog::warn("lane {}: {}", lane, line); }});
  if (!streams) return std::unexpected(streams.error());
  streams_ = std::move(*streams);
  return {};
}

void KernelWorld::limit(BrokerConfig& config) const {
  config.connections_max = setup_.connections_max;
  config.receive_bytes = setup_.memory.reservation_bytes();
  config.request_bytes_max = setup_.memory.request_bytes_max;
}

void KernelWorld::rest(Nanoseconds now, const Polled& polled) {
  if (polled.work > 0 || setup_.busy_poll) return setup_.ring->poll();
  setup_.metrics->idle_waits.add(1);
  setup_.ring->wait(now, polled.next);
}

}  // namespace penstock
