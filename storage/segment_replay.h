// Replays one segment: follows its commits along the hash chain, and decides at every break whether the log ends there
// or something is missing.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "storage/recovered.h"
#include "storage/replay.h"
#include "storage/segment_scan.h"

namespace penstock {

// Where a successor says a segment ended.
struct NamedEnd {
  FilePosition position{};
  CommitSequence sequence{};
  uint64_t hash = 0;
};

// A commit whose header is whole, seen without regard to the chain.
struct SeenCommit {
  FilePosition position{};
  FilePosition end{};
  uint64_t segment_id = 0;
  CommitSequence sequence{};
  CommitSequence durable{};
  uint64_t previous_hash = 0;
};
// All such commits in [from, frame.end), at any multiple of the frame's block. With frame.id 0, of any segment.
std::vector<SeenCommit> survey(SegmentReader& reader, const SegmentFrame& frame, FilePosition from);

class SegmentReplay {
 public:
  using Report = std::function<void(Found)>;

  // `named`: the segment is sealed. Otherwise it is the newest of an unbroken row.
  SegmentReplay(SegmentReader& reader, const disk::SegmentHeader& header, std::optional<NamedEnd> named,
                bool verify_payload, Replay& replay, Report report);

  // The reader is open on the segment's slot, and the replay begun.
  RecoveredSegment run();

 private:
  enum class Step : uint8_t { go_on, end };

  Step at_commit();
  Step at_break(CommitVerdict verdict);
  Step at_named_end();
  Step across_hole(CommitVerdict verdict);
  void accept(const std::vector<uint32_t>& damaged);
  std::vector<uint32_t> damaged_batches();
  bool counted(FilePosition behind, CommitSequence sequence);
  void look_behind(FilePosition from);
  void found(Finding finding, FilePosition begin, FilePosition end, CommitSequence first, CommitSequence last,
             std::string detail);

  SegmentReader& reader_;
  const disk::SegmentHeader& header_;
  std::optional<NamedEnd> named_;
  bool verify_payload_;
  Replay& replay_;
  Report report_;

  SegmentFrame frame_;
  FilePosition at_{};
  CommitSequence expected_{};
  uint64_t hash_ = 0;
  bool whole_ = true;  // no hole so far
  Commit commit_;
  std::optional<std::vector<SeenCommit>> behind_;  // surveyed once, at the first break
};

}  // namespace penstock
