#include "tools/penstock/lane_thread.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <utility>

#include "dataplane/lane.h"
#include "drivers/kernel/kernel_streams.h"
#include "drivers/uring/lane_directory.h"
#include "drivers/uring/uring_drive.h"
#include "storage/log.h"
#include "tools/penstock/operator_log.h"

namespace penstock {
namespace {

using KernelLane = Lane<KernelStreams, UringDrive>;

Nanoseconds clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}
Nanoseconds monotonic_now() { return clock_ns(CLOCK_MONOTONIC); }
Milliseconds wall_clock_ms() { return clock_ns(CLOCK_REALTIME) / millisecond_ns; }

// All of a lane but its arena and ring. Members are destroyed in the opposite order, which is the right one: the lane
// before its streams, those before the log's buffers.
struct Devices {
  BufferTable buffers;
  BufferAllocator receive_buffers, send_buffers, log_buffers;
  PiecePool pieces;
  std::unique_ptr<UringDrive> drive;
  std::unique_ptr<Log> log;
  std::unique_ptr<KernelStreams> streams;
  std::optional<KernelLane> lane;

  Devices(const MemoryPlan& plan, uint32_t unit_count, size_t piece_chunks)
      : buffers(unit_count),
        receive_buffers(0, plan.receive_units()),
        send_buffers(plan.receive_units(), plan.send_units()),
        log_buffers(plan.receive_units() + plan.send_units(), plan.log_units()),
        pieces(piece_chunks) {}
};

std::expected<void, std::string> map_memory(LaneSetup& setup) {
  auto arena = ArenaMemory::map(
      {.bytes = setup.memory.arena_bytes, .huge_pages = setup.huge_pages, .numa_node = setup.place.numa_node});
  if (!arena) return std::unexpected(arena.error());
  setup.arena.emplace(std::move(*arena));
  auto ring = Ring::create(setup.arena->arena(), {.allowed = {.writev_fixed = setup.allow_writev_fixed}});
  if (!ring) return std::unexpected(ring.error());
  setup.ring = std::move(*ring);
  setup.ring->bind_to_this_thread();
  setup.mailboxes->to_lane.on_push([wanted = setup.ring.get()] { wanted->wake(); });
  return {};
}

std::expected<void, std::string> open_log(LaneSetup& setup, Devices& devices) {
  auto directory = LaneDirectory::open(setup.directory, DirectoryAccess::own);
  if (!directory) return std::unexpected(directory.error());
  auto drive = UringDrive::create(*setup.ring, setup.arena->arena(), std::move(*directory), setup.units,
                                  {.segment_bytes = setup.segment_bytes});
  if (!drive) return std::unexpected(drive.error());
  devices.drive = std::move(*drive);
  devices.log = std::make_unique<Log>(
      LogConfig{.lane = setup.place.lane,
                .segment_bytes = setup.segment_bytes,
                .spare_segments = setup.spare_segments,
                .resident_bytes_max = setup.memory.resident_bytes,
                .read_bytes_max = setup.memory.read_bytes,
                .random_seed = setup.random_seed},
      devices.drive->units(),
      LogMemory{.arena = setup.arena->arena(), .buffers = &devices.buffers, .allocator = &devices.log_buffers},
      *devices.drive);
  return {};
}

std::expected<void, std::string> listen(LaneSetup& setup, Devices& devices) {
  auto streams = KernelStreams::create(
      *setup.ring, setup.arena->arena(), devices.buffers, devices.receive_buffers,
      {.listen = setup.listen,
       .streams_max = setup.connections_max,
       .small_buffers = setup.memory.small_buffer_count,
       .warn = [lane = setup.place.lane](std::string_view line) { spdlog::warn("lane {}: {}", lane, line); }});
  if (!streams) return std::unexpected(streams.error());
  devices.streams = std::move(*streams);
  devices.lane.emplace(BrokerConfig{.lane = setup.place.lane,
                                    .connections_max = setup.connections_max,
                                    .receive_bytes = setup.memory.reservation_bytes(),
                                    .request_bytes_max = setup.memory.request_bytes_max,
                                    .send_bytes = setup.memory.send_bytes,
                                    .idle_max_ns = setup.idle_max_ns,
                                    .stall_max_ns = setup.stall_max_ns},
                       LaneMemory{.arena = setup.arena->arena(),
                                  .buffers = &devices.buffers,
                                  .log_buffers = &devices.log_buffers,
                                  .send_buffers = &devices.send_buffers,
                                  .pieces = &devices.pieces},
                       *devices.streams, *devices.drive, *devices.log, setup.mailboxes->to_lane,
                       setup.mailboxes->to_control, *setup.metrics);
  return {};
}

std::expected<std::unique_ptr<Devices>, std::string> build(LaneSetup& setup) {
  if (auto done = map_memory(setup); !done) return std::unexpected(done.error());
  const uint32_t unit_count = setup.arena->arena().unit_count();
  // At most a piece for each unit is in requests and responses; each connection's list may hold a chunk it has not
  // filled, in either direction.
  const size_t piece_chunks = unit_count / PieceChunk::capacity + 2 * size_t{setup.connections_max} + unit_count;
  auto devices = std::make_unique<Devices>(setup.memory, unit_count, piece_chunks);
  if (auto done = open_log(setup, *devices); !done) return std::unexpected(done.error());
  if (auto done = listen(setup, *devices); !done) return std::unexpected(done.error());
  return devices;
}

void turn(LaneSetup& setup, Devices& devices) {
  Ring& ring = *setup.ring;
  while (!devices.lane->stopped()) {
    const Nanoseconds now = monotonic_now();
    const Polled polled = devices.lane->poll(now, wall_clock_ms());
    if (polled.work > 0 || setup.busy_poll) {
      ring.poll();
    } else {
      setup.metrics->idle_waits.add(1);
      ring.wait(now, polled.next);
    }
  }
}

// A spare segment may still be being written; the drive may go when that is done, and takes nothing more on.
void finish_drive(LaneSetup& setup, Devices& devices) {
  while (devices.drive->in_flight() > 0) {
    const Nanoseconds now = monotonic_now();
    const uint32_t done =
        devices.drive->poll(now, [&](const DriveCompletion& completion) { devices.log->completed(completion, now); });
    if (done == 0) setup.ring->wait(now, never_ns);
  }
}

}  // namespace

void run_lane(LaneSetup& setup) {
  pthread_setname_np(pthread_self(), ("lane-" + std::to_string(setup.place.lane)).c_str());
  const bool pinned = pin_this_thread(setup.place.processor);  // before memory is touched

  auto devices = build(setup);
  if (!devices)
    return setup.built(std::unexpected("lane " + std::to_string(setup.place.lane) + ": " + devices.error()));
  std::string report = setup.arena->describe() + "; " + setup.ring->describe();
  if (!pinned) report += "; could not be pinned to its core";
  if (const std::string recovery = (*devices)->log->recovery_report(); !recovery.empty()) report += "\n" + recovery;
  setup.built(std::move(report));

  if (setup.wait_for_word()) {
    turn(setup, **devices);
    finish_drive(setup, **devices);
    (*devices)->lane->release_all();
  }
  (*devices)->lane.reset();
  (*devices)->streams.reset();
  const std::string leaks = (*devices)->buffers.leak_report();
  if (!leaks.empty()) spdlog::error("lane {}: buffers still held at the end: {}", setup.place.lane, leaks);
}

// ------------------------------------------------------------------------------------------- main and lane meet here

std::expected<std::string, std::string> LaneSetup::wait_until_built() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return report_.has_value(); });
  return *report_;
}

void LaneSetup::built(std::expected<std::string, std::string> report) {
  const std::lock_guard lock(mutex_);
  report_ = std::move(report);
  changed_.notify_all();
}

bool LaneSetup::wait_for_word() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return word_ != Word::none; });
  return word_ == Word::go;
}

void LaneSetup::give_word(Word word) {
  const std::lock_guard lock(mutex_);
  word_ = word;
  changed_.notify_all();
}

}  // namespace penstock
