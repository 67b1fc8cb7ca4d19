#include "storage/producers.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <tuple>
#include <vector>

namespace penstock {
namespace {

constexpr PartitionNumber partition{1};

BatchInfo batch(int64_t producer, int16_t epoch, int32_t sequence, int32_t records, int64_t offset = 0) {
  return {.partition = partition,
          .base_offset = Offset(offset),
          .last_offset_delta = records - 1,
          .record_count = records,
          .producer_id = producer,
          .producer_epoch = epoch,
          .base_sequence = sequence};
}

// Appends `count` batches of ten records from sequence 0 on, one per commit.
ProducerTable with_batches(int count, int16_t epoch = 3) {
  ProducerTable table(16);
  for (int i = 0; i < count; ++i) {
    table.appended(batch(7, epoch, i * 10, 10, 1000 + i * 10), CommitSequence(static_cast<uint64_t>(i) + 1));
  }
  return table;
}

struct Case {
  const char* label;
  int known_batches;  // of epoch 3, ten records each, from sequence 0; offset = 1000 + sequence
  int16_t epoch;
  int32_t sequence;
  int32_t records;
  SequenceVerdict verdict;
  int64_t offset = 0;
};

class Rules : public testing::TestWithParam<Case> {};
TEST_P(Rules, Hold) {
  const Case& row = GetParam();
  const ProducerTable table = with_batches(row.known_batches);
  const SequenceCheck result = table.check(batch(7, row.epoch, row.sequence, row.records));
  EXPECT_EQ(result.verdict, row.verdict) << row.label;
  if (row.verdict == SequenceVerdict::duplicate) {
    EXPECT_EQ(result.base_offset.value, row.offset);
    EXPECT_EQ(result.commit.value, static_cast<uint64_t>(row.sequence / 10 + 1));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Table, Rules,
    testing::Values(Case{"not known, 0", 0, 3, 0, 1, SequenceVerdict::next},
                    Case{"not known, any sequence (KIP-360)", 0, 3, 500, 1, SequenceVerdict::next},
                    Case{"next", 2, 3, 20, 5, SequenceVerdict::next},
                    Case{"newest again", 2, 3, 10, 10, SequenceVerdict::duplicate, 1010},
                    Case{"fifth last again", 8, 3, 30, 10, SequenceVerdict::duplicate, 1030},
                    Case{"sixth last again", 8, 3, 20, 10, SequenceVerdict::duplicate_old},
                    Case{"first again, long ago", 100, 3, 0, 10, SequenceVerdict::duplicate_old},
                    Case{"half of a remembered one", 8, 3, 30, 5, SequenceVerdict::out_of_order},
                    Case{"overlaps the newest", 2, 3, 15, 10, SequenceVerdict::out_of_order},
                    Case{"overlaps the oldest remembered", 8, 3, 25, 10, SequenceVerdict::out_of_order},
                    Case{"gap of one", 2, 3, 21, 1, SequenceVerdict::out_of_order},
                    Case{"gap, far", 8, 3, 1 << 29, 1, SequenceVerdict::out_of_order},
                    Case{"0 again, other length", 2, 3, 0, 3, SequenceVerdict::out_of_order},
                    Case{"before what is remembered, which is all there was", 3, 3, 5, 2,
                         SequenceVerdict::out_of_order},
                    Case{"older epoch, next", 2, 2, 20, 1, SequenceVerdict::fenced},
                    Case{"older epoch, sent again", 2, 2, 10, 10, SequenceVerdict::fenced},
                    Case{"older epoch, 0", 2, 2, 0, 1, SequenceVerdict::fenced},
                    Case{"new epoch from 0", 2, 4, 0, 1, SequenceVerdict::next},
                    Case{"new epoch goes on", 2, 4, 20, 1, SequenceVerdict::out_of_order},
                    Case{"new epoch, same numbers as a remembered batch", 2, 4, 10, 10, SequenceVerdict::out_of_order}),
    [](const auto& row) { return "Row" + std::to_string(row.index); });

TEST(Producers, WithoutIdOrSequenceAlwaysMay) {
  ProducerTable table(4);
  EXPECT_EQ(table.check(batch(-1, -1, -1, 1)).verdict, SequenceVerdict::next);
  table.appended(batch(-1, -1, -1, 1), CommitSequence(1));
  table.appended(batch(7, 0, -1, 1), CommitSequence(1));  // a transaction marker
  EXPECT_EQ(table.size(), 0u);
}

TEST(Producers, SequenceWrapsToZero) {
  ProducerTable table(4);
  table.appended(batch(7, 0, INT32_MAX - 4, 5, 0), CommitSequence(1));  // ends at INT32_MAX
  EXPECT_EQ(table.check(batch(7, 0, 0, 1)).verdict, SequenceVerdict::next);
  EXPECT_EQ(table.check(batch(7, 0, 1, 1)).verdict, SequenceVerdict::out_of_order);
  ProducerTable across(4);
  across.appended(batch(7, 0, INT32_MAX - 1, 5, 0), CommitSequence(1));  // ends at 2
  EXPECT_EQ(across.check(batch(7, 0, 3, 1)).verdict, SequenceVerdict::next);
  EXPECT_EQ(across.check(batch(7, 0, INT32_MAX - 1, 5)).verdict, SequenceVerdict::duplicate);
  for (int i = 0; i < 5; ++i) across.appended(batch(7, 0, 3 + i, 1), CommitSequence(2));
  EXPECT_EQ(across.check(batch(7, 0, INT32_MAX - 1, 5)).verdict, SequenceVerdict::duplicate_old) << "behind, across 0";
}

TEST(Producers, NewEpochForgetsTheOldOnesBatches) {
  ProducerTable table = with_batches(4);
  table.appended(batch(7, 4, 0, 10, 2000), CommitSequence(9));
  EXPECT_EQ(table.check(batch(7, 4, 10, 10)).verdict, SequenceVerdict::next);
  EXPECT_EQ(table.check(batch(7, 4, 20, 10)).verdict, SequenceVerdict::out_of_order) << "remembered under epoch 3 only";
  EXPECT_EQ(table.check(batch(7, 3, 40, 10)).verdict, SequenceVerdict::fenced);
  table.undo_above(CommitSequence(4));
  EXPECT_EQ(table.check(batch(7, 3, 40, 10)).verdict, SequenceVerdict::next) << "the new epoch never was";
  EXPECT_EQ(table.check(batch(7, 3, 10, 10)).verdict, SequenceVerdict::duplicate);
}

TEST(Producers, PartitionsAndProducersAreApart) {
  ProducerTable table = with_batches(2);
  BatchInfo other = batch(7, 3, 0, 10);
  other.partition = PartitionNumber(2);
  EXPECT_EQ(table.check(other).verdict, SequenceVerdict::next);
  table.appended(other, CommitSequence(3));
  table.appended(batch(8, 0, 0, 1), CommitSequence(3));
  EXPECT_EQ(table.size(), 3u);
  table.drop_partition(partition);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.check(other).verdict, SequenceVerdict::duplicate);
  EXPECT_EQ(table.check(batch(7, 3, 500, 1)).verdict, SequenceVerdict::next) << "not known";
}

TEST(Producers, LongestIdleIsForgottenWhenFull) {
  ProducerTable table(3);
  for (int64_t producer = 0; producer < 3; ++producer) table.appended(batch(producer, 0, 0, 1), CommitSequence(1));
  table.appended(batch(0, 0, 1, 1), CommitSequence(2));  // 1 is idle longest now
  table.appended(batch(9, 0, 0, 1), CommitSequence(3));
  EXPECT_EQ(table.size(), 3u);
  EXPECT_EQ(table.check(batch(1, 0, 77, 1)).verdict, SequenceVerdict::next) << "forgotten";
  EXPECT_EQ(table.check(batch(0, 0, 77, 1)).verdict, SequenceVerdict::out_of_order) << "known";
  std::vector<int64_t> order;
  table.each([&](PartitionNumber, int64_t producer, int16_t, int32_t, Offset) { order.push_back(producer); });
  EXPECT_EQ(order, (std::vector<int64_t>{2, 0, 9}));
}

// Undo leaves exactly the state before, for any mix of producers, epochs and commits, with up to five in flight each.
class UndoModel : public testing::TestWithParam<uint64_t> {};
TEST_P(UndoModel, RestoresTheStateBefore) {
  std::mt19937_64 random(GetParam());
  struct Sent {
    BatchInfo info;
    uint64_t commit;
  };
  std::vector<Sent> log;
  ProducerTable table(64);
  uint64_t commit = 1, durable = 0;
  std::map<int64_t, std::pair<int16_t, int32_t>> state;  // epoch, next sequence
  for (int step = 0; step < 2000; ++step) {
    if (random() % 4 == 0) ++commit;
    if (random() % 50 == 0 && commit > durable) {
      table.durable_up_to(CommitSequence(durable));
      table.undo_above(CommitSequence(durable));
      std::erase_if(log, [&](const Sent& sent) { return sent.commit > durable; });
      ProducerTable replayed(64);
      state.clear();
      for (const Sent& sent : log) {
        replayed.appended(sent.info, CommitSequence(sent.commit));
        state[sent.info.producer_id] = {sent.info.producer_epoch,
                                        sent.info.base_sequence + sent.info.last_offset_delta + 1};
      }
      ASSERT_EQ(table.size(), replayed.size());
      for (int64_t producer = 0; producer < 20; ++producer) {
        for (int16_t epoch = 0; epoch < 6; ++epoch) {
          for (int probe = 0; probe < 20; ++probe) {
            const BatchInfo question =
                batch(producer, epoch, static_cast<int32_t>(random() % 120), 1 + static_cast<int32_t>(random() % 3));
            const SequenceCheck got = table.check(question), want = replayed.check(question);
            ASSERT_EQ(got.verdict, want.verdict);
            ASSERT_EQ(got.base_offset, want.base_offset);
            ASSERT_EQ(got.commit, want.commit);
          }
        }
      }
    }
    const auto producer = static_cast<int64_t>(random() % 20);
    auto& [epoch, sequence] = state[producer];
    if (random() % 30 == 0) ++epoch, sequence = 0;
    const BatchInfo info = batch(producer, epoch, sequence, 1 + static_cast<int32_t>(random() % 3), step);
    ASSERT_EQ(table.check(info).verdict, SequenceVerdict::next);
    // At most five in flight: what is older is durable.
    int inflight = 0;
    for (auto at = log.rbegin(); at != log.rend(); ++at) {
      if (at->info.producer_id == producer && ++inflight == 4) durable = std::max(durable, at->commit);
    }
    if (durable == commit) ++commit;
    table.appended(info, CommitSequence(commit));
    table.durable_up_to(CommitSequence(durable));
    log.push_back({info, commit});
    sequence += info.last_offset_delta + 1;
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, UndoModel, testing::Range<uint64_t>(1, 11));

// The hash table under insertion and erasure, against a map.
TEST(Producers, TableKeepsEveryone) {
  std::mt19937_64 random(5);
  ProducerTable table(300);
  std::map<std::pair<uint64_t, int64_t>, int32_t> model;
  std::deque<std::pair<uint64_t, int64_t>> order;
  uint64_t commit = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::pair<uint64_t, int64_t> key{random() % 20, static_cast<int64_t>(random() % 30)};
    BatchInfo info = batch(key.second, 0, 0, 1);
    info.partition = PartitionNumber(key.first);
    if (random() % 500 == 0) {
      table.drop_partition(info.partition);
      std::erase_if(model, [&](const auto& item) { return item.first.first == key.first; });
      std::erase_if(order, [&](const auto& item) { return item.first == key.first; });
    } else {
      const auto known = model.find(key);
      info.base_sequence = known == model.end() ? 0 : known->second;
      ASSERT_EQ(table.check(info).verdict, SequenceVerdict::next);
      if (known == model.end() && model.size() == 300) {
        model.erase(order.front());
        order.pop_front();
      }
      table.appended(info, CommitSequence(++commit));
      model[key] = info.base_sequence + 1;
      std::erase(order, key);
      order.push_back(key);
    }
    ASSERT_EQ(table.size(), model.size());
  }
}

}  // namespace
}  // namespace penstock
