#include "storage/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <vector>

namespace penstock {
namespace {

constexpr OffsetRange everything{Offset(0), Offset(INT64_MAX)};
constexpr PartitionNumber a{1}, b{2};

IndexEntry batch(PartitionNumber partition, int64_t base_offset, int32_t records, Milliseconds time,
                 uint64_t commit = 4096) {
  return {.partition = partition,
          .base_offset = Offset(base_offset),
          .last_offset_delta = records - 1,
          .max_timestamp = time,
          .commit = FilePosition(commit),
          .bytes = 100};
}

int64_t base_of(const std::optional<IndexEntry>& entry) { return entry ? entry->base_offset.value : -1; }

TEST(LogIndex, FindsTheBatchOrTheNextAfterIt) {
  LogIndex index(16, 1, 4);
  index.begin_segment(SegmentNumber(1));
  index.append(batch(a, 10, 5, 100));
  index.append(batch(b, 0, 1, 100));
  index.append(batch(a, 20, 5, 200));
  EXPECT_EQ(base_of(index.find(a, Offset(0), everything)), 10);
  EXPECT_EQ(base_of(index.find(a, Offset(14), everything)), 10);
  EXPECT_EQ(base_of(index.find(a, Offset(15), everything)), 20) << "15 to 19 do not exist";
  EXPECT_EQ(base_of(index.find(a, Offset(24), everything)), 20);
  EXPECT_EQ(base_of(index.find(a, Offset(25), everything)), -1);
  EXPECT_EQ(base_of(index.find(PartitionNumber(9), Offset(0), everything)), -1);
}

TEST(LogIndex, KeepsEveryField) {
  LogIndex index(16, 1, 4);
  index.begin_segment(SegmentNumber(7));
  const IndexEntry written{.partition = a,
                           .base_offset = Offset(int64_t{1} << 40),
                           .last_offset_delta = 99,
                           .max_timestamp = 1'700'000'000'000,
                           .segment = SegmentNumber(7),
                           .commit = FilePosition(uint64_t{3} << 33),
                           .ordinal = 70'000,
                           .first_position = 1'000'001,
                           .direct = false,
                           .bytes = 1'048'588};
  index.append(written);
  const auto read = index.find(a, written.base_offset, everything);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->partition, written.partition);
  EXPECT_EQ(read->base_offset, written.base_offset);
  EXPECT_EQ(read->last_offset_delta, written.last_offset_delta);
  EXPECT_EQ(read->max_timestamp, written.max_timestamp);
  EXPECT_EQ(read->segment, written.segment);
  EXPECT_EQ(read->commit, written.commit);
  EXPECT_EQ(read->ordinal, written.ordinal);
  EXPECT_EQ(read->first_position, written.first_position);
  EXPECT_EQ(read->direct, written.direct);
  EXPECT_EQ(read->bytes, written.bytes);
  EXPECT_EQ(base_of(index.at(read->reference, a, read->base_offset)), written.base_offset.value);
}

TEST(LogIndex, ShowsOnlyWhatIsDurableAndAboveTheLogStart) {
  LogIndex index(16, 1, 4);
  index.begin_segment(SegmentNumber(1));
  for (int i = 0; i < 10; ++i) index.append(batch(a, i * 10, 10, 1000 - i));
  const OffsetRange some{Offset(25), Offset(70)};
  EXPECT_EQ(base_of(index.find(a, Offset(0), some)), 20) << "the log start lies within this batch";
  EXPECT_EQ(base_of(index.find(a, Offset(69), some)), 60);
  EXPECT_EQ(base_of(index.find(a, Offset(70), some)), -1);
  EXPECT_EQ(base_of(index.find_max_timestamp(a, some)), 20);
  EXPECT_EQ(base_of(index.find_time(a, 999, some)), -1) << "0 and 10 are deleted";
  EXPECT_EQ(base_of(index.find_time(a, 997, some)), 20);
  EXPECT_EQ(base_of(index.find_max_timestamp(a, {Offset(0), Offset(0)})), -1);
}

TEST(LogIndex, LookUpsByTimeTakeTheFirstInOffsetOrder) {
  LogIndex index(16, 2, 4);
  index.begin_segment(SegmentNumber(1));
  index.append(batch(a, 0, 1, 50));
  index.append(batch(a, 1, 1, 90));  // ahead of its time
  index.append(batch(a, 2, 1, 60));
  index.begin_segment(SegmentNumber(2));
  index.append(batch(a, 3, 1, 70));
  index.append(batch(a, 4, 1, 95));
  index.append(batch(a, 5, 1, 95));
  EXPECT_EQ(base_of(index.find_time(a, 0, everything)), 0);
  EXPECT_EQ(base_of(index.find_time(a, 55, everything)), 1);
  EXPECT_EQ(base_of(index.find_time(a, 91, everything)), 4);
  EXPECT_EQ(base_of(index.find_time(a, 96, everything)), -1);
  EXPECT_EQ(base_of(index.find_max_timestamp(a, everything)), 4) << "the first of equals";
  EXPECT_EQ(base_of(index.find_max_timestamp(a, {Offset(0), Offset(4)})), 1);
  EXPECT_EQ(index.segment_max_timestamp(SegmentNumber(1)), 90);
  EXPECT_EQ(index.segment_max_timestamp(SegmentNumber(3)), -1);
}

TEST(LogIndex, FullSaysWhenToSealAndStillAppends) {
  LogIndex index(4, 1, 4);
  EXPECT_TRUE(index.full()) << "no segment yet";
  index.begin_segment(SegmentNumber(1));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(index.room(), 4u - static_cast<uint32_t>(i));
    index.append(batch(a, i, 1, 0));
  }
  EXPECT_TRUE(index.full());
  for (int i = 4; i < 100; ++i) index.append(batch(PartitionNumber(static_cast<uint64_t>(i)), i, 1, 0));
  EXPECT_EQ(index.entry_count(), 100u);
  EXPECT_EQ(base_of(index.find(PartitionNumber(99), Offset(0), everything)), 99);
  index.begin_segment(SegmentNumber(2));
  EXPECT_EQ(index.room(), 4u);
}

TEST(LogIndex, DroppedPartitionsAreUnreachable) {
  LogIndex index(16, 1, 4);
  index.begin_segment(SegmentNumber(1));
  index.append(batch(a, 0, 1, 0));
  index.append(batch(b, 0, 1, 0));
  const auto found = index.find(a, Offset(0), everything);
  index.drop_partition(a);
  EXPECT_EQ(base_of(index.find(a, Offset(0), everything)), -1);
  EXPECT_FALSE(index.at(found->reference, a, Offset(0)));
  EXPECT_FALSE(index.next(*found, everything));
  EXPECT_EQ(base_of(index.find(b, Offset(0), everything)), 0);
  index.begin_segment(SegmentNumber(2));
  index.remove_segment(SegmentNumber(1));
  EXPECT_EQ(base_of(index.find(b, Offset(0), everything)), -1);
}

TEST(LogIndex, StretchesAreWhatASegmentHasOfAPartition) {
  LogIndex index(16, 1, 4);
  EXPECT_FALSE(index.oldest_stretch(a, Offset(0)));
  index.begin_segment(SegmentNumber(1));
  index.append(batch(a, 0, 2, 300), 100);
  index.append(batch(b, 0, 1, 900), 100);
  index.append(batch(a, 2, 2, 200), 200);
  index.begin_segment(SegmentNumber(2));
  index.append(batch(b, 1, 1, 1000), 200);
  index.begin_segment(SegmentNumber(4));
  index.append(batch(a, 4, 1, 400), 300);
  const auto expect = [&](int64_t from, uint64_t segment, int64_t end, Milliseconds time, uint64_t bytes) {
    const auto stretch = index.oldest_stretch(a, Offset(from));
    ASSERT_TRUE(stretch) << from;
    EXPECT_EQ(stretch->segment, SegmentNumber(segment));
    EXPECT_EQ(stretch->end, Offset(end));
    EXPECT_EQ(stretch->max_timestamp, time);
    EXPECT_EQ(stretch->bytes_up_to, bytes);
  };
  expect(0, 1, 4, 300, 200);
  expect(3, 1, 4, 300, 200);
  expect(4, 4, 5, 400, 300);
  EXPECT_FALSE(index.oldest_stretch(a, Offset(5)));
  index.remove_segment(SegmentNumber(1));
  expect(0, 4, 5, 400, 300);
  index.append(batch(a, 5, 1, 100), 400);
  expect(0, 4, 6, 400, 400);
  index.truncate(SegmentNumber(2), FilePosition(1 << 20));
  EXPECT_FALSE(index.oldest_stretch(a, Offset(0)));
}

TEST(LogIndex, ASegmentLeavesInSlices) {
  LogIndex index(16, 1, 4);
  for (uint64_t number = 1; number <= 3; ++number) {
    index.begin_segment(SegmentNumber(number));
    for (uint64_t p = 1; p <= 10; ++p) index.append(batch(PartitionNumber(p), static_cast<int64_t>(number), 1, 0));
  }
  int slices = 1;
  for (; !index.remove_some(SegmentNumber(2), 3); ++slices) {
    index.append(batch(PartitionNumber(20 + static_cast<uint64_t>(slices)), 0, 1, 0));
    EXPECT_EQ(base_of(index.find(PartitionNumber(5), Offset(0), everything)), 1) << "never what is around it";
    EXPECT_EQ(base_of(index.find(PartitionNumber(5), Offset(3), everything)), 3);
  }
  EXPECT_EQ(slices, 4);
  EXPECT_FALSE(index.has_segment(SegmentNumber(2)));
  for (uint64_t p = 1; p <= 10; ++p) {
    EXPECT_EQ(base_of(index.find(PartitionNumber(p), Offset(0), everything)), 1);
    EXPECT_EQ(base_of(index.find(PartitionNumber(p), Offset(2), everything)), 3);
  }
}

TEST(LogIndex, AWalkIsSortedInSlicesAndGoesTwice) {
  LogIndex index(64, 1, 4);
  index.begin_segment(SegmentNumber(1));
  for (const uint64_t p : {9, 3, 7, 3, 1, 9, 9}) {
    index.append(batch(PartitionNumber(p), static_cast<int64_t>(index.entry_count()), 1, static_cast<int64_t>(p)));
  }
  LogIndex::Walk walk;
  index.begin_walk(SegmentNumber(1), walk);
  int slices = 1;
  while (!index.sort(walk, 2)) ++slices;
  EXPECT_EQ(slices, 4) << "four strands in, four out";
  std::vector<std::pair<uint64_t, uint32_t>> shares;
  while (const auto share = index.next_share(walk)) shares.push_back({share->partition.value, share->batches});
  EXPECT_EQ(shares, (std::vector<std::pair<uint64_t, uint32_t>>{{1, 1}, {3, 2}, {7, 1}, {9, 3}}));
  index.rewind(walk);
  std::vector<int64_t> offsets;
  while (const auto entry = index.next(walk)) offsets.push_back(entry->base_offset.value);
  EXPECT_EQ(offsets, (std::vector<int64_t>{4, 1, 3, 2, 0, 5, 6}));
}

TEST(LogIndex, CarriedBatchesFillTheHoleTheyLeft) {
  LogIndex index(16, 1, 4);
  index.begin_segment(SegmentNumber(1));
  for (int i = 0; i < 4; ++i) index.append(batch(a, i, 1, i));
  index.begin_segment(SegmentNumber(2));
  for (int i = 4; i < 8; ++i) index.append(batch(a, i, 1, i));
  index.append(batch(a, 1, 1, 1));  // carried out of segment 1, with a hole
  index.append(batch(a, 3, 1, 3));
  index.remove_segment(SegmentNumber(1));
  std::vector<int64_t> seen;
  for (auto at = index.find(a, Offset(0), everything); at; at = index.next(*at, everything))
    seen.push_back(base_of(at));
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 3, 4, 5, 6, 7}));
}

// ---- against a model that is a sorted list ----

struct Stored {
  IndexEntry entry;
  uint64_t segment;
};

class Model {
 public:
  std::map<uint64_t, std::vector<Stored>> partitions;

  std::vector<Stored> visible(PartitionNumber partition, OffsetRange range) const {
    std::vector<Stored> result;
    const auto found = partitions.find(partition.value);
    if (found == partitions.end()) return result;
    for (const Stored& stored : found->second) {
      if (stored.entry.next_offset() > range.begin && stored.entry.next_offset() <= range.end) result.push_back(stored);
    }
    return result;
  }
  template <class Gone>
  void erase(Gone&& gone) {
    for (auto& [number, list] : partitions) std::erase_if(list, gone);
  }
};

class LogIndexModel : public testing::TestWithParam<uint64_t> {};

TEST_P(LogIndexModel, Agrees) {
  std::mt19937_64 random(GetParam());
  const auto below = [&](uint64_t bound) { return random() % bound; };
  LogIndex index(64, 2, 4);
  Model model;
  std::map<uint64_t, int64_t> next_offset;
  uint64_t number = 1, oldest = 1, commit = 4096, dropped = 0;
  index.begin_segment(SegmentNumber(number));

  for (int step = 0; step < 3000; ++step) {
    const uint64_t what = below(1000);
    if (what < 15 || (index.full() && what < 500)) {
      number += 1 + below(2);
      commit = 4096;
      index.begin_segment(SegmentNumber(number));
    } else if (what < 20 && oldest < number) {
      const uint64_t victim = what < 16 ? oldest + below(number - oldest) : oldest;
      index.remove_segment(SegmentNumber(victim));
      model.erase([&](const Stored& stored) { return stored.segment == victim; });
      if (victim == oldest) ++oldest;
    } else if (what < 25) {
      const uint64_t segment = number > oldest && below(3) == 0 ? number - 1 : number;
      const uint64_t end = 4096 + below(commit / 4096 + 1) * 4096;
      index.truncate(SegmentNumber(segment), FilePosition(end));
      model.erase([&](const Stored& stored) {
        return stored.segment > segment || (stored.segment == segment && stored.entry.commit.value >= end);
      });
      // A segment that never was, or was removed, cannot be the newest: the next one begins above.
      number += 1;
      commit = 4096;
      index.begin_segment(SegmentNumber(number));
      for (auto& [partition, offset] : next_offset) {
        const auto& list = model.partitions[partition];
        offset = 0;
        for (const Stored& stored : list) offset = std::max(offset, stored.entry.next_offset().value);
      }
    } else if (what < 27) {
      index.drop_partition(PartitionNumber(dropped));
      model.partitions.erase(dropped);
      next_offset.erase(dropped);
      ++dropped;  // numbers never come back
    } else {
      const PartitionNumber partition(dropped + below(5));
      if (below(4) == 0) commit += 4096;
      int64_t& next = next_offset[partition.value];
      next += below(5) == 0 ? static_cast<int64_t>(below(10)) : 0;
      const auto records = static_cast<int32_t>(1 + below(5));
      IndexEntry entry = batch(partition, next, records, static_cast<int64_t>(step / 4 + below(60)), commit);
      entry.ordinal = static_cast<uint32_t>(step);
      next += records;
      index.append(entry);
      model.partitions[partition.value].push_back({entry, number});
    }

    const PartitionNumber partition(dropped + below(5));
    const int64_t end = next_offset[partition.value] - static_cast<int64_t>(below(8));
    const OffsetRange range{Offset(below(3) == 0 ? static_cast<int64_t>(below(200)) : 0), Offset(end)};
    const auto visible = model.visible(partition, range);
    const auto same = [&](const std::optional<IndexEntry>& got, auto want, const char* question) {
      ASSERT_EQ(got.has_value(), want != visible.end()) << question << " step " << step;
      if (!got) return;
      ASSERT_EQ(got->ordinal, want->entry.ordinal) << question << " step " << step;
      ASSERT_EQ(got->segment.value, want->segment);
      ASSERT_EQ(base_of(index.at(got->reference, partition, got->base_offset)), got->base_offset.value);
    };

    const Offset offset(static_cast<int64_t>(below(static_cast<uint64_t>(std::max<int64_t>(end, 0)) + 5)));
    const auto at = std::find_if(visible.begin(), visible.end(),
                                 [&](const Stored& stored) { return stored.entry.next_offset() > offset; });
    const auto found = index.find(partition, offset, range);
    same(found, at, "find");
    if (found && at != visible.end()) same(index.next(*found, range), at + 1, "next");

    const auto time = static_cast<Milliseconds>(below(static_cast<uint64_t>(step) / 4 + 60));
    same(index.find_time(partition, time, range),
         std::find_if(visible.begin(), visible.end(),
                      [&](const Stored& stored) { return stored.entry.max_timestamp >= time; }),
         "find_time");
    same(index.find_max_timestamp(partition, range),
         std::max_element(visible.begin(), visible.end(),
                          [](const Stored& left, const Stored& right) {
                            return left.entry.max_timestamp < right.entry.max_timestamp;
                          }),
         "find_max_timestamp");
    if (HasFatalFailure()) return;
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, LogIndexModel, testing::Range<uint64_t>(1, 21));

// A hundred segments of a hundred thousand batches: look-ups anywhere stay in microseconds. The bound is generous, for
// sanitizers and busy machines; what it catches is a search that grew linear.
TEST(LogIndex, LookUpsInALargeLogStayShort) {
  constexpr int segments = 100, entries = 20'000, partitions = 10;
  LogIndex index(entries, 0, partitions);
  int64_t offset = 0;
  for (int segment = 1; segment <= segments; ++segment) {
    index.begin_segment(SegmentNumber(static_cast<uint64_t>(segment)));
    for (int i = 0; i < entries; ++i, ++offset) {
      index.append(batch(PartitionNumber(static_cast<uint64_t>(i % partitions)), offset, 1, offset));
    }
  }
  std::mt19937_64 random(1);
  constexpr int rounds = 2000;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    const auto wanted = static_cast<int64_t>(random() % static_cast<uint64_t>(offset));
    const PartitionNumber partition(static_cast<uint64_t>(wanted) % partitions);
    ASSERT_EQ(base_of(index.find(partition, Offset(wanted), everything)), wanted);
    ASSERT_EQ(base_of(index.find_time(partition, wanted, everything)), wanted);
  }
  const auto each = (std::chrono::steady_clock::now() - begin) / rounds;
  const auto each_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(each).count();
  RecordProperty("find_and_find_time_ns", static_cast<int>(each_ns));
  std::printf("find and find_time: %lld ns\n", static_cast<long long>(each_ns));
  EXPECT_LT(each_ns, 1'000'000);
}

}  // namespace
}  // namespace penstock
