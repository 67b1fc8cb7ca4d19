// Look-ups in what recovery found, in memory and in footers, with a cache of two blocks that are read at once.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>

#include "storage/recovery.h"
#include "storage/sealed_index.h"

namespace penstock::test {

class SealedLookup {
 public:
  SealedLookup(SegmentFiles& files, const LogIndex& index, const RecoveredLog& log, uint32_t block)
      : files_(files), index_(index), units_{.block = block} {
    for (const RecoveredSegment& segment : log.segments) {
      if (segment.footer) sealed_.add(*segment.footer);
    }
  }
  ~SealedLookup() { sealed_.cache().release_all(); }

  // The first batch with a record at or beyond `from`; nothing also when a block is damaged.
  std::optional<IndexEntry> find(PartitionNumber partition, Offset from) {
    const auto here = index_.find(partition, from, {from, Offset(INT64_MAX)});
    const uint64_t damaged_before = damaged_;
    const auto there = ask([&](IndexEntry& entry) { return sealed_.find(partition, from, token, entry); });
    if (damaged_ > damaged_before) return std::nullopt;
    return there && (!here || there->base_offset < here->base_offset) ? there : here;
  }
  template <class Ask>
  std::optional<IndexEntry> ask(Ask&& question) {
    IndexEntry entry;
    SealedIndex::Verdict verdict;
    while ((verdict = question(entry)) == SealedIndex::Verdict::reading) serve();
    check(verdict != SealedIndex::Verdict::busy, "a single look-up finds the cache busy");
    damaged_ += verdict == SealedIndex::Verdict::damaged ? 1 : 0;
    return verdict == SealedIndex::Verdict::found ? std::optional(entry) : std::nullopt;
  }
  SealedIndex& sealed() { return sealed_; }
  const LogStatistics& statistics() const { return statistics_; }
  uint64_t damaged() const { return damaged_; }

 private:
  static constexpr uint64_t token = 5;
  static constexpr uint64_t arena_bytes = 512 * KiB;
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  void serve() {
    while (const DriveRequest* request = sealed_.cache().next_request()) {
      const DriveRequest sent = *request;
      sealed_.cache().submitted();
      const iovec& to = sent.vectors[0];
      const auto got = files_.read(sent.slot, sent.position, {static_cast<std::byte*>(to.iov_base), to.iov_len});
      sealed_.cache().completed(RequestTag::unpack(sent.tag).index, got ? static_cast<int64_t>(*got) : -got.error());
    }
    sealed_.cache().forget_done();
  }

  SegmentFiles& files_;
  const LogIndex& index_;
  DriveUnits units_;
  std::unique_ptr<std::byte, Free> memory_{static_cast<std::byte*>(std::aligned_alloc(4096, arena_bytes))};
  Arena arena_{memory_.get(), arena_bytes};
  BufferTable buffers_{arena_.unit_count()};
  BufferAllocator allocator_{0, arena_.unit_count()};
  LogStatistics statistics_;
  SealedIndex sealed_{units_, LogMemory{arena_, &buffers_, &allocator_}, 0, &statistics_};
  uint64_t damaged_ = 0;
};

}  // namespace penstock::test
