// Looking up and fetching durable batches.
#include <algorithm>

#include "storage/log_impl.h"

namespace penstock {

namespace {

Log::LookUp look_up_of(SealedIndex::Verdict verdict) {
  switch (verdict) {
    case SealedIndex::Verdict::found:
      return Log::LookUp::found;
    case SealedIndex::Verdict::none:
      return Log::LookUp::none;
    case SealedIndex::Verdict::reading:
      return Log::LookUp::reading;
    case SealedIndex::Verdict::busy:
      return Log::LookUp::busy;
    case SealedIndex::Verdict::damaged:
      break;
  }
  return Log::LookUp::damaged;
}

}  // namespace

Log::LookUp Log::Impl::stored(const std::optional<IndexEntry>& entry, StoredBatch& batch) {
  if (!entry) return LookUp::none;
  batch = {.base_offset = entry->base_offset,
           .next_offset = entry->next_offset(),
           .max_timestamp = entry->max_timestamp,
           .length = entry->bytes,
           .place = *entry};
  return LookUp::found;
}

// What comes first in the order of offsets: `here`, of the segments in memory, or what ask(entry) finds in the others. No
// footer knows of what lies beyond the partition's end.
template <class Ask>
Log::LookUp Log::Impl::earlier_of(std::optional<IndexEntry> here, Offset end, Ask&& ask, StoredBatch& batch) {
  IndexEntry there;
  const LookUp verdict = look_up_of(ask(there));
  if (verdict != LookUp::found && verdict != LookUp::none) return verdict;
  if (verdict == LookUp::found && there.next_offset() > end) return LookUp::damaged;
  if (verdict == LookUp::found && (!here || there.base_offset < here->base_offset)) here = there;
  return stored(here, batch);
}

Log::LookUp Log::find(PartitionSlot slot, Offset offset, uint64_t token, StoredBatch& batch) {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return LookUp::none;
  const PartitionState& state = partition->state;
  const Offset from = std::max(offset, state.log_start);
  if (from >= state.durable) return LookUp::none;
  const auto here = impl_->index.find(state.number, from, Impl::durable_range(state));
  if (here && here->base_offset <= from) return Impl::stored(here, batch);
  return impl_->earlier_of(
      here, state.durable, [&](IndexEntry& there) { return impl_->sealed.find(state.number, from, token, there); }, batch);
}

Log::LookUp Log::find_time(PartitionSlot slot, Milliseconds timestamp, uint64_t token, StoredBatch& batch) {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return LookUp::none;
  const PartitionState& state = partition->state;
  const auto here = impl_->index.find_time(state.number, timestamp, Impl::durable_range(state));
  return impl_->earlier_of(
      here, state.durable,
      [&](IndexEntry& there) {
        return impl_->sealed.find_time(state.number, timestamp, state.log_start, token, there);
      },
      batch);
}

Log::LookUp Log::find_max_timestamp(PartitionSlot slot, uint64_t token, StoredBatch& batch) {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return LookUp::none;
  const PartitionState& state = partition->state;
  const auto here = impl_->index.find_max_timestamp(state.number, Impl::durable_range(state));
  // The largest there ever was: before this there can only be another one as large.
  if (here && here->max_timestamp >= partition->max_timestamp) {
    return find_time(slot, partition->max_timestamp, token, batch);
  }
  IndexEntry there;
  const LookUp sealed = look_up_of(
      impl_->sealed.find_max_timestamp(state.number, partition->max_timestamp, state.log_start, token, there));
  if (sealed != LookUp::found && sealed != LookUp::none) return sealed;
  if (sealed == LookUp::found && there.next_offset() > state.durable) return LookUp::damaged;
  const bool of_sealed = sealed == LookUp::found && (!here || there.max_timestamp > here->max_timestamp ||
                                                     (there.max_timestamp == here->max_timestamp &&
                                                      there.base_offset < here->base_offset));
  return Impl::stored(of_sealed ? there : here, batch);
}

// The oldest stretch of a partition from `from` on: then it is in `oldest`, until that is empty there is none. Sealed
// segments don't change, so their stretches are looked up once.
Log::LookUp Log::Impl::oldest_stretch(Partition& partition, Offset from) {
  std::optional<LogIndex::Stretch>& known = partition.oldest;
  if (known && known->end > from && known->segment != indexed_segment) return LookUp::found;
  known.reset();
  if (from >= partition.state.durable) return LookUp::none;
  const PartitionNumber number = partition.state.number;
  known = index.oldest_stretch(number, from);
  if (known && known->begin <= from) return LookUp::found;
  LogIndex::Stretch there;
  const LookUp verdict = look_up_of(sealed.oldest_stretch(number, from, retention_token, there));
  if (verdict == LookUp::found && (!known || there.end < known->end)) known = there;
  const bool blocked = verdict != LookUp::found && verdict != LookUp::none;
  if (blocked) known.reset();
  return blocked ? verdict : known ? LookUp::found : LookUp::none;
}

Log::FetchVerdict Log::fetch(PartitionSlot slot, const StoredBatch& batch, uint64_t token, PiecePool& pool,
                             PieceList& to) {
  const Impl::Partition* partition = impl_->find(slot);
  const IndexEntry* entry = &batch.place;
  const Impl::LiveSegment* segment = impl_->live(entry->segment);
  // Deleted or released since it was found.
  if (partition == nullptr || partition->state.number != entry->partition || segment == nullptr) {
    return FetchVerdict::damaged;
  }
  if (const auto name = impl_->resident.find(entry->segment, entry->commit)) {
    if (!impl_->fetch_resident(*entry, *name, pool, to)) return FetchVerdict::busy;
    ++impl_->statistics.resident_hits;
    return FetchVerdict::ready;
  }
  const FilePosition file_end(segment->anew ? 0 : impl_->segment_bytes);
  const FetchVerdict verdict = impl_->reader.fetch(*entry, segment->slot, file_end, token, pool, to);
  return verdict == FetchVerdict::busy && impl_->room_comes() ? FetchVerdict::soon : verdict;
}

// False: not enough pieces in the pool.
bool Log::Impl::fetch_resident(const IndexEntry& entry, ResidentCommits::Name name, PiecePool& pool, PieceList& to) {
  const auto each_piece = [&](auto&& visit) {
    if (entry.direct) return resident.for_each_piece(name, entry.first_position, entry.bytes, visit);
    resident.for_each_run(name, entry.ordinal, [&](const disk::Run& run) {
      resident.for_each_piece(name, run.position, run.length, visit);
    });
  };
  size_t pieces = 0;
  each_piece([&](const Piece&) { ++pieces; });
  if (pool.free_count() < pieces / PieceChunk::capacity + 1) return false;
  each_piece([&](const Piece& piece) {
    memory.buffers->hold(piece.buffer, Holder::send);
    check(to.push_back(pool, piece), "piece pool ran dry within a batch");
  });
  return true;
}

std::span<const uint64_t> Log::reads_done() {
  Bounded<uint64_t>& done = impl_->reads_done;
  done.clear();
  for (const uint64_t token : impl_->reader.done()) done.push_back(token);
  for (const uint64_t token : impl_->sealed.cache().done()) {
    if (token != Impl::retention_token) done.push_back(token);
  }
  return done.all();
}

void Log::forget_reads_done() {
  impl_->reader.forget_done();
  impl_->sealed.cache().forget_done();
}

void Log::cancel_read(uint64_t token) {
  impl_->reader.cancel(token);
  impl_->sealed.cancel(token);
}

const Log::Impl::LiveSegment* Log::Impl::live(SegmentNumber segment) const {
  const auto found = std::ranges::lower_bound(segments, segment, {}, &LiveSegment::number);
  return found != segments.end() && found->number == segment ? &*found : nullptr;
}

void Log::Impl::remember_slot(SegmentNumber segment, SegmentSlot slot, bool anew, bool unknown_entries) {
  segments.push_back({segment, slot, anew, unknown_entries});
  newest_known = segment;
  statistics.segments = segments.size();
}

}  // namespace penstock
