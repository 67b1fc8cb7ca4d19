// A start from footers and one from the commits alone must come to the same: what differs, or nothing.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "storage/recovery.h"
#include "tests/storage/sealed_lookup.h"

namespace penstock::test {

// How often each row of a table was met.
struct RowCounts {
  std::array<uint64_t, static_cast<size_t>(Finding::count)> findings{};
  std::array<uint64_t, static_cast<size_t>(SequenceVerdict::unknown_producer) + 1> sequences{};
  RowCounts& operator+=(const RowCounts& other) {
    for (size_t i = 0; i < findings.size(); ++i) findings[i] += other.findings[i];
    for (size_t i = 0; i < sequences.size(); ++i) sequences[i] += other.sequences[i];
    return *this;
  }
};

struct FooterAgreement {
  std::string difference;     // empty: none
  uint64_t footers_read = 0;  // segments
  uint64_t damaged = 0;       // look-ups that met a damaged block
  RowCounts rows;             // of both starts
};

// Of a partition that is in no catalog any more nothing need agree: a footer may be of after its deletion, and the
// note of that not be durable.
inline FooterAgreement compare_with_scan(
    SegmentFiles& files, const RecoveryOptions& options,
    const std::function<bool(PartitionNumber)>& in_catalog = [](PartitionNumber) { return true; }) {
  struct Start {
    explicit Start(SegmentFiles& files, const RecoveryOptions& options)
        : index(256, 1, 16), producers(256), log(recover(files, options, index, producers)) {}
    LogIndex index;
    ProducerTable producers;
    RecoveredLog log;
  };
  RecoveryOptions with = options;
  with.use_footers = true;
  Start footers(files, with), scan(files, options);
  FooterAgreement result;
  for (const Found& found : footers.log.findings) ++result.rows.findings[static_cast<size_t>(found.finding)];
  result.footers_read = result.rows.findings[static_cast<size_t>(Finding::footer_read)];
  for (const Found& found : scan.log.findings) ++result.rows.findings[static_cast<size_t>(found.finding)];
  const auto differs = [&](const std::string& what) {
    if (result.difference.empty()) result.difference = what;
  };

  if (footers.log.read_only != scan.log.read_only) differs("read-only");
  const auto end = [](const RecoveredLog& log) {
    return log.segments.empty()
               ? std::tuple(CommitSequence{}, uint64_t{0}, FilePosition{})
               : std::tuple(log.segments.back().last_sequence, log.segments.back().last_hash, log.segments.back().end);
  };
  if (end(footers.log) != end(scan.log)) differs("where the log ends");
  if (std::tuple(footers.log.segments.size(), footers.log.commits, footers.log.term_highest) !=
      std::tuple(scan.log.segments.size(), scan.log.commits, scan.log.term_highest)) {
    differs("what there is");
  }
  const auto gone = [&](const RecoveredPartition& each) { return each.deleted || !in_catalog(each.number); };
  // What became durable after its partition was deleted is in no footer.
  const auto deletions = [&](const RecoveredLog& log) { return std::ranges::any_of(log.partitions, gone); };
  if (footers.log.batches != scan.log.batches && !deletions(footers.log) && !deletions(scan.log)) differs("batches");

  std::map<uint64_t, RecoveredPartition> found;
  for (const RecoveredPartition& each : footers.log.partitions) found[each.number.value] = each;
  constexpr OffsetRange everything{Offset(0), Offset(INT64_MAX)};
  SealedLookup look_up(files, footers.index, footers.log, options.block);
  for (const RecoveredPartition& there : scan.log.partitions) {
    const std::string name = "partition " + std::to_string(there.number.value) + ": ";
    const RecoveredPartition here = found[there.number.value];
    if (gone(there) || here.deleted) continue;  // perhaps not noted durably
    if (here.next != there.next) differs(name + "next offset");
    if (here.log_start != there.log_start) differs(name + "log start");
    if (here.newest_segment != there.newest_segment) differs(name + "newest segment");
    const auto fields = [](const IndexEntry& entry) {
      return std::tuple(entry.base_offset, entry.last_offset_delta, entry.max_timestamp, entry.segment, entry.commit,
                        entry.ordinal, entry.first_position, entry.direct, entry.bytes);
    };
    const uint64_t damaged_before = look_up.damaged();
    auto a = look_up.find(there.number, Offset(0));
    auto b = scan.index.find(there.number, Offset(0), everything);
    for (; a && b; a = look_up.find(there.number, a->next_offset()), b = scan.index.next(*b, everything)) {
      if (fields(*a) != fields(*b)) differs(name + "the batch at offset " + std::to_string(b->base_offset.value));
    }
    if ((a || b) && look_up.damaged() == damaged_before) differs(name + "number of batches");
  }
  result.damaged = look_up.damaged();

  // Whatever a producer could send next is judged alike; but of released segments only footers know.
  const auto all = std::ranges::find(scan.log.findings, Finding::chain_begins, &Found::finding);
  if (all == scan.log.findings.end()) return result;
  scan.producers.each([&](PartitionNumber partition, int64_t id, int16_t epoch, int32_t last, Offset) {
    if (!in_catalog(partition)) return;
    for (int32_t sequence = std::max(0, last - 12); sequence <= last + 2; ++sequence) {
      for (int32_t records = 1; records < 4; ++records) {
        const BatchInfo info{.partition = partition,
                             .last_offset_delta = records - 1,
                             .record_count = records,
                             .producer_id = id,
                             .producer_epoch = epoch,
                             .base_sequence = sequence};
        const SequenceCheck a = footers.producers.check(info), b = scan.producers.check(info);
        ++result.rows.sequences[static_cast<size_t>(a.verdict)];
        if (std::tuple(a.verdict, a.base_offset, a.commit) == std::tuple(b.verdict, b.base_offset, b.commit)) continue;
        differs("producer " + std::to_string(id) + " of partition " + std::to_string(partition.value) + ", sequence " +
                std::to_string(sequence));
      }
    }
  });
  return result;
}

}  // namespace penstock::test
