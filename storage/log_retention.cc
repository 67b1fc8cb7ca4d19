// Retention: log starts that move, segments that are released.
#include <algorithm>

#include "dataplane/base/mutation.h"
#include "storage/log_impl.h"

namespace penstock {
namespace {

// Partitions looked at in a slice, each a few comparisons; and log starts noted in one, each 72 bytes of a commit.
constexpr uint32_t partitions_per_slice = 1024;
constexpr uint32_t notes_per_slice = 64;
// Deleted partitions that footers still mention, as long as the log holds something of them: 72 bytes each. Of more the
// oldest are forgotten; that they are gone the catalog says anyhow.
constexpr size_t deleted_max = 16'384;
// Rest between rounds while the drive refuses to give space.
constexpr Nanoseconds short_of_space_interval_ns = second_ns;

}  // namespace

void Log::set_retention(PartitionSlot slot, const RetentionPolicy& policy) {
  if (Impl::Partition* partition = impl_->find(slot); partition != nullptr) partition->retention = policy;
}

void Log::catalog_known() {
  Impl& log = *impl_;
  log.knows_catalog = true;
  for (auto& [number, unwanted] : log.closed) unwanted.deleted = true;
}

Deleted Log::delete_records(PartitionSlot slot, Offset before) {
  Impl::Partition* partition = impl_->find(slot);
  check(partition != nullptr, "records deleted of a partition that is not open", slot.value);
  check(before <= partition->state.durable, "records deleted that are not durable",
        static_cast<long long>(before.value), static_cast<long long>(partition->state.durable.value));
  if (before <= partition->state.log_start) return {AppendVerdict::appended, {}};
  if (state() == LogState::read_only) return {AppendVerdict::refused, {}};
  if (before > partition->start_appended && !impl_->note_log_start(slot, before, SpareSlots::Need::roll)) {
    return {AppendVerdict::busy, {}};
  }
  return {AppendVerdict::appended, partition->start_in};
}

std::optional<CommitSequence> Log::Impl::note_log_start(PartitionSlot slot, Offset start, SpareSlots::Need need) {
  Partition& partition = partitions[slot.value];
  if (writer.staged()) return std::nullopt;
  const auto commit = writer.add_note(disk::EntryKind::log_start, partition.state.number, start, slot, need);
  if (!commit) return std::nullopt;
  partition.start_appended = std::max(partition.start_appended, start);
  partition.start_in = *commit;
  return commit;
}

void Log::stop_retaining() {
  impl_->knows_catalog = impl_->retains = false;
  impl_->sealed.cancel(Impl::retention_token);
}

void Log::retain(Nanoseconds now, Milliseconds wall) {
  Impl& log = *impl_;
  Impl::Round& round = log.round;
  using Phase = Impl::Round::Phase;
  if (!log.knows_catalog) return;
  log.retains = true;
  if (round.phase == Phase::resting && now < log.next_round()) return;
  const Milliseconds time = log.clock.believe(now, wall);
  const bool notes = log.writer.healthy();
  if (!notes && !log.writer.stuck_at_start()) {
    if (round.phase == Phase::resting) log.rest(now);
    return;
  }
  switch (round.phase) {
    case Phase::resting:
      round = {.phase = Phase::deciding, .floor = log.indexed_segment, .notes = notes};
      [[fallthrough]];
    case Phase::deciding:
      if (!log.decide(time)) return;
      round.phase = Phase::noting;
      round.at = 0;
      [[fallthrough]];
    case Phase::noting:
      if (!log.note()) return;
      round.phase = Phase::waiting;
      [[fallthrough]];
    case Phase::waiting:
      if (log.writer.durable() < round.last_note && !mutated(Mutation::release_before_note)) return;
      round.phase = Phase::releasing;
      [[fallthrough]];
    case Phase::releasing:
      if (!log.release()) return;
      log.forget_closed();
      log.rest(now);
  }
}

void Log::Impl::rest(Nanoseconds now) {
  round.phase = Round::Phase::resting;
  round.rests_since = now;
}

// The drive may fill up long before the next round would be.
Nanoseconds Log::Impl::next_round() const {
  if (!round.rests_since) return 0;
  return *round.rests_since + (writer.short_of_space() ? std::min(interval_ns, short_of_space_interval_ns) : interval_ns);
}

// True: all partitions were looked at.
bool Log::Impl::decide(Milliseconds time) {
  const uint32_t end = std::min(round.at + partitions_per_slice, slots_end);
  for (round.reads = false; round.at < end; ++round.at) {
    if (!partitions[round.at].state.open) {
      round.goes_on = false;  // it was deleted
      continue;
    }
    const LookUp verdict = weigh(partitions[round.at], time);
    round.goes_on = round.reads = verdict == LookUp::reading || verdict == LookUp::busy;
    if (round.reads) return false;
    // What it keeps is not known: everything.
    if (verdict == LookUp::damaged) round.floor = segments.front().number;
  }
  return round.at == slots_end;
}

// How far its log start may move. `reading`: it is not known yet.
Log::LookUp Log::Impl::weigh(Partition& partition, Milliseconds time) {
  // What a round before has decided and had no room to note is decided again.
  if (!round.goes_on && partition.start_wanted > partition.start_appended) partition.oldest.reset();
  Offset start = round.goes_on ? partition.start_wanted : partition.start_appended;
  LookUp verdict = oldest_stretch(partition, start);
  for (; verdict == LookUp::found; verdict = oldest_stretch(partition, start)) {
    const LogIndex::Stretch& stretch = *partition.oldest;
    const uint64_t behind = partition.bytes - stretch.bytes_up_to;
    // Records without a timestamp are as old as their neighbours.
    const Milliseconds timestamp =
        stretch.max_timestamp >= 0 ? stretch.max_timestamp : segment_max_timestamp(stretch.segment);
    if (!round.notes || !has_expired(partition.retention, time, timestamp, behind)) {
      round.floor = std::min(round.floor, stretch.segment);
      break;
    }
    start = stretch.end;
  }
  partition.start_wanted = start;
  if (!round.notes && partition.newest_segment != SegmentNumber{}) {
    round.floor = std::min(round.floor, partition.newest_segment);
  }
  return verdict;
}

Milliseconds Log::Impl::segment_max_timestamp(SegmentNumber segment) const {
  return index.has_segment(segment) ? index.segment_max_timestamp(segment) : sealed.max_timestamp(segment);
}

// True: every log start that moves is noted, and of every partition something remains in the segments that stay; or there
// is no room for notes, and no segment goes.
bool Log::Impl::note() {
  const bool releases = !segments.empty() && segments.front().number < round.floor;
  const SpareSlots::Need need = releases ? SpareSlots::Need::rewrite : SpareSlots::Need::roll;
  const uint32_t end = std::min(round.at + partitions_per_slice, slots_end);
  uint32_t notes_left = notes_per_slice;
  for (; round.at < end; ++round.at) {
    Partition& partition = partitions[round.at];
    if (!partition.state.open) continue;
    const bool moves = partition.start_wanted > partition.start_appended;
    const bool last_word_goes = partition.newest_segment != SegmentNumber{} && partition.newest_segment < round.floor;
    if (moves || last_word_goes) {
      const Offset start = std::max(partition.start_wanted, partition.start_appended);
      if (notes_left-- == 0) return false;
      if (!note_log_start(PartitionSlot(round.at), start, need)) {
        // Only segments that go make room on a full drive: the next round may find some.
        return !releases && writer.short_of_space();
      }
      statistics.retention_moves += moves ? 1 : 0;
    }
    // Also what delete_records() noted, and weigh() went by.
    round.last_note = std::max(round.last_note, partition.start_in);
  }
  return round.at == slots_end;
}

// True: no segment below the floor is left.
bool Log::Impl::release() {
  if (writer.recycling()) return false;
  if (segments.empty() || segments.front().number >= round.floor) return true;
  if (writer.discard_found_blank()) return false;
  const LiveSegment oldest = segments.front();
  if (!footer.idle() && footer.segment().number == oldest.number) {
    footer.give_up();
    if (!footer.idle()) return false;
  }
  check(oldest.number < indexed_segment, "the newest segment is not released",
        static_cast<long long>(oldest.number.value));
  sealed.remove(oldest.number);
  if (!index.remove_some(oldest.number, partitions_per_slice)) return false;
  if (reader.uses(oldest.slot) || sealed.cache().uses(oldest.slot)) return false;
  writer.recycle(oldest.slot, oldest.anew);
  segments.erase(segments.begin());
  statistics.segments = segments.size();
  ++statistics.segments_released;
  count_index();
  return false;
}

// Deleted partitions of which nothing is left.
void Log::Impl::forget_closed() {
  std::erase_if(closed, [&](const auto& each) {
    return segments.empty() || each.second.newest_segment < segments.front().number;
  });
  while (closed.size() > deleted_max) closed.erase(closed.begin());
}

}  // namespace penstock
