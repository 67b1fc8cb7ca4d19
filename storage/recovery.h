// Recovery: reads what a lane's directory holds after a stop of any kind and says what of it counts. Blocking, at start
// only; it allocates, and writes nothing. The rules are the truth table at the top of recovery.cc.
//
// What it relies on, and the log must keep:
//   - A segment header is written only when its predecessor is durable up to the end the header names.
//   - A commit is durable only when the header of its segment is; CommitHeader::durable_sequence is never ahead of
//   that.
//   - A segment is written in one term, by one start of the log: recovery's newest segment is never appended to.
//   - A segment's footer is written only when its successor's header is durable.
//   - Segments are released oldest first. A released slot's header is zeroed, durably, before anything else in the slot
//     is overwritten: a slot whose first block is zeros was released or never used.
//   - Headers of segments that were given up are zeroed before any segment is released: when those around them are
//   gone,
//     nothing tells that they were no part of the log.
//   - Before a segment is released, a log_start entry of every partition that loses batches with it is durable, and of
//     every partition that then has no batch left there is one in a later segment, with base_offset equal to the next
//     offset. So log starts never go back, offsets are never given out twice, and recovery knows next offsets of
//     partitions without batches. (A later batch of a partition says as much as a log_start entry.)
#pragma once

#include "storage/drive.h"
#include "storage/index.h"
#include "storage/producers.h"
#include "storage/recovered.h"

namespace penstock {

struct RecoveryOptions {
  uint32_t lane = 0;
  uint32_t block = 4096;              // the drive's; segments with another are read all the same
  bool use_footers = false;           // instead of the segments, where they are whole: nothing else of those is read
  bool verify_sealed_payload = true;  // checksum batches of sealed segments too; their headers are always checked
};

// `index` and `producers` must be empty, and are filled.
RecoveredLog recover(SegmentFiles& files, const RecoveryOptions& options, LogIndex& index, ProducerTable& producers);

}  // namespace penstock
