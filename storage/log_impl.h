// What a Log is made of. Included by log*.cc only.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "storage/bounded.h"
#include "storage/footer_writer.h"
#include "storage/index.h"
#include "storage/limits.h"
#include "storage/log.h"
#include "storage/producers.h"
#include "storage/reader.h"
#include "storage/recovered.h"
#include "storage/resident.h"
#include "storage/retention.h"
#include "storage/sealed_index.h"
#include "storage/writer.h"

namespace penstock {

struct Log::Impl {
  Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, SegmentFiles& files);

  // How far a partition had come, durably.
  struct Standing {
    Offset next{};
    Offset log_start{};
    Milliseconds max_timestamp = -1;
    SegmentNumber newest_segment{};  // the newest with a batch or a log start of it; 0: none
    uint64_t bytes = 0;              // of its batches, counted from anywhere
  };
  struct Partition {
    PartitionState state;
    bool advanced = false;  // is in `advanced`
    RetentionPolicy retention;
    Offset start_wanted{};      // what the round under way has decided
    Offset start_appended{};    // a note says so; `state.log_start` once that is durable
    CommitSequence start_in{};  // its commit
    SegmentNumber newest_segment{};           // of Standing
    Milliseconds max_timestamp = -1;          // of Standing
    uint64_t bytes = 0;                       // of Standing
    std::optional<LogIndex::Stretch> oldest;  // of a sealed segment, as last seen
    Standing kept;                            // as it was at the end of segment `kept_for`
    SegmentNumber kept_for{};
    Standing standing() const { return {state.durable, state.log_start, max_timestamp, newest_segment, bytes}; }
  };
  struct LiveSegment {
    SegmentNumber number{};
    SegmentSlot slot{};
    bool anew = false;  // its file has another length than segments have now
    bool unknown_entries = false;  // which a footer would say nothing of
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
    SegmentNumber newest{};
    std::optional<SegmentSlot> empty;  // of segment `newest`, if nothing is in it
  };
  static Recovered read_files(const LogConfig& config, const DriveUnits& units, SegmentFiles& files);
  Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, Recovered recovered);
  static std::optional<SegmentSlot> take_empty_newest(RecoveredLog& log, uint64_t segment_bytes, LogIndex& index);
  static LogEnd end_of(const Recovered& found);
  static std::vector<SlotUse> usable(const RecoveredLog& log);
  static Milliseconds newest_timestamp(const RecoveredLog& log);

  static constexpr uint64_t retention_token = UINT64_MAX;  // of look-ups

  Partition* find(PartitionSlot slot) {
    return slot.value < partitions.size() && partitions[slot.value].state.open ? &partitions[slot.value] : nullptr;
  }
  const Partition* find(PartitionSlot slot) const { return const_cast<Impl*>(this)->find(slot); }

  // log.cc
  void count_index();
  void make_room();
  bool room_comes() const;

  // log_write.cc
  void take_durable();
  void index_commit(const LogWriter::Durable& durable);
  void advance(PartitionSlot slot, Offset next);
  void undo_appended();
  void write_notes();
  void move_log_start(PartitionSlot slot, Offset start, SegmentNumber segment);

  // log_retention.cc
  bool decide(Milliseconds time);
  LookUp weigh(Partition& partition, Milliseconds time);
  Milliseconds segment_max_timestamp(SegmentNumber segment) const;
  bool note();
  bool release();
  void forget_closed();
  std::optional<CommitSequence> note_log_start(PartitionSlot slot, Offset start, SpareSlots::Need need);

  // log_footer.cc
  void begin_footer(const SegmentEnd& end);
  void keep_standing(Partition& partition);
  void build_footer();
  bool put_next_partition();
  void put_partition(PartitionNumber number, const Standing& standing, int32_t leader_epoch, bool deleted);
  void retire();
  void erase_damaged_footer();

  // log_read.cc
  LookUp oldest_stretch(Partition& partition, Offset from);
  bool fetch_resident(const IndexEntry& entry, ResidentCommits::Name name, PiecePool& pool, PieceList& to);
  static LookUp stored(const std::optional<IndexEntry>& entry, StoredBatch& batch);
  template <class Ask>
  LookUp earlier_of(std::optional<IndexEntry> here, Offset end, Ask&& ask, StoredBatch& batch);
  static OffsetRange durable_range(const PartitionState& state) { return {state.log_start, state.durable}; }
  const LiveSegment* live(SegmentNumber segment) const;
  void remember_slot(SegmentNumber segment, SegmentSlot slot, bool anew, bool unknown_entries);

  LogMemory memory;
  uint64_t segment_bytes = 0;
  LogStatistics statistics;
  std::string report;
  // Of which the log may hold something and which are not open: found at start and not opened yet, or deleted.
  std::map<PartitionNumber, RecoveredPartition> closed;
  std::vector<Partition> partitions;                           // by slot
  Bounded<PartitionSlot> advanced;
  std::vector<Note> notes;

  LogIndex index;
  SealedIndex sealed;
  ProducerTable producers;
  LogWriter writer;
  ResidentCommits resident;
  LogReader reader;
  FooterWriter footer;

  SegmentNumber indexed_segment{};  // the one that index entries are appended to
  std::vector<LiveSegment> segments;  // oldest first; also those that a write error left empty
  SegmentNumber newest_known{};       // the last that was added
  enum class Offered : uint8_t { write, footer, footer_read, read } offered = Offered::write;  // whose the last request was

  // Retention goes in rounds over all partitions, a slice at a time:
  //
  //   resting -> deciding -> noting -> waiting -> releasing -> resting
  //
  // deciding: how far each log start may move, and so which segments nobody would want. noting: the log starts that
  // move; and, of partitions whose last word would go with those segments, where they stand. waiting: until all of it
  // is durable. releasing: one segment after the other.
  struct Round {
    enum class Phase : uint8_t { resting, deciding, noting, waiting, releasing } phase = Phase::resting;
    uint32_t at = 0;           // the next partition
    SegmentNumber floor{};     // segments below are wanted by nobody
    bool goes_on = false;      // `at` was looked at in part; its start_wanted is how far
    bool reads = false;        // and waits for a footer
    CommitSequence last_note{};
    std::optional<Nanoseconds> rests_since;  // when the one before ended
    bool notes = true;         // can be written; else only what is durable already lets segments go
  } round;
  void rest(Nanoseconds now);
  Nanoseconds next_round() const;
  // The footer that is being put together:
  std::map<PartitionNumber, PartitionSlot> by_number;  // of open partitions
  PartitionNumber footer_partition{};  // partitions below were put
  uint32_t footer_producer = 0;        // the next to look at
  uint32_t footer_batches = 0;         // of the partitions that were put
  LogIndex::Walk walk;
  std::optional<LogIndex::Share> share;  // of the walk, the next
  bool walk_sorted = false;
  std::optional<SegmentNumber> retiring;  // its footer is durable: it leaves the index
  Bounded<uint64_t> reads_done{2 * limits::read_wants_max};

  uint32_t slots_end = 0;  // partitions beyond were never opened
  bool knows_catalog = false;
  bool retains = false;  // retain() was called
  Nanoseconds interval_ns = 0;
  RetentionClock clock;
};

}  // namespace penstock
