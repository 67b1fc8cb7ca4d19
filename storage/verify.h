// Verification: reads all of a lane's log and names what is missing or damaged. Recovery judges headers, chain, lengths
// and CRCs, as at a start; on top of that every batch is shown to the caller, who knows what a batch is. Writes
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "storage/drive.h"
#include "storage/recovered.h"
#include "storage/segment_scan.h"

namespace penstock {

// A batch that is there and is not what it should be.
struct DamagedBatch {
  SegmentSlot slot{};
  SegmentNumber segment{};
  FilePosition begin{};  // from its first run to its last
  FilePosition end{};
  CommitSequence commit{};
  PartitionNumber partition{};
  Offset first{};
  Offset last{};
  std::string what;
};

struct Verified {
  RecoveredLog log;
  std::vector<Found> found;           // notes and damage, without what `batches` names better
  std::vector<DamagedBatch> batches;  // damaged ones
  std::vector<LostOffsets> lost;      // of partitions that are not deleted, above their log start
  uint64_t batch_count = 0, record_count = 0, batch_bytes = 0, bytes_read = 0;

  bool damaged() const;
  bool unknown_version() const;  // some segment cannot be judged
};

// What is wrong with a batch whose bytes match its CRC, or nullptr. Its bytes 0-20 are as in the entry.
using BatchComplaint = std::function<const char*(const disk::Entry& entry, std::span<std::byte> batch)>;

Verified verify(SegmentFiles& files, uint32_t lane, const BatchComplaint& complaint);

// While a node writes, a reader sees files change under it. Damage stays where it is: what both of two runs found.
Verified found_by_both(const Verified& earlier, Verified later);

}  // namespace penstock
