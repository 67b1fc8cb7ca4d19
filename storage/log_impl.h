// What a Log is made of. Included by log*.cc only.
#pragma once

#include <unordered_map>
#include <vector>

#include "storage/bounded.h"
#include "storage/index.h"
#include "storage/limits.h"
#include "storage/log.h"
#include "storage/producers.h"
#include "storage/reader.h"
#include "storage/recovered.h"
#include "storage/resident.h"
#include "storage/writer.h"

namespace penstock {

struct Log::Impl {
  Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, SegmentFiles& files);

  struct Partition {
    PartitionState state;
    bool advanced = false;  // is in `advanced`
  };
  // A partition note (deleted) that waits for room in a commit.
  struct Note {
    disk::EntryKind kind{};
    PartitionNumber partition{};
    Offset offset{};
  };
  struct Recovered {  // lives for the constructor only
    RecoveredLog log;
    LogIndex index;
    ProducerTable producers;
  };
  static Recovered read_files(const LogConfig& config, const DriveUnits& units, SegmentFiles& files);
  Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, Recovered recovered);
  static LogEnd end_of(const RecoveredLog& log);

  Partition* find(PartitionSlot slot) {
    return slot.value < partitions.size() && partitions[slot.value].state.open ? &partitions[slot.value] : nullptr;
  }
  const Partition* find(PartitionSlot slot) const { return const_cast<Impl*>(this)->find(slot); }

  // log_write.cc
  void take_durable();
  void index_commit(const LogWriter::Durable& durable);
  void advance(PartitionSlot slot, Offset next);
  void undo_appended();
  void write_notes();

  // log_read.cc
  bool fetch_resident(const IndexEntry& entry, ResidentCommits::Name name, PiecePool& pool, PieceList& to);
  std::optional<StoredBatch> stored(const std::optional<IndexEntry>& entry) const;
  static OffsetRange durable_range(const PartitionState& state) { return {state.log_start, state.durable}; }
  SegmentSlot slot_of(SegmentNumber segment) const;
  void remember_slot(SegmentNumber segment, SegmentSlot slot);

  LogMemory memory;
  LogStatistics statistics;
  std::string report;
  std::unordered_map<uint64_t, RecoveredPartition> recovered;  // by number, until opened
  std::vector<Partition> partitions;                           // by slot
  Bounded<PartitionSlot> advanced;
  std::vector<Note> notes;

  LogIndex index;
  ProducerTable producers;
  LogWriter writer;
  ResidentCommits resident;
  LogReader reader;

  SegmentNumber indexed_segment{};  // the one that index entries are appended to
  SegmentNumber first_segment{};    // of slots
  std::vector<SegmentSlot> slots;   // by segment number from first_segment on
  bool offered_read = false;        // the last request was the reader's
};

}  // namespace penstock
