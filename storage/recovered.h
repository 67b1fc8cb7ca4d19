// What recovery found in a lane's directory: all the log needs to go on from there, and what the operator must know.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "storage/footer.h"

namespace penstock {

// One row of the truth table in recovery.cc each.
enum class Finding : uint8_t {
  // what a slot holds
  slot_unprepared,
  slot_prepared,
  slot_torn_header,
  slot_unreadable,
  slot_unknown_version,
  slot_other_lane,
  slot_bad_geometry,
  slot_short_file,
  slot_other_block,
  // how segments follow each other
  chain_begins,
  chain_continues_released,
  segment_missing,
  segment_missing_empty,
  segment_given_up,
  segment_beside_counted,
  segment_header_lost,
  predecessor_differs,
  number_twice_unused,
  number_twice_copy,
  number_twice_both_used,
  // how a segment ends
  sealed_whole,
  sealed_hole,
  sealed_excess,
  footer_read,
  footer_absent,
  footer_damaged,
  footer_unknown_version,
  footer_other_block,
  newest_empty,
  newest_full,
  newest_clean_end,
  newest_torn_tail,
  newest_hole,
  // within a commit
  commit_malformed,
  payload_torn,
  payload_damaged,
  entry_unknown,
  count,
};
const char* to_string(Finding finding);

// What a finding means for the log.
enum class Consequence : uint8_t {
  in_order,   // as it should be; not reported
  note,       // reported; nothing that counted is lost
  read_only,  // damage, or somebody else's data: reads go on, nothing is written
};
Consequence consequence_of(Finding finding);

struct Found {
  Finding finding{};
  SegmentSlot slot{};
  SegmentNumber segment{};  // 0: not known
  FilePosition begin{};     // the bytes concerned
  FilePosition end{};
  CommitSequence first{};  // lost commits, first to last; 0: none, or not known which
  CommitSequence last{};
  std::string detail;
};
// One line for the operator.
std::string describe(const Found& found);

// Offsets that damage took out of a partition.
struct LostOffsets {
  PartitionNumber partition{};
  Offset begin{};
  Offset end{};
};

enum class SlotUse : uint8_t {
  unused,   // prepare it (again) before use
  segment,  // holds a segment of this log
  keep,     // holds what this log cannot read, or somebody else's: never touched
};

struct RecoveredSegment {
  SegmentNumber number{};
  SegmentSlot slot{};
  uint64_t id = 0;
  uint64_t term = 0;
  uint32_t block = 0;              // bytes
  uint64_t bytes = 0;              // of its file
  FilePosition end{};              // of its last commit that counts
  CommitSequence last_sequence{};  // of that commit, or of its predecessors' last when it has none
  uint64_t last_hash = 0;          // chain_hash of that commit
  Milliseconds max_timestamp = -1;
  bool unknown_entries = false;  // of a kind that this version skips
  std::optional<SealedSegment> footer;  // it was not read: its batches are looked up there
};

struct RecoveredPartition {
  PartitionNumber number{};
  Offset log_start{};
  Offset next{};  // the offset the next record gets
  int32_t leader_epoch = 0;
  bool deleted = false;
  SegmentNumber newest_segment{};  // the newest that says something of it
  Milliseconds max_timestamp = -1;
  uint64_t bytes = 0;  // of its batches, counted from anywhere
};

struct RecoveredLog {
  bool read_only = false;  // a finding said so
  uint64_t term_highest = 0;
  std::vector<RecoveredSegment> segments;  // by number, oldest first; empty: a new log
  std::vector<SlotUse> slots;
  std::vector<SegmentSlot> void_slots;  // unused, but with the header of a segment that does not count: zero it first
  std::vector<SegmentSlot> blank_slots;  // unused, their former header zeroed or torn, perhaps not durably
  std::vector<RecoveredPartition> partitions;  // by number
  std::vector<Found> findings;                 // all of them, in_order ones too
  std::vector<LostOffsets> lost;
  uint64_t commits = 0, batches = 0, bytes_read = 0;

  // For the operator: one line per finding that is not in order, per lost range, and a summary.
  std::string report() const;
};

}  // namespace penstock
