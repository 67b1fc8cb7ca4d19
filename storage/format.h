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
// Behind the last commit of a sealed segment, where its successor says that it ends, may lie a footer: what a reader
// would know after it had read all of the segment.
//
//   | FooterHead | pad | block | block | ... |      block:  | FooterBlock | row | row | ... | pad |
//   predecessor_end of the successor                        0                        block_bytes at most
//
// Its rows come in four sections, each from a block of its own: how far every partition of the lane had come at the end
// of the segment, what every producer had sent last, the segment's batches by partition and offset, and a key for each
// block of partitions and of batches, so that a batch is found by reading a few blocks. The head is written last, when
// the blocks are durable: where it is whole, so are they. A footer is a shortcut and nothing more; whoever does not know
// it, or finds it damaged, reads the commits.
//
// All integers are little-endian. A reader refuses a version it does not know; of a footer, it passes it over.
#pragma once

#include <cstdint>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/units.h"

namespace penstock::disk {

inline constexpr uint8_t format_version = 1;

// "PNSTKSEG" and "PNSTKCMT" as they appear in the file.
inline constexpr uint64_t segment_magic = 0x4745534b54534e50;
inline constexpr uint64_t commit_magic = 0x544d434b54534e50;

// A footer counts its own versions, since a segment can be read without. "PNSTKFTR" and "PNSTKFBL".
inline constexpr uint8_t footer_version = 2;
inline constexpr uint64_t footer_magic = 0x5254464b54534e50;
inline constexpr uint64_t footer_block_magic = 0x4c42464b54534e50;

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

// In all headers the CRC begins behind itself.
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

enum class FooterSection : uint8_t { partitions, producers, batches, keys, count };

struct FooterHead {
  Little<uint64_t> magic;
  Little<uint32_t> crc;  // CRC32C from `version` on: head_bytes - crc_from bytes
  Little<uint8_t> version;
  Little<uint8_t> reserved[3];
  Little<uint32_t> head_bytes;   // this struct
  Little<uint32_t> block_bytes;  // of every block but the last of a section, which may be shorter
  Little<uint64_t> segment_number;
  Little<uint64_t> segment_id;
  Little<uint64_t> position;       // file position of this: where the segment's last commit ends
  Little<uint64_t> last_sequence;  // of that commit
  Little<uint64_t> last_hash;      // chain_hash of that commit
  Little<int64_t> max_timestamp;   // of the segment's batches, -1: none
  struct Section {
    Little<uint64_t> position;  // file position of its first block; the next one follows after block_bytes
    Little<uint64_t> row_count;
  } sections[static_cast<size_t>(FooterSection::count)];
};
static_assert(sizeof(FooterHead) == 136 && alignof(FooterHead) == 1);

// Blocks and sections begin at multiples of this, or of the drive's block if that is larger: so that they can be read
// directly on another drive too.
inline constexpr uint32_t footer_align = 4096;

// Of the first row of a block: of every block of section `partitions`, then of every block of section `batches`.
struct FooterKey {
  Little<uint64_t> partition;
  Little<int64_t> base_offset;    // 0 for partitions
  Little<int64_t> max_timestamp;  // of the partition's batches in this segment before this one, -1: none
};
static_assert(sizeof(FooterKey) == 24);

struct FooterBlock {
  Little<uint64_t> magic;
  Little<uint32_t> crc;     // CRC32C from `section` on, rows included
  Little<uint8_t> section;  // FooterSection
  Little<uint8_t> reserved[3];
  Little<uint32_t> number;  // in its section, from 0
  Little<uint32_t> row_count;
  Little<uint64_t> segment_id;
};
static_assert(sizeof(FooterBlock) == 32 && alignof(FooterBlock) == 1);

// Every partition of which some segment said something, up to the end of this one; by number.
struct FooterPartition {
  Little<uint64_t> partition;
  Little<int64_t> next;  // the offset the next record gets
  Little<int64_t> log_start;
  Little<int64_t> max_timestamp;    // of all its batches up to here, -1: none
  Little<uint64_t> newest_segment;  // the newest that says something of it
  Little<uint64_t> bytes_up_to;     // of its batches up to here, counted from anywhere
  Little<int64_t> max_timestamp_here;  // of its batches in this segment
  Little<uint32_t> first_batch;        // its rows in section `batches`
  Little<uint32_t> batch_count;
  Little<int32_t> leader_epoch;
  Little<uint32_t> deleted;  // 1: it is gone
};
static_assert(sizeof(FooterPartition) == 72);

// What a producer sent last to a partition, oldest first, at most five batches. In no order.
struct FooterProducer {
  Little<uint64_t> partition;
  Little<int64_t> producer_id;
  Little<uint32_t> batch_count;
  Little<uint32_t> reserved;
  struct Batch {
    Little<int64_t> base_offset;
    Little<uint64_t> commit;  // its sequence
    Little<int32_t> base_sequence;
    Little<int32_t> last_offset_delta;
    Little<int16_t> epoch;
    Little<uint8_t> reserved[6];
  } batches[5];
};
static_assert(sizeof(FooterProducer) == 184);

// A batch of this segment; by partition, and within a partition in the order of the log.
struct FooterBatch {
  Little<uint64_t> partition;
  Little<int64_t> base_offset;
  Little<int64_t> max_timestamp;
  Little<uint64_t> commit;  // file position
  Little<int32_t> last_offset_delta;
  Little<uint32_t> first_position;  // of its first run
  Little<uint32_t> batch_bytes;
  Little<uint32_t> ordinal;  // of its entry in the commit, with footer_gathered_bit when it has several runs
};
static_assert(sizeof(FooterBatch) == 48);
inline constexpr uint32_t footer_gathered_bit = uint32_t{1} << 31;

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
