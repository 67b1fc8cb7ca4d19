// Footers: what recovery takes from them, and what it makes of those that are not what they should be. That a start
// from footers is the same as one from the commits is shown by log_model_test and the simulator.
#include "storage/footer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/storage/footer_image.h"
#include "tests/storage/recovered_image.h"

namespace penstock {
namespace {

using test::ImageFooter;
using test::ImageSegment;
using test::MemoryFiles;
using test::Recovered;
using testing::ElementsAre;

constexpr RecoveryOptions by_footers{.lane = 0, .block = 512, .use_footers = true};

// Three segments, the first two sealed and with footers.
struct Three {
  MemoryFiles files;
  ImageSegment one{files, {.slot = 0, .number = 1, .id = 0x11, .segment_bytes = 32768}};
  std::optional<ImageSegment> two, three;
  std::optional<ImageFooter> first, second;

  Three() {
    one.commit({{.partition = 5, .records = 10, .runs = 2}, {.partition = 6}, {.partition = 7, .records = 3}});
    one.commit({{.partition = 5, .base_offset = 10, .records = 10}, {.kind = 3, .partition = 8, .base_offset = 40}});
    for (int64_t i = 0; i < 25; ++i) one.commit({{.partition = 9, .base_offset = i}});  // rows for three blocks
    first.emplace(one);
    two.emplace(files, test::SegmentParameters{.slot = 1, .number = 2, .id = 0x22, .term = 2}, &one);
    two->commit({{.partition = 6, .base_offset = 1}, {.kind = 4, .partition = 7}});
    two->commit({{.kind = 3, .partition = 5, .base_offset = 10}});
    second.emplace(*two, std::vector<test::ImagePartition>{{.partition = 5, .next = 20},
                                                           {.partition = 6, .next = 1},
                                                           {.partition = 7, .next = 3},
                                                           {.partition = 8, .next = 40, .log_start = 40},
                                                           {.partition = 9, .next = 25}});
    three.emplace(files, test::SegmentParameters{.slot = 2, .number = 3, .id = 0x33, .term = 3}, &*two);
    three->commit({{.partition = 5, .base_offset = 20}});
    write();
  }
  void write() {
    first->write();
    second->write();
  }
};

void expect_whole(const Recovered& got, const MemoryFiles& files) {
  EXPECT_FALSE(got.log.read_only) << got.log.report();
  EXPECT_THAT(got.offsets(files, 5), ElementsAre(0, 10, 20));
  EXPECT_THAT(got.offsets(files, 6), ElementsAre(0, 1));
  EXPECT_THAT(got.offsets(files, 7), ElementsAre()) << "deleted";
  EXPECT_EQ(got.offsets(files, 9).size(), 25u);
  ASSERT_NE(got.partition(5), nullptr);
  EXPECT_EQ(got.partition(5)->next, Offset(21));
  EXPECT_EQ(got.partition(5)->log_start, Offset(10));
  EXPECT_EQ(got.partition(5)->newest_segment, SegmentNumber(3));
  EXPECT_EQ(got.partition(6)->newest_segment, SegmentNumber(2));
  EXPECT_TRUE(got.partition(7)->deleted);
  EXPECT_EQ(got.partition(8)->next, Offset(40));
  EXPECT_EQ(got.partition(8)->newest_segment, SegmentNumber(1));
  EXPECT_EQ(got.log.commits, 30u);
  EXPECT_EQ(got.log.batches, 31u);
}

// What cannot be looked up is said to be damaged; nothing else is found in its place.
void expect_whole_or_damaged(const Recovered& got, const MemoryFiles& files) {
  const auto expect = [&](uint64_t partition, const std::vector<int64_t>& whole) {
    const uint64_t damaged = got.look_up->damaged();
    const std::vector<int64_t> offsets = got.offsets(files, partition);
    if (got.look_up->damaged() == damaged) {
      EXPECT_EQ(offsets, whole) << partition;
    } else {
      EXPECT_TRUE(std::ranges::includes(whole, offsets)) << partition;
    }
  };
  std::vector<int64_t> many(25);
  std::iota(many.begin(), many.end(), 0);
  expect(5, {0, 10, 20});
  expect(6, {0, 1});
  expect(9, many);
}

TEST(Footer, SealedSegmentsAreTakenFromIt) {
  Three log;
  Recovered got(log.files, by_footers);
  EXPECT_EQ(std::ranges::count(got.log.findings, Finding::footer_read, &Found::finding), 2);
  expect_whole(got, log.files);
  expect_whole(Recovered(log.files), log.files);
}

TEST(Footer, VerificationDoesNotRelyOnIt) {
  Three log;
  log.one.flip(log.one.commits[4].position + 40);
  EXPECT_FALSE(Recovered(log.files, by_footers).log.read_only) << "found when read";
  EXPECT_TRUE(Recovered(log.files).has(Finding::sealed_hole));
}

// Every byte of it.
TEST(Footer, DamageCostsTimeAndNothingElse) {
  for (int which = 0; which < 2; ++which) {
    const Three whole;
    Three log;
    const ImageFooter& footer = which == 0 ? *whole.first : *whole.second;
    test::Bytes& file = log.files.slots[static_cast<size_t>(which)];
    std::vector<ImageFooter::Block> parts = footer.blocks;
    parts.push_back({footer.position, footer.head_bytes});
    for (const ImageFooter::Block& part : parts) {
      for (uint64_t at = part.position; at < part.position + part.bytes; at += 1) {
        file[at] ^= std::byte{0x10};
        Recovered got(log.files, by_footers);
        // A start looks at heads, and at how partitions and producers stood at the end of the newest.
        const bool head = part.position == footer.position;
        const bool seen = head || (which == 1 && part.section < 2);
        EXPECT_EQ(std::ranges::count(got.log.findings, Finding::footer_read, &Found::finding), seen ? 1 : 2);
        if (seen) {
          expect_whole(got, log.files);
        } else {
          expect_whole_or_damaged(got, log.files);
        }
        ASSERT_FALSE(testing::Test::HasFailure()) << at << " of " << which;
        file[at] ^= std::byte{0x10};
      }
    }
  }
}

TEST(Footer, OlderOnesServeWhenTheNewestIsDamaged) {
  Three log;
  log.two->flip(log.second->position + 20);
  Recovered got(log.files, by_footers);
  EXPECT_TRUE(got.has(Finding::footer_damaged));
  EXPECT_TRUE(got.has(Finding::footer_read));
  expect_whole(got, log.files);
}

TEST(Footer, OneThatSpeaksOfAnotherEndIsPassedOver) {
  Three log;
  log.first->last_sequence = 3;
  log.write();
  Recovered got(log.files, by_footers);
  EXPECT_TRUE(got.has(Finding::footer_damaged));
  expect_whole(got, log.files);
}

TEST(Footer, OneOfTheSegmentBeforeInTheSlotIsNone) {
  Three log;
  const uint64_t id_at = log.first->position + 32;
  log.one.flip(id_at);
  Recovered got(log.files, by_footers);
  EXPECT_TRUE(got.has(Finding::footer_absent));
  expect_whole(got, log.files);
}

TEST(Footer, BehindTheNewestSegmentItIsNotLookedAt) {
  Three log;
  ImageFooter footer(*log.three);
  footer.write();
  Recovered got(log.files, by_footers);
  EXPECT_TRUE(got.has(Finding::newest_clean_end)) << got.log.report();
  expect_whole(got, log.files);
}

TEST(Footer, ProducersGoOnWhereTheyWere) {
  Three log;
  test::ImageProducer producer{.partition = 5, .producer_id = 70};
  for (int32_t i = 0; i < 5; ++i) {
    producer.batches.push_back({.base_offset = 10 + i, .commit = 2, .base_sequence = 100 + i, .epoch = 3});
  }
  log.second->producers = {producer};
  log.second->write();
  Recovered got(log.files, by_footers);
  expect_whole(got, log.files);
  const auto check = [&](int32_t sequence) {
    return got.producers.check({.partition = PartitionNumber(5),
                                .record_count = 1,
                                .producer_id = 70,
                                .producer_epoch = 3,
                                .base_sequence = sequence});
  };
  EXPECT_EQ(check(105).verdict, SequenceVerdict::next);
  EXPECT_EQ(check(102).verdict, SequenceVerdict::duplicate);
  EXPECT_EQ(check(102).base_offset, Offset(12));
  EXPECT_EQ(check(99).verdict, SequenceVerdict::duplicate_old);
  EXPECT_EQ(check(106).verdict, SequenceVerdict::out_of_order);
}

TEST(Footer, PayloadIsNotRead) {
  MemoryFiles files;
  ImageSegment one(files, {.segment_bytes = 8 << 20});
  for (int i = 0; i < 6; ++i) one.commit({{.base_offset = i, .batch_bytes = 1'000'000}});
  ImageFooter footer(one);
  footer.write();
  ImageSegment two(files, {.slot = 1, .number = 2, .id = 0x22}, &one);
  two.commit({{.base_offset = 6}});
  Recovered got(files, by_footers);
  EXPECT_EQ(got.offsets(files).size(), 7u);
  EXPECT_LT(got.log.bytes_read, 200'000u);
  EXPECT_GT(Recovered(files).log.bytes_read, 6'000'000u);
}

TEST(Footer, OneOfAnotherVersionIsPassedOver) {
  for (const uint32_t version : {1u, 3u}) {
    Three log;
    log.first->version = log.second->version = version;
    log.write();
    Recovered got(log.files, by_footers);
    EXPECT_EQ(std::ranges::count(got.log.findings, Finding::footer_unknown_version, &Found::finding), 2);
    EXPECT_NE(got.log.report().find("(version " + std::to_string(version) + ")"), std::string::npos);
    expect_whole(got, log.files);
  }
}

TEST(Footer, OneThatThisDriveCannotReadDirectlyIsPassedOver) {
  Three log;
  Recovered got(log.files, {.lane = 0, .block = 4096, .use_footers = true});
  EXPECT_EQ(std::ranges::count(got.log.findings, Finding::footer_other_block, &Found::finding), 2);
  expect_whole(got, log.files);
}

TEST(Footer, TheBoundHolds) {
  for (const uint32_t block : {512u, 4096u, 65536u}) {
    for (const uint64_t partitions : {0ull, 1ull, 339ull, 340ull, 341ull, 100'000ull}) {
      for (const uint64_t producers : {0ull, 1ull, 88ull, 89ull, 65'536ull}) {
        for (const uint64_t batches : {1ull, 340ull, 341ull, 131'072ull}) {
          const FooterRows rows{partitions, producers, batches};
          const uint64_t exact = footer_bytes(rows, std::max(16384u, block), block);
          EXPECT_LE(exact, footer_bytes_bound(rows, block)) << partitions << " " << producers << " " << batches;
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock
