#include "tools/penstock/memory_plan.h"

#include <algorithm>
#include <bit>

namespace penstock {

MemoryPlan plan_memory(uint64_t arena_bytes, uint64_t receive_bytes, uint64_t resident_bytes, uint64_t send_bytes,
                       uint64_t request_bytes_max) {
  constexpr uint64_t step = MiB;            // regions begin where the largest buffers may
  constexpr uint64_t arena_step = 2 * MiB;  // a huge page
  constexpr uint32_t small_buffers_max = 1024;
  constexpr uint64_t read_bytes_max = 64 * MiB;
  const auto share = [&](uint64_t wanted, uint64_t usual) {
    return std::max(step, round_down(wanted == 0 ? usual : wanted, step));
  };

  MemoryPlan plan;
  plan.arena_bytes = round_down(arena_bytes, arena_step);
  plan.receive_bytes = share(receive_bytes, plan.arena_bytes / 8 * 3);
  plan.resident_bytes = share(resident_bytes, plan.arena_bytes / 4);
  plan.send_bytes = share(send_bytes, plan.arena_bytes / 16);
  plan.log_bytes = plan.arena_bytes - plan.receive_bytes - plan.resident_bytes - plan.send_bytes;
  // A sixteenth of what receives is for the beginnings of requests.
  plan.small_buffer_count =
      std::min(small_buffers_max, static_cast<uint32_t>(std::bit_floor(plan.receive_bytes / 16 / arena_unit_bytes)));
  plan.read_bytes = std::min(read_bytes_max, plan.log_bytes / 4);
  plan.footer_cache_bytes = plan.log_bytes / 8;
  // One largest request is kept for the oldest waiter while others go on, and by buffer it may take one unit at
  // either end and be rounded up.
  const uint64_t largest = round_down(plan.reservation_bytes() / 2, step) - 4 * arena_unit_bytes;
  plan.request_bytes_max = std::min(request_bytes_max, largest);
  return plan;
}

FramePlan plan_frames(const MemoryPlan& plan, uint32_t buffer_units, uint32_t descriptors, uint32_t connections_max) {
  constexpr uint32_t brief_bytes_max = 8192;
  const uint64_t buffer_bytes = uint64_t{buffer_units} * arena_unit_bytes;
  const uint64_t buffers = (plan.receive_units() - FramePlan::header_units) / buffer_units;

  FramePlan frames;
  frames.brief_bytes = std::min<uint32_t>(static_cast<uint32_t>(buffer_bytes / 4), brief_bytes_max);
  // A connection without a reservation may hold a buffer.
  frames.connections_max = static_cast<uint32_t>(std::min<uint64_t>(connections_max, buffers / 8));
  const uint64_t promised = frames.connections_max + buffers / 8 + descriptors;  // an eighth: reserve and hand-over
  const uint64_t taken = promised * buffer_bytes + uint64_t{FramePlan::header_units} * arena_unit_bytes;
  // Newest records give way, but not all of them at once.
  frames.reservation_bytes = plan.receive_bytes > taken ? plan.receive_bytes - taken : plan.receive_bytes / 4;
  // Two of the largest, each with what TcpStack::receive_cost() adds.
  const uint64_t buffers_of_largest = frames.reservation_bytes / 2 / buffer_bytes;
  const uint64_t largest = buffers_of_largest > 4 ? (buffers_of_largest - 4) * frames.brief_bytes : frames.brief_bytes;
  frames.request_bytes_max = std::min(plan.request_bytes_max, largest);
  return frames;
}

}  // namespace penstock
