// The Drive of the real world: a lane directory's slot files, O_DIRECT, through the lane's ring.
//
//   write    one WRITEV_FIXED from the registered arena; WRITEV where the kernel lacks it (before 6.15); WRITE_FIXED
//            for a single vector. `durable` adds RWF_DSYNC.
//   flush    fdatasync.
//   read     the same opcodes, reading.
//   prepare  by a helper thread (see SlotPreparer), since creating and filling a file blocks.
//
// A durable write is on stable storage when its completion says so; writes without it are after a flush that was
// submitted later than their completion.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "drivers/uring/lane_directory.h"
#include "drivers/uring/ring.h"
#include "drivers/uring/slot_preparer.h"
#include "storage/drive.h"

namespace penstock {

struct UringDriveConfig {
  uint64_t segment_bytes = 256 * MiB;  // of every slot file; a multiple of 1 MiB
  uint32_t slots_max = 65'536;
  uint32_t requests_max = 256;  // in flight
};

struct UringDriveStatistics {
  uint64_t fixed_writes = 0;   // from registered memory
  uint64_t vector_writes = 0;  // by the fallback
  uint64_t flushes = 0;
  uint64_t reads = 0;
  uint64_t prepares = 0;
};

class UringDrive final : public SegmentFiles {
 public:
  // Takes the directory over and opens the slots it has. `ring` and the arena outlive the drive.
  static std::expected<std::unique_ptr<UringDrive>, std::string> create(Ring& ring, const Arena& arena,
                                                                        LaneDirectory directory,
                                                                        const DriveUnits& units,
                                                                        const UringDriveConfig& config);
  ~UringDrive() override;  // waits for the helper thread; requests in flight must have completed

  // ---- concept Drive ----
  const DriveUnits& units() const { return units_; }
  bool submit(const DriveRequest& request);
  template <class Done>
  uint32_t poll(Nanoseconds, Done&& done) {
    DriveCompletion completion;
    uint32_t count = 0;
    while (next_completion(completion)) {
      done(completion);
      ++count;
    }
    return count;
  }
  Nanoseconds next_deadline() const { return never_ns; }

  // ---- SegmentFiles, for recovery and tools; any thread, while the lane is not running ----
  uint32_t slot_count() const override { return slot_count_; }
  uint64_t slot_bytes(SegmentSlot slot) const override;
  std::expected<size_t, int> read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) override;

  uint32_t in_flight() const { return in_flight_; }
  const UringDriveStatistics& statistics() const { return statistics_; }
  const LaneDirectory& directory() const { return directory_; }

 private:
  struct Request {
    uint64_t tag = 0;
    DriveOp op{};
    uint32_t next_free = 0;
  };

  UringDrive(Ring& ring, const Arena& arena, LaneDirectory directory, const DriveUnits& units,
             const UringDriveConfig& config);
  std::expected<void, std::string> open_slots();
  void check_shape(const DriveRequest& request) const;
  void prepare_transfer(const DriveRequest& request, uint32_t index);
  bool next_completion(DriveCompletion& completion);
  void finish_prepare(const PreparedSlot& prepared);
  int descriptor(SegmentSlot slot) const;

  Ring& ring_;
  const Arena arena_;
  LaneDirectory directory_;
  const DriveUnits units_;
  const UringDriveConfig config_;
  std::unique_ptr<int[]> descriptors_;  // by slot; -1: no file
  uint32_t slot_count_ = 0;
  std::unique_ptr<Request[]> requests_;
  uint32_t free_request_ = 0;
  uint32_t in_flight_ = 0;          // requests of every kind
  uint32_t commits_in_flight_ = 0;  // writes and flushes: the helper thread gives way to them
  UringDriveStatistics statistics_;
  SlotPreparer preparer_;
};

}  // namespace penstock
