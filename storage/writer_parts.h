// What a LogWriter keeps of each commit and of each write in flight. Included by writer*.cc only.
#pragma once

#include "storage/limits.h"
#include "storage/writer.h"

namespace penstock {

struct LogWriter::Record {
  Record(const DriveUnits& units, const LogMemory& memory, const ZeroArea& zeros)
      : commit(units, memory.arena, memory.buffers, memory.allocator, zeros),
        partitions(limits::header_bytes_max(units) / sizeof(disk::Entry) + 1) {}

  OutgoingCommit commit;
  Bounded<PartitionSlot> partitions;  // by entry
  // Once placed:
  SegmentNumber segment{};
  SegmentSlot slot{};
  FilePosition position{};
  uint64_t hash = 0;
  // Once being written, bytes:
  uint64_t submitted = 0;
  uint64_t written = 0;
  bool all_durable = true;  // so far every write went with O_DSYNC
};

// One write request; a commit has one or a few.
struct LogWriter::Write {
  explicit Write(uint32_t vectors_max) : vectors(std::make_unique<iovec[]>(vectors_max)) {}

  enum class State : uint8_t { idle, in_flight, to_resume } state = State::idle;
  bool durable = false;
  uint32_t retries = 0;  // without progress
  CommitSequence sequence{};
  uint64_t from = 0;    // in the commit
  uint64_t length = 0;  // bytes still to be written
  uint64_t whole = 0;   // bytes, of all attempts
  std::unique_ptr<iovec[]> vectors;
};

inline LogWriter::Record& LogWriter::record(CommitSequence sequence) {
  return *records_[sequence.value % records_.size()];
}

}  // namespace penstock
