// A log on a simulated drive in virtual time, and batches to put into it: for tests of the log.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/byte_order.h"
#include "dataplane/base/piece.h"
#include "drivers/sim/random.h"
#include "drivers/sim/sim_drive.h"
#include "storage/crc/crc32c.h"
#include "storage/format.h"
#include "storage/log.h"

namespace penstock {

using Bytes = std::vector<std::byte>;

// A record batch as the log sees one: 61 bytes of header with a correct length, magic and CRC, then anything.
inline Bytes make_batch(SimRandom& random, size_t length, int32_t record_count) {
  Bytes bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  store_big<int64_t>(bytes.data() + disk::batch_base_offset_at, 0);
  store_big<uint32_t>(bytes.data() + disk::batch_length_at, static_cast<uint32_t>(length - 12));
  store_big<int32_t>(bytes.data() + disk::batch_leader_epoch_at, -1);
  bytes[disk::batch_magic_at] = std::byte{2};
  store_big<int32_t>(bytes.data() + 23, record_count - 1);
  store_big<uint32_t>(bytes.data() + disk::batch_crc_at, crc32c(0, bytes.data() + 21, length - 21));
  return bytes;
}

inline BatchInfo info_of(const Bytes& bytes, int32_t record_count) {
  return BatchInfo{.last_offset_delta = record_count - 1,
                   .record_count = record_count,
                   .max_timestamp = 1000,
                   .crc = load_big<uint32_t>(bytes.data() + disk::batch_crc_at),
                   .length = static_cast<uint32_t>(bytes.size())};
}

// How a batch arrives.
enum class Arrival : uint8_t {
  together,  // from any byte of one large buffer
  aligned,   // page-aligned extents of 64 KiB
  frames,    // 1448 bytes in each buffer of 4 KiB
  crumbs,    // pieces of 1 to 100 bytes, several in a buffer, with gaps
  shared,    // behind the batch before, in a buffer that is still being received into
  count,
};

// Page-aligned memory that outlives the worlds built on it one after another.
struct ArenaMemory {
  explicit ArenaMemory(uint64_t size) : arena{static_cast<std::byte*>(std::aligned_alloc(4096, size)), size} {}
  ~ArenaMemory() { std::free(arena.base); }
  ArenaMemory(const ArenaMemory&) = delete;
  ArenaMemory& operator=(const ArenaMemory&) = delete;
  Arena arena;
};

// Buffers of a lane, and batches laid out in them.
class Memory {
 public:
  explicit Memory(const ArenaMemory& memory)
      : arena(memory.arena), buffers(arena.unit_count()), allocator(0, arena.unit_count()), pool(1000) {}

  BufferIndex take(uint8_t order) {
    const BufferIndex buffer = allocator.allocate(order);
    check(buffer != no_buffer, "test arena too small");
    buffers.open(buffer, order, Holder::request);
    return buffer;
  }

  // Every piece of the list holds its buffer once, as Holder::request; false: no memory now.
  bool lay_out(SimRandom& random, Arrival arrival, const Bytes& bytes, PieceList& to) {
    if (allocator.free_bytes() < arena.size / 4) return false;
    size_t done = 0;
    BufferIndex buffer = no_buffer;
    size_t at = 0;
    while (done < bytes.size()) {
      const size_t left = bytes.size() - done;
      size_t count = left;
      switch (arrival) {
        case Arrival::together:
          buffer = take(BufferAllocator::order_for(left + 4096));
          at = random.below(4096);
          break;
        case Arrival::aligned:
          buffer = take(4);
          at = 0;
          count = 64 * KiB;
          break;
        case Arrival::frames:
          buffer = take(0);
          at = random.one_in(2) ? 66 : random.below(4096 - 1448);
          count = 1448;
          break;
        case Arrival::crumbs:
          if (buffer == no_buffer || at + 300 > buffers.bytes(buffer)) {
            buffer = take(random.one_in(2) ? 0 : 1);
            at = random.below(200);
          } else {
            buffers.hold(buffer, Holder::request);
            at += random.one_in(3) ? random.below(150) : 0;
          }
          count = random.between(1, 100);
          break;
        case Arrival::shared:
          if (shared == no_buffer || shared_at + 64 > buffers.bytes(shared)) {
            if (shared != no_buffer) buffers.release(shared, Holder::device);
            shared = take(4);
            buffers.hold(shared, Holder::device);
            shared_at = random.below(100);
          } else {
            buffers.hold(shared, Holder::request);
            if (done == 0) shared_at += random.below(60);
          }
          buffer = shared;
          at = shared_at;
          break;
        case Arrival::count:
          break;
      }
      count = std::min({count, left, static_cast<size_t>(buffers.bytes(buffer)) - at});
      std::byte* data = arena.at(buffer) + at;
      std::memcpy(data, bytes.data() + done, count);
      check(to.push_back(pool, Piece{data, static_cast<uint32_t>(count), buffer}), "test piece pool too small");
      at += count;
      if (arrival == Arrival::shared) shared_at = at;
      done += count;
    }
    return true;
  }
  void let_go(PieceList& pieces, Holder holder = Holder::request) {
    pieces.clear(pool, [&](BufferIndex buffer) { buffers.release(buffer, holder); });
    recycle();
  }
  void let_go_shared() {
    if (shared != no_buffer) buffers.release(shared, Holder::device);
    shared = no_buffer;
    recycle();
  }
  // As a lane does, in bursts. What nobody holds is scribbled over: nobody may need it.
  void recycle() {
    for (const BufferIndex buffer : buffers.released()) {
      std::memset(arena.at(buffer), 0xee, buffers.bytes(buffer));
      allocator.free(buffer, buffers.order(buffer));
    }
    buffers.forget_released();
  }

  Arena arena;
  BufferTable buffers;
  BufferAllocator allocator;
  PiecePool pool;
  BufferIndex shared = no_buffer;
  size_t shared_at = 0;
};

// A log, its drive and its time.
class LogWorld {
 public:
  LogWorld(const ArenaMemory& arena, const LogConfig& config, const SimDriveConfig& drive_config, SimDisk disk = {})
      : memory(arena),
        drive(drive_config, memory.arena, std::move(disk)),
        log(config, drive_config.units, LogMemory{memory.arena, &memory.buffers, &memory.allocator}, drive.files()) {}

  void send() {
    while (const DriveRequest* request = log.next_request(now)) {
      if (!drive.submit(*request)) break;
      log.submitted();
      if (on_event) on_event();
    }
  }
  // To the next completion. False: nothing will ever happen by itself.
  bool step() {
    if (wall_start) log.retain(now, *wall_start + now / millisecond_ns);
    send();
    for (int slices = 0; slices < 100 && log.next_deadline() <= now; ++slices) send();  // work without the drive
    // A deadline that has passed waits for room in the drive's queue, or until it is looked at again.
    const bool drive_idle = drive.next_deadline() == never_ns;
    const Nanoseconds later = drive_idle ? now + millisecond_ns : never_ns;
    const Nanoseconds deadline = log.next_deadline() > now ? log.next_deadline() : later;
    const Nanoseconds next = std::min(drive.next_deadline(), deadline);
    if (next == never_ns) return false;
    now = std::max(now, next);
    drive.poll(now, [&](const DriveCompletion& done) {
      log.completed(done, now);
      if (on_event) on_event();
    });
    memory.recycle();
    return true;
  }
  template <class Until>
  bool run(Until&& until) {
    for (int steps = 0; !until(); ++steps) {
      if (steps > 100'000 || !step()) return until();
    }
    return true;
  }
  bool start() {
    return run([&] { return log.state() != LogState::starting; });
  }

  // Appends one batch; the pieces' request references are given up. nullopt: busy or refused.
  std::optional<Appended> append(PartitionSlot slot, const BatchInfo& info, PieceList& pieces) {
    std::optional<Appended> appended;
    const std::optional<StagedBatch> staged = log.stage(pieces.range());
    if (staged) {
      check(staged->crc == info.crc, "stage computed another CRC", staged->crc, info.crc);
      appended = log.append(slot, info, now);
    }
    return appended;
  }

  // Look-ups, however long the drive takes.
  std::optional<StoredBatch> find(PartitionSlot slot, Offset offset) {
    return wait([&](uint64_t token, StoredBatch& batch) { return log.find(slot, offset, token, batch); });
  }
  std::optional<StoredBatch> find_time(PartitionSlot slot, Milliseconds time) {
    return wait([&](uint64_t token, StoredBatch& batch) { return log.find_time(slot, time, token, batch); });
  }
  std::optional<StoredBatch> find_max_timestamp(PartitionSlot slot) {
    return wait([&](uint64_t token, StoredBatch& batch) { return log.find_max_timestamp(slot, token, batch); });
  }
  template <class Ask>
  std::optional<StoredBatch> wait(Ask&& ask) {
    constexpr uint64_t token = 78;
    StoredBatch batch;
    for (int steps = 0; steps < 100'000; ++steps) {
      const Log::LookUp found = ask(token, batch);
      damaged_look_ups += found == Log::LookUp::damaged ? 1 : 0;
      if (found == Log::LookUp::found) return batch;
      if (found == Log::LookUp::none || found == Log::LookUp::damaged) return std::nullopt;
      step();
      log.forget_reads_done();
    }
    check(false, "a look-up never came to an end");
    return std::nullopt;
  }

  // The bytes of a batch, however long the drive takes; nullopt: damaged.
  std::optional<Bytes> fetch(PartitionSlot slot, const StoredBatch& batch) {
    constexpr uint64_t token = 77;
    PieceList pieces;
    for (int steps = 0; steps < 100'000; ++steps) {
      const Log::FetchVerdict verdict = log.fetch(slot, batch, token, memory.pool, pieces);
      if (verdict == Log::FetchVerdict::damaged) return std::nullopt;
      if (verdict == Log::FetchVerdict::ready) break;
      if (verdict == Log::FetchVerdict::busy) log.shed_resident(64 * KiB);
      step();
      log.forget_reads_done();
    }
    check(!pieces.empty(), "a fetch never came to an end", static_cast<long long>(log.statistics().read_bytes),
          static_cast<long long>(memory.allocator.free_bytes()));
    Bytes bytes(pieces.size());
    pieces.range().copy_out(0, bytes.data(), bytes.size());
    memory.let_go(pieces, Holder::send);
    return bytes;
  }

  Memory memory;
  SimDrive drive;
  Log log;
  Nanoseconds now = 0;
  uint64_t damaged_look_ups = 0;
  std::optional<Milliseconds> wall_start;  // set: retention goes on
  std::function<void()> on_event;          // after each request that the drive took, and each completion
};

inline Bytes patched(Bytes bytes, Offset base_offset, int32_t leader_epoch) {
  store_big<int64_t>(bytes.data() + disk::batch_base_offset_at, base_offset.value);
  store_big<int32_t>(bytes.data() + disk::batch_leader_epoch_at, leader_epoch);
  return bytes;
}

}  // namespace penstock
