#include "storage/recovery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>

#include "tests/storage/footer_image.h"
#include "tests/storage/recovered_image.h"

namespace penstock {
namespace {

using test::batch_of;
using test::everything;
using test::ImageCommit;
using test::ImageEntry;
using test::ImageFooter;
using test::ImageSegment;
using test::MemoryFiles;
using test::Recovered;
using test::SegmentParameters;

// Commits of one batch each, offsets from the commit's sequence: commit n holds offset n - 1 of partition 1.
void fill(ImageSegment& segment, int commits) {
  for (int i = 0; i < commits; ++i) segment.commit({{.base_offset = static_cast<int64_t>(segment.sequence)}});
}
std::vector<int64_t> upto(int64_t count, std::set<int64_t> without = {}) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i) {
    if (!without.contains(i)) result.push_back(i);
  }
  return result;
}

// ---- one test per row of the truth table ----

struct Row {
  Finding finding;
  std::function<void(MemoryFiles&)> build;
  uint64_t last_sequence;         // where the log ends
  std::vector<int64_t> readable;  // offsets of partition 1
  bool read_only = false;
};

// Segments 1 (commits 1-3) and 2 (commits 4-6) in slots 0 and 1, then whatever a row does to them.
struct Two {
  ImageSegment one, two;
  explicit Two(MemoryFiles& files, int in_one = 3, int in_two = 3)
      : one(filled(files, {.slot = 0, .number = 1, .id = 0x11}, nullptr, in_one)),
        two(filled(files, {.slot = 1, .number = 2, .id = 0x22, .term = 2}, &one, in_two)) {}
  static ImageSegment filled(MemoryFiles& files, const SegmentParameters& parameters, const ImageSegment* before,
                             int count) {
    ImageSegment segment(files, parameters, before);
    fill(segment, count);
    return segment;
  }
};

// The same, the first with a footer.
struct TwoWithFooter : Two {
  ImageFooter footer{one};
  explicit TwoWithFooter(MemoryFiles& files) : Two(files) { footer.write(); }
};

std::vector<Row> rows() {
  return {
      {Finding::slot_unprepared,
       [](MemoryFiles& files) {
         Two two(files);
         files.slots.emplace_back(100);
       },
       6, upto(6)},
      {Finding::slot_prepared,
       [](MemoryFiles& files) {
         Two two(files);
         files.slots.emplace_back(16384);
       },
       6, upto(6)},
      {Finding::slot_torn_header,
       [](MemoryFiles& files) {
         Two two(files);
         // Its first commit lies there already, and claims no more than was durable.
         ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33}, &two.two);
         three.commit({{.base_offset = 6}});
         three.flip(20);
       },
       6, upto(6)},
      {Finding::slot_unreadable,
       [](MemoryFiles& files) {
         Two two(files);
         files.unreadable.insert({1, two.two.commits[2].position / 512});
       },
       5, upto(5), true},
      {Finding::slot_unknown_version,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 2, .number = 3, .id = 0x33, .version = 9}, &two.two);
       },
       6, upto(6), true},
      {Finding::slot_other_lane,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 2, .number = 3, .id = 0x33, .lane = 5}, &two.two);
       },
       6, upto(6), true},
      {Finding::slot_bad_geometry,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 2, .number = 3, .id = 0x33, .block = 777}, &two.two);
       },
       6, upto(6), true},
      {Finding::slot_short_file,
       [](MemoryFiles& files) {
         Two two(files);
         files.slots[1].resize(two.two.commits[1].position);
       },
       4, upto(4), true},
      {Finding::slot_other_block,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33, .block = 4096, .segment_bytes = 65536},
                            &two.two);
         fill(three, 3);
       },
       9, upto(9)},

      {Finding::chain_begins, [](MemoryFiles& files) { Two two(files); }, 6, upto(6)},
      {Finding::chain_continues_released,
       [](MemoryFiles& files) {
         Two two(files);
         two.one.erase(0, 512);
       },
       6,
       {3, 4, 5}},
      {Finding::segment_missing,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33}, &two.two);
         fill(three, 2);
         two.two.erase(0, 16384);
       },
       8,
       {0, 1, 2, 6, 7},
       true},
      {Finding::segment_missing_empty,
       [](MemoryFiles& files) {
         Two two(files, 3, 0);
         ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33}, &two.two);
         fill(three, 2);
         two.two.erase(0, 512);
       },
       5, upto(5)},
      {Finding::segment_given_up,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment given_up(files, {.slot = 2, .number = 3, .id = 0x33}, &two.two);
         given_up.commit({{.base_offset = 6}});  // never durable, written again below
         ImageSegment four(files, {.slot = 3, .number = 4, .id = 0x44}, &two.two);
         fill(four, 2);
       },
       8, upto(8)},
      {Finding::segment_beside_counted,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 2, .number = 3, .id = 0x33}, &two.two);
         fill(other, 3);
         ImageSegment four(files, {.slot = 3, .number = 4, .id = 0x44}, &two.two);
         fill(four, 2);
       },
       8, upto(8), true},
      {Finding::segment_header_lost,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.flip(40);
       },
       3, upto(3), true},
      {Finding::predecessor_differs,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 0, .number = 1, .id = 0x99});
         fill(other, 3);
       },
       6, upto(6), true},
      {Finding::number_twice_unused,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment again(files, {.slot = 2, .number = 2, .id = 0x99}, &two.one);
       },
       6, upto(6)},
      {Finding::number_twice_copy,
       [](MemoryFiles& files) {
         Two two(files);
         files.slots.push_back(files.slots[1]);
         two.two.erase(two.two.commits[1].position, 4096);
       },
       6, upto(6)},
      {Finding::number_twice_both_used,
       [](MemoryFiles& files) {
         Two two(files);
         ImageSegment other(files, {.slot = 2, .number = 2, .id = 0x99}, &two.one);
         fill(other, 2);
       },
       6, upto(6), true},

      {Finding::sealed_whole, [](MemoryFiles& files) { Two two(files); }, 6, upto(6)},
      {Finding::sealed_hole,
       [](MemoryFiles& files) {
         Two two(files);
         two.one.flip(two.one.commits[1].position + 30);
       },
       6, upto(6, {1}), true},
      {Finding::sealed_excess,
       [](MemoryFiles& files) {
         ImageSegment one(files, {.slot = 0, .number = 1, .id = 0x11});
         fill(one, 3);
         ImageSegment two(files, {.slot = 1, .number = 2, .id = 0x22, .term = 2}, &one);
         fill(two, 3);
         fill(one, 1);  // completed late, written again in segment 2
       },
       6, upto(6)},
      {Finding::footer_read,
       [](MemoryFiles& files) {
         TwoWithFooter two(files);
         two.one.flip(two.one.commits[1].position + 40);  // in a header that nobody looks at
       },
       6, upto(6)},
      {Finding::footer_absent, [](MemoryFiles& files) { Two two(files); }, 6, upto(6)},
      {Finding::footer_damaged,
       [](MemoryFiles& files) {
         TwoWithFooter two(files);
         two.one.flip(two.footer.blocks[0].position + 40);
       },
       6, upto(6)},
      {Finding::footer_unknown_version,
       [](MemoryFiles& files) {
         TwoWithFooter two(files);
         two.footer.version = 3;
         two.footer.write();
       },
       6, upto(6)},
      {Finding::footer_other_block, [](MemoryFiles& files) { TwoWithFooter two(files); }, 6, upto(6)},
      {Finding::newest_empty,
       [](MemoryFiles& files) {
         Two two(files, 3, 0);  // a crash right after a start, and another one
         ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33, .term = 3}, &two.two);
       },
       3, upto(3)},
      {Finding::newest_full,
       [](MemoryFiles& files) {
         ImageSegment one(files, {.segment_bytes = 512 * 4});
         fill(one, 3);
       },
       3, upto(3)},
      {Finding::newest_clean_end,
       [](MemoryFiles& files) {
         // A recycled slot: behind the new commits lie old ones, valid but for their segment id.
         ImageSegment old(files, {.id = 0x99});
         fill(old, 10);
         ImageSegment one(files, {.id = 0x11});
         fill(one, 3);
       },
       3, upto(3)},
      {Finding::newest_torn_tail,
       [](MemoryFiles& files) {
         Two two(files, 3, 2);
         fill(two.two, 1);
         two.two.commit({{.base_offset = 6}}, 5);  // written while commit 6 was in flight
         two.two.erase(two.two.commits[2].position, 512);
       },
       5, upto(5)},
      {Finding::newest_hole,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.erase(two.two.commits[1].position, 512);
       },
       6, upto(6, {4}), true},

      {Finding::commit_malformed,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.forge(two.two.commits[2], 80 + 64, 101, 4);  // batch_bytes is not the sum of the runs
       },
       5, upto(5), true},
      {Finding::payload_torn,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.flip(two.two.commits[2].position + two.two.commits[2].header_bytes + 60);
       },
       5, upto(5)},
      {Finding::payload_damaged,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.flip(two.two.commits[1].position + two.two.commits[1].header_bytes + 60);
       },
       6, upto(6, {4}), true},
      {Finding::entry_unknown,
       [](MemoryFiles& files) {
         Two two(files);
         two.two.commit({{.base_offset = 6}, {.kind = 200}, {.base_offset = 7}});
       },
       7, upto(8)},
  };
}

TEST(RecoveryTable, EveryRowHasItsTest) {
  std::set<Finding> tested;
  for (const Row& row : rows()) tested.insert(row.finding);
  for (size_t i = 0; i < static_cast<size_t>(Finding::count); ++i) {
    EXPECT_TRUE(tested.contains(static_cast<Finding>(i))) << to_string(static_cast<Finding>(i));
  }
}

class RecoveryTable : public testing::TestWithParam<size_t> {};
TEST_P(RecoveryTable, Row) {
  const Row row = rows()[GetParam()];
  MemoryFiles files;
  row.build(files);
  const uint32_t block = row.finding == Finding::footer_other_block ? 4096 : 512;
  Recovered got(files, {.lane = 0, .block = block, .use_footers = true});
  EXPECT_TRUE(got.has(row.finding)) << to_string(row.finding) << "\n" << got.log.report();
  EXPECT_EQ(got.last_sequence(), row.last_sequence) << got.log.report();
  EXPECT_EQ(got.offsets(files), row.readable) << got.log.report();
  EXPECT_EQ(got.log.read_only, row.read_only) << got.log.report();
  if (consequence_of(row.finding) == Consequence::read_only) {
    EXPECT_TRUE(row.read_only);
  }
  EXPECT_FALSE(got.log.report().empty());
}
INSTANTIATE_TEST_SUITE_P(Rows, RecoveryTable, testing::Range<size_t>(0, rows().size()));

// ---- what a log says ----

TEST(Recovery, EmptyDirectoryIsANewLog) {
  MemoryFiles files;
  Recovered none(files);
  EXPECT_TRUE(none.log.segments.empty());
  EXPECT_FALSE(none.log.read_only);
  files.slots.resize(3, test::Bytes(16384));
  Recovered prepared(files);
  EXPECT_TRUE(prepared.log.segments.empty());
  EXPECT_EQ(prepared.log.slots, std::vector<SlotUse>(3, SlotUse::unused));
  EXPECT_EQ(prepared.log.term_highest, 0u);
}

TEST(Recovery, SegmentsCarryWhatTheNextHeaderNeeds) {
  MemoryFiles files;
  files.slots.resize(1);
  Two two(files);
  Recovered got(files);
  ASSERT_EQ(got.log.segments.size(), 2u);
  const RecoveredSegment& newest = got.log.segments[1];
  EXPECT_EQ(newest.number, SegmentNumber(2));
  EXPECT_EQ(newest.slot, SegmentSlot(1));
  EXPECT_EQ(newest.id, 0x22u);
  EXPECT_EQ(newest.term, 2u);
  EXPECT_EQ(newest.end.value, two.two.end);
  EXPECT_EQ(newest.last_hash, two.two.hash);
  EXPECT_EQ(newest.max_timestamp, 1000);
  EXPECT_EQ(got.log.segments[0].end.value, two.one.end);
  EXPECT_EQ(got.log.segments[0].last_hash, two.one.hash);
  EXPECT_EQ(got.log.term_highest, 2u);
  EXPECT_EQ(got.log.slots, (std::vector<SlotUse>{SlotUse::segment, SlotUse::segment}));
  EXPECT_EQ(got.log.commits, 6u);
}

TEST(Recovery, PartitionsHaveOffsetsEpochsAndLogStarts) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 1, .base_offset = 0, .records = 10},
              {.partition = 2, .base_offset = 0, .records = 3, .leader_epoch = 1, .batch_bytes = 5000, .runs = 7},
              {.partition = 1, .base_offset = 10, .records = 5, .max_timestamp = 5000, .leader_epoch = 2}});
  one.commit({{.kind = 3, .partition = 1, .base_offset = 10},    // log start
              {.kind = 3, .partition = 3, .base_offset = 77}});  // all of it released: next offset is 77 too
  Recovered got(files);
  ASSERT_EQ(got.log.partitions.size(), 3u);
  EXPECT_EQ(got.partition(1)->log_start, Offset(10));
  EXPECT_EQ(got.partition(1)->next, Offset(15));
  EXPECT_EQ(got.partition(1)->leader_epoch, 2);
  EXPECT_EQ(got.partition(2)->log_start, Offset(0));
  EXPECT_EQ(got.partition(2)->next, Offset(3));
  EXPECT_EQ(got.partition(3)->log_start, Offset(77));
  EXPECT_EQ(got.partition(3)->next, Offset(77));
  EXPECT_EQ(got.log.segments[0].max_timestamp, 5000);
  const auto gathered = got.index.find(PartitionNumber(2), Offset(0), everything);
  ASSERT_TRUE(gathered);
  EXPECT_FALSE(gathered->direct);
  EXPECT_EQ(gathered->ordinal, 1u);
  EXPECT_EQ(test::read_batch(files, 0, *gathered),
            batch_of({.partition = 2, .base_offset = 0, .leader_epoch = 1, .batch_bytes = 5000}));
}

TEST(Recovery, ReleasedSegmentsMoveTheLogStart) {
  MemoryFiles files;
  Two two(files);
  two.one.erase(0, 512);
  Recovered got(files);
  EXPECT_EQ(got.partition(1)->log_start, Offset(3));
  EXPECT_EQ(got.partition(1)->next, Offset(6));
  EXPECT_EQ(got.log.slots[0], SlotUse::unused);
}

// The oldest segment names the released one. Its slot, in use again, has a torn header: nothing behind it is missed.
// A partition that came and went within the segment is known nowhere else: it is not missed, where its deletion is there.
TEST(Recovery, ATornHeaderOverADeletedPartitionIsNoDamage) {
  for (const bool deleted : {false, true}) {
    MemoryFiles files;
    ImageSegment one(files, {.slot = 0, .number = 1, .id = 0x11});
    one.commit({{.partition = 5, .base_offset = 0, .records = 3}});
    one.commit({deleted ? ImageEntry{.kind = 4, .partition = 5} : ImageEntry{.kind = 3, .partition = 6}});
    ImageSegment two(files, {.slot = 1, .number = 2, .id = 0x22}, &one);
    two.commit({{.partition = 1, .base_offset = 0}});
    one.flip(9);
    Recovered got(files);
    EXPECT_EQ(got.log.read_only, !deleted) << got.log.report();
    EXPECT_EQ(got.has(Finding::slot_torn_header), deleted) << got.log.report();
  }
}

TEST(Recovery, ATornHeaderOverWhatWasReleasedIsNoDamage) {
  for (const bool noted : {true, false}) {
    MemoryFiles files;
    Two two(files);
    if (noted) two.two.commit({{.kind = 3, .partition = 1, .base_offset = 3}});
    two.one.flip(9);
    Recovered got(files);
    EXPECT_EQ(got.has(Finding::slot_torn_header), noted) << got.log.report();
    EXPECT_EQ(got.log.read_only, !noted);
    EXPECT_EQ(got.log.slots[0], noted ? SlotUse::unused : SlotUse::keep);
  }
}

// As a slot that is used again: a newer segment's commits over those of a released one.
TEST(Recovery, FormerCommitsInTheSlotNeverCount) {
  MemoryFiles files;
  Two two(files);  // in slots 0 and 1
  two.two.commit({{.kind = 3, .partition = 1, .base_offset = 3}});
  const auto former = two.one.file();
  ImageSegment three(files, {.slot = 0, .number = 3, .id = 0x3333, .term = 2}, &two.two);
  three.commit({{.partition = 1, .base_offset = 6}});
  const auto behind = static_cast<ptrdiff_t>(three.end);
  std::copy(former.begin() + behind, former.end(), three.file().begin() + behind);
  Recovered clean(files);
  EXPECT_TRUE(clean.has(Finding::newest_clean_end)) << clean.log.report();
  EXPECT_EQ(clean.partition(1)->next, Offset(7));

  // Nothing, or the first sector only, of the commit that was being written has reached the drive.
  const uint64_t at = three.end;
  three.commit({{.partition = 1, .base_offset = 7, .batch_bytes = 3000}});
  const auto whole = three.file();
  for (const uint64_t sectors : {0, 1, 3}) {
    three.file() = former;
    std::copy_n(whole.begin(), at + 512 * sectors, three.file().begin());
    Recovered torn(files);
    EXPECT_FALSE(torn.log.read_only) << torn.log.report();
    EXPECT_EQ(torn.partition(1)->next, Offset(7)) << sectors;
    EXPECT_EQ(torn.offsets(files).back(), 6);
  }
}

TEST(Recovery, DeletedPartitionsStayDeleted) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 1, .base_offset = 0, .producer_id = 5, .producer_epoch = 0, .base_sequence = 0},
              {.partition = 2, .base_offset = 0}});
  one.commit({{.kind = 4, .partition = 1}});
  one.commit({{.partition = 1, .base_offset = 1}});
  Recovered got(files);
  EXPECT_TRUE(got.partition(1)->deleted);
  EXPECT_FALSE(got.partition(2)->deleted);
  EXPECT_EQ(got.offsets(files, 1), std::vector<int64_t>{});
  EXPECT_EQ(got.offsets(files, 2), std::vector<int64_t>{0});
  EXPECT_EQ(got.producers.size(), 0u);
}

TEST(Recovery, ProducersGoOnWhereTheyWere) {
  MemoryFiles files;
  ImageSegment one(files, {});
  for (int i = 0; i < 7; ++i) {
    one.commit(
        {{.base_offset = i * 10, .records = 10, .producer_id = 5, .producer_epoch = 1, .base_sequence = i * 10}});
  }
  one.commit({{.kind = 2, .base_offset = 0, .records = 10, .producer_id = 5, .producer_epoch = 1, .base_sequence = 0}});
  Recovered got(files);
  const auto question = [](int32_t sequence) {
    return BatchInfo{.partition = PartitionNumber(1),
                     .last_offset_delta = 9,
                     .producer_id = 5,
                     .producer_epoch = 1,
                     .base_sequence = sequence};
  };
  EXPECT_EQ(got.producers.check(question(70)).verdict, SequenceVerdict::next);
  const SequenceCheck again = got.producers.check(question(60));
  EXPECT_EQ(again.verdict, SequenceVerdict::duplicate);
  EXPECT_EQ(again.base_offset, Offset(60));
  EXPECT_EQ(again.commit, CommitSequence(7));
  EXPECT_EQ(got.producers.check(question(0)).verdict, SequenceVerdict::duplicate_old);
}

TEST(Recovery, DamageIsNamed) {
  MemoryFiles files;
  Two two(files, 5, 3);
  two.one.flip(two.one.commits[1].position + 50);
  two.one.erase(two.one.commits[2].position, 512);
  Recovered got(files);
  const Found* hole = got.first(Finding::sealed_hole);
  ASSERT_NE(hole, nullptr);
  EXPECT_EQ(hole->segment, SegmentNumber(1));
  EXPECT_EQ(hole->begin.value, two.one.commits[1].position);
  EXPECT_EQ(hole->end.value, two.one.commits[3].position);
  EXPECT_EQ(hole->first, CommitSequence(2));
  EXPECT_EQ(hole->last, CommitSequence(3));
  ASSERT_EQ(got.log.lost.size(), 1u);
  EXPECT_EQ(got.log.lost[0].begin, Offset(1));
  EXPECT_EQ(got.log.lost[0].end, Offset(3));
  EXPECT_NE(got.log.report().find("lost: partition 1, offsets 1 to 2"), std::string::npos) << got.log.report();
}

TEST(Recovery, DamageAboveALostHeaderIsNamedToo) {
  MemoryFiles files;
  Two two(files);
  two.one.flip(9);  // segment 2 names it, and it is not released
  Recovered got(files);
  EXPECT_TRUE(got.has(Finding::segment_header_lost));
  EXPECT_TRUE(got.log.read_only);
  EXPECT_EQ(got.log.slots[0], SlotUse::keep);
  ASSERT_EQ(got.log.lost.size(), 1u);
  EXPECT_EQ(got.log.lost[0].begin, Offset(0));
  EXPECT_EQ(got.log.lost[0].end, Offset(3));
}

TEST(Recovery, TheOtherOfTwoIsKeptWhenItCounted) {
  MemoryFiles files;
  Two two(files);
  ImageSegment other(files, {.slot = 2, .number = 1, .id = 0x99});
  fill(other, 3);
  Recovered got(files);
  EXPECT_TRUE(got.has(Finding::segment_beside_counted)) << got.log.report();
  EXPECT_TRUE(got.log.read_only);
  EXPECT_EQ(got.log.slots[2], SlotUse::keep);
  EXPECT_EQ(got.offsets(files), upto(6));
}

TEST(Recovery, SealedPayloadIsCheckedOnlyWhenAsked) {
  MemoryFiles files;
  Two two(files);
  two.one.flip(two.one.commits[1].position + two.one.commits[1].header_bytes + 60);
  EXPECT_TRUE(Recovered(files).has(Finding::payload_damaged));
  Recovered quick(files, {.lane = 0, .block = 512, .verify_sealed_payload = false});
  EXPECT_FALSE(quick.log.read_only) << "found when read";
}

TEST(Recovery, CommitsLargerThanTheWindow) {
  MemoryFiles files;
  ImageSegment one(files, {.block = 4096, .segment_bytes = 16 << 20});
  one.commit({{.base_offset = 0, .batch_bytes = 3'000'000}});
  one.commit({{.base_offset = 1, .batch_bytes = 2'500'000, .runs = 1700}});
  std::vector<ImageEntry> many;
  for (int i = 0; i < 20'000; ++i) many.push_back({.base_offset = 2 + i, .batch_bytes = 61});
  one.commit(many);  // a header of 1.6 MB
  Recovered got(files, {.lane = 0, .block = 4096});
  EXPECT_EQ(got.offsets(files), upto(20'002)) << got.log.report();
  EXPECT_LT(files.reads, 200u) << "reads are large";
}

TEST(Recovery, AnotherLogInTheSameSlotsNeverCounts) {
  // Every slot held a longer log before: same numbers, sequences and positions, other ids.
  MemoryFiles files;
  Two old(files, 10, 10);
  ImageSegment one(files, {.slot = 0, .number = 1, .id = 0xa1});
  fill(one, 2);
  ImageSegment two(files, {.slot = 1, .number = 2, .id = 0xa2}, &one);
  fill(two, 1);
  Recovered got(files);
  EXPECT_FALSE(got.log.read_only) << got.log.report();
  EXPECT_EQ(got.offsets(files), upto(3));
}

}  // namespace
}  // namespace penstock
