// Filling commits and finding them a place: the half of LogWriter that appends see.
#include "storage/writer_parts.h"

namespace penstock {

// Runs attempt(OutgoingCommit&, bytes_max, copy_all) until it is staged: first in the open commit; if that is full it
// is closed and the next one opened; if the segment is full, in the next segment. An open commit always fits into the
// back segment, so that closing it never waits for space: what was appended can be written.
template <class Attempt>
bool LogWriter::fill(SpareSlots::Need need, Attempt&& attempt) {
  if (mode_ != Mode::writable || failing_ || next_place_ != open_) return false;
  if (need == SpareSlots::Need::roll && (last_room() || half_kept_back())) return false;
  if (space_refused_ && need == SpareSlots::Need::roll) {
    // A segment that notes have begun takes batches when there is one in reserve again.
    if (!spares_.available(reserve_used_ ? SpareSlots::Need::rewrite : SpareSlots::Need::roll)) return false;
    space_refused_ = reserve_used_ = false;
  }
  while (open_commit()) {
    OutgoingCommit& commit = record(open_).commit;
    const uint64_t room = room_in_segment(commit);
    const OutgoingCommit::StageVerdict verdict =
        room == 0 ? OutgoingCommit::StageVerdict::full : attempt(commit, room, false);
    if (verdict == OutgoingCommit::StageVerdict::staged) return true;
    if (verdict == OutgoingCommit::StageVerdict::no_memory) return false;
    if (!commit.empty()) {
      if (next_submit_ != open_) return false;  // one waits for the drive already
      close_open();
    } else if (!segments_.back().sealed && segments_.back().end == FilePosition(units_.block)) {
      // Not even alone in an empty segment: rounding made it too long.
      const OutgoingCommit::StageVerdict copied = attempt(commit, room, true);
      check(copied != OutgoingCommit::StageVerdict::full, "batch larger than a segment", static_cast<long long>(room));
      return copied == OutgoingCommit::StageVerdict::staged;
    } else if (footer_under_way_ && need == SpareSlots::Need::roll) {
      return false;
    } else if (!roll(SpareSlots::Need::roll)) {
      space_refused_ |= spares_.drive_full();
      if (need != SpareSlots::Need::rewrite || !space_refused_ || !roll(need)) return false;
      reserve_used_ = true;
    }
  }
  return false;
}

bool LogWriter::stage(const PieceRange& batch, uint32_t* crc) {
  return fill(SpareSlots::Need::roll, [&](OutgoingCommit& commit, uint64_t bytes_max, bool copy_all) {
    return commit.stage(batch, bytes_max, copy_all, crc);
  });
}

void LogWriter::unstage() { record(open_).commit.unstage(); }

void LogWriter::patch(uint32_t at, const void* bytes, size_t count) { record(open_).commit.patch(at, bytes, count); }

uint64_t LogWriter::staged_copied_bytes() const {
  return records_[open_.value % records_.size()]->commit.staged_copied_bytes();
}

bool LogWriter::staged() const {
  const OutgoingCommit& commit = records_[open_.value % records_.size()]->commit;
  return commit.is_open() && commit.staged();
}

CommitSequence LogWriter::add(const BatchInfo& info, PartitionSlot slot) {
  Record& open = record(open_);
  open.commit.add(info);
  open.partitions.push_back(slot);
  return open_;
}

std::optional<CommitSequence> LogWriter::add_note(disk::EntryKind kind, PartitionNumber partition, Offset offset,
                                                  PartitionSlot slot, SpareSlots::Need need) {
  const bool added = fill(need, [&](OutgoingCommit& commit, uint64_t bytes_max, bool) {
    return commit.add_note(kind, partition, offset, bytes_max);
  });
  if (!added) return std::nullopt;
  record(open_).partitions.push_back(slot);
  return open_;
}

// False: all records are in use, or no memory.
bool LogWriter::open_commit() {
  if (open_ - taken_ > records_.size()) return false;
  Record& open = record(open_);
  return open.commit.is_open() || open.commit.open();
}

void LogWriter::close_open() {
  record(open_).commit.close();
  open_ += 1;
  place_waiting();
}

// Bytes a commit may have in the back segment, with room left for the footer; 0 also when the index of that segment
// takes no further entry. A segment's first commit may be as long as the segment.
uint64_t LogWriter::room_in_segment(const OutgoingCommit& commit) const {
  const Segment& segment = segments_.back();
  if (segment.sealed || segment.entries + commit.entry_count() + 1 > index_entries_max_) return 0;
  const uint64_t left = config_.segment_bytes - segment.end.value;
  if (segment.entries + commit.entry_count() == 0) return left;
  FooterRows rows = footer_rows_;
  rows[static_cast<size_t>(disk::FooterSection::batches)] = segment.entries + commit.entry_count() + 1;
  const uint64_t footer = footer_bytes_bound(rows, units_.block);
  if (footer > limits::footer_bytes_max(config_.segment_bytes)) return left;
  return left > footer ? left - footer : 0;
}

// Places closed commits in order. Normally there is room, see fill(); while rewriting, segments may have to be waited
// for.
void LogWriter::place_waiting() {
  const bool needs_segment = mode_ == Mode::starting || mode_ == Mode::recovering;
  if (needs_segment && segments_.back().sealed && !roll(SpareSlots::Need::rewrite)) return;
  while (next_place_ < open_) {
    Record& next = record(next_place_);
    const Segment& segment = segments_.back();
    const bool fits = !segment.sealed && next.commit.bytes() <= config_.segment_bytes - segment.end.value;
    if (!fits && !roll(SpareSlots::Need::rewrite)) return;
    place(next);
  }
}

void LogWriter::place(Record& next) {
  Segment& segment = segments_.back();
  next.segment = segment.number;
  next.slot = segment.slot;
  next.position = segment.end;
  next.hash = next.commit.seal(CommitPlace{.segment_id = segment.id,
                                           .term = term_,
                                           .position = segment.end,
                                           .sequence = next_place_,
                                           .previous_hash = placed_hash_,
                                           .durable = taken_});
  next.submitted = next.written = 0;
  next.all_durable = true;
  placed_hash_ = next.hash;
  segment.end += next.commit.bytes();
  segment.entries += next.commit.entry_count();
  prefix_.add(next_place_, segment.slot);
  next_place_ += 1;
}

// The back segment ends here; a fresh one follows. False: no slot is ready.
bool LogWriter::roll(SpareSlots::Need need) {
  if (segments_.room() == 0 || !spares_.available(need)) return false;
  Segment& last = segments_.back();
  last.sealed = true;
  Segment fresh;
  fresh.slot = spares_.take(need);
  fresh.number = segment_last_ += 1;
  fresh.id = random();
  fresh.end = FilePosition(units_.block);
  fresh.predecessor = last.number;
  fresh.predecessor_id = last.id;
  fresh.predecessor_end = last.end;
  fresh.predecessor_sequence = next_place_ - 1;
  fresh.predecessor_hash = placed_hash_;
  segments_.push_back(fresh);
  return true;
}

}  // namespace penstock
