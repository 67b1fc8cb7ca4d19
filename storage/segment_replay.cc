#include "storage/segment_replay.h"

#include <algorithm>

#include "dataplane/base/mutation.h"

namespace penstock {

std::vector<SeenCommit> survey(SegmentReader& reader, const SegmentFrame& frame, FilePosition from) {
  std::vector<SeenCommit> seen;
  Commit commit;
  for (FilePosition at = from; at < frame.end;) {
    if (read_commit(reader, frame, at, commit) != CommitVerdict::valid) {
      at += frame.block;
      continue;
    }
    seen.push_back({at, commit.end(), commit.header.segment_id, commit.sequence(),
                    CommitSequence(commit.header.durable_sequence), commit.header.previous_hash});
    at = commit.end();
  }
  return seen;
}

SegmentReplay::SegmentReplay(SegmentReader& reader, const disk::SegmentHeader& header, std::optional<NamedEnd> named,
                             bool verify_payload, Replay& replay, Report report)
    : reader_(reader),
      header_(header),
      named_(named),
      verify_payload_(verify_payload || !named),
      replay_(replay),
      report_(std::move(report)),
      at_(header.block.get()),
      expected_(header.predecessor_sequence.get() + 1),
      hash_(header.predecessor_hash) {
  const uint64_t bytes = std::min<uint64_t>(header.segment_bytes, reader.file_bytes());
  frame_ = {.id = header.segment_id,
            .term = header.term,
            .block = header.block,
            .end = FilePosition(round_down(bytes, header.block))};
  if (named_) frame_.end = std::min(frame_.end, named_->position);
}

RecoveredSegment SegmentReplay::run() {
  for (Step step = Step::go_on; step == Step::go_on;) {
    const CommitVerdict verdict = read_commit(reader_, frame_, at_, commit_);
    const bool in_chain =
        verdict == CommitVerdict::valid && commit_.sequence() == expected_ && commit_.header.previous_hash == hash_;
    const bool stale = mutated(Mutation::accept_stale_commits) && verdict == CommitVerdict::valid;
    step = in_chain || stale ? at_commit() : at_break(verdict);
  }
  if (replay_.met_unknown_kind()) {
    found(Finding::entry_unknown, FilePosition(0), at_, {}, {}, "");
  }
  RecoveredSegment segment{.number = SegmentNumber(header_.number),
                           .slot = reader_.slot(),
                           .id = header_.segment_id,
                           .term = header_.term,
                           .block = header_.block,
                           .bytes = header_.segment_bytes,
                           .end = at_,
                           .last_sequence = expected_ - 1,
                           .last_hash = hash_,
                           .max_timestamp = replay_.segment_max_timestamp(),
                           .unknown_entries = replay_.met_unknown_kind()};
  if (named_) {
    segment.end = named_->position;
    segment.last_sequence = named_->sequence;
    segment.last_hash = named_->hash;
  }
  return segment;
}

// The next commit of the chain; its payload may be another matter.
SegmentReplay::Step SegmentReplay::at_commit() {
  const std::vector<uint32_t> damaged = verify_payload_ ? damaged_batches() : std::vector<uint32_t>{};
  if (damaged.empty()) {
    accept({});
    return Step::go_on;
  }
  const CommitSequence sequence = commit_.sequence();
  if (!named_ && !counted(commit_.end(), sequence)) {
    found(Finding::payload_torn, at_, commit_.end(), sequence, sequence,
          std::to_string(damaged.size()) + " of its " + std::to_string(commit_.header.entry_count) +
              " entries have bytes that do not match");
    return Step::end;
  }
  found(Finding::payload_damaged, at_, commit_.end(), sequence, sequence,
        std::to_string(damaged.size()) + " of its " + std::to_string(commit_.header.entry_count) +
            " entries have bytes that do not match");
  accept(damaged);
  return Step::go_on;
}

std::vector<uint32_t> SegmentReplay::damaged_batches() {
  std::vector<uint32_t> damaged;
  commit_.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t ordinal) {
    if (!is_batch(static_cast<disk::EntryKind>(prefix.kind.get()))) return;
    if (!payload_matches(reader_, commit_, bytes)) damaged.push_back(ordinal);
  });
  return damaged;
}

void SegmentReplay::accept(const std::vector<uint32_t>& damaged) {
  replay_.apply(commit_, damaged);
  hash_ = commit_.hash();
  at_ = commit_.end();
  ++expected_.value;
}

// No commit of the chain lies at at_.
SegmentReplay::Step SegmentReplay::at_break(CommitVerdict verdict) {
  if (named_) {
    if (at_ < frame_.end || frame_.end < named_->position) return across_hole(verdict);
    return at_named_end();
  }
  if (counted(at_, expected_)) return across_hole(verdict);

  const bool empty = whole_ && at_.value == header_.block;
  const bool later = std::ranges::any_of(*behind_, [&](const SeenCommit& seen) { return seen.position > at_; });
  if (verdict == CommitVerdict::malformed) {
    found(Finding::commit_malformed, at_, frame_.end, expected_, {}, to_string(verdict));
  } else if (verdict == CommitVerdict::torn || verdict == CommitVerdict::valid || later) {
    const char* what = verdict == CommitVerdict::valid ? "a commit that does not follow" : to_string(verdict);
    found(Finding::newest_torn_tail, at_, frame_.end, expected_, {}, what);
  } else if (empty) {
    found(Finding::newest_empty, at_, at_, {}, {}, "");
  } else if (at_ == frame_.end) {
    found(Finding::newest_full, at_, at_, {}, {}, "");
  } else {
    found(Finding::newest_clean_end, at_, at_, {}, {}, "");
  }
  return Step::end;
}

SegmentReplay::Step SegmentReplay::at_named_end() {
  if (expected_ - 1 != named_->sequence || hash_ != named_->hash) {
    found(Finding::predecessor_differs, at_, at_, {}, {}, "its last commit is not the one its successor names");
    return Step::end;
  }
  if (whole_) found(Finding::sealed_whole, {}, at_, {}, {}, "");
  SegmentFrame file = frame_;
  file.end = FilePosition(std::min<uint64_t>(header_.segment_bytes, reader_.file_bytes()));
  if (read_commit(reader_, file, at_, commit_) == CommitVerdict::valid) {
    found(Finding::sealed_excess, at_, commit_.end(), {}, {}, "");
  }
  return Step::end;
}

// Commits that counted are missing at at_: names them and goes on with the first one behind that is whole.
SegmentReplay::Step SegmentReplay::across_hole(CommitVerdict verdict) {
  whole_ = false;
  replay_.missing();
  look_behind(at_);
  const auto resume = std::ranges::find_if(
      *behind_, [&](const SeenCommit& seen) { return seen.sequence > expected_ && seen.position >= at_; });
  const bool any = resume != behind_->end();
  const FilePosition end = any ? resume->position : named_ ? named_->position : frame_.end;
  const CommitSequence last = any ? resume->sequence - 1 : named_ ? named_->sequence : CommitSequence{};
  const std::string detail =
      std::string(to_string(verdict)) + " where commit " + std::to_string(expected_.value) + " should be";
  found(named_ ? Finding::sealed_hole : Finding::newest_hole, at_, end, expected_, last, detail);
  if (verdict == CommitVerdict::malformed)
    found(Finding::commit_malformed, at_, end, expected_, {}, to_string(verdict));
  if (!any) {
    at_ = frame_.end;
    return Step::end;
  }
  at_ = resume->position;
  expected_ = resume->sequence;
  hash_ = resume->previous_hash;
  return Step::go_on;
}

// Does a commit behind say that `sequence` was durable?
bool SegmentReplay::counted(FilePosition behind, CommitSequence sequence) {
  look_behind(behind);
  if (mutated(Mutation::take_damage_for_tail)) return false;
  return std::ranges::any_of(
      *behind_, [&](const SeenCommit& seen) { return seen.position >= behind && seen.durable >= sequence; });
}

void SegmentReplay::look_behind(FilePosition from) {
  if (!behind_) behind_ = survey(reader_, frame_, FilePosition(round_up(from.value, frame_.block)));
}

void SegmentReplay::found(Finding finding, FilePosition begin, FilePosition end, CommitSequence first,
                          CommitSequence last, std::string detail) {
  report_({finding, reader_.slot(), SegmentNumber(header_.number), begin, end, first, last, std::move(detail)});
}

}  // namespace penstock
