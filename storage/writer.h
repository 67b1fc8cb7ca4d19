// The write side of a log: fills commits, places them in segments, writes them, says what is durable, and starts over
// on a fresh segment when the drive fails. Knows batches only as bytes; partitions and producers are Log's.
//
//   commits:   taken ..... next_submit ... next_place ... open
//              |  in flight or written   |  placed  | closed |  filling
//              |  waiting for a flush    |  at most one commit waits here, except while rewriting
//
// Segments: the front one holds the durable end, the back one takes new commits. Commits of a new segment are written
// at once, but its header only after all commits of its predecessor are durable, and they count only after the header
// is durable: until then recovery does not know the segment. So a roll does not stop the drive.
//
// When a write or flush fails, nothing more is sent; when all in flight has come back, the front segment ends at the
// durable end, the segments after it are given up, and all later commits, completed or not, are placed anew from a
// fresh segment on. If anything fails before all of them are durable, they are lost and the log is read-only. So it is
// when what was found at start cannot be flushed.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "storage/batch_info.h"
#include "storage/bounded.h"
#include "storage/commit.h"
#include "storage/drive.h"
#include "storage/durable_prefix.h"
#include "storage/footer.h"
#include "storage/log.h"
#include "storage/recovered.h"
#include "storage/request_tag.h"
#include "storage/spare_slots.h"

namespace penstock {

// Where the log that recovery found ends. All zero: there was none.
struct LogEnd {
  SegmentNumber segment{};  // of the last commit that counts
  SegmentSlot slot{};
  uint64_t segment_id = 0;
  FilePosition position{};  // where that commit ends
  CommitSequence sequence{};
  uint64_t hash = disk::chain_start;
  uint64_t term = 0;             // the largest seen
  SegmentNumber segment_last{};  // the largest number seen, also of segments that do not count
  std::optional<SegmentSlot> empty;  // holds a newer segment, without commits
};

class LogWriter {
 public:
  // `read_only`: nothing is ever written, not even prepared. `slots`: what each may be used for.
  LogWriter(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, const LogEnd& end,
            const std::vector<SlotUse>& slots, bool read_only, LogStatistics* statistics);
  ~LogWriter();

  LogState state() const;
  LogTrouble trouble() const;

  // ---- filling ----
  // False: no room now.
  [[nodiscard]] bool stage(const PieceRange& batch, uint32_t* crc);
  void unstage();
  void patch(uint32_t at, const void* bytes, size_t count);
  uint64_t staged_copied_bytes() const;
  bool staged() const;
  CommitSequence add(const BatchInfo& info, PartitionSlot slot);
  // The commit it is in; nullopt: no room now. `slot`: {UINT32_MAX} when nobody waits for it to be durable.
  // Need::rewrite: so that a full drive gets room again, it may begin the segment that is kept back.
  std::optional<CommitSequence> add_note(disk::EntryKind kind, PartitionNumber partition, Offset offset,
                                         PartitionSlot slot, SpareSlots::Need need);

  // ---- footers ----
  // How many partitions and producers the footer of the segment that is being filled will say something of. Room is
  // left for it.
  void expect_footer(uint64_t partitions, uint64_t producers) { footer_rows_ = {partitions, producers + 1, 0}; }
  // While a footer is being written no further segment is sealed but for rewriting, so that each gets its own: appends
  // wait.
  void footer_under_way(bool is) { footer_under_way_ = is; }
  // A segment was sealed for good: its last commit was taken, and its successor's header is durable. Ask after every
  // completed(), before next_durable().
  std::optional<SegmentEnd> take_sealed() { return std::exchange(sealed_, std::nullopt); }

  // ---- released segments, one at a time ----
  // The segment is no part of the log any more. Zeroes its header; then the slot is a spare, as it is or, `anew`, to be
  // prepared.
  void recycle(SegmentSlot slot, bool anew);
  // A segment that never was part of the log: the same, to be prepared. Before any that was.
  void discard(SegmentSlot slot) { void_slots_.push_back(slot); }
  bool recycling() const { return recycling_.has_value() || !void_slots_.empty(); }
  // A slot that was found without a header: a power loss may bring the former one back, while the segments behind it are
  // gone. So before the first release each gets its zeros again, durably, as a discarded one. False: none is left.
  void found_blank(SegmentSlot slot) { blank_slots_.push_back(slot); }
  bool discard_found_blank();
  // Appends and notes can be written; segments may be released.
  bool healthy() const { return mode_ == Mode::writable && !failing_; }
  // What was found is durable, but the drive has no slot to go on in: segments may be released, nothing can be noted.
  bool stuck_at_start() const {
    return mode_ == Mode::starting && !failing_ && !first_flush_wanted_ && !first_flush_ && spares_.drive_full();
  }
  // The drive has refused to prepare a slot.
  bool short_of_space() const { return space_refused_ || spares_.drive_full(); }

  // ---- the drive ----
  const DriveRequest* next_request(Nanoseconds now);
  void submitted();
  void completed(RequestTag tag, int64_t result, Nanoseconds now);
  Nanoseconds next_deadline() const;

  // ---- what became durable, in order; after every completed() until nullptr, then settle() ----
  struct Durable {
    OutgoingCommit* commit = nullptr;           // whoever takes it passes its references on and empties it
    std::span<const PartitionSlot> partitions;  // by entry; {UINT32_MAX} for notes
    CommitSequence sequence{};
    SegmentNumber segment{};
    SegmentSlot slot{};
    FilePosition position{};
  };
  const Durable* next_durable();
  void durable_taken();
  // Goes on after a failure when nothing is in flight any more. True: gave up; all above durable() is undone.
  [[nodiscard]] bool settle();

  // The newest segment whose header is durable, also if no commit in it ever is. 0: none yet.
  SegmentNumber newest_segment() const { return segments_.front().number; }
  SegmentSlot newest_slot() const { return segments_.front().slot; }

  uint64_t batch_bytes_max() const;
  CommitSequence durable() const { return taken_; }
  CommitSequence lost_up_to() const { return lost_up_to_; }
  bool drained() const;
  void release_all();

 private:
  struct Record;
  struct Write;
  struct Segment {
    SegmentNumber number{};
    SegmentSlot slot{};
    uint64_t id = 0;
    FilePosition end{};  // where the next commit goes
    uint64_t entries = 0;
    bool sealed = false;  // takes no more commits
    enum class Header : uint8_t { waiting, in_flight, durable } header = Header::waiting;
    // Its predecessor's commits that count:
    SegmentNumber predecessor{};
    uint64_t predecessor_id = 0;
    FilePosition predecessor_end{};
    CommitSequence predecessor_sequence{};
    uint64_t predecessor_hash = 0;
  };
  // The reserve is in use, or was at the last crash: what room is left is for the notes that let segments go.
  bool last_room() const { return spares_.drive_full() && !spares_.available(SpareSlots::Need::rewrite); }
  // After a start nobody knows yet whether the drive has a further slot. If not, notes need this segment.
  bool half_kept_back() const {
    return !spares_.available(SpareSlots::Need::rewrite) && segments_.back().end.value > config_.segment_bytes / 2;
  }
  enum class Mode : uint8_t { starting, writable, recovering, read_only };

  // filling (writer_fill.cc)
  template <class Attempt>
  bool fill(SpareSlots::Need need, Attempt&& attempt);
  bool open_commit();
  void close_open();
  void place(Record& record);
  uint64_t room_in_segment(const OutgoingCommit& commit) const;
  bool roll(SpareSlots::Need need);
  void place_waiting();

  // the drive (writer.cc)
  const DriveRequest* header_request();
  const DriveRequest* write_request();
  const DriveRequest* flush_request();
  const DriveRequest* prepare_request(Nanoseconds now);
  const DriveRequest* recycle_request(Nanoseconds now);
  bool has_room(uint64_t bytes) const;
  void write_completed(Write& write, int64_t result);
  void header_completed(int64_t result);
  void flush_completed(int64_t result);
  void recycle_completed(int64_t result, Nanoseconds now);
  bool try_again(int64_t result);
  CommitSequence counted() const;
  void fail(int64_t result);
  void note_error(int64_t result);
  void rewrite_on_fresh_segment();
  void give_up();
  bool in_flight() const;
  uint64_t random();
  Record& record(CommitSequence sequence);

  LogConfig config_;
  DriveUnits units_;
  LogMemory memory_;
  LogStatistics* statistics_;
  uint64_t term_ = 0;
  uint64_t random_state_ = 0;
  uint64_t index_entries_max_ = 0;

  Mode mode_ = Mode::starting;
  LogTrouble given_up_for_ = LogTrouble::none;  // in Mode::read_only
  bool failing_ = false;        // a write or flush failed, waiting for those in flight
  bool space_refused_ = false;  // the drive is full
  bool reserve_used_ = false;   // meanwhile notes have begun the segment that was kept back
  CommitSequence recover_until_{};
  CommitSequence lost_up_to_{};

  BufferIndex control_buffer_ = no_buffer;  // a zero area, then a block for the segment header
  ZeroArea zeros_;
  std::byte* header_block_ = nullptr;

  FooterRows footer_rows_{};
  bool footer_under_way_ = false;
  std::optional<SegmentEnd> sealed_;

  SpareSlots spares_;
  struct Recycling {
    SegmentSlot slot{};
    bool anew = false;
    bool in_flight = false;
    Nanoseconds not_before = 0;
  };
  std::optional<Recycling> recycling_;
  // Holds a segment without commits that was found behind the log's end. It is the next one's if the drive gives no other;
  // else it is discarded, since the process that began it may have left writes to it under way.
  std::optional<SegmentSlot> found_empty_;
  std::vector<SegmentSlot> void_slots_;
  std::vector<SegmentSlot> blank_slots_;  // until they were zeroed, or prepared
  BoundedQueue<Segment> segments_;
  SegmentNumber segment_last_{};
  uint64_t placed_hash_ = disk::chain_start;
  struct DurableEnd {
    FilePosition position{};
    uint64_t hash = disk::chain_start;
  } durable_end_;  // in segments_.front()

  std::vector<std::unique_ptr<Record>> records_;  // by sequence % size
  CommitSequence taken_{};                        // durable, and given to the Log
  CommitSequence next_submit_{};
  CommitSequence next_place_{};
  CommitSequence open_{};
  DurablePrefix prefix_;
  Durable durable_;

  std::vector<std::unique_ptr<Write>> writes_;
  uint32_t inflight_writes_ = 0;  // taken by the drive, or to be resumed
  uint64_t inflight_bytes_ = 0;
  bool first_flush_wanted_ = false;  // what recovery found may lie in the drive's cache only
  bool first_flush_ = false;         // the flush under way is that one
  bool flush_in_flight_ = false;
  uint32_t retries_ = 0;  // of header and flush in a row

  // What next_request() returned last, waiting for submitted().
  DriveRequest request_;
  iovec header_vector_{};
  iovec recycle_vector_{};
  Write* offered_write_ = nullptr;
};

}  // namespace penstock
