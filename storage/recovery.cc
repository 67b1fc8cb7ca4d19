#include "storage/recovery.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "dataplane/base/check.h"
#include "storage/footer.h"
#include "storage/replay.h"
#include "storage/segment_replay.h"
#include "storage/segment_scan.h"

namespace penstock {

namespace {

// ---- The truth table ------------------------------------------------------------------------------------------------
//
// Everything recovery can meet, what it means, and why. One test per row: tests/storage/recovery_test.cc.
//
// Two principles decide. What was acknowledged was durable, and what was durable is claimed so by something written
// later: a successor's header, or a commit with a higher durable_sequence. So whatever is missing *below* a claim is
// damage: the log says so, names it, gives what is left, and is not written to, for a person must decide. Whatever is
// missing above every claim was never acknowledged to anyone who could know: the log ends before it. The last commits
// before a power loss may have been acknowledged with no later claim on the drive; the drive kept them, since they were
// durable, and if it loses them none of us can know.

struct Rule {
  Finding finding;
  Consequence consequence;
  const char* text;
};

constexpr Rule rules[] = {
    // ---- what a slot holds ----

    // The file is too short for a header. A crash while the slot was being prepared: nothing was ever in it.
    {Finding::slot_unprepared, Consequence::in_order, "not prepared"},

    // The first sector is zeros. Prepared and never used, or released: a released slot's header is zeroed before
    // anything else in it is touched, and the rest stays. What lies behind is void in either case.
    {Finding::slot_prepared, Consequence::in_order, "prepared, not used"},

    // The header is unreadable and no commit behind it is missed. A crash while the header was written: it becomes
    // durable before its first commit counts, so this segment never did. Behind it may lie commits of the segment that
    // was released from the slot, also when the oldest segment names that one: all below their partitions' log starts.
    {Finding::slot_torn_header, Consequence::note, "incomplete segment header; the segment never counted"},

    // The drive refused to read bytes of the slot that recovery needed. They count as missing; but a drive that fails
    // to read is not one to write on without being asked.
    {Finding::slot_unreadable, Consequence::read_only, "the drive cannot read it"},

    // Written by a later Penstock. Its commits may well be ours, and the slot must not be reused.
    {Finding::slot_unknown_version, Consequence::read_only, "written in a format this version does not know"},

    // Directories were mixed up. The segment is somebody's data, and ours may be elsewhere.
    {Finding::slot_other_lane, Consequence::read_only, "belongs to another lane"},

    // The header is whole and says what cannot be: a defect of the writer.
    {Finding::slot_bad_geometry, Consequence::read_only, "segment header with impossible values"},

    // Slots are written whole before they are used, so no crash makes one shorter. Somebody cut it.
    {Finding::slot_short_file, Consequence::read_only, "the file is shorter than its segment"},

    // The directory moved to a drive with another block. Old segments are read with theirs, new ones get the drive's.
    {Finding::slot_other_block, Consequence::note, "written with another block size"},

    // ---- how segments follow each other ----

    // The oldest segment names no predecessor: the log begins here, and so does every partition.
    {Finding::chain_begins, Consequence::in_order, "the log begins"},

    // The oldest segment names a predecessor that is not there: it was released.
    {Finding::chain_continues_released, Consequence::in_order, "older segments were released"},

    // A segment names a predecessor that is not there, while older ones are. Segments are released oldest first, so it
    // was lost, unless nothing had been written to it (two crashes in a row): then the chain of hashes goes on across
    // it, and nobody misses it.
    {Finding::segment_missing, Consequence::read_only, "segments before it are missing"},
    {Finding::segment_missing_empty, Consequence::note, "the segment before it is missing, and was empty"},

    // Newer than the predecessor a segment names, older than itself: after a write error the segments begun since the
    // durable end were given up, and the next one names the segment of the durable end. The header of this one reached
    // the drive all the same. Void.
    {Finding::segment_given_up, Consequence::note, "given up after a write error; void"},

    // The same, but its commits claim each other durable: it counted once, and is no part of this log. Files of two
    // logs, or one from a backup.
    {Finding::segment_beside_counted, Consequence::read_only, "counted once, and is not part of this log"},

    // A slot without a header holds commits that counted: of a segment that its successor names, or such as are newer
    // than all others and claimed durable. The header was damaged after it was written.
    {Finding::segment_header_lost, Consequence::read_only, "the header of a segment that counted is damaged"},

    // A segment and its successor disagree about where the chain of hashes goes on, though both are whole: files of
    // two logs, or one from a backup.
    {Finding::predecessor_differs, Consequence::read_only, "does not fit its successor"},

    // Two slots carry the same segment number. A header write may have failed and reached the drive all the same, and
    // the segment was begun again in another slot: the one without commits, or not named by the successor, is void.
    {Finding::number_twice_unused, Consequence::note, "segment number in use by another slot; this one is void"},

    // Two slots with the same number and the same id: somebody copied a file. The longer one counts, the other is left.
    {Finding::number_twice_copy, Consequence::note, "copy of another slot; the longer one counts"},

    // Two newest segments with commits in both: two histories. The longer one is shown, nothing is written.
    {Finding::number_twice_both_used, Consequence::read_only, "two slots hold different segments of this number"},

    // ---- how a segment ends ----

    // A sealed segment verifies up to the end its successor names.
    {Finding::sealed_whole, Consequence::in_order, "whole"},

    // A commit below the named end is missing. The successor was written after all of them were durable: damage.
    // Recovery goes on with the next whole commit, so that the rest can be read.
    {Finding::sealed_hole, Consequence::read_only, "commits are damaged or missing below its end"},

    // Whole commits beyond the named end are void: their write failed or nobody knew of it, and they were written
    // again in the successor or dropped with their sequence numbers.
    {Finding::sealed_excess, Consequence::in_order, "commits beyond its end are void"},

    // Its footer is whole, as far as it was looked at, and speaks of the end its successor names: taken in its place.
    // Whether the rest of it and the segment's commits are whole too is seen when they are read, or by verification.
    {Finding::footer_read, Consequence::in_order, "its footer is whole; taken in its place"},

    // No footer of this segment lies behind its end. A crash before it was written, no room or no time for one, or an
    // older Penstock. The segment is read.
    {Finding::footer_absent, Consequence::in_order, "it has no footer; read whole"},

    // A footer that is not whole: its head may have been torn by a crash; its rows were durable before, so there it is
    // damage, but to nothing that cannot be read from the segment. The same if it speaks of another end.
    {Finding::footer_damaged, Consequence::note, "its footer is damaged; read whole"},

    // Written by a later Penstock, which reads the segment's commits as we do.
    {Finding::footer_unknown_version, Consequence::note,
     "its footer is in a format this version does not know; read whole"},

    // The directory moved to a drive with a larger block, on which the footer's blocks cannot be read directly.
    {Finding::footer_other_block, Consequence::note, "its footer does not fit this drive's block; read whole"},

    // The newest segment has no commits: a crash soon after a start, or two in a row. It ends where it begins.
    {Finding::newest_empty, Consequence::in_order, "no commits"},

    // The newest segment is written up to the last block.
    {Finding::newest_full, Consequence::in_order, "full"},

    // Behind the last commit lie zeros, or commits of what was in the slot before: another segment id never counts.
    {Finding::newest_clean_end, Consequence::in_order, "ends cleanly"},

    // A commit is incomplete, or whole commits lie behind a gap, since commits finish in any order. Nothing claims that
    // the missing one was durable, so nobody was told it was: the log ends before it.
    {Finding::newest_torn_tail, Consequence::note, "the log ends before an incomplete write"},

    // The same, but a later commit of the segment claims the missing one durable: damage, not a tail.
    {Finding::newest_hole, Consequence::read_only, "commits that were durable are damaged or missing"},

    // ---- within a commit ----

    // The header is whole and ours, but its entries contradict it. No crash does that; a defect of the writer does.
    {Finding::commit_malformed, Consequence::read_only, "a commit contradicts itself"},

    // The last commit's header reached the drive and some of its payload did not. As newest_torn_tail.
    {Finding::payload_torn, Consequence::note, "the log ends before a commit whose payload is incomplete"},

    // Bytes of a batch changed after they were durable. That batch is lost, by name; its neighbours are not.
    {Finding::payload_damaged, Consequence::read_only, "batches that were durable are damaged"},

    // A later version wrote entries of a kind that this one may skip: unknown kinds never change what others mean.
    {Finding::entry_unknown, Consequence::note, "entries of an unknown kind, skipped"},
};

constexpr bool rules_are_complete() {
  for (size_t i = 0; i < std::size(rules); ++i) {
    if (static_cast<size_t>(rules[i].finding) != i) return false;
  }
  return std::size(rules) == static_cast<size_t>(Finding::count);
}
static_assert(rules_are_complete(), "one row for each finding, in order");

}  // namespace

const char* to_string(Finding finding) { return rules[static_cast<size_t>(finding)].text; }
Consequence consequence_of(Finding finding) { return rules[static_cast<size_t>(finding)].consequence; }

namespace {

struct Candidate {
  SegmentSlot slot{};
  disk::SegmentHeader header{};
};

class Recovery {
 public:
  Recovery(SegmentFiles& files, const RecoveryOptions& options, LogIndex& index, ProducerTable& producers)
      : files_(files), options_(options), reader_(files), replay_(index, producers) {}

  RecoveredLog run() {
    read_slots();
    settle_numbers();
    take_path();
    if (options_.use_footers) find_footers();
    for (size_t i = 0; i < candidates_.size(); ++i) {
      follow(i);
      replay_segment(i);
    }
    look_for_lost_headers();
    log_.bytes_read = reader_.bytes_read();
    replay_.finish(log_, last());
    return std::move(log_);
  }

 private:
  void read_slots();
  void read_slot(SegmentSlot slot);
  void settle_numbers();
  void settle(std::vector<Candidate> rivals);
  void take_path();
  void leave_beside(const Candidate& candidate, Finding harmless);
  std::vector<SeenCommit> commits_of(const Candidate& candidate);
  CommitSequence length_of(const Candidate& candidate);
  void follow(size_t i);
  void find_footers();
  bool look_at_footer(size_t i);
  void replay_segment(size_t i);
  bool pass_over(size_t i);
  static SegmentEnd segment_end(const Candidate& candidate, const NamedEnd& end);
  void look_for_lost_headers();
  void leave_blank(SegmentSlot slot, Finding finding);
  bool begins_with_new_commit(SegmentSlot slot);
  bool holds_lost_segment(SegmentSlot slot, bool may_be_predecessor);
  CommitSequence last() const { return log_.segments.empty() ? CommitSequence{} : log_.segments.back().last_sequence; }
  std::optional<NamedEnd> named_end(size_t i) const;
  void found(Found what);
  void found(Finding finding, const Candidate& candidate, std::string detail = "");
  bool is_missing_predecessor(uint64_t id) const;
  bool is_missed(const SeenCommit& seen);

  SegmentFiles& files_;
  const RecoveryOptions options_;
  SegmentReader reader_;
  Replay replay_;
  RecoveredLog log_;
  std::vector<Candidate> candidates_;    // by number, each number once
  std::vector<bool> footers_;  // by candidate: its footer is taken in place of its commits
  std::optional<size_t> newest_footer_;
  std::vector<SegmentSlot> headerless_;  // slots with something that is no header
  std::vector<SegmentSlot> blank_;       // slots with zeros for a header
};

void Recovery::read_slots() {
  log_.slots.assign(files_.slot_count(), SlotUse::unused);
  for (uint32_t slot = 0; slot < files_.slot_count(); ++slot) read_slot(SegmentSlot(slot));
}

void Recovery::read_slot(SegmentSlot slot) {
  Candidate candidate{slot, {}};
  disk::SegmentHeader& header = candidate.header;
  SlotUse& use = log_.slots[slot.value];
  reader_.open(slot);
  const HeaderVerdict verdict = read_segment_header(reader_, header);
  if (verdict != HeaderVerdict::valid && reader_.unreadable(FilePosition(0))) {
    // Its commits may be whole; they are looked for like those behind a damaged header.
    use = SlotUse::keep;
    headerless_.push_back(slot);
    return found({.finding = Finding::slot_unreadable, .slot = slot});
  }
  switch (verdict) {
    case HeaderVerdict::absent:
      return found({.finding = Finding::slot_unprepared, .slot = slot});
    case HeaderVerdict::zeros:
      blank_.push_back(slot);
      return;
    case HeaderVerdict::garbage:
      headerless_.push_back(slot);
      return;
    case HeaderVerdict::unknown_version:
      use = SlotUse::keep;
      return found({.finding = Finding::slot_unknown_version, .slot = slot});
    case HeaderVerdict::bad_geometry:
      use = SlotUse::keep;
      return found(Finding::slot_bad_geometry, candidate);
    case HeaderVerdict::valid:
      break;
  }
  use = SlotUse::keep;
  if (header.lane != options_.lane) {
    return found(Finding::slot_other_lane, candidate, "lane " + std::to_string(header.lane));
  }
  log_.term_highest = std::max<uint64_t>(log_.term_highest, header.term);
  if (reader_.file_bytes() < header.segment_bytes) found(Finding::slot_short_file, candidate);
  if (header.block != options_.block) {
    found(Finding::slot_other_block, candidate, std::to_string(header.block) + " bytes");
  }
  candidates_.push_back(candidate);
}

// ---- one slot per number ----

void Recovery::settle_numbers() {
  std::map<uint64_t, std::vector<Candidate>, std::greater<>> by_number;  // newest first: successors settle before
  for (const Candidate& candidate : std::exchange(candidates_, {}))
    by_number[candidate.header.number].push_back(candidate);
  for (auto& [number, rivals] : by_number) settle(std::move(rivals));
}

void Recovery::settle(std::vector<Candidate> rivals) {
  const auto rank = [&](const Candidate& candidate) {
    const bool named = std::ranges::any_of(candidates_, [&](const Candidate& newer) {
      return newer.header.predecessor_number == candidate.header.number &&
             newer.header.predecessor_id == candidate.header.segment_id;
    });
    return std::pair(named, rivals.size() > 1 ? length_of(candidate) : CommitSequence{});
  };
  size_t best = 0;
  for (size_t i = 1; i < rivals.size(); ++i) {
    if (rank(rivals[i]) > rank(rivals[best])) best = i;
  }
  const Candidate chosen = rivals[best];
  const bool named = rank(chosen).first;
  rivals.erase(rivals.begin() + static_cast<ptrdiff_t>(best));
  for (const Candidate& other : rivals) {
    const bool has_commits = length_of(other) > CommitSequence(other.header.predecessor_sequence);
    if (other.header.segment_id == chosen.header.segment_id) {
      found(Finding::number_twice_copy, other);
    } else if (has_commits && !named) {
      found(Finding::number_twice_both_used, other);
    } else {
      leave_beside(other, Finding::number_twice_unused);
    }
  }
  candidates_.push_back(chosen);
}

// The highest sequence of a segment's whole commits, of its predecessor when it has none.
CommitSequence Recovery::length_of(const Candidate& candidate) {
  CommitSequence highest(candidate.header.predecessor_sequence);
  for (const SeenCommit& seen : commits_of(candidate)) highest = std::max(highest, seen.sequence);
  return highest;
}

std::vector<SeenCommit> Recovery::commits_of(const Candidate& candidate) {
  const disk::SegmentHeader& header = candidate.header;
  reader_.open(candidate.slot);
  const uint64_t bytes = std::min<uint64_t>(header.segment_bytes, reader_.file_bytes());
  const SegmentFrame frame{.id = header.segment_id,
                           .term = header.term,
                           .block = header.block,
                           .end = FilePosition(round_down(bytes, header.block))};
  return survey(reader_, frame, FilePosition(header.block.get()));
}

// ---- from the newest segment to its predecessor, and so on ----

// Keeps of the candidates (newest first) those on the path, and turns them round.
void Recovery::take_path() {
  std::vector<Candidate> path;
  for (const Candidate& candidate : candidates_) {
    if (!path.empty() && candidate.header.number > path.back().header.predecessor_number) {
      leave_beside(candidate, Finding::segment_given_up);
      continue;
    }
    path.push_back(candidate);
    log_.slots[candidate.slot.value] = SlotUse::segment;
  }
  std::ranges::reverse(path);
  candidates_ = std::move(path);
}

// A segment that is not part of the log: void, unless its commits say that it counted.
void Recovery::leave_beside(const Candidate& candidate, Finding harmless) {
  const auto seen = commits_of(candidate);
  const bool counted = std::ranges::any_of(
      seen, [&](const SeenCommit& commit) { return commit.durable.value > candidate.header.predecessor_sequence; });
  if (!counted) {
    log_.slots[candidate.slot.value] = SlotUse::unused;
    log_.void_slots.push_back(candidate.slot);
  }
  found(counted ? Finding::segment_beside_counted : harmless, candidate);
}

// ---- one segment after the other ----

// How segment i follows the one before it.
void Recovery::follow(size_t i) {
  const Candidate& candidate = candidates_[i];
  const disk::SegmentHeader& header = candidate.header;
  if (i == 0) {
    if (header.predecessor_number == 0) return found(Finding::chain_begins, candidate);
    // A damaged header of the predecessor is told from a released one by look_for_lost_headers().
    return found(Finding::chain_continues_released, candidate);
  }
  const RecoveredSegment& before = log_.segments.back();
  if (header.predecessor_number == before.number.value) {
    if (header.predecessor_id != before.id) {
      replay_.missing();
      found(Finding::predecessor_differs, candidate, "it names a predecessor of another id");
    }
    return;
  }
  const bool chain_goes_on =
      header.predecessor_sequence == before.last_sequence.value && header.predecessor_hash == before.last_hash;
  if (chain_goes_on) return found(Finding::segment_missing_empty, candidate);
  replay_.missing();
  found({.finding = Finding::segment_missing,
         .slot = candidate.slot,
         .segment = SegmentNumber(header.number),
         .first = before.last_sequence + 1,
         .last = CommitSequence(header.predecessor_sequence)});
}

// Which segments need not be read. Of most footers the head is all that is looked at; of those whose successor is read,
// how partitions stood, for what the successor says counts from there; and of the newest also what producers had sent.
void Recovery::find_footers() {
  footers_.resize(candidates_.size());
  for (size_t i = candidates_.size(); i-- > 0;) {
    if (look_at_footer(i) && !newest_footer_) newest_footer_ = i;
  }
}

bool Recovery::look_at_footer(size_t i) {
  const Candidate& candidate = candidates_[i];
  const std::optional<NamedEnd> end = named_end(i);
  if (!end) return false;
  reader_.open(candidate.slot);
  FooterReader footer(reader_, segment_end(candidate, *end));
  const FooterReader::Verdict verdict = footer.open();
  if (verdict == FooterReader::Verdict::absent) return found(Finding::footer_absent, candidate), false;
  if (verdict == FooterReader::Verdict::unknown_version) {
    found(Finding::footer_unknown_version, candidate, "version " + std::to_string(footer.version()));
    return false;
  }
  bool whole = verdict == FooterReader::Verdict::whole;
  if (whole && !reads_directly(footer.sealed(), options_.block)) {
    return found(Finding::footer_other_block, candidate), false;
  }
  if (whole && !footers_[i + 1]) {
    std::vector<disk::FooterPartition> partitions;
    std::vector<disk::FooterProducer> producers;
    whole = footer.read(partitions) && (newest_footer_ || footer.read(producers));
  }
  if (!whole) {
    const bool differs = verdict == FooterReader::Verdict::differs;
    found(Finding::footer_damaged, candidate, differs ? "it speaks of another end" : "");
    return false;
  }
  found(Finding::footer_read, candidate);
  footers_[i] = true;
  return true;
}

SegmentEnd Recovery::segment_end(const Candidate& candidate, const NamedEnd& end) {
  return {.number = SegmentNumber(candidate.header.number),
          .slot = candidate.slot,
          .id = candidate.header.segment_id,
          .position = end.position,
          .sequence = end.sequence,
          .hash = end.hash};
}

void Recovery::replay_segment(size_t i) {
  const Candidate& candidate = candidates_[i];
  reader_.open(candidate.slot);
  const bool from_the_start = i == 0 && candidate.header.predecessor_number == 0;
  if (!footers_.empty() && footers_[i] && pass_over(i)) return;
  replay_.begin_segment(SegmentNumber(candidate.header.number), from_the_start);
  SegmentReplay replay(reader_, candidate.header, named_end(i), options_.verify_sealed_payload, replay_,
                       [this](Found what) { found(std::move(what)); });
  log_.segments.push_back(replay.run());
  if (reader_.unreadable_bytes() > 0) {
    found(Finding::slot_unreadable, candidate, std::to_string(reader_.unreadable_bytes()) + " bytes");
  }
}

// In place of its commits. False: it cannot be read now.
bool Recovery::pass_over(size_t i) {
  const Candidate& candidate = candidates_[i];
  const disk::SegmentHeader& header = candidate.header;
  const NamedEnd end = *named_end(i);
  FooterReader footer(reader_, segment_end(candidate, end));
  std::vector<disk::FooterPartition> partitions;
  std::vector<disk::FooterProducer> producers;
  std::vector<disk::FooterBatch> batches;
  bool whole = footer.open() == FooterReader::Verdict::whole;
  const bool first = !log_.segments.empty() &&
                     std::ranges::none_of(log_.segments, [](const RecoveredSegment& each) { return each.footer.has_value(); });
  if (whole && (first || !footers_[i + 1])) whole = footer.read(partitions);
  if (whole && newest_footer_ == i) whole = footer.read(producers);
  if (whole && (first || !replay_.complete())) whole = footer.read(batches);
  if (!whole) {
    footers_[i] = false;
    return found(Finding::footer_damaged, candidate), false;
  }
  replay_.pass_over(SegmentNumber(header.number), footer.batch_count(),
                    end.sequence.value - header.predecessor_sequence, i == 0 && header.predecessor_number == 0);
  if (first) replay_.count_on(partitions, batches);
  if (!replay_.complete()) replay_.compare(batches);
  if (!footers_[i + 1]) replay_.stand(partitions);
  if (newest_footer_ == i) replay_.stand(producers);
  log_.segments.push_back({.number = SegmentNumber(header.number),
                           .slot = candidate.slot,
                           .id = header.segment_id,
                           .term = header.term,
                           .block = header.block,
                           .bytes = header.segment_bytes,
                           .end = end.position,
                           .last_sequence = end.sequence,
                           .last_hash = end.hash,
                           .max_timestamp = footer.sealed().max_timestamp,
                           .footer = footer.sealed()});
  return true;
}

// Where the successor of segment i says that it ended; nothing when i is the newest, or its successor is missing.
std::optional<NamedEnd> Recovery::named_end(size_t i) const {
  if (i + 1 == candidates_.size()) return std::nullopt;
  const disk::SegmentHeader& next = candidates_[i + 1].header;
  const disk::SegmentHeader& here = candidates_[i].header;
  if (next.predecessor_number != here.number || next.predecessor_id != here.segment_id) return std::nullopt;
  return NamedEnd{FilePosition(next.predecessor_end), CommitSequence(next.predecessor_sequence), next.predecessor_hash};
}

// Slots without a header: did what lies in them count?
void Recovery::look_for_lost_headers() {
  for (const SegmentSlot slot : headerless_) {
    const bool kept = log_.slots[slot.value] == SlotUse::keep;  // the drive cannot read its header
    if (!holds_lost_segment(slot, true) && !kept) leave_blank(slot, Finding::slot_torn_header);
  }
  for (const SegmentSlot slot : blank_) {
    if (!begins_with_new_commit(slot) || !holds_lost_segment(slot, false)) leave_blank(slot, Finding::slot_prepared);
  }
}

// One that is shorter than every segment was never prepared, and had none.
void Recovery::leave_blank(SegmentSlot slot, Finding finding) {
  found({.finding = finding, .slot = slot});
  reader_.open(slot);
  const bool had_one = std::ranges::any_of(
      candidates_, [&](const Candidate& each) { return each.header.segment_bytes <= reader_.file_bytes(); });
  if (had_one) log_.blank_slots.push_back(slot);
}

// A quick look, where the first commit may lie: released slots hold none that is newer than the log.
bool Recovery::begins_with_new_commit(SegmentSlot slot) {
  reader_.open(slot);
  Commit commit;
  for (uint32_t block = 512; block <= SegmentReader::window_bytes; block *= 2) {
    const SegmentFrame any{.block = block, .end = FilePosition(reader_.file_bytes())};
    if (read_commit(reader_, any, FilePosition(block), commit) == CommitVerdict::valid && commit.sequence() > last()) {
      return true;
    }
  }
  return false;
}

bool Recovery::holds_lost_segment(SegmentSlot slot, bool may_be_predecessor) {
  reader_.open(slot);
  const SegmentFrame any{.block = 512, .end = FilePosition(reader_.file_bytes())};
  std::vector<SeenCommit> counted;
  const auto seen = survey(reader_, any, FilePosition(any.block));
  Commit commit;
  for (const SeenCommit& each : seen) {  // a partition may have come and gone within the segment
    const bool of_predecessor = may_be_predecessor && is_missing_predecessor(each.segment_id);
    if (of_predecessor && read_commit(reader_, any, each.position, commit) == CommitVerdict::valid) {
      replay_.delete_partitions_of(commit);
    }
  }
  for (const SeenCommit& each : seen) {
    const bool claimed = std::ranges::any_of(
        seen, [&](const SeenCommit& other) { return other.segment_id == each.segment_id && other.durable > last(); });
    const bool newer = claimed && each.sequence > last();
    if (newer || (may_be_predecessor && is_missing_predecessor(each.segment_id) && is_missed(each))) {
      counted.push_back(each);
    }
  }
  if (counted.empty()) return false;
  log_.slots[slot.value] = SlotUse::keep;
  for (const SeenCommit& lost : counted) {
    if (read_commit(reader_, any, lost.position, commit) == CommitVerdict::valid) replay_.lose(commit);
  }
  found({.finding = Finding::segment_header_lost,
         .slot = slot,
         .begin = counted.front().position,
         .end = counted.back().end,
         .first = counted.front().sequence,
         .last = counted.back().sequence});
  return true;
}

bool Recovery::is_missed(const SeenCommit& seen) {
  Commit commit;
  const SegmentFrame any{.block = 512, .end = FilePosition(reader_.file_bytes())};
  return read_commit(reader_, any, seen.position, commit) == CommitVerdict::valid && replay_.misses(commit);
}

bool Recovery::is_missing_predecessor(uint64_t id) const {
  const bool named =
      std::ranges::any_of(candidates_, [&](const Candidate& c) { return c.header.predecessor_id == id; });
  const bool present = std::ranges::any_of(candidates_, [&](const Candidate& c) { return c.header.segment_id == id; });
  return named && !present;
}

void Recovery::found(Finding finding, const Candidate& candidate, std::string detail) {
  found({.finding = finding,
         .slot = candidate.slot,
         .segment = SegmentNumber(candidate.header.number),
         .detail = std::move(detail)});
}

void Recovery::found(Found what) {
  log_.read_only |= consequence_of(what.finding) == Consequence::read_only;
  log_.findings.push_back(std::move(what));
}

}  // namespace

RecoveredLog recover(SegmentFiles& files, const RecoveryOptions& options, LogIndex& index, ProducerTable& producers) {
  check(index.entry_count() == 0 && producers.size() == 0, "recovery: index and producers must be empty");
  return Recovery(files, options, index, producers).run();
}

}  // namespace penstock
