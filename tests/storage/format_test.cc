// The layout byte by byte: a change of it is a change of format_version, and fails here first.
#include "storage/format.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

namespace penstock::disk {
namespace {

TEST(Format, SegmentHeaderFields) {
  EXPECT_EQ(offsetof(SegmentHeader, magic), 0u);
  EXPECT_EQ(offsetof(SegmentHeader, crc), 8u);
  EXPECT_EQ(offsetof(SegmentHeader, version), crc_from);
  EXPECT_EQ(offsetof(SegmentHeader, lane), 16u);
  EXPECT_EQ(offsetof(SegmentHeader, block), 20u);
  EXPECT_EQ(offsetof(SegmentHeader, segment_bytes), 24u);
  EXPECT_EQ(offsetof(SegmentHeader, number), 32u);
  EXPECT_EQ(offsetof(SegmentHeader, segment_id), 40u);
  EXPECT_EQ(offsetof(SegmentHeader, term), 48u);
  EXPECT_EQ(offsetof(SegmentHeader, predecessor_number), 56u);
  EXPECT_EQ(offsetof(SegmentHeader, predecessor_sequence), 64u);
  EXPECT_EQ(offsetof(SegmentHeader, predecessor_hash), 72u);
  EXPECT_EQ(offsetof(SegmentHeader, predecessor_end), 80u);
  EXPECT_EQ(offsetof(SegmentHeader, durable_sequence), 88u);
  EXPECT_EQ(offsetof(SegmentHeader, predecessor_id), 96u);
}

TEST(Format, CommitHeaderFields) {
  EXPECT_EQ(offsetof(CommitHeader, crc), 8u);
  EXPECT_EQ(offsetof(CommitHeader, version), crc_from);
  EXPECT_EQ(offsetof(CommitHeader, header_bytes), 16u);
  EXPECT_EQ(offsetof(CommitHeader, entry_count), 20u);
  EXPECT_EQ(offsetof(CommitHeader, commit_bytes), 24u);
  EXPECT_EQ(offsetof(CommitHeader, segment_id), 32u);
  EXPECT_EQ(offsetof(CommitHeader, term), 40u);
  EXPECT_EQ(offsetof(CommitHeader, position), 48u);
  EXPECT_EQ(offsetof(CommitHeader, sequence), 56u);
  EXPECT_EQ(offsetof(CommitHeader, previous_hash), 64u);
  EXPECT_EQ(offsetof(CommitHeader, durable_sequence), 72u);
}

TEST(Format, EntryFields) {
  EXPECT_EQ(offsetof(Entry, partition), 8u);
  EXPECT_EQ(offsetof(Entry, base_offset), 16u);
  EXPECT_EQ(offsetof(Entry, last_offset_delta), 24u);
  EXPECT_EQ(offsetof(Entry, record_count), 28u);
  EXPECT_EQ(offsetof(Entry, max_timestamp), 32u);
  EXPECT_EQ(offsetof(Entry, producer_id), 40u);
  EXPECT_EQ(offsetof(Entry, base_sequence), 48u);
  EXPECT_EQ(offsetof(Entry, producer_epoch), 52u);
  EXPECT_EQ(offsetof(Entry, attributes), 54u);
  EXPECT_EQ(offsetof(Entry, leader_epoch), 56u);
  EXPECT_EQ(offsetof(Entry, batch_crc), 60u);
  EXPECT_EQ(offsetof(Entry, batch_bytes), 64u);
}

TEST(Format, LittleEndianAndReadable) {
  SegmentHeader header;
  header.magic = segment_magic;
  EXPECT_EQ(std::memcmp(&header, "PNSTKSEG", 8), 0);
  CommitHeader commit;
  commit.magic = commit_magic;
  EXPECT_EQ(std::memcmp(&commit, "PNSTKCMT", 8), 0);
}

TEST(Format, ChainHashDependsOnEverything) {
  const uint64_t hash = chain_hash(chain_start, CommitSequence(1), 0x12345678);
  EXPECT_NE(hash, chain_hash(chain_start + 1, CommitSequence(1), 0x12345678));
  EXPECT_NE(hash, chain_hash(chain_start, CommitSequence(2), 0x12345678));
  EXPECT_NE(hash, chain_hash(chain_start, CommitSequence(1), 0x12345679));
  // Fixed for version 1: files written by one build are read by the next.
  EXPECT_EQ(hash, 0x8e319c6c4597e588u);
}

}  // namespace
}  // namespace penstock::disk
