// What a sealed segment's footer says, put together in slices.
#include "storage/log_impl.h"

namespace penstock {
namespace {

// Rows looked at in a slice; at most one block of them is kept.
constexpr uint32_t rows_per_slice = 1024;

disk::FooterBatch batch_row(const IndexEntry& entry) {
  return {.partition = entry.partition.value,
          .base_offset = entry.base_offset.value,
          .max_timestamp = entry.max_timestamp,
          .commit = entry.commit.value,
          .last_offset_delta = entry.last_offset_delta,
          .first_position = entry.first_position,
          .batch_bytes = entry.bytes,
          .ordinal = entry.ordinal | (entry.direct ? 0 : disk::footer_gathered_bit)};
}

disk::FooterProducer producer_row(const ProducerTable::Remembered& state) {
  disk::FooterProducer row{};
  row.partition = state.partition.value;
  row.producer_id = state.producer_id;
  row.batch_count = state.batch_count;
  for (uint32_t i = 0; i < state.batch_count; ++i) {
    const ProducerTable::Batch& batch = state.batches[i];
    row.batches[i].base_offset = batch.base_offset;
    row.batches[i].commit = batch.commit.value;
    row.batches[i].base_sequence = batch.base_sequence;
    row.batches[i].last_offset_delta = batch.last_offset_delta;
    row.batches[i].epoch = batch.epoch;
  }
  return row;
}

}  // namespace

// Called when the last commit of the segment was taken, and none of the next.
void Log::Impl::begin_footer(const SegmentEnd& end) {
  const auto live = std::ranges::lower_bound(segments, end.number, {}, &LiveSegment::number);
  const bool known = live != segments.end() && live->number == end.number && index.has_segment(end.number);
  // When the one before is still being written, this one goes without.
  if (!footer.idle() || !known || live->anew || live->unknown_entries) return;
  if (!footer.begin(end, footer_rows(index.entry_count(end.number)))) return;
  footer_at = 0;
  recovered_at = 0;
  walk_sorted = false;
  index.begin_walk(end.number, walk);
}

FooterRows Log::Impl::footer_rows(uint64_t batches) const {
  return {slots_end + recovered.size(), producers.size(), batches};
}

// Before the first change since the segment whose footer is being written.
void Log::Impl::keep_standing(Partition& partition) {
  if (partition.kept_for == footer.segment().number) return;
  partition.kept = partition.standing();
  partition.kept_for = footer.segment().number;
}

void Log::Impl::build_footer() {
  for (uint32_t left = rows_per_slice; left > 0 && footer.takes_rows(); --left) {
    switch (footer.section()) {
      case disk::FooterSection::partitions:
        // Those that are not open yet first: opened meanwhile, they come again.
        if (recovered_at < recovered.size()) {
          const RecoveredPartition& partition = recovered[recovered_at++];
          put_partition(partition.number,
                        {partition.next, partition.log_start, partition.max_timestamp, partition.newest_segment},
                        partition.leader_epoch, partition.deleted);
        } else if (footer_at < slots_end) {
          const Partition& partition = partitions[footer_at++];
          const bool changed = partition.kept_for == footer.segment().number;
          put_partition(partition.state.number, changed ? partition.kept : partition.standing(),
                        partition.state.leader_epoch, !partition.state.open);
        } else {
          footer.end_section();
          footer_at = 0;
        }
        break;
      case disk::FooterSection::producers:
        if (footer_at < producers.capacity()) {
          const auto state = producers.up_to(footer_at++, footer.segment().sequence);
          if (state.batch_count > 0) footer.put(producer_row(state));
        } else {
          footer.end_section();
        }
        break;
      case disk::FooterSection::batches:
        if (!walk_sorted) {
          walk_sorted = index.sort(walk, rows_per_slice);
          return;
        }
        if (const auto entry = index.next(walk)) {
          footer.put(batch_row(*entry));
        } else {
          footer.end_section();
        }
        break;
      case disk::FooterSection::count:
        return;
    }
  }
}

void Log::Impl::put_partition(PartitionNumber number, const Standing& standing, int32_t leader_epoch, bool deleted) {
  if (standing.newest_segment == SegmentNumber{}) return;
  // A deleted one matters as long as something of it is there.
  if (deleted && standing.newest_segment < segments.front().number) return;
  footer.put(disk::FooterPartition{.partition = number.value,
                                   .next = standing.next.value,
                                   .log_start = standing.log_start.value,
                                   .max_timestamp = standing.max_timestamp,
                                   .newest_segment = standing.newest_segment.value,
                                   .leader_epoch = leader_epoch,
                                   .deleted = deleted ? 1u : 0u});
}

}  // namespace penstock
