// Produce, and the drive's side of it.
#include <algorithm>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/mutation.h"
#include "storage/log_impl.h"

namespace penstock {

// ---- produce ----

std::optional<StagedBatch> Log::stage(const PieceRange& batch) {
  check(batch.size() >= disk::batch_header_bytes && batch.size() <= batch_bytes_max(), "batch of impossible length",
        static_cast<long long>(batch.size()), static_cast<long long>(batch_bytes_max()));
  impl_->writer.expect_footer(impl_->by_number.size() + impl_->closed.size(), impl_->producers.size());
  impl_->writer.footer_under_way(!impl_->footer.idle());
  StagedBatch staged{.length = static_cast<uint32_t>(batch.size())};
  if (!impl_->writer.stage(batch, &staged.crc)) return std::nullopt;
  staged.copied = impl_->writer.staged_copied_bytes() > 0;
  return staged;
}

void Log::unstage() {
  if (impl_->writer.staged()) impl_->writer.unstage();
}

void Log::patch_staged(uint32_t at, std::span<const std::byte> bytes) {
  if (impl_->writer.staged()) impl_->writer.patch(at, bytes.data(), bytes.size());
}

SequenceCheck Log::check_sequence(PartitionSlot slot, const BatchInfo& info) const {
  const Impl::Partition* partition = impl_->find(slot);
  check(partition != nullptr, "sequence check in a partition that is not open", slot.value);
  BatchInfo here = info;
  here.partition = partition->state.number;
  return impl_->producers.check(here);
}

Appended Log::append(PartitionSlot slot, const BatchInfo& info, Nanoseconds) {
  Impl::Partition* partition = impl_->find(slot);
  check(partition != nullptr, "append to a partition that is not open", slot.value);
  if (!impl_->writer.staged()) {  // given up meanwhile
    return Appended{state() == LogState::read_only ? AppendVerdict::refused : AppendVerdict::busy, {}, {}};
  }
  PartitionState& state = partition->state;
  BatchInfo entry = info;
  entry.partition = state.number;
  entry.base_offset = state.appended;
  entry.leader_epoch = state.leader_epoch;
  const Big<int64_t> base_offset(entry.base_offset.value);
  const Big<int32_t> leader_epoch(entry.leader_epoch);
  impl_->writer.patch(disk::batch_base_offset_at, &base_offset, sizeof base_offset);
  impl_->writer.patch(disk::batch_leader_epoch_at, &leader_epoch, sizeof leader_epoch);

  LogStatistics& statistics = impl_->statistics;
  statistics.payload_bytes += entry.length;
  statistics.payload_bytes_copied += impl_->writer.staged_copied_bytes();
  const CommitSequence commit = impl_->writer.add(entry, slot);
  state.appended = Offset(entry.next_offset().value - (mutated(Mutation::reuse_offset) ? 1 : 0));
  impl_->producers.appended(entry, commit);
  return Appended{AppendVerdict::appended, entry.base_offset, commit};
}

// Deletions go with the next commit that has room.
void Log::Impl::write_notes() {
  if (writer.staged()) return;
  size_t written = 0;
  while (written < notes.size() &&
         writer.add_note(notes[written].kind, notes[written].partition, notes[written].offset,
                         PartitionSlot(UINT32_MAX), SpareSlots::Need::roll)) {
    ++written;
  }
  notes.erase(notes.begin(), notes.begin() + static_cast<ptrdiff_t>(written));
}

// ---- the drive ----

const DriveRequest* Log::next_request(Nanoseconds now) {
  impl_->make_room();
  impl_->writer.footer_under_way(!impl_->footer.idle());
  if (!impl_->notes.empty()) impl_->write_notes();
  impl_->offered = Impl::Offered::write;
  if (const DriveRequest* request = impl_->writer.next_request(now)) return request;
  impl_->retire();
  if (impl_->writer.healthy()) impl_->erase_damaged_footer();
  if (!impl_->footer.idle() && impl_->writer.healthy()) {
    impl_->build_footer();
    impl_->offered = Impl::Offered::footer;
    if (const DriveRequest* request = impl_->footer.next_request()) return request;
  }
  impl_->offered = Impl::Offered::footer_read;
  if (const DriveRequest* request = impl_->sealed.cache().next_request()) return request;
  impl_->offered = Impl::Offered::read;
  return impl_->reader.next_request();
}

void Log::submitted() {
  switch (impl_->offered) {
    case Impl::Offered::write:
      return impl_->writer.submitted();
    case Impl::Offered::footer:
      return impl_->footer.submitted();
    case Impl::Offered::footer_read:
      return impl_->sealed.cache().submitted();
    case Impl::Offered::read:
      return impl_->reader.submitted();
  }
}

void Log::completed(const DriveCompletion& done, Nanoseconds now) {
  const RequestTag tag = RequestTag::unpack(done.tag);
  if (tag.kind == RequestKind::read) return impl_->reader.completed(tag.index, done.result);
  if (tag.kind == RequestKind::footer) return impl_->footer.completed(done.result);
  if (tag.kind == RequestKind::footer_read) return impl_->sealed.cache().completed(tag.index, done.result);
  impl_->writer.completed(tag, done.result, now);
  if (const auto sealed = impl_->writer.take_sealed()) impl_->begin_footer(*sealed);
  const SegmentNumber newest = impl_->writer.newest_segment();
  if (newest > impl_->newest_known) impl_->remember_slot(newest, impl_->writer.newest_slot(), false, false);
  impl_->take_durable();
  if (impl_->writer.settle()) impl_->undo_appended();
}

Nanoseconds Log::next_deadline() const {
  const Impl::Round& round = impl_->round;
  const bool rests = impl_->retains && round.phase == Impl::Round::Phase::resting;
  const bool builds = impl_->footer.takes_rows() && impl_->writer.healthy();
  const bool retires = impl_->retiring && *impl_->retiring < impl_->indexed_segment;
  const bool decides = impl_->retains && round.phase == Impl::Round::Phase::deciding && !round.reads &&
                       impl_->writer.healthy();
  const bool now = builds || retires || decides;
  return std::min({impl_->writer.next_deadline(), rests ? impl_->next_round() : never_ns, now ? 0 : never_ns});
}

CommitSequence Log::durable_commit() const { return impl_->writer.durable(); }

CommitSequence Log::lost_up_to() const { return impl_->writer.lost_up_to(); }

std::span<const PartitionSlot> Log::advanced() const { return impl_->advanced.all(); }

void Log::forget_advanced() {
  for (const PartitionSlot slot : impl_->advanced.all()) impl_->partitions[slot.value].advanced = false;
  impl_->advanced.clear();
}

// ---- what became durable ----

// In log order: offsets become visible, batches are indexed, the commit's memory becomes resident.
void Log::Impl::take_durable() {
  while (const LogWriter::Durable* durable = writer.next_durable()) {
    index_commit(*durable);
    producers.durable_up_to(durable->sequence);
    resident.take(*durable->commit, durable->segment, durable->position);
    writer.durable_taken();
  }
  statistics.resident_bytes = resident.bytes();
}

void Log::Impl::index_commit(const LogWriter::Durable& durable) {
  if (durable.segment != indexed_segment) {
    index.begin_segment(durable.segment);
    indexed_segment = durable.segment;
    count_index();
  }
  uint32_t ordinal = 0;
  durable.commit->for_each_entry([&](const disk::Entry& entry, std::span<const disk::Run> runs) {
    const PartitionSlot slot = durable.partitions[ordinal];
    const IndexEntry place{.partition = PartitionNumber(entry.partition),
                           .base_offset = Offset(entry.base_offset),
                           .last_offset_delta = entry.last_offset_delta,
                           .max_timestamp = entry.max_timestamp,
                           .segment = durable.segment,
                           .commit = durable.position,
                           .ordinal = ordinal++,
                           .first_position = runs.empty() ? 0 : runs[0].position.get(),
                           .direct = runs.size() == 1,
                           .bytes = entry.batch_bytes};
    const Partition* partition = find(slot);
    const bool exists = partition != nullptr && partition->state.number == place.partition;  // else deleted meanwhile
    if (!exists) return;
    const auto kind = static_cast<disk::EntryKind>(entry.prefix.kind.get());
    if (kind == disk::EntryKind::log_start) return move_log_start(slot, place.base_offset, durable.segment);
    if (kind != disk::EntryKind::batch) return;
    Partition& changed = partitions[slot.value];
    keep_standing(changed);
    changed.bytes += place.bytes;
    index.append(place, changed.bytes);
    changed.newest_segment = durable.segment;
    changed.max_timestamp = std::max(changed.max_timestamp, place.max_timestamp);
    advance(slot, place.next_offset());
  });
}

void Log::Impl::move_log_start(PartitionSlot slot, Offset start, SegmentNumber segment) {
  Partition& partition = partitions[slot.value];
  keep_standing(partition);
  partition.newest_segment = segment;
  if (start <= partition.state.log_start) return;
  partition.state.log_start = start;
  ++statistics.log_start_moves;
}

void Log::Impl::advance(PartitionSlot slot, Offset next) {
  Partition& partition = partitions[slot.value];
  partition.state.durable = next;
  if (!partition.advanced) advanced.push_back(slot);
  partition.advanced = true;
}

// The second failure: what is not durable never was.
void Log::Impl::undo_appended() {
  for (Partition& partition : partitions) {
    partition.state.appended = partition.state.durable;
    partition.start_wanted = partition.start_appended = partition.state.log_start;
  }
  producers.undo_above(writer.durable());
  notes.clear();
}

}  // namespace penstock
