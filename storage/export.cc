#include "storage/export.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "storage/batch_front.h"
#include "storage/crc/crc32c.h"

namespace penstock {

void each_commit(SegmentReader& reader, const RecoveredLog& log,
                 const std::function<void(const RecoveredSegment&, const Commit&)>& visit) {
  Commit commit;
  CommitSequence last{};
  for (const RecoveredSegment& segment : log.segments) {
    reader.open(segment.slot);
    const SegmentFrame frame{.id = segment.id, .term = segment.term, .block = segment.block, .end = segment.end};
    for (FilePosition at(segment.block); at < frame.end;) {
      const bool counts = read_commit(reader, frame, at, commit) == CommitVerdict::valid && commit.sequence() > last &&
                          commit.sequence() <= segment.last_sequence;
      if (!counts) {
        at += frame.block;
        continue;
      }
      last = commit.sequence();
      at = commit.end();
      visit(segment, commit);
    }
  }
}

std::vector<BatchPlace> batches_in_order(SegmentFiles& files, const RecoveredLog& log) {
  std::vector<BatchPlace> places;
  SegmentReader reader(files);
  each_commit(reader, log, [&](const RecoveredSegment& segment, const Commit& commit) {
    commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t) {
      if (!is_batch(static_cast<disk::EntryKind>(prefix.kind.get()))) return;
      const disk::Entry entry = read_entry(bytes);
      const Offset base(entry.base_offset);
      places.push_back({.partition = PartitionNumber(entry.partition),
                        .base_offset = base,
                        .next_offset = base + entry.last_offset_delta + 1,
                        .commit = commit.position,
                        .slot = segment.slot,
                        .entry_at = static_cast<uint32_t>(bytes.data() - commit.bytes.data()),
                        .entry_bytes = prefix.entry_bytes});
    });
  });
  std::ranges::sort(places, {},
                    [](const BatchPlace& place) { return std::tuple(place.partition.value, place.base_offset.value); });
  return places;
}

namespace {

bool read_exactly(SegmentFiles& files, SegmentSlot slot, FilePosition position, std::span<std::byte> to) {
  const auto got = files.read(slot, position, to);
  return got && *got == to.size();
}

}  // namespace

bool read_batch(SegmentFiles& files, const BatchPlace& place, std::vector<std::byte>& batch) {
  std::vector<std::byte> bytes(place.entry_bytes);
  if (!read_exactly(files, place.slot, place.commit + place.entry_at, bytes)) return false;
  const disk::Entry entry = read_entry(bytes);
  // The file may have changed since the place was noted.
  const bool same = entry.prefix.entry_bytes == place.entry_bytes &&
                    PartitionNumber(entry.partition) == place.partition &&
                    Offset(entry.base_offset) == place.base_offset;
  if (!same || bytes.size() < sizeof entry + entry.prefix.run_count * sizeof(disk::Run)) return false;
  batch.resize(entry.batch_bytes);
  size_t filled = 0;
  for (uint32_t i = 0; i < entry.prefix.run_count; ++i) {
    const disk::Run run = read_run(bytes, i);
    if (run.length > batch.size() - filled) return false;
    const std::span<std::byte> part(batch.data() + filled, run.length);
    if (!read_exactly(files, place.slot, place.commit + run.position.get(), part)) return false;
    filled += run.length;
  }
  if (filled != batch.size() || filled < disk::batch_header_bytes) return false;
  write_batch_front(entry, batch.data());
  return crc32c(0, batch.data() + disk::batch_crc_from, batch.size() - disk::batch_crc_from) == entry.batch_crc;
}

std::vector<LostOffsets> export_partition(SegmentFiles& files, const RecoveredPartition& partition,
                                          std::span<const BatchPlace> ordered, const TakeBatch& take) {
  std::vector<LostOffsets> missing;
  Offset next = partition.log_start;
  std::vector<std::byte> batch;
  for (const BatchPlace& place : std::ranges::equal_range(ordered, partition.number, {}, &BatchPlace::partition)) {
    // Below the log start, or a copy of what was given. Of a damaged batch the other copy is tried.
    if (place.next_offset <= next || (place.base_offset < next && next > partition.log_start)) continue;
    if (!read_batch(files, place, batch)) continue;
    if (place.base_offset > next) missing.push_back({partition.number, next, place.base_offset});
    if (!take(place, batch)) return {};
    next = place.next_offset;
  }
  if (next < partition.next) missing.push_back({partition.number, next, partition.next});
  return missing;
}

}  // namespace penstock
