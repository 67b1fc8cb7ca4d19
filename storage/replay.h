// What the commits of a log say, put together: index, producers, partitions. Fed by recovery in log order; knows
// nothing of files.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "storage/index.h"
#include "storage/producers.h"
#include "storage/recovered.h"
#include "storage/segment_scan.h"

namespace penstock {

class Replay {
 public:
  Replay(LogIndex& index, ProducerTable& producers) : index_(index), producers_(producers) {}

  // `from_the_start`: this is the log's very first segment, so every partition begins at offset 0 or its log start.
  void begin_segment(SegmentNumber number, bool from_the_start);
  // Applies a commit. Batches with the ordinals in `damaged` (ascending) count, but cannot be read any more.
  void apply(const Commit& commit, std::span<const uint32_t> damaged);
  // A segment that is not read: its batches are looked up in its footer.
  void pass_over(SegmentNumber number, uint64_t batches, uint64_t commits, bool from_the_start);
  // Batches of such a segment, where something before it is missing: what of that was theirs.
  void compare(std::span<const disk::FooterBatch> batches);
  // What was read so far lies before the first segment with a footer, of which these are the rows: from now on bytes are
  // counted from where footers count them.
  void count_on(std::span<const disk::FooterPartition> partitions, std::span<const disk::FooterBatch> batches);
  // How partitions stood at the end of the segment, as its footer says.
  void stand(std::span<const disk::FooterPartition> partitions);
  // And producers; sorts them.
  void stand(std::span<disk::FooterProducer> producers);
  // Commits are missing from here on: a gap in a partition's offsets is lost data now.
  void missing() { complete_ = false; }
  bool complete() const { return complete_; }
  // Partitions that a commit outside the log says were deleted.
  void delete_partitions_of(const Commit& commit);
  // Does the log miss a batch of this commit, which is in no segment of it? Not one below a log start: its segment was
  // released.
  bool misses(const Commit& commit) const;
  // Batches of a commit that cannot be put in its place any more.
  void lose(const Commit& commit);

  Milliseconds segment_max_timestamp() const { return index_.segment_max_timestamp(segment_); }
  bool met_unknown_kind() const { return met_unknown_kind_; }  // since begin_segment

  void finish(RecoveredLog& log, CommitSequence last);

 private:
  struct Partition {
    Offset log_start{};
    Offset first{INT64_MAX};  // lowest offset seen
    Offset next{};
    int32_t leader_epoch = 0;
    bool deleted = false;
    bool seen_batch = false;
    SegmentNumber newest_segment{};
    Milliseconds max_timestamp = -1;
    uint64_t bytes = 0;
    bool stood = false;  // a footer says where it starts
  };
  Offset log_start(const Partition& partition) const;
  void apply_batch(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes, uint32_t ordinal,
                   bool readable);
  void take_batch(Partition& partition, const IndexEntry& entry, bool carried);
  void delete_partition(PartitionNumber number);
  void lose(PartitionNumber partition, Offset begin, Offset end);

  LogIndex& index_;
  ProducerTable& producers_;
  SegmentNumber segment_{};
  bool from_the_start_ = false;
  bool complete_ = true;
  bool met_unknown_kind_ = false;
  std::unordered_map<uint64_t, Partition> partitions_;
  std::vector<LostOffsets> lost_;
  uint64_t commits_ = 0, batches_ = 0;
};

}  // namespace penstock
