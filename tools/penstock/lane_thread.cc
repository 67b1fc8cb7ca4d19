#include "tools/penstock/lane_thread.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <utility>

#include "dataplane/lane.h"
#include "drivers/uring/lane_directory.h"
#include "drivers/uring/uring_drive.h"
#include "storage/log.h"
#include "tools/penstock/dpdk_world.h"
#include "tools/penstock/kernel_world.h"
#include "tools/penstock/operator_log.h"

namespace penstock {
namespace {

Nanoseconds clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}
Nanoseconds monotonic_now() { return clock_ns(CLOCK_MONOTONIC); }
Milliseconds wall_clock_ms() { return clock_ns(CLOCK_REALTIME) / millisecond_ns; }

// A world is what brings a lane its streams: kernel sockets, or our own TCP over a port. It has
//   Streams                the concept
//   create(...), report()  once there are an arena, a ring and a table of buffers
//   limit(config)          what its memory allows of connections and requests
//   count(), rest(...)     after each turn: what is to be counted; sleeps if there is nothing to do
//   take_back(), close()   at the end

// All of a lane but its arena and ring. Members are destroyed in the opposite order, which is the right one: the lane
// before its streams, those before the log's buffers.
template <class World>
struct Devices {
  BufferTable buffers;
  BufferAllocator send_buffers, log_buffers;
  PiecePool pieces;
  std::unique_ptr<UringDrive> drive;
  std::unique_ptr<Log> log;
  World world;
  std::optional<Lane<typename World::Streams, UringDrive>> lane;

  Devices(LaneSetup& setup, uint32_t unit_count, size_t piece_chunks)
      : buffers(unit_count),
        send_buffers(setup.memory.receive_units(), setup.memory.send_units()),
        log_buffers(setup.memory.receive_units() + setup.memory.send_units(), setup.memory.log_units()),
        pieces(piece_chunks),
        world(setup) {}
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
  if (!setup.worker_processors.empty() && !setup.ring->keep_workers_on(setup.worker_processors))
    spdlog::warn("lane {}: the kernel's worker threads could not be kept off the lanes' cores", setup.place.lane);
  setup.mailboxes->to_lane.on_push([wanted = setup.ring.get()] { wanted->wake(); });
  return {};
}

template <class World>
std::expected<void, std::string> open_log(LaneSetup& setup, Devices<World>& devices) {
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
                .footer_cache_bytes = setup.memory.footer_cache_bytes,
                .random_seed = setup.random_seed},
      devices.drive->units(),
      LogMemory{.arena = setup.arena->arena(), .buffers = &devices.buffers, .allocator = &devices.log_buffers},
      *devices.drive);
  return {};
}

template <class World>
std::expected<void, std::string> listen(LaneSetup& setup, Devices<World>& devices) {
  if (auto done = devices.world.create(devices.buffers, devices.send_buffers); !done)
    return std::unexpected(done.error());
  BrokerConfig config{.lane = setup.place.lane,
                      .send_bytes = setup.memory.send_bytes,
                      .idle_max_ns = setup.idle_max_ns,
                      .stall_max_ns = setup.stall_max_ns};
  devices.world.limit(config);
  devices.lane.emplace(config,
                       LaneMemory{.arena = setup.arena->arena(),
                                  .buffers = &devices.buffers,
                                  .log_buffers = &devices.log_buffers,
                                  .send_buffers = &devices.send_buffers,
                                  .pieces = &devices.pieces},
                       devices.world.streams(), *devices.drive, *devices.log, setup.mailboxes->to_lane,
                       setup.mailboxes->to_control, *setup.metrics);
  return {};
}

template <class World>
std::expected<std::unique_ptr<Devices<World>>, std::string> build(LaneSetup& setup) {
  if (auto done = map_memory(setup); !done) return std::unexpected(done.error());
  const uint32_t unit_count = setup.arena->arena().unit_count();
  // At most a piece for each unit is in requests and responses; each connection's list may hold a chunk it has not
  // filled, in either direction.
  const size_t piece_chunks = unit_count / PieceChunk::capacity + 2 * size_t{setup.connections_max} + unit_count;
  auto devices = std::make_unique<Devices<World>>(setup, unit_count, piece_chunks);
  if (auto done = open_log(setup, *devices); !done) return std::unexpected(done.error());
  if (auto done = listen(setup, *devices); !done) return std::unexpected(done.error());
  return devices;
}

template <class World>
void turn(Devices<World>& devices) {
  while (!devices.lane->stopped()) {
    const Nanoseconds now = monotonic_now();
    const Polled polled = devices.lane->poll(now, wall_clock_ms());
    devices.world.count();
    devices.world.rest(now, polled);
  }
}

// A spare segment may still be being written; the drive may go when that is done, and takes nothing more on.
template <class World>
void finish_drive(LaneSetup& setup, Devices<World>& devices) {
  while (devices.drive->in_flight() > 0) {
    const Nanoseconds now = monotonic_now();
    const uint32_t done =
        devices.drive->poll(now, [&](const DriveCompletion& completion) { devices.log->completed(completion, now); });
    if (done == 0) setup.ring->wait(now, never_ns);
  }
}

template <class World>
void run(LaneSetup& setup) {
  const bool pinned = pin_this_thread(setup.place.processor);  // before memory is touched
  auto devices = build<World>(setup);
  if (!devices)
    return setup.built(std::unexpected("lane " + std::to_string(setup.place.lane) + ": " + devices.error()));
  std::string report = setup.arena->describe() + "; " + setup.ring->describe();
  if (!pinned) report += "; could not be pinned to its core";
  if (const std::string more = (*devices)->world.report(); !more.empty()) report += "\n" + more;
  if (const std::string recovery = (*devices)->log->recovery_report(); !recovery.empty()) report += "\n" + recovery;
  setup.built(std::move(report));

  const bool go = setup.wait_for_word();
  if (go) {
    turn(**devices);
    finish_drive(setup, **devices);
    setup.done();
    (*devices)->world.take_back();
    (*devices)->lane->release_all();
  }
  (*devices)->lane.reset();
  (*devices)->world.close();
  const std::string leaks = go ? (*devices)->buffers.leak_report() : "";  // else the log still has its own
  if (!leaks.empty()) spdlog::error("lane {}: buffers still held at the end: {}", setup.place.lane, leaks);
}

}  // namespace

std::string lane_thread_name(uint32_t lane) { return "lane-" + std::to_string(lane); }

void run_lane(LaneSetup& setup) {
  pthread_setname_np(pthread_self(), lane_thread_name(setup.place.lane).c_str());
  if (setup.port != nullptr)
    run<DpdkWorld>(setup);
  else
    run<KernelWorld>(setup);
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

void LaneSetup::done() {
  std::unique_lock lock(mutex_);
  done_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return word_ != Word::go; });
}

void LaneSetup::wait_until_done() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_; });
}

void LaneSetup::give_word(Word word) {
  const std::lock_guard lock(mutex_);
  word_ = word;
  changed_.notify_all();
}

}  // namespace penstock
