#include "storage/replay.h"

#include <algorithm>

#include "dataplane/base/mutation.h"

namespace penstock {

void Replay::begin_segment(SegmentNumber number, bool from_the_start) {
  segment_ = number;
  from_the_start_ |= from_the_start;
  met_unknown_kind_ = false;
  index_.begin_segment(number);
}

void Replay::apply(const Commit& commit, std::span<const uint32_t> damaged) {
  ++commits_;
  commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t ordinal) {
    switch (static_cast<disk::EntryKind>(prefix.kind.get())) {
      case disk::EntryKind::batch:
      case disk::EntryKind::carried_batch:
        apply_batch(commit, read_entry(bytes), bytes, ordinal, !std::ranges::binary_search(damaged, ordinal));
        return;
      case disk::EntryKind::log_start: {
        const disk::Entry entry = read_entry(bytes);
        Partition& partition = partitions_[entry.partition];
        partition.log_start = std::max(partition.log_start, Offset(entry.base_offset));
        partition.next = std::max(partition.next, partition.log_start);
        partition.leader_epoch = std::max<int32_t>(partition.leader_epoch, entry.leader_epoch);
        partition.newest_segment = segment_;
        return;
      }
      case disk::EntryKind::partition_deleted: {
        return delete_partition(PartitionNumber(read_entry(bytes).partition));
      }
      case disk::EntryKind::control:
        return;
    }
    met_unknown_kind_ = true;
  });
}

void Replay::delete_partition(PartitionNumber number) {
  partitions_[number.value].deleted = true;
  index_.drop_partition(number);
  producers_.drop_partition(number);
  std::erase_if(lost_, [&](const LostOffsets& lost) { return lost.partition == number; });
}

void Replay::apply_batch(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes,
                         uint32_t ordinal, bool readable) {
  ++batches_;
  const BatchInfo info{.partition = PartitionNumber(entry.partition),
                       .base_offset = Offset(entry.base_offset),
                       .last_offset_delta = entry.last_offset_delta,
                       .record_count = entry.record_count,
                       .max_timestamp = entry.max_timestamp,
                       .attributes = entry.attributes,
                       .leader_epoch = entry.leader_epoch,
                       .producer_id = entry.producer_id,
                       .producer_epoch = entry.producer_epoch,
                       .base_sequence = entry.base_sequence,
                       .crc = entry.batch_crc,
                       .length = entry.batch_bytes};
  Partition& partition = partitions_[info.partition.value];
  if (partition.deleted) return;
  const bool carried = entry.prefix.kind == static_cast<uint8_t>(disk::EntryKind::carried_batch);
  const IndexEntry place{.partition = info.partition,
                         .base_offset = info.base_offset,
                         .last_offset_delta = info.last_offset_delta,
                         .max_timestamp = info.max_timestamp,
                         .commit = commit.position,
                         .ordinal = ordinal,
                         .first_position = read_run(bytes, 0).position,
                         .direct = entry.prefix.run_count == 1,
                         .bytes = info.length};
  take_batch(partition, place, carried);
  partition.leader_epoch = std::max(partition.leader_epoch, info.leader_epoch);
  if (!carried && !mutated(Mutation::forget_producers)) producers_.appended(info, commit.sequence());
  if (readable) {
    index_.append(place, partition.bytes);
  } else {
    lose(info.partition, info.base_offset, info.next_offset());
  }
}

void Replay::take_batch(Partition& partition, const IndexEntry& entry, bool carried) {
  if (!carried && !complete_ && entry.base_offset > partition.next && (partition.seen_batch || from_the_start_)) {
    lose(entry.partition, partition.next, entry.base_offset);
  }
  partition.seen_batch = true;
  partition.newest_segment = segment_;
  partition.first = std::min(partition.first, entry.base_offset);
  partition.next = std::max(partition.next, entry.next_offset());
  partition.max_timestamp = std::max(partition.max_timestamp, entry.max_timestamp);
  partition.bytes += entry.bytes;
}

void Replay::pass_over(SegmentNumber number, uint64_t batches, uint64_t commits, bool from_the_start) {
  segment_ = number;
  from_the_start_ |= from_the_start;
  batches_ += batches;
  commits_ += commits;
}

void Replay::compare(std::span<const disk::FooterBatch> batches) {
  for (const disk::FooterBatch& row : batches) {
    Partition& partition = partitions_[row.partition];
    if (partition.deleted) continue;
    take_batch(partition,
               {.partition = PartitionNumber(row.partition),
                .base_offset = Offset(row.base_offset),
                .last_offset_delta = row.last_offset_delta,
                .max_timestamp = row.max_timestamp,
                .bytes = row.batch_bytes},
               false);
  }
}

void Replay::count_on(std::span<const disk::FooterPartition> partitions, std::span<const disk::FooterBatch> batches) {
  for (const disk::FooterPartition& row : partitions) {
    const auto found = partitions_.find(row.partition);
    if (found == partitions_.end()) continue;
    uint64_t before = row.bytes_up_to;
    for (const disk::FooterBatch& batch : batches.subspan(row.first_batch, row.batch_count)) before -= batch.batch_bytes;
    index_.shift_bytes(PartitionNumber(row.partition), before - found->second.bytes);
    found->second.bytes = before;
  }
}

void Replay::stand(std::span<const disk::FooterPartition> partitions) {
  for (const disk::FooterPartition& row : partitions) {
    Partition& partition = partitions_[row.partition];
    partition.log_start = std::max(partition.log_start, Offset(row.log_start));
    partition.next = std::max(partition.next, Offset(row.next));
    partition.leader_epoch = std::max<int32_t>(partition.leader_epoch, row.leader_epoch);
    partition.newest_segment = std::max(partition.newest_segment, SegmentNumber(row.newest_segment));
    partition.max_timestamp = std::max<Milliseconds>(partition.max_timestamp, row.max_timestamp);
    partition.bytes = row.bytes_up_to;
    partition.stood = partition.seen_batch = true;
    if (row.deleted != 0) delete_partition(PartitionNumber(row.partition));
  }
}

void Replay::stand(std::span<disk::FooterProducer> producers) {
  producers_.clear();
  const auto last_commit = [](const disk::FooterProducer& row) {
    return row.batches[row.batch_count - 1].commit.get();
  };
  std::ranges::sort(producers, {}, last_commit);
  for (const disk::FooterProducer& row : producers) {
    ProducerTable::Remembered state{.partition = PartitionNumber(row.partition),
                                    .producer_id = row.producer_id,
                                    .batch_count = row.batch_count,
                                    .batches = {}};
    for (uint32_t i = 0; i < row.batch_count; ++i) {
      const disk::FooterProducer::Batch& batch = row.batches[i];
      state.batches[i] = {batch.base_offset, CommitSequence(batch.commit), batch.base_sequence, batch.last_offset_delta,
                          batch.epoch};
    }
    producers_.restore(state);
  }
}

void Replay::delete_partitions_of(const Commit& commit) {
  commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t) {
    if (static_cast<disk::EntryKind>(prefix.kind.get()) != disk::EntryKind::partition_deleted) return;
    delete_partition(PartitionNumber(read_entry(bytes).partition));
  });
}

bool Replay::misses(const Commit& commit) const {
  bool missed = false;
  commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t) {
    if (!is_batch(static_cast<disk::EntryKind>(prefix.kind.get()))) return;
    const disk::Entry entry = read_entry(bytes);
    const auto found = partitions_.find(entry.partition);
    const bool known = found != partitions_.end();
    if (known && found->second.deleted) return;
    missed |= !known || Offset(entry.base_offset + entry.last_offset_delta) >= found->second.log_start;
  });
  return missed;
}

// Where older segments were released, the log starts no earlier than with what is left; footers know by themselves.
Offset Replay::log_start(const Partition& partition) const {
  const bool released = !from_the_start_ && partition.seen_batch && !partition.stood;
  return released ? std::max(partition.log_start, partition.first) : partition.log_start;
}

void Replay::lose(const Commit& commit) {
  commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t) {
    if (static_cast<disk::EntryKind>(prefix.kind.get()) != disk::EntryKind::batch) return;
    const disk::Entry entry = read_entry(bytes);
    lose(PartitionNumber(entry.partition), Offset(entry.base_offset),
         Offset(entry.base_offset + entry.last_offset_delta + 1));
  });
}

void Replay::lose(PartitionNumber partition, Offset begin, Offset end) {
  // One line per hole, not per batch.
  for (LostOffsets& lost : lost_) {
    if (lost.partition == partition && lost.begin <= end && begin <= lost.end) {
      lost.begin = std::min(lost.begin, begin);
      lost.end = std::max(lost.end, end);
      return;
    }
  }
  lost_.push_back({partition, begin, end});
}

void Replay::finish(RecoveredLog& log, CommitSequence last) {
  producers_.durable_up_to(last);
  log.commits = commits_;
  log.batches = batches_;
  for (const auto& [number, partition] : partitions_) {
    log.partitions.push_back({PartitionNumber(number), log_start(partition), partition.next, partition.leader_epoch,
                              partition.deleted, partition.newest_segment, partition.max_timestamp, partition.bytes});
  }
  std::ranges::sort(log.partitions, {}, &RecoveredPartition::number);
  // What lies below a log start is missed by nobody.
  for (const LostOffsets& lost : lost_) {
    const Partition& partition = partitions_[lost.partition.value];
    if (!partition.deleted && lost.end > partition.log_start) log.lost.push_back(lost);
  }
}

}  // namespace penstock
