// Where every batch lies: from (partition, offset) or (partition, time) to a place in a segment file.
//
// Per segment the entries stand in log order. Entries of one partition with ascending offsets form a *strand*:
//
//   segment 7   | a0 | b0 | a1 | a2 | c0 | b1 | a3 | ...      strand of a: a0 a1 a2 a3, strand of b: b0 b1, ...
//                 ^-------^    ^              an entry knows the one before and the one after it in its strand,
//                 ^------------+              and one further back, so a strand is searched in O(log n) steps
//
// and the strands of a partition are chained from the newest segment to the oldest. So appending is O(1), sealing is
// nothing, a sequential reader follows one link per batch, and no entry ever moves. An entry fills one cache line.
//
// Batches may also come out of order (carried ones, older than what the partition already has): such a batch begins a
// strand of its own, and look-ups in that partition consider every strand from then on.
//
// Nothing here knows what is durable: the caller says which offsets exist for the reader (OffsetRange).
//
// A segment takes the memory of `entries_max` entries, of which the system gives what is written to. So only few of them
// are here: the open one and those whose footer is not durable; the others are looked up in their footers
// (storage/sealed_index.h). No allocation but for a new segment, and not for that while removed ones are at hand.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/base/units.h"

namespace penstock {

struct IndexEntry {
  PartitionNumber partition{};
  Offset base_offset{};
  int32_t last_offset_delta = 0;
  Milliseconds max_timestamp = -1;
  SegmentNumber segment{};
  FilePosition commit{};        // where its commit's header lies in the segment; a multiple of 512
  uint32_t ordinal = 0;         // of its entry in that header, from 0
  uint32_t first_position = 0;  // of its first run on disk: bytes from the start of the commit
  bool direct = true;           // one run: the batch is `bytes` bytes from there; else the commit header lists the runs
  uint32_t bytes = 0;           // of the whole batch
  uint64_t reference = 0;       // set by look-ups; see at()

  Offset last_offset() const { return base_offset + last_offset_delta; }
  Offset next_offset() const { return base_offset + last_offset_delta + 1; }
};

// A batch is visible if a record of it lies at or beyond `begin` and none at or beyond `end`: from log start to
// durable, for a consumer.
struct OffsetRange {
  Offset begin{};
  Offset end{};
};

class LogIndex {
 public:
  // entries_max: of one segment, after which it is full(). `segments` are allocated now. `partitions` are expected;
  // more of them cost an allocation.
  LogIndex(uint32_t entries_max, uint32_t segments, uint32_t partitions);
  ~LogIndex();
  LogIndex(LogIndex&&) noexcept;
  LogIndex& operator=(LogIndex&&) noexcept;

  // ---- the log's end ----
  // Entries appended from now on lie in `number`, which is greater than all before.
  void begin_segment(SegmentNumber number);
  // Entries until the newest segment should be sealed. Appending beyond is possible (recovery meets segments written
  // with a larger bound) and allocates.
  uint32_t room() const;
  bool full() const { return room() == 0; }
  // In log order, into the newest segment; entry.segment and entry.reference are not looked at. `bytes_up_to`: of the
  // partition's batches up to the end of this one, see Stretch.
  void append(const IndexEntry& entry, uint64_t bytes_up_to = 0);
  // Forgets every entry whose commit lies at or beyond `end` in segment `number`, and all segments after it. `number`
  // is the newest then.
  void truncate(SegmentNumber number, FilePosition end);

  // ---- the log's beginning ----
  // The segment, not one that is appended to, is taken out, so many strands at a time; true: it is gone. Meanwhile what
  // it says of some partitions is here and of others is not.
  bool remove_some(SegmentNumber number, uint32_t strands);
  void remove_segment(SegmentNumber number) {
    while (!remove_some(number, UINT32_MAX)) continue;
  }
  void drop_partition(PartitionNumber partition);  // unreachable at once; the memory comes back with the segments

  // ---- look-ups ----
  // The batch that contains `offset`, else the first after it.
  std::optional<IndexEntry> find(PartitionNumber partition, Offset offset, OffsetRange range) const;
  // The batch after `entry`.
  std::optional<IndexEntry> next(const IndexEntry& entry, OffsetRange range) const;
  // By the reference of an earlier look-up, or by offset when that is stale.
  std::optional<IndexEntry> at(uint64_t reference, PartitionNumber partition, Offset base_offset) const;
  // The first batch in offset order with max_timestamp >= timestamp.
  std::optional<IndexEntry> find_time(PartitionNumber partition, Milliseconds timestamp, OffsetRange range) const;
  // The batch with the largest max_timestamp; of several the first.
  std::optional<IndexEntry> find_max_timestamp(PartitionNumber partition, OffsetRange range) const;

  // ---- retention ----
  // The batches of one partition in one segment.
  struct Stretch {
    SegmentNumber segment{};
    Offset begin{};  // of its first batch
    Offset end{};    // after its last record
    Milliseconds max_timestamp = -1;
    uint64_t bytes_up_to = 0;  // of the partition's batches up to its end, counted from anywhere
  };
  // The oldest with a record at or beyond `from`.
  std::optional<Stretch> oldest_stretch(PartitionNumber partition, Offset from) const;
  // What was appended of the partition was counted from somewhere else: `more` is added to every bytes_up_to, modulo 2^64.
  void shift_bytes(PartitionNumber partition, uint64_t more);

  // ---- footers ----
  // The batches of a segment by partition, and within a partition in the order of the log; as often as wanted. Sorting
  // goes in slices, and takes no memory once a walk has been through a segment of as many strands.
  class Walk {
   public:
    SegmentNumber segment() const { return segment_; }

   private:
    friend class LogIndex;
    struct Key {
      PartitionNumber partition{};
      uint32_t strand = 0;
      bool operator<(const Key& other) const {
        return partition != other.partition ? partition < other.partition : strand < other.strand;
      }
    };
    SegmentNumber segment_{};
    uint32_t object_ = UINT32_MAX;
    std::vector<Key> keys_;    // a heap up to `heap_`, sorted behind
    uint32_t strands_seen_ = 0;
    size_t heap_ = 0;
    size_t next_ = 0;          // of keys_
    uint32_t at_ = UINT32_MAX;
  };
  // What a segment has of a partition.
  struct Share {
    PartitionNumber partition{};
    uint32_t batches = 0;
    Milliseconds max_timestamp = -1;
  };
  // Of a segment that is not the newest, or takes no more entries.
  void begin_walk(SegmentNumber number, Walk& walk) const;
  bool sort(Walk& walk, uint32_t strands) const;  // true: sorted
  void rewind(Walk& walk) const;
  std::optional<IndexEntry> next(Walk& walk) const;
  std::optional<Share> next_share(Walk& walk) const;
  // Entries of a segment; 0 also when it is not there.
  uint32_t entry_count(SegmentNumber number) const;
  bool has_segment(SegmentNumber number) const { return segment(number) != nullptr; }

  // The largest max_timestamp in a segment, -1 when it has none.
  Milliseconds segment_max_timestamp(SegmentNumber number) const;
  uint64_t entry_count() const;
  uint64_t bytes() const;  // of memory, if all of it is written to

 private:
  struct Entry;
  struct Strand;
  struct Segment;
  struct Place;  // an entry and the strand and segment it is in
  class Heads;

  // Names a strand. Stale once the segment object serves another segment number.
  struct StrandId {
    uint64_t segment_number = 0;  // 0: none
    uint32_t object = 0;          // of objects_
    uint32_t strand = 0;
    bool operator==(const StrandId&) const = default;
  };

  Strand* resolve(const StrandId& id) const;
  Segment* segment(SegmentNumber number) const;
  const Segment* walked(const Walk& walk) const;
  uint32_t take_object();
  void cut_back(Segment& segment, uint32_t count);
  void unlink(StrandId id, const Strand& strand);
  const Entry* entry_of(const IndexEntry& described) const;
  IndexEntry describe(const Place& place) const;
  template <class Visit>
  void each_strand(PartitionNumber partition, Visit&& visit) const;

  uint32_t entries_max_;
  std::vector<std::unique_ptr<Segment>> objects_;  // serve one segment after the other
  std::vector<uint32_t> live_;                     // objects, by ascending segment number
  std::vector<uint32_t> spare_;                    // objects
  std::unique_ptr<Heads> heads_;                   // partition -> its newest strand
};

}  // namespace penstock
