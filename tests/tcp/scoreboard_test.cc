#include "dataplane/tcp/scoreboard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace penstock::tcp {
namespace {

constexpr SeqNumber una(0xffffff00);  // wraps soon

TEST(Scoreboard, AgreesWithAListOfBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    RecordPool pool(40);
    Scoreboard board;
    std::vector<SentState> model;  // of each byte from una on
    for (uint32_t sent = 0; sent < 10; ++sent) {
      const auto length = static_cast<uint32_t>(random() % 50 + 1);
      ASSERT_TRUE(pool.append(board, una + static_cast<uint32_t>(model.size()), length, sent));
      model.insert(model.end(), length, SentState::in_flight);
    }
    const SeqNumber nxt = una + static_cast<uint32_t>(model.size());
    for (int i = 0; i < 5; ++i) {
      const auto first = static_cast<uint32_t>(random() % model.size());
      const auto end = static_cast<uint32_t>(first + 1 + random() % (model.size() - first));
      uint32_t newly = 0, expected = 0;
      pool.sack(board, {una + first, una + end}, [&](const SentRecord& record) { newly += record.length; });
      for (uint32_t at = first; at < end; ++at)
        expected += model[at] != SentState::sacked, model[at] = SentState::sacked;
      ASSERT_EQ(newly, expected);
      ASSERT_EQ(board.sacked_bytes, static_cast<uint32_t>(std::count(model.begin(), model.end(), SentState::sacked)));
      pool.check_invariants(board, una, nxt);
    }
    const auto acked = static_cast<uint32_t>(random() % (model.size() + 1));
    uint32_t bytes = 0;
    pool.acknowledge(board, una + acked, [&](const SentRecord&, uint32_t length, bool) { bytes += length; });
    ASSERT_EQ(bytes, acked);
    pool.check_invariants(board, una + acked, nxt);
    pool.clear(board);
    ASSERT_EQ(pool.free_count(), 40u);
  }
}

TEST(Scoreboard, WithoutARecordToSplitNothingIsClaimed) {
  RecordPool pool(1);
  Scoreboard board;
  ASSERT_TRUE(pool.append(board, una, 100, 1));
  EXPECT_FALSE(pool.append(board, una + 100, 100, 1));
  pool.sack(board, {una + 10, una + 20}, [](const SentRecord&) { FAIL(); });
  EXPECT_EQ(board.sacked_bytes, 0u);
  EXPECT_EQ(pool.first_lost(board), no_index);
  pool.set_state(board, pool[board.first], SentState::lost);
  EXPECT_EQ(pool.first_lost(board), board.first);
  EXPECT_EQ(board.lost_bytes, 100u);
}

}  // namespace
}  // namespace penstock::tcp
