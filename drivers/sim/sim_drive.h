// The drive of the simulated world: segment files in memory, in virtual time, from a seed.
//
// It is as bad as a drive may be. Requests complete in any order; writes come back short; a write is durable only when
// it was asked to be or a flush covered it; a failed write may have left any of its sectors behind; what a failed flush
// should have covered is never covered by a later one. And it holds the log to its side of the contract: alignment,
// limits, no overlapping writes, and bytes that must not change: half of the vectors of a write are read when it is
// submitted and half when it completes. What lies in the cache is superseded by what is written later to the same place.
//
// crash() gives what survives a power loss: everything durable, and of everything else any subset of its 512-byte
// sectors. kill() gives what a process that is killed leaves behind: a later start sees all of it, though much of it is
// still only in the drive's cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "drivers/sim/random.h"
#include "storage/drive.h"

namespace penstock {

// A lane's files as bytes. A slot may be shorter than a segment when its preparation was cut short.
class SimFiles final : public SegmentFiles {
 public:
  uint32_t slot_count() const override { return static_cast<uint32_t>(slots.size()); }
  uint64_t slot_bytes(SegmentSlot slot) const override { return slots[slot.value].size(); }
  std::expected<size_t, int> read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) override;

  std::vector<std::vector<std::byte>> slots;
};

// What is on a drive and in its cache.
struct SimDisk {
  // Bytes that were written and are not durable yet.
  struct Volatile {
    uint32_t slot = 0;
    uint64_t position = 0;
    std::vector<std::byte> bytes;
    uint64_t flush = 0;   // number of the flush that covers it; 0: none yet
    bool orphan = false;  // failed, or its flush did: no flush makes it durable
  };

  SimDisk() = default;
  SimDisk(SimFiles files) : current(std::move(files)), stable(current) {}

  void rot(uint32_t slot, uint64_t position, uint8_t bit) {
    for (SimFiles* files : {&current, &stable}) files->slots[slot][position] ^= static_cast<std::byte>(1 << bit);
  }

  SimFiles current;  // with everything written
  SimFiles stable;   // with everything durable
  std::vector<Volatile> cached;
};

struct SimDriveConfig {
  uint64_t seed = 1;
  DriveUnits units;
  uint64_t segment_bytes = 1 * MiB;
  uint32_t slots_max = 64;    // a new slot beyond is -ENOSPC
  uint32_t queue_depth = 64;  // requests in flight beyond are refused
  Nanoseconds write_ns = 100'000;
  Nanoseconds flush_ns = 300'000;
  Nanoseconds read_ns = 80'000;
  Nanoseconds prepare_ns = 2 * millisecond_ns;
  // Each happens once in so many requests of its kind; 0: never.
  uint64_t slow_one_in = 0;   // a hundred times the latency
  uint64_t stall_one_in = 0;  // a thousand times
  uint64_t short_one_in = 0;  // writes and reads
  uint64_t interrupted_one_in = 0;
  uint64_t write_error_one_in = 0;
  uint64_t flush_error_one_in = 0;
  uint64_t prepare_error_one_in = 0;
  uint64_t read_error_one_in = 0;
  uint64_t read_flip_one_in = 0;  // a bit of what is read is wrong, this time
};

// What really happened.
struct SimDriveStatistics {
  uint64_t slow = 0, stalled = 0, slowed = 0, short_transfers = 0, interrupted = 0;
  uint64_t out_of_order = 0;  // completed before an older request
  uint64_t write_errors = 0, flush_errors = 0, prepare_errors = 0, read_errors = 0;
  uint64_t reads_flipped = 0;
  uint64_t lost_writes = 0, torn_writes = 0;  // not durable when the power went: nothing of them is left, or a part
};

class SimDrive {
 public:
  // `disk`: what the lane's directory holds; empty for a new one. `arena`: all vectors must lie in it.
  SimDrive(const SimDriveConfig& config, const Arena& arena, SimDisk disk = {});

  // ---- concept Drive ----
  const DriveUnits& units() const { return config_.units; }
  bool submit(const DriveRequest& request);
  template <class Done>
  uint32_t poll(Nanoseconds now, Done&& done) {
    now_ = now;
    uint32_t count = 0;
    for (DriveCompletion completion; next_completion(completion); ++count) done(completion);
    return count;
  }
  Nanoseconds next_deadline() const;

  // What a reader of the files sees now.
  SimFiles& files() { return disk_.current; }
  // What is left when the power goes now. Call it while the memory of writes in flight is still there.
  SimFiles crash(uint64_t seed);
  // The same as a disk, without a copy of all of it: the drive itself is used no more.
  SimDisk end_by_crash(uint64_t seed) &&;
  // What a power loss would surely leave now, and what it may leave of: writes that are not durable, oldest first, with
  // the bytes they were submitted with, and slots under preparation.
  const SimFiles& stable() const { return disk_.stable; }
  struct AtRisk {
    std::vector<SimDisk::Volatile> writes;
    std::vector<uint32_t> preparing;  // slots
  };
  AtRisk at_risk() const;
  // Moves when these two have changed.
  uint64_t changes() const { return changes_; }
  // What is left when the process is killed now. Writes in flight are carried out in part; nothing is flushed.
  SimDisk kill(uint64_t seed) const;
  SimDisk end_by_kill(uint64_t seed) &&;
  // After so many more requests and completions the drive has no power: it takes requests and does nothing any more.
  void cut_after(uint64_t events) { events_left_ = events; }
  bool is_cut() const { return events_left_ == 0; }

  // Faults by schedule: the next `count` requests of a kind fail with -EIO (prepare: -ENOSPC).
  void fail_next(DriveOp op, uint32_t count) { fail_next_[static_cast<size_t>(op)] = count; }
  // While true every new slot is -ENOSPC.
  void set_full(bool full) { full_ = full; }
  // A bit of what is on the drive, and durable, becomes another one.
  void rot(uint32_t slot, uint64_t position, uint8_t bit) { disk_.rot(slot, position, bit); }
  // From now on everything takes so many times as long.
  void set_slowness(uint32_t times) { slowness_ = times; }
  SimDriveConfig& config() { return config_; }

  uint32_t in_flight() const { return static_cast<uint32_t>(requests_.size()); }
  uint64_t writes() const { return writes_; }  // completed without error
  const SimDriveStatistics& statistics() const { return statistics_; }

 private:
  struct Request {
    DriveRequest request;
    std::vector<iovec> vectors;
    std::vector<std::byte> bytes;  // of a write: as they were at submit
    Nanoseconds due = 0;
    uint64_t number = 0;
  };
  using Volatile = SimDisk::Volatile;

  bool next_completion(DriveCompletion& completion);
  void lose_power(SimFiles& left, uint64_t seed);
  void lose_process(SimDisk& left, uint64_t seed) const;
  void copy_back(uint32_t slot, uint64_t position, uint64_t bytes);
  int64_t finish_write(Request& request);
  int64_t finish_flush(const Request& request);
  int64_t finish_prepare(const Request& request);
  int64_t finish_read(const Request& request);
  void supersede(uint32_t slot, uint64_t begin, uint64_t end);
  void check_write(const DriveRequest& request, uint64_t bytes) const;
  bool fails(DriveOp op, uint64_t one_in);
  bool happens(uint64_t one_in) { return one_in != 0 && random_.one_in(one_in); }
  bool interrupted();
  bool event();  // false: the power is off
  Nanoseconds latency(Nanoseconds mean);
  static void put(std::vector<std::vector<std::byte>>& slots, uint32_t slot, uint64_t position,
                  std::span<const std::byte> bytes);
  // Returns how many.
  static uint64_t put_some_sectors(std::vector<std::vector<std::byte>>& slots, uint32_t slot, uint64_t position,
                                   std::span<const std::byte> bytes, SimRandom& random);
  void lose_some_sectors(SimFiles& left, uint32_t slot, uint64_t position, std::span<const std::byte> bytes,
                         SimRandom& random);

  SimDriveConfig config_;
  Arena arena_;
  SimRandom random_;
  Nanoseconds now_ = 0;
  SimDisk disk_;
  std::vector<Request> requests_;
  uint64_t request_count_ = 0;
  uint64_t writes_ = 0;
  uint64_t changes_ = 0;
  uint32_t fail_next_[4] = {};
  bool full_ = false;
  uint32_t slowness_ = 1;
  uint64_t events_left_ = UINT64_MAX;
  SimDriveStatistics statistics_;
};

}  // namespace penstock
