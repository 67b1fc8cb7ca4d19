#include "tools/penstock/dpdk_world.h"

#include <fmt/format.h>
#include <x86intrin.h>

#include "drivers/dpdk/eal.h"

namespace penstock {

DpdkWorld::DpdkWorld(LaneSetup& setup)
    : setup_(setup),
      plan_(plan_frames(setup.memory, setup.port->receive_shape().units, setup.port->receive_descriptors(),
                        setup.connections_max)),
      joined_(join_eal()),
      headers_(0, plan_.header_units) {}

DpdkWorld::~DpdkWorld() {
  frames_.reset();
  leave_eal();
}

std::expected<void, std::string> DpdkWorld::create(BufferTable& buffers, BufferAllocator&) {
  if (!joined_) return std::unexpected("DPDK has no room for the thread of another lane");
  const Arena arena = setup_.arena->arena();
  auto frames = DpdkFrames::create(*setup_.port,
                                   {.lane = setup_.place.lane,
                                    .first_unit = plan_.header_units,
                                    .unit_count = setup_.memory.receive_units() - plan_.header_units,
                                    .wake = setup_.wake_lane},
                                   arena, buffers);
  if (!frames) return std::unexpected(frames.error());
  frames_ = std::move(*frames);

  constexpr uint32_t window_bytes = 4 * MiB;
  TcpConfig config;
  config.addresses = setup_.addresses;
  config.ports = {setup_.listen.port};
  config.connections_max = plan_.connections_max;
  config.receive_budget_bytes = setup_.memory.receive_bytes;
  config.receive_window_bytes_max = window_bytes;
  config.receive_buffer_bytes = setup_.port->receive_shape().units * arena_unit_bytes;
  config.brief_bytes = plan_.brief_bytes;
  config.secret = {setup_.random_seed, setup_.random_seed_more};
  streams_ = std::make_unique<Streams>(config, arena, buffers, headers_, *frames_);
  wait_.emplace(*frames_, *setup_.ring);
  return {};
}

void DpdkWorld::limit(BrokerConfig& config) const {
  config.connections_max = plan_.connections_max;
  config.receive_bytes = plan_.reservation_bytes;
  config.request_bytes_max = plan_.request_bytes_max;
}

std::string DpdkWorld::report() const {
  return fmt::format("{} receive buffers of {} KiB; {} connections, requests up to {} bytes", frames_->buffer_count(),
                     setup_.port->receive_shape().units * 4, plan_.connections_max, plan_.request_bytes_max);
}

// After each turn.
void DpdkWorld::count() {
  const uint64_t cycles = __rdtsc();
  const uint64_t received = frames_->statistics().received;
  if (received != last_received_) setup_.metrics->network.frame_cycles.add(cycles - last_cycles_);
  last_received_ = received;
  last_cycles_ = cycles;
}

void DpdkWorld::rest(Nanoseconds now, const Polled& polled) {
  constexpr Nanoseconds publish_interval_ns = 20 * millisecond_ns;
  if (now - published_at_ >= publish_interval_ns) {
    published_at_ = now;
    publish();
  }
  if (polled.work > 0 || frames_->busy()) {
    wait_->worked(frames_->busy());
    setup_.ring->poll();
  } else if (setup_.busy_poll) {
    setup_.ring->poll();
  } else {
    if (wait_->idle(now, std::min(polled.next, published_at_ + second_ns))) setup_.metrics->idle_waits.add(1);
    last_cycles_ = __rdtsc();  // sleeping is not work
  }
}

void DpdkWorld::publish() {
  NetworkMetrics& to = setup_.metrics->network;
  const DpdkFramesStatistics& from = frames_->statistics();
  to.frames_received.set(from.received);
  to.frame_bytes_received.set(from.received_bytes);
  to.frames_sent.set(from.sent);
  to.frame_bytes_sent.set(from.sent_bytes);
  to.payload_bytes_sent_copied.set(from.sent_copied_bytes);
  to.frames_dropped_memory.set(from.dropped_reserve);
  to.frames_dropped_hand_over.set(from.dropped_hand_over);
  to.frames_dropped_send.set(from.dropped_send);
  to.frames_handed_out.set(from.handed_out);
  to.frames_handed_in.set(from.handed_in);
  to.payload_frames.set(from.payload_frames);
  to.payload_frames_aligned.set(from.payload_frames_aligned);
  to.buffers_held.set(frames_->buffers_held());
  for (size_t slot = 0; slot < static_cast<size_t>(TcpCount::count); ++slot)
    to.tcp[slot].set(streams_->stack().counters()[static_cast<TcpCount>(slot)]);
}

}  // namespace penstock
