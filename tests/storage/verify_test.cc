#include "storage/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/storage/log_image.h"

namespace penstock {
namespace {

using test::ImageSegment;
using test::MemoryFiles;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

const char* no_complaint(const disk::Entry&, std::span<std::byte>) { return nullptr; }

// Two segments: in the first, sealed, partition 5 has offsets 0-9 and 10-19 and partition 6 offset 0.
struct TwoSegments {
  MemoryFiles files;
  ImageSegment one{files, {.slot = 1, .number = 1, .id = 0x1a, .segment_bytes = 8192}};

  TwoSegments() {
    one.commit({{.partition = 5, .records = 10}, {.partition = 6, .batch_bytes = 200, .runs = 2}});
    one.commit({{.partition = 5, .base_offset = 10, .records = 10}});
    one.commit({{.partition = 6, .base_offset = 1}});
    ImageSegment two(files, {.slot = 2, .number = 2, .id = 0x2b, .term = 2, .segment_bytes = 8192}, &one);
    two.commit({{.partition = 5, .base_offset = 20}});
    two.commit({{.partition = 5, .base_offset = 21}});
  }
  uint64_t payload(const test::ImageCommit& commit) const { return commit.position + commit.header_bytes + 13; }
};

TEST(Verify, WholeLogIsCounted) {
  TwoSegments log;
  const Verified verified = verify(log.files, 0, no_complaint);
  EXPECT_FALSE(verified.damaged());
  EXPECT_THAT(verified.found, IsEmpty());
  EXPECT_EQ(verified.log.commits, 5);
  EXPECT_EQ(verified.batch_count, 6);
  EXPECT_EQ(verified.record_count, 24);
  EXPECT_EQ(verified.batch_bytes, 700);
}

TEST(Verify, DamagedPayloadIsNamed) {
  TwoSegments log;
  const test::ImageCommit& commit = log.one.commits[0];
  log.one.flip(log.payload(commit) + 105 + 30);  // the second batch's first run, behind the first batch and a gap
  const Verified verified = verify(log.files, 0, no_complaint);
  EXPECT_TRUE(verified.damaged());
  ASSERT_THAT(verified.batches, SizeIs(1));
  const DamagedBatch& batch = verified.batches[0];
  EXPECT_EQ(batch.slot, SegmentSlot(1));
  EXPECT_EQ(batch.segment, SegmentNumber(1));
  EXPECT_EQ(batch.commit, CommitSequence(1));
  EXPECT_EQ(batch.partition, PartitionNumber(6));
  EXPECT_EQ(batch.first, Offset(0));
  EXPECT_EQ(batch.last, Offset(0));
  EXPECT_EQ(batch.begin, FilePosition(log.payload(commit) + 105));
  EXPECT_EQ(batch.end, FilePosition(log.payload(commit) + 105 + 200 + 5));
  EXPECT_EQ(batch.what, "its bytes do not match its CRC");
  EXPECT_THAT(verified.found, IsEmpty()) << "said once";
}

TEST(Verify, DamagedCommitHeaderIsNamedWithWhatItTookAlong) {
  TwoSegments log;
  const test::ImageCommit& commit = log.one.commits[1];
  log.one.flip(commit.position + 40);
  const Verified verified = verify(log.files, 0, no_complaint);
  EXPECT_TRUE(verified.damaged());
  ASSERT_THAT(verified.found, SizeIs(1));
  EXPECT_EQ(verified.found[0].finding, Finding::sealed_hole);
  EXPECT_EQ(verified.found[0].begin, FilePosition(commit.position));
  EXPECT_EQ(verified.found[0].first, CommitSequence(2));
  ASSERT_THAT(verified.lost, SizeIs(1));
  EXPECT_EQ(verified.lost[0].partition, PartitionNumber(5));
  EXPECT_EQ(verified.lost[0].begin, Offset(10));
  EXPECT_EQ(verified.lost[0].end, Offset(20));
  EXPECT_EQ(verified.batch_count, 5) << "what is left is read";
}

TEST(Verify, CutFileIsNamedWithTheBytesThatAreGone) {
  TwoSegments log;
  log.files.slots[1].resize(5000);
  const Verified verified = verify(log.files, 0, no_complaint);
  EXPECT_TRUE(verified.damaged());
  ASSERT_THAT(verified.found, SizeIs(1));
  EXPECT_EQ(verified.found[0].finding, Finding::slot_short_file);
  EXPECT_EQ(verified.found[0].begin, FilePosition(5000));
  EXPECT_EQ(verified.found[0].end, FilePosition(8192));
}

TEST(Verify, TornTailIsNoDamage) {
  TwoSegments log;
  log.files.slots[2][512 + 512 + 40] ^= std::byte{1};  // the last commit's header, which nothing claims
  const Verified verified = verify(log.files, 0, no_complaint);
  EXPECT_FALSE(verified.damaged());
  ASSERT_THAT(verified.found, SizeIs(1));
  EXPECT_EQ(verified.found[0].finding, Finding::newest_torn_tail);
  EXPECT_EQ(verified.batch_count, 5);
}

TEST(Verify, RecordCountMustFitTheOffsets) {
  TwoSegments log;
  const test::ImageCommit& commit = log.one.commits[2];
  log.one.forge(commit, 80 + 28, 7, 4);  // Entry::record_count; breaks the chain, so nothing may follow
  log.files.slots[2].clear();
  const Verified verified = verify(log.files, 0, no_complaint);
  ASSERT_THAT(verified.batches, SizeIs(1));
  EXPECT_EQ(verified.batches[0].what, "its record count does not fit its offsets");
}

TEST(Verify, CallerSeesEveryBatchAsKafkaStoresIt) {
  TwoSegments log;
  std::vector<test::Bytes> seen;
  const Verified verified = verify(log.files, 0, [&](const disk::Entry& entry, std::span<std::byte> batch) {
    seen.emplace_back(batch.begin(), batch.end());
    return entry.partition == 6 && entry.base_offset == 1 ? "odd" : nullptr;
  });
  EXPECT_THAT(seen, ElementsAre(test::batch_of({.partition = 5, .records = 10}),
                                test::batch_of({.partition = 6, .batch_bytes = 200}),
                                test::batch_of({.partition = 5, .base_offset = 10}),
                                test::batch_of({.partition = 6, .base_offset = 1}),
                                test::batch_of({.partition = 5, .base_offset = 20}),
                                test::batch_of({.partition = 5, .base_offset = 21})));
  ASSERT_THAT(verified.batches, SizeIs(1));
  EXPECT_EQ(verified.batches[0].what, "odd");
  EXPECT_TRUE(verified.damaged());
}

TEST(Verify, OfTwoRunsOnlyWhatBothFoundIsDamage) {
  TwoSegments log;
  log.one.flip(log.payload(log.one.commits[0]) + 30);
  const Verified first = verify(log.files, 0, no_complaint);
  log.one.flip(log.one.commits[1].position + 40);
  const Verified second = verify(log.files, 0, no_complaint);
  EXPECT_TRUE(second.damaged());

  const Verified both = found_by_both(first, second);
  EXPECT_THAT(both.batches, SizeIs(1)) << "the payload, in both";
  EXPECT_THAT(both.found, IsEmpty()) << "the header, only in the second";
  ASSERT_THAT(both.lost, SizeIs(1));
  EXPECT_EQ(both.lost[0].begin, Offset(0));
  EXPECT_EQ(both.lost[0].end, Offset(10)) << "what the header took along is only in the second";
  TwoSegments whole;
  EXPECT_FALSE(found_by_both(verify(whole.files, 0, no_complaint), second).damaged());
}

TEST(Verify, WorksOnAnything) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    TwoSegments log;
    std::mt19937_64 random(seed);
    for (int i = 0; i < 5; ++i) log.files.slots[1 + random() % 2][random() % 3000] = static_cast<std::byte>(random());
    if (seed % 3 == 0) log.files.slots[1].resize(random() % 8192);
    verify(log.files, 0, no_complaint);
  }
}

}  // namespace
}  // namespace penstock
