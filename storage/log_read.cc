// Looking up and fetching durable batches.
#include <algorithm>

#include "storage/log_impl.h"

namespace penstock {

std::optional<StoredBatch> Log::Impl::stored(const std::optional<IndexEntry>& entry) const {
  if (!entry) return std::nullopt;
  return StoredBatch{.base_offset = entry->base_offset,
                     .next_offset = entry->next_offset(),
                     .max_timestamp = entry->max_timestamp,
                     .length = entry->bytes,
                     .reference = entry->reference};
}

std::optional<StoredBatch> Log::find(PartitionSlot slot, Offset offset) const {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return std::nullopt;
  const PartitionState& state = partition->state;
  return impl_->stored(impl_->index.find(state.number, offset, Impl::durable_range(state)));
}

std::optional<StoredBatch> Log::find_time(PartitionSlot slot, Milliseconds timestamp) const {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return std::nullopt;
  const PartitionState& state = partition->state;
  return impl_->stored(impl_->index.find_time(state.number, timestamp, Impl::durable_range(state)));
}

std::optional<StoredBatch> Log::find_max_timestamp(PartitionSlot slot) const {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return std::nullopt;
  const PartitionState& state = partition->state;
  return impl_->stored(impl_->index.find_max_timestamp(state.number, Impl::durable_range(state)));
}

Log::FetchVerdict Log::fetch(PartitionSlot slot, const StoredBatch& batch, uint64_t token, PiecePool& pool,
                             PieceList& to) {
  const Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return FetchVerdict::damaged;  // deleted since it was found
  const auto entry = impl_->index.at(batch.reference, partition->state.number, batch.base_offset);
  if (!entry) return FetchVerdict::damaged;
  if (const auto name = impl_->resident.find(entry->segment, entry->commit)) {
    if (!impl_->fetch_resident(*entry, *name, pool, to)) return FetchVerdict::busy;
    ++impl_->statistics.resident_hits;
    return FetchVerdict::ready;
  }
  const FetchVerdict verdict = impl_->reader.fetch(*entry, impl_->slot_of(entry->segment), token, pool, to);
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

std::span<const uint64_t> Log::reads_done() const { return impl_->reader.done(); }

void Log::forget_reads_done() { impl_->reader.forget_done(); }

void Log::cancel_read(uint64_t token) { impl_->reader.cancel(token); }

SegmentSlot Log::Impl::slot_of(SegmentNumber segment) const {
  const auto found = std::ranges::lower_bound(segments, segment, {}, &LiveSegment::number);
  check(found != segments.end() && found->number == segment, "segment without a slot",
        static_cast<long long>(segment.value));
  return found->slot;
}

void Log::Impl::remember_slot(SegmentNumber segment, SegmentSlot slot, bool anew, bool unknown_entries) {
  segments.push_back({segment, slot, anew, unknown_entries});
  newest_known = segment;
  statistics.segments = segments.size();
}

}  // namespace penstock
