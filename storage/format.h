// The log on disk. Everything a reader of the files needs to know is on this page.
//
// A slot (one file of fixed size) holds one segment:
//
//   0              block                                                            segment_bytes
//   | SegmentHeader | commit | commit | commit | ... | zeros, or what was there before |
//
// and a commit, a multiple of `block` bytes, is
//
//   | CommitHeader | Entry Run.. | Entry Run.. | pad | payload of all entries, with gaps | pad |
//   0                                          header_bytes                              commit_bytes
//
// Payload lies wherever an entry's runs say. Between the runs lie the bytes that happened to be around a batch in the
// receive buffer it was written from: they mean nothing, no checksum covers them.
//
// Commits of a lane are numbered from 1 without gaps, across segments. Each header carries a hash of the header before
// it (chain_hash), so that a reader knows nothing is missing between two of them; the chain is no defence against a
// forger, who can compute it as well as we can. The first commit of a segment continues the chain where SegmentHeader
// says its predecessor ended: whatever the predecessor holds beyond that point is void (torn, or written again here
// after a write error).
//
// Segment numbers ascend, and may skip: after a write error the segments begun since the durable end are given up, and
// the fresh one with the next number names the segment of the durable end as its predecessor. The log is the newest
// segment, its predecessor by number and id, that one's predecessor, and so on. A segment whose header is intact but
// which is not on that path was given up (its header write may have failed and reached the drive all the same): void.
//
// All integers are little-endian. A reader refuses a version it does not know.
#pragma once

#include <cstdint>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/units.h"

namespace penstock::disk {

inline constexpr uint8_t format_version = 1;

// "PNSTKSEG" and "PNSTKCMT" as they appear in the file.
inline constexpr uint64_t segment_magic = 0x4745534b54534e50;
inline constexpr uint64_t commit_magic = 0x544d434b54534e50;

// The hash before commit 1 of a new log.
inline constexpr uint64_t chain_start = 0;

// At file position 0, alone in its block; the rest of the block is zeros. Written durably before any of the segment's
// commits counts, and after all of its predecessor's commits are durable.
struct SegmentHeader {
  Little<uint64_t> magic;
  Little<uint32_t> crc;  // CRC32C of this struct from `version` on
  Little<uint8_t> version;
  Little<uint8_t> reserved[3];
  Little<uint32_t> lane;
  Little<uint32_t>
      block;  // bytes: file positions and lengths of commits are multiples; the first commit lies at `block`
  Little<uint64_t> segment_bytes;       // of the file
  Little<uint64_t> number;              // SegmentNumber, from 1, in the order of the log
  Little<uint64_t> segment_id;          // random, not 0; repeated in every commit: tells them from what lay here before
  Little<uint64_t> term;                // new at every start
  Little<uint64_t> predecessor_number;  // 0: none, the log begins here
  Little<uint64_t> predecessor_sequence;  // of its last commit that counts; this segment begins with the next
  Little<uint64_t> predecessor_hash;      // chain_hash of that commit
  Little<uint64_t> predecessor_end;       // file position in the predecessor where that commit ends
  Little<uint64_t> durable_sequence;      // known durable when this was built; == predecessor_sequence
  Little<uint64_t> predecessor_id;        // its segment_id
};
static_assert(sizeof(SegmentHeader) == 104 && alignof(SegmentHeader) == 1);

struct CommitHeader {
  Little<uint64_t> magic;
  Little<uint32_t> crc;  // CRC32C of the header from `version` on, entries included: header_bytes - crc_from bytes
  Little<uint8_t> version;
  Little<uint8_t> reserved[3];
  Little<uint32_t> header_bytes;  // this struct and its entries; a multiple of 8
  Little<uint32_t> entry_count;
  Little<uint64_t> commit_bytes;  // all of it; a multiple of the block
  Little<uint64_t> segment_id;
  Little<uint64_t> term;
  Little<uint64_t> position;          // file position of this header: a misdirected write is not taken for a commit
  Little<uint64_t> sequence;          // CommitSequence
  Little<uint64_t> previous_hash;     // chain_hash of commit sequence - 1
  Little<uint64_t> durable_sequence;  // known durable when this was built
};
static_assert(sizeof(CommitHeader) == 80 && alignof(CommitHeader) == 1);

// In both headers the CRC begins behind itself.
inline constexpr uint32_t crc_from = 12;

enum class EntryKind : uint8_t {
  batch = 1,              // a record batch as Kafka stores it
  carried_batch = 2,      // a batch moved here from an older segment: same offsets, not new
  log_start = 3,          // records of `partition` below base_offset are deleted (DeleteRecords, retention)
  partition_deleted = 4,  // `partition` is gone with all its data; its number never comes back
  control = 5,            // for the storage engine itself; what follows the prefix is defined when one is needed
};

// What every entry of any kind begins with. A reader skips kinds it does not know by entry_bytes.
struct EntryPrefix {
  Little<uint32_t> entry_bytes;  // from this prefix to the next entry; a multiple of 8, at least 8
  Little<uint8_t> kind;          // EntryKind
  Little<uint8_t> reserved;
  Little<uint16_t> run_count;  // Runs that follow the Entry
};
static_assert(sizeof(EntryPrefix) == 8);

// Kinds batch .. partition_deleted. What a kind does not use is 0, run_count too.
struct Entry {
  EntryPrefix prefix;
  Little<uint64_t> partition;  // PartitionNumber
  Little<int64_t> base_offset;
  Little<int32_t> last_offset_delta;
  Little<int32_t> record_count;
  Little<int64_t> max_timestamp;
  Little<int64_t> producer_id;
  Little<int32_t> base_sequence;
  Little<int16_t> producer_epoch;
  Little<uint16_t> attributes;
  Little<int32_t> leader_epoch;
  Little<uint32_t> batch_crc;    // CRC32C of bytes 21 .. batch_bytes - 1, as Kafka defines it
  Little<uint32_t> batch_bytes;  // whole batch, from its base offset field on; the sum of its runs
  Little<uint32_t> reserved;
};
static_assert(sizeof(Entry) == 72 && alignof(Entry) == 1);

// A batch is the concatenation of its runs, in order. Its bytes 0-20, which its CRC does not cover, are rewritten from
// the entry when read: base offset, length, leader epoch, magic (2) and CRC.
struct Run {
  Little<uint32_t> position;  // bytes from the start of the commit; any alignment, within [header_bytes, commit_bytes)
  Little<uint32_t> length;    // bytes, > 0
};
static_assert(sizeof(Run) == 8);

// Where the bytes of a record batch lie that the log writes or rewrites; the rest is Kafka's and the producer's.
inline constexpr uint32_t batch_base_offset_at = 0;    // 8 bytes, big-endian like all below
inline constexpr uint32_t batch_length_at = 8;         // 4 bytes: batch_bytes - 12
inline constexpr uint32_t batch_leader_epoch_at = 12;  // 4 bytes
inline constexpr uint32_t batch_magic_at = 16;         // 1 byte: 2
inline constexpr uint32_t batch_crc_at = 17;           // 4 bytes
inline constexpr uint32_t batch_crc_from = 21;         // the CRC covers the rest
inline constexpr uint32_t batch_header_bytes = 61;     // the shortest batch

// The hash the next header carries: covers the whole chain through `previous`, and this header through its CRC.
// 64 bits, since a chain of CRCs alone would let one stale header in four billion through. (The mix is splitmix64's.)
constexpr uint64_t chain_hash(uint64_t previous, CommitSequence sequence, uint32_t header_crc) {
  uint64_t x = previous ^ (sequence.value * 0x9e3779b97f4a7c15) ^ (uint64_t{header_crc} << 16);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace penstock::disk
