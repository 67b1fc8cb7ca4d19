// One lane's log: appends batches to an open commit, sends commits to the drive, says what is durable.
//
//   appended   has an offset, sits in the open commit or in one in flight; a crash may lose it.
//   durable    its commit and all commits before it are on stable storage; acknowledged and visible to consumers.
//
//        sealed segments          open segment
//   |--------------------|-----------------------------------|
//                              ^ durable        ^ submitted    ^ open commit
//   Commits finish in any order; only the contiguous finished prefix is durable.
//
// The log does no I/O. The lane passes drive requests on and completions in:
//
//   while (const DriveRequest* request = log.next_request(now)) { if (!drive.submit(*request)) break; log.submitted(); }
//   drive.poll(now, [&](DriveCompletion done) { log.completed(done, now); });
//   then looks at durable_commit(), take_advanced(), take_read().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "storage/batch_info.h"
#include "storage/drive.h"
#include "storage/index.h"
#include "storage/retention.h"

namespace penstock {

// A partition's place in its lane, dense from 0; assigned by the catalog. Another partition's after this one's deletion:
// whoever keeps it for later compares the number too.
using PartitionSlot = Id<struct PartitionSlotTag, uint32_t>;

struct PartitionState {
  PartitionNumber number{};
  bool open = false;       // known to the catalog and led by this lane
  Offset log_start{};      // durably: it never goes back
  Offset durable{};        // high watermark: the offset after the last durable record
  Offset appended{};       // the offset the next record gets
  int32_t leader_epoch = 0;
  uint32_t first_waiter = UINT32_MAX;  // the lane's list of fetches waiting for this partition; the log ignores it
};

enum class LogState : uint8_t {
  starting,   // what was found is being made durable and the first segment prepared: do not serve yet
  writable,
  recovering,  // a write failed: waiting for those in flight, then rewriting on a fresh segment
  read_only,  // failed again, damaged, or full: appends are refused, reads go on
};

// Why a log is not as it should be, for the operator.
enum class LogTrouble : uint8_t {
  none,
  no_space,         // the drive gives no further segment: refuses appends now, or soon
  rewriting,        // a write or flush failed; what is not durable is written again on a fresh segment
  write_failed,     // that failed too
  found_unflushed,  // what was found at start cannot be flushed
  damaged,          // recovery says so
};

enum class AppendVerdict : uint8_t {
  appended,
  busy,    // no room until the drive has finished something: try again after the next completion
  refused  // the log is read-only
};

// A batch on its way into the open commit: checksummed, and copied if it is small. At most one is staged at a time.
struct StagedBatch {
  uint32_t crc = 0;     // CRC32C of bytes 21 .. length - 1
  uint32_t length = 0;  // bytes
  bool copied = false;  // lies in the packing buffer
};

struct Appended {
  AppendVerdict verdict = AppendVerdict::refused;
  Offset base_offset{};
  CommitSequence commit{};  // durable once durable_commit() >= commit
};

// Verdict on an idempotent batch, before it is appended (Kafka's rules: last five batches per producer remembered).
enum class SequenceVerdict : uint8_t {
  next,              // append it
  duplicate,         // already appended at `base_offset`, in `commit`; answer when that is durable
  duplicate_old,     // older than the five remembered: DUPLICATE_SEQUENCE_NUMBER
  out_of_order,      // OUT_OF_ORDER_SEQUENCE_NUMBER
  fenced,            // epoch older than known: INVALID_PRODUCER_EPOCH
  unknown_producer,  // no state and sequence is not 0: Kafka (>= 2.5, KIP-360) accepts any first sequence when it has no state
};
struct SequenceCheck {
  SequenceVerdict verdict = SequenceVerdict::next;
  Offset base_offset{};
  CommitSequence commit{};
  Milliseconds max_timestamp = -1;  // of a duplicate, where it is known
};

// What became of a request to delete the records of a partition below an offset.
struct Deleted {
  AppendVerdict verdict = AppendVerdict::refused;
  CommitSequence commit{};  // the log start is what was asked for once durable_commit() >= commit; 0: it is already
};

struct LogStatistics {
  uint64_t payload_bytes = 0;         // batch bytes appended
  uint64_t payload_bytes_copied = 0;  // of those, copied into packing buffers
  uint64_t written_bytes = 0;         // bytes of completed writes: header, payload, rounding, padding
  uint64_t commits = 0;               // durable
  uint64_t writes = 0;                // write requests completed
  uint64_t flushes = 0;
  uint64_t write_errors = 0;
  uint64_t drive_error = 0;  // errno of the last write or flush that failed
  uint64_t space_error = 0;  // errno of the last slot that could not be prepared; 0: it could
  uint64_t read_bytes = 0;  // from the drive, for consumers
  uint64_t reads = 0;
  uint64_t read_errors = 0;
  uint64_t read_error = 0;   // errno of the last
  uint64_t resident_hits = 0;  // batches served from memory
  uint64_t segments = 0;          // of the log, now
  uint64_t segments_released = 0; // nothing in them was to be kept any more
  uint64_t slots_recycled = 0;    // of released segments, ready for the next one without being written with zeros
  uint64_t slots_prepared = 0;    // created and written with zeros
  uint64_t footers = 0;           // of sealed segments, written
  uint64_t index_bytes = 0;         // of memory, for segments that are not looked up in their footers, and to find footers
  uint64_t footer_cache_bytes = 0;  // of memory
  uint64_t footer_cache_hits = 0;   // blocks asked for that were there
  uint64_t footer_cache_misses = 0;
  uint64_t footer_read_bytes = 0;      // of read_bytes
  uint64_t footer_blocks_damaged = 0;  // that could not be read, or were not what was written
  uint64_t log_start_moves = 0;   // durable
  uint64_t retention_moves = 0;   // of these, begun by retention, the others by delete_records()
  uint64_t inflight_bytes = 0;  // now
  uint64_t resident_bytes = 0;  // now, by buffer
};

struct LogConfig {
  uint32_t lane = 0;
  uint64_t segment_bytes = 256 * MiB;     // also the size of every slot; a multiple of the drive's block
  uint32_t spare_segments = 2;            // prepared ahead of need
  uint64_t resident_bytes_max = 64 * MiB; // newest data kept in memory, by buffer
  uint64_t read_bytes_max = 16 * MiB;     // read buffers in flight and unsent
  uint64_t footer_cache_bytes = 1 * MiB;  // blocks of footers, for look-ups in sealed segments; taken at start
  uint32_t partitions_max = 100'000;
  uint32_t producers_max = 65'536;        // (partition, producer id) pairs remembered; the longest idle goes first
  Nanoseconds retention_interval_ns = 10 * second_ns;  // rest between two rounds over all partitions
  uint64_t random_seed = 0;               // for segment ids and the term's nonce; from the caller, never from a clock
};

struct LogMemory {
  Arena arena;
  BufferTable* buffers;       // the lane's reference counts
  BufferAllocator* allocator; // gives out header, packing and read buffers; released buffers return to it via the lane
};

// A durable batch looked up for a consumer.
struct StoredBatch {
  Offset base_offset{};
  Offset next_offset{};
  Milliseconds max_timestamp = -1;
  uint32_t length = 0;    // bytes
  IndexEntry place;       // opaque: where it lies
};

class Log {
 public:
  // `files` is read for recovery inside the constructor (blocking); it may be empty. Recovery's findings are in
  // recovery_report(), one line each, for the operator. Partitions found on the drive are in the table, not `open`
  // until open_partition(); their numbers come from the entries.
  Log(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, SegmentFiles& files);
  ~Log();

  LogState state() const;
  LogTrouble trouble() const;
  // The longest batch that stage() takes.
  uint64_t batch_bytes_max() const;
  std::string recovery_report() const;

  // The catalog says: this partition exists, at this slot. Existing data of the same number is attached to it.
  void open_partition(PartitionSlot slot, PartitionNumber number, int32_t leader_epoch);
  // The catalog says: deleted. Its data is unreachable at once; an entry records it.
  void delete_partition(PartitionSlot slot);
  PartitionState* partition(PartitionSlot slot);  // nullptr when not open

  // ---- retention ----
  void set_retention(PartitionSlot slot, const RetentionPolicy& policy);
  // Every partition there is was opened: nobody wants the data of others that was found.
  void catalog_known();
  // A slice of the work: moves log starts past what has expired, releases segments that nobody wants, oldest first.
  // Each log start is durable before it counts, and what is below is gone only then. `wall`: the time of day; see
  // RetentionClock. Without calls nothing expires.
  void retain(Nanoseconds now, Milliseconds wall);
  void stop_retaining();
  // Kafka's DeleteRecords: the log starts at `before`, which is not beyond the durable end.
  Deleted delete_records(PartitionSlot slot, Offset before);

  // ---- produce, in this order: stage, (verdicts), check_sequence, append or unstage ----
  // Checksums bytes 21.. of the batch in one pass; a small batch is copied into the packing buffer in the same pass.
  // nullopt: busy (no room in the open commit for a batch of this size and so many pieces).
  std::optional<StagedBatch> stage(const PieceRange& batch);
  void unstage();
  // Overwrites bytes of the staged batch's first 61 where they will be written from (a copied batch no longer lies in
  // its pieces): for LogAppendTime, whose caller recomputes the CRC too.
  void patch_staged(uint32_t at, std::span<const std::byte> bytes);
  SequenceCheck check_sequence(PartitionSlot slot, const BatchInfo& info) const;
  // Assigns the offset, patches base offset (bytes 0-7) and leader epoch (bytes 12-15) in place where the batch lies,
  // joins it to the open commit and takes a reference (Holder::commit) to every buffer that is written from.
  Appended append(PartitionSlot slot, const BatchInfo& info, Nanoseconds now);

  // ---- the drive ----
  const DriveRequest* next_request(Nanoseconds now);  // nullptr: nothing to do now
  void submitted();                                   // the request just returned was taken by the drive
  void completed(const DriveCompletion& done, Nanoseconds now);
  Nanoseconds next_deadline() const;

  CommitSequence durable_commit() const;
  // After a second failure: commits above durable_commit() and up to this one are lost and their appends undone;
  // sequence numbers above it are new. 0 when none was lost.
  CommitSequence lost_up_to() const;
  // Partitions whose durable offset moved since the last call, each once: calls visit(PartitionSlot).
  std::span<const PartitionSlot> advanced() const;
  void forget_advanced();

  // ---- consume ----
  // Look-ups in sealed segments read their footers. `token` as with fetch(), for one look-up at a time; who is told
  // `reading` asks the same again when reads_done() says so.
  enum class LookUp : uint8_t {
    found,
    none,
    reading,
    busy,     // too many wait already, try later
    damaged,  // a footer's block that it needs cannot be read, or is not what was written
  };
  // The durable batch that contains `offset`, else the first after it; none: at or beyond the durable end.
  LookUp find(PartitionSlot slot, Offset offset, uint64_t token, StoredBatch& batch);
  // The first durable batch with max_timestamp >= timestamp (Kafka's ListOffsets by time).
  LookUp find_time(PartitionSlot slot, Milliseconds timestamp, uint64_t token, StoredBatch& batch);
  // The batch with the partition's largest max_timestamp (ListOffsets -3).
  LookUp find_max_timestamp(PartitionSlot slot, uint64_t token, StoredBatch& batch);

  enum class FetchVerdict : uint8_t { ready, reading, soon, busy, damaged, unreadable };
  // The bytes of a batch. ready: appended to `to` (whole batch, in order), one Holder::send reference per piece.
  // reading: the drive reads it, for all who ask, and reads_done() will say `token`; call again then. A token reads one
  // batch at a time. soon: no memory, but what is only kept in case it is asked for gives way: try in the next round.
  // busy: others hold it, try later. damaged: what the drive holds does not match its entry (CRC, length).
  // unreadable: the drive cannot read it; who asks again has it read again.
  FetchVerdict fetch(PartitionSlot slot, const StoredBatch& batch, uint64_t token, PiecePool& pool, PieceList& to);
  // Tokens of reads and look-ups that may go on, since the last call.
  std::span<const uint64_t> reads_done();
  void forget_reads_done();
  // Whoever waited for this token is gone.
  void cancel_read(uint64_t token);

  // Lets go of resident commits, oldest first, until at least `bytes` (by buffer) of memory that was received into came
  // free, or none is left. UINT64_MAX: also of what was read.
  void shed_resident(uint64_t bytes);

  // Nothing open, nothing in flight.
  bool drained() const;
  // At shutdown, after drained(): lets go of resident buffers.
  void release_all();

  const LogStatistics& statistics() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
