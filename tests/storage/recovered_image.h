// Recovery run on a directory in memory, and what tests ask of the outcome.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "storage/recovery.h"
#include "tests/storage/log_image.h"
#include "tests/storage/sealed_lookup.h"

namespace penstock::test {

inline constexpr OffsetRange everything{Offset(0), Offset(INT64_MAX)};

struct Recovered {
  LogIndex index{256, 1, 16};
  ProducerTable producers{32};
  RecoveredLog log;
  std::unique_ptr<SealedLookup> look_up;

  explicit Recovered(MemoryFiles& files, RecoveryOptions options = {.lane = 0, .block = 512}) {
    log = recover(files, options, index, producers);
    look_up = std::make_unique<SealedLookup>(files, index, log, options.block);
  }
  bool has(Finding finding) const {
    return std::ranges::any_of(log.findings, [&](const Found& found) { return found.finding == finding; });
  }
  const Found* first(Finding finding) const {
    const auto found = std::ranges::find(log.findings, finding, &Found::finding);
    return found == log.findings.end() ? nullptr : &*found;
  }
  const RecoveredPartition* partition(uint64_t number) const {
    const auto found = std::ranges::find(log.partitions, PartitionNumber(number), &RecoveredPartition::number);
    return found == log.partitions.end() ? nullptr : &*found;
  }
  // Base offsets that can be read, with their bytes checked against what was written.
  std::vector<int64_t> offsets(const MemoryFiles& files, uint64_t number = 1) const {
    std::vector<int64_t> result;
    const PartitionNumber partition(number);
    if (this->partition(number) != nullptr && this->partition(number)->deleted) return result;
    for (auto at = look_up->find(partition, Offset(0)); at; at = look_up->find(partition, at->next_offset())) {
      result.push_back(at->base_offset.value);
      const auto segment = std::ranges::find(log.segments, at->segment, &RecoveredSegment::number);
      if (segment == log.segments.end()) {
        ADD_FAILURE() << "an entry of segment " << at->segment.value << ", which is not in the log";
        continue;
      }
      const ImageEntry written{.partition = number, .base_offset = at->base_offset.value, .batch_bytes = at->bytes};
      EXPECT_EQ(read_batch(files, segment->slot.value, *at), batch_of(written));
    }
    return result;
  }
  uint64_t last_sequence() const { return log.segments.empty() ? 0 : log.segments.back().last_sequence.value; }
};

}  // namespace penstock::test
