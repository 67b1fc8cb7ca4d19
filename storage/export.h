// The batches of a recovered log in the order in which Kafka stores them: partition by partition, by offset. For tools,
// on a log that nobody writes to; it allocates, 48 bytes for each batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "storage/drive.h"
#include "storage/recovered.h"
#include "storage/segment_scan.h"

namespace penstock {

// Calls visit(segment, commit) for every whole commit that counts, oldest first. The reader is open on its slot.
void each_commit(SegmentReader& reader, const RecoveredLog& log,
                 const std::function<void(const RecoveredSegment&, const Commit&)>& visit);

// Where a batch lies.
struct BatchPlace {
  PartitionNumber partition{};
  Offset base_offset{};
  Offset next_offset{};
  FilePosition commit{};
  SegmentSlot slot{};
  uint32_t entry_at = 0;     // bytes from the start of the commit
  uint32_t entry_bytes = 0;  // with its runs
};
// By partition and offset. A batch that was carried to a newer segment may be there twice.
std::vector<BatchPlace> batches_in_order(SegmentFiles& files, const RecoveredLog& log);

// The whole batch as Kafka stores it, bytes 0-20 from its entry; false when its bytes do not match the entry.
bool read_batch(SegmentFiles& files, const BatchPlace& place, std::vector<std::byte>& batch);

// Calls take(place, batch) for the partition's batches at or above its log start, each offset once; a batch that the
// log start cuts is given whole, as Kafka keeps it. `ordered` as batches_in_order() made it. Returns the offsets
// between log start and next offset that are missing, empty if take() said false, which ends it.
using TakeBatch = std::function<bool(const BatchPlace&, std::span<const std::byte>)>;
std::vector<LostOffsets> export_partition(SegmentFiles& files, const RecoveredPartition& partition,
                                          std::span<const BatchPlace> ordered, const TakeBatch& take);

}  // namespace penstock
