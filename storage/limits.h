// The log's bounds, each with the arithmetic behind it. Everything the log holds is sized from here at construction.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/units.h"
#include "storage/drive.h"
#include "storage/format.h"

namespace penstock::limits {

// Kafka's default message.max.bytes is 1 MiB, what operators raise it to rarely exceeds 10 MB.
inline constexpr uint64_t batch_bytes_max = 16 * MiB;

// A write resumed after EINTR, EAGAIN or no progress; each is a round through the drive, so a healthy one never gets
// there, and a sick one is called so within milliseconds.
inline constexpr uint32_t write_retries_max = 16;

// How long a refused slot preparation (drive full) rests before it is tried again.
inline constexpr Nanoseconds prepare_retry_ns = second_ns;

// Batches read from the drive and not yet handed over and sent. A read is at least one buffer of 4 KiB; the bytes are
// bounded by LogConfig::read_bytes_max, this bounds the bookkeeping.
inline constexpr uint32_t reads_max = 256;
// Who wait for them, each for one; with more, some come again.
inline constexpr uint32_t read_wants_max = 1024;
// Buffers of one read: batch_bytes_max in buffers of 1 MiB, and the last one and those of a fragmented arena smaller.
inline constexpr uint32_t read_buffers_max = 64;
// Read requests of one batch: copied and gathered runs lie in two places of a commit.
inline constexpr uint32_t read_extents_max = 4;

// Bytes that may lie in gaps between the runs of one batch before they are read apart: a gap costs less than a request.
inline constexpr uint32_t read_gap_bytes_max = 64 * KiB;

// Packing buffers of a commit: 16 KiB, 64 KiB, 256 KiB, then 1 MiB each, up to a copied batch of the largest size and
// a commit's worth before it; more only when the arena is fragmented.
inline constexpr uint32_t packing_buffers_max = 64;

// Vectors that a closed commit has besides gathered ones: header, packing buffers, padding.
inline constexpr uint32_t other_vectors_max = 1 + packing_buffers_max + 1;

// Gathered vectors of a commit. One batch of 2 MiB in pieces of 1448 bytes is 1448 vectors; pieces of a batch beyond
// the bound are copied. Two writes' worth.
inline constexpr uint32_t gathered_vectors_max(const DriveUnits& units) { return 2 * units.vectors_max; }

// Buffers that the gathered vectors of a commit lie in: each vector may begin in a new one and be continued in others
// of at least one arena unit.
inline constexpr uint32_t gathered_buffers_max(const DriveUnits& units) {
  return gathered_vectors_max(units) +
         static_cast<uint32_t>((units.commit_bytes_max + batch_bytes_max) / arena_unit_bytes);
}

// Header with entries, the most of a commit: an eighth of its bytes (batches of about 600 bytes fill both), never so
// little that one batch in the most runs (each gathered vector with a copied run before it) would not fit.
inline constexpr uint64_t header_bytes_max(const DriveUnits& units) {
  const uint64_t one_batch = sizeof(disk::CommitHeader) + sizeof(disk::Entry) +
                             (2 * uint64_t{gathered_vectors_max(units)} + 2) * sizeof(disk::Run);
  const uint64_t buffer_max = uint64_t{arena_unit_bytes} << BufferAllocator::order_max;
  return std::min(std::bit_ceil(std::max<uint64_t>(units.commit_bytes_max / 8, one_batch)), buffer_max);
}

// Commits that are open, waiting, in flight, or complete and waiting for a flush. Twice the drive's: a flush covers one
// set of writes while the next set is under way.
inline constexpr uint32_t commits_max(const DriveUnits& units) { return 2 * units.inflight_writes_max + 3; }

// Resident commits: at least one buffer of 16 KiB each, except where they share a receive buffer.
inline constexpr uint64_t resident_commits_max(uint64_t resident_bytes) {
  return std::clamp<uint64_t>(resident_bytes / (16 * KiB), 64, 65'536);
}
// Their vectors, and the buffers behind them: one for each 4 KiB, and never less than one commit may have.
inline constexpr uint64_t resident_vectors_max(const DriveUnits& units, uint64_t resident_bytes) {
  return std::max<uint64_t>(resident_bytes / arena_unit_bytes, gathered_buffers_max(units) + other_vectors_max);
}

// Index entries of a segment, 64 bytes of memory each: batches of 2 KiB fill both; smaller ones seal the segment early.
inline constexpr uint64_t index_entries_max(uint64_t segment_bytes) {
  return std::max<uint64_t>(segment_bytes / (2 * KiB), 64);
}

// A block of a footer: what is written, and checked, at a time.
inline constexpr uint32_t footer_block_bytes(uint32_t drive_block) { return std::max<uint32_t>(16 * KiB, drive_block); }

// Blocks of footers in memory: a look-up wants one at a time, and those of several wait for each other.
inline uint32_t footer_cache_blocks(const DriveUnits& units, uint64_t bytes) {
  const uint64_t buffer = uint64_t{arena_unit_bytes} << BufferAllocator::order_for(footer_block_bytes(units.block));
  return static_cast<uint32_t>(std::clamp<uint64_t>(bytes / buffer, 2, 65'536));
}
// Of them, reads that the drive has at a time: enough to keep it busy, few enough that commits do not wait behind them.
inline constexpr uint32_t footer_reads_max = 8;
// Look-ups that wait for a block and have got somewhere; more of them begin anew each time.
inline constexpr uint32_t footer_searches_max = 256;

// Of a segment, for its footer; a lane with so many partitions and producers that theirs would be longer goes without.
inline constexpr uint64_t footer_bytes_max(uint64_t segment_bytes) { return segment_bytes / 4; }

// A commit's own space beyond payload: header, and the rounding of every vector.
inline constexpr uint64_t segment_bytes_min(const DriveUnits& units) {
  return units.block + header_bytes_max(units) + 2 * uint64_t{units.commit_bytes_max} + 4 * uint64_t{units.block};
}

}  // namespace penstock::limits
