// Blocks of footers, in a bounded amount of memory: read from the drive when somebody asks for one, checked once, kept
// until others are asked for. A block is named by its segment's number, so what lies in a slot that is used again is
// never taken for what lay there before.
//
// A block is read once for all who ask for it meanwhile. Each of them is told when it is there, and it stays until each
// has come for it or was cancelled. A token wants one block at a time: asking for another lets go of the one before.
//
//   free -> waiting -> in_flight -> whole | damaged -> free
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "dataplane/base/buffer_table.h"
#include "storage/bounded.h"
#include "storage/drive.h"
#include "storage/footer.h"
#include "storage/limits.h"
#include "storage/log.h"
#include "storage/request_tag.h"

namespace penstock {

class FooterCache {
 public:
  FooterCache(const DriveUnits& units, const LogMemory& memory, uint64_t bytes, LogStatistics* statistics);
  ~FooterCache();

  enum class Verdict : uint8_t {
    whole,    // `rows` are those of the block, until the next call of anything here
    reading,  // done() will say `token`; call again then
    busy,     // all blocks are being read or waited for, try later
    damaged,
  };
  Verdict get(const SealedSegment& segment, disk::FooterSection section, uint32_t number, uint64_t token,
              std::span<const std::byte>& rows);
  std::span<const uint64_t> done() const { return done_.all(); }
  void forget_done() { done_.clear(); }
  void cancel(uint64_t token);

  // A footer with a block that the drive gave, and that was not what was written; once.
  std::optional<SealedSegment> take_damaged() { return std::exchange(damaged_, std::nullopt); }

  // The segment is released: its blocks go. Whoever waits for one is told, and finds the segment gone.
  void drop(SegmentNumber segment);
  bool uses(SegmentSlot slot) const;  // a read of it is not finished

  const DriveRequest* next_request();
  void submitted();
  void completed(uint32_t index, int64_t result);
  bool idle() const { return waiting_ == 0 && in_flight_ == 0; }
  void release_all();

 private:
  enum class State : uint8_t { free, waiting, in_flight, whole, damaged };
  struct Block {
    SealedSegment segment;
    disk::FooterSection section{};
    uint32_t number = 0;
    State state = State::free;
    bool used = false;     // since the hand came by
    bool dropped = false;  // its segment is gone; in flight
    uint32_t wanters = 0;
    uint32_t retries = 0;
    uint32_t next = UINT32_MAX;  // of the same bucket
    BufferIndex buffer = no_buffer;
  };
  struct Want {
    uint64_t token = 0;
    uint32_t block = 0;
  };

  uint32_t& bucket(SegmentNumber segment, disk::FooterSection section, uint32_t number);
  uint32_t find(const SealedSegment& segment, disk::FooterSection section, uint32_t number);
  uint32_t take();
  void unname(uint32_t index);
  uint32_t bytes_of(const Block& block) const;
  bool want(uint32_t index, uint64_t token);
  void stop_wanting(uint64_t token, uint32_t except);
  void tell(uint32_t index);

  LogMemory memory_;
  LogStatistics* statistics_;
  uint32_t drive_block_;
  uint32_t block_bytes_;
  uint32_t blocks_;
  std::unique_ptr<Block[]> table_;
  std::unique_ptr<uint32_t[]> buckets_;
  uint32_t bucket_mask_;
  uint32_t hand_ = 0;  // where the search for a block to give way begins
  uint32_t waiting_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t next_ = 0;  // where the search for one that waits begins
  Bounded<Want> wants_{limits::read_wants_max};
  Bounded<uint64_t> done_{limits::read_wants_max};
  std::optional<SealedSegment> damaged_;
  iovec vector_{};
  DriveRequest request_;
};

}  // namespace penstock
