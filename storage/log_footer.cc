// What a sealed segment's footer says, put together in slices.
#include "dataplane/base/mutation.h"
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
  do {
    retire();
  } while (retiring && *retiring < indexed_segment);
  const LiveSegment* segment = live(end.number);
  // When the one before is still being written, which happens in rewriting only, this one goes without.
  if (!footer.idle() || retiring || segment == nullptr || !index.has_segment(end.number)) return;
  if (segment->anew || segment->unknown_entries) return;
  const FooterRows rows{by_number.size() + closed.size(), producers.size(), index.entry_count(end.number)};
  if (!footer.begin(end, rows, index.segment_max_timestamp(end.number))) return;
  footer_partition = {};
  footer_producer = footer_batches = 0;
  walk_sorted = false;
  index.begin_walk(end.number, walk);
}

// Before the first change since the segment whose footer is being written.
void Log::Impl::keep_standing(Partition& partition) {
  if (partition.kept_for == footer.segment().number) return;
  partition.kept = partition.standing();
  partition.kept_for = footer.segment().number;
}

void Log::Impl::build_footer() {
  if (!footer.takes_rows()) return;
  if (!walk_sorted) {
    walk_sorted = index.sort(walk, rows_per_slice);
    if (walk_sorted) share = index.next_share(walk);
    return;
  }
  for (uint32_t left = rows_per_slice; left > 0 && footer.takes_rows(); --left) {
    switch (footer.section()) {
      case disk::FooterSection::partitions:
        if (put_next_partition()) break;
        footer.end_section();
        index.rewind(walk);
        break;
      case disk::FooterSection::producers:
        if (footer_producer < producers.end()) {
          const auto state = producers.up_to(footer_producer++, footer.segment().sequence);
          if (state.batch_count > 0) footer.put(producer_row(state));
        } else {
          footer.end_section();
        }
        break;
      case disk::FooterSection::batches:
        if (const auto entry = index.next(walk)) {
          footer.put(batch_row(*entry));
        } else {
          footer.end_section();
        }
        break;
      case disk::FooterSection::keys:
      case disk::FooterSection::count:
        return;
    }
  }
}

// By number, whether they are open or not. False: that was the last.
bool Log::Impl::put_next_partition() {
  const auto open = by_number.lower_bound(footer_partition);
  const auto other = closed.lower_bound(footer_partition);
  const bool any_open = open != by_number.end(), any_other = other != closed.end();
  if (!any_open && !any_other) return false;
  if (!any_open || (any_other && other->first < open->first)) {
    const RecoveredPartition& is = other->second;
    // One that was deleted since may have had batches in the next segment too.
    const SegmentNumber newest = std::min(is.newest_segment, footer.segment().number);
    put_partition(is.number, {is.next, is.log_start, is.max_timestamp, newest, is.bytes}, is.leader_epoch, is.deleted);
    return true;
  }
  const Partition& partition = partitions[open->second.value];
  const bool changed = partition.kept_for == footer.segment().number && !mutated(Mutation::footer_of_now);
  put_partition(open->first, changed ? partition.kept : partition.standing(), partition.state.leader_epoch, false);
  return true;
}

void Log::Impl::put_partition(PartitionNumber number, const Standing& standing, int32_t leader_epoch, bool deleted) {
  footer_partition = PartitionNumber(number.value + 1);
  LogIndex::Share here;
  for (; share && share->partition <= number; share = index.next_share(walk)) {
    footer_batches += here.batches;
    here = *share;
  }
  const uint32_t first = footer_batches;
  footer_batches += here.batches;
  if (here.partition != number) here = {};
  if (standing.newest_segment == SegmentNumber{}) return;
  // A deleted one matters as long as something of it is there.
  if (deleted && standing.newest_segment < segments.front().number) return;
  footer.put(disk::FooterPartition{.partition = number.value,
                                   .next = standing.next.value,
                                   .log_start = standing.log_start.value,
                                   .max_timestamp = standing.max_timestamp,
                                   .newest_segment = standing.newest_segment.value,
                                   .bytes_up_to = standing.bytes,
                                   .max_timestamp_here = here.max_timestamp,
                                   .first_batch = here.batches > 0 ? first : 0,
                                   .batch_count = here.batches,
                                   .leader_epoch = leader_epoch,
                                   .deleted = deleted ? 1u : 0u});
}

// So that the next start reads the segment whole; until then what the rest of it says is still of use.
void Log::Impl::erase_damaged_footer() {
  if (!footer.idle()) return;
  const auto damaged = sealed.cache().take_damaged();
  if (damaged && sealed.holds(damaged->number)) footer.erase(*damaged);
}

// From now on the segment is looked up in its footer, and leaves the index in slices. Meanwhile both answer.
void Log::Impl::retire() {
  if (!retiring) {
    const auto written = footer.take_written();
    if (!written || live(written->number) == nullptr) return;
    sealed.add(*written);
    retiring = written->number;
  }
  // The newest stays until the next one begins.
  if (*retiring >= indexed_segment || !index.remove_some(*retiring, rows_per_slice)) return;
  retiring.reset();
  count_index();
}

}  // namespace penstock
