// What judges the weekend, judged: each thing it is there to find, and what it must let pass.
#include "tests/weekend/load/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock::weekend {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t batch_bytes = 1000;
constexpr int64_t start_ms = 1'000'000;

struct Judged {
  explicit Judged(Retention retention = {}, bool idempotent = false)
      : ledger("p", retention, idempotent, [this](const std::string& what) { complaints.push_back(what); }) {}

  static BatchShape shape(int64_t number) { return {.number = number, .count = 10, .timestamp_ms = start_ms + number}; }
  // Batches 0 to count - 1, all acknowledged, ten records each.
  void acknowledge(int64_t count) {
    for (int64_t number = 0; number < count; ++number) {
      ledger.sending(batch_bytes);
      ledger.acknowledged(number * 10, shape(number), batch_bytes);
    }
  }
  void show(int64_t base_offset, int64_t number) {
    ledger.shown({.base_offset = base_offset, .shape = shape(number), .bytes = batch_bytes});
  }

  std::vector<std::string> complaints;
  Ledger ledger;
};

TEST(Ledger, LetsPassWhatIsRight) {
  Judged judged({.bytes_max = 3000});
  judged.acknowledge(10);
  for (int64_t number = 0; number < 10; ++number) judged.show(number * 10, number);
  judged.ledger.stands(70, 100, 100, start_ms);
  EXPECT_EQ(judged.ledger.log_start(), 70);
  EXPECT_EQ(judged.ledger.end(), 100);
  EXPECT_THAT(judged.complaints, IsEmpty());
}

TEST(Ledger, WhatWasAcknowledgedIsMissing) {
  Judged judged;
  judged.acknowledge(3);
  judged.ledger.stands(0, 20, 30, start_ms);
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("ends at offset 20, what is known of it ends at 30")));
}

TEST(Ledger, SomethingElseIsWhereItWasAcknowledged) {
  Judged judged;
  judged.acknowledge(3);
  judged.show(10, 7);
  EXPECT_THAT(judged.complaints,
              ::testing::Contains(HasSubstr("batch 1 was acknowledged at offset 10, where batch 7")));
}

TEST(Ledger, ALongerBatchLiesOverIt) {
  Judged judged;
  judged.acknowledge(3);
  judged.show(5, 7);
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("batch 1 was acknowledged at offset 10, where batch 7")));
}

TEST(Ledger, WhatWasReadIsAnotherLater) {
  Judged judged;
  judged.show(0, 0);
  judged.show(0, 1);
  EXPECT_THAT(judged.complaints, ::testing::Contains(HasSubstr("batch 0 was read at offset 0, where batch 1")));
}

TEST(Ledger, AnOffsetIsGivenOutTwice) {
  Judged judged;
  judged.acknowledge(2);
  judged.ledger.sending(batch_bytes);
  judged.ledger.acknowledged(10, Judged::shape(2), batch_bytes);
  EXPECT_THAT(judged.complaints,
              ::testing::Contains(HasSubstr("batch 2 is acknowledged at offset 10, the one before ended at 20")));
}

TEST(Ledger, AnIdempotentProducerHasAGap) {
  Judged judged({}, true);
  judged.acknowledge(1);
  judged.ledger.sending(batch_bytes);
  judged.ledger.acknowledged(20, Judged::shape(1), batch_bytes);
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("acknowledged at offset 20, the one before ended at 10")));
}

TEST(Ledger, TooMuchIsGoneBySize) {
  Judged judged({.bytes_max = 3000});
  judged.acknowledge(10);
  judged.ledger.stands(80, 100, 100, start_ms);
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("only 2000 bytes are left from the log start 80")));
}

TEST(Ledger, WhatMayBeThereCountsAsLeft) {
  Judged judged({.bytes_max = 3000});
  judged.acknowledge(10);
  judged.ledger.sending(batch_bytes);  // under way
  judged.ledger.sending(batch_bytes);
  judged.ledger.left_open(batch_bytes);
  judged.ledger.starts(90, start_ms);
  EXPECT_THAT(judged.complaints, IsEmpty());
  judged.ledger.sending(batch_bytes);
  judged.ledger.acknowledged(110, Judged::shape(12), batch_bytes);
  judged.ledger.starts(120, start_ms);  // with the one left open
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("only 1000 bytes are left")));
}

TEST(Ledger, TooMuchIsGoneByAge) {
  Judged judged({.age_max_ms = 500});
  judged.acknowledge(10);
  judged.ledger.starts(50, start_ms + 505);  // batches 0 to 4
  EXPECT_THAT(judged.complaints, IsEmpty());
  judged.ledger.starts(60, start_ms + 505);
  EXPECT_THAT(judged.complaints, ElementsAre(HasSubstr("batch 5 is gone after 500 ms")));
}

TEST(Content, EveryByteCounts) {
  const Content content(1);
  const BatchShape shape{
      .place = 3, .number = 5, .count = 4, .value_bytes = 300, .timestamp_ms = 7, .writer = {9, 1, 40}};
  std::string batch = content.make(shape);
  const auto found = find_batch(batch);
  ASSERT_TRUE(found);
  EXPECT_TRUE(same_batch(content, *found, batch));
  EXPECT_FALSE(find_batch(std::span(batch).first(batch.size() - 1)));
  constexpr size_t magic_at = 16;  // what is before, the broker sets
  for (size_t at = magic_at; at < batch.size(); ++at) {
    batch[at] ^= 1;
    const auto damaged = find_batch(batch);
    EXPECT_FALSE(damaged && same_batch(content, *damaged, batch)) << at;
    batch[at] ^= 1;
  }
}

}  // namespace
}  // namespace penstock::weekend
