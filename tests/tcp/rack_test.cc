#include "dataplane/tcp/rack.h"

#include <gtest/gtest.h>

#include "dataplane/tcp/undo.h"

namespace penstock::tcp {
namespace {

constexpr Nanoseconds ms = millisecond_ns;

// Ten segments of 1000 bytes, one every millisecond from 1 ms on; the round trip takes 40 ms.
struct RackTest : testing::Test {
  RecordPool pool{16};
  Scoreboard board;
  RoundTrip round_trip;
  Rack rack;
  TcpTimes times;

  RackTest() {
    round_trip.start(times);
    round_trip.sample(40 * ms, times);
    for (uint32_t i = 0; i < 10; ++i) pool.append(board, SeqNumber(i * 1000), 1000, (i + 1) * ms);
  }
  void arrives(uint32_t i, Nanoseconds now) {
    pool.sack(board, {SeqNumber(i * 1000), SeqNumber(i * 1000 + 1000)},
              [&](const SentRecord& record) { rack.delivered(record, now, round_trip); });
  }
  Rack::Judgement judge(Nanoseconds now) { return rack.judge(pool, board, round_trip, 1000, false, now); }
};

TEST_F(RackTest, ThreeOvertakersMakeALoss) {
  arrives(1, 42 * ms);
  arrives(2, 43 * ms);
  EXPECT_FALSE(judge(43 * ms).lost_any);
  arrives(3, 44 * ms);
  EXPECT_TRUE(judge(44 * ms).lost_any);
  EXPECT_EQ(board.lost_bytes, 1000u);  // the first, not those sent later
}

TEST_F(RackTest, OneOvertakerWaitsAQuarterOfTheRoundTrip) {
  arrives(1, 42 * ms);
  const auto in_doubt = judge(42 * ms);
  EXPECT_FALSE(in_doubt.lost_any);
  EXPECT_EQ(in_doubt.judge_again_in, 9 * ms);  // sent at 1 ms, + 40 ms + 10 ms - 42 ms
  EXPECT_TRUE(judge(51 * ms).lost_any);
}

TEST_F(RackTest, SeenReorderingMakesPatient) {
  for (uint32_t i = 1; i < 5; ++i) arrives(i, (41 + i) * ms);
  arrives(0, 46 * ms);  // sent once, behind later ones
  EXPECT_TRUE(rack.reordering_seen());
  for (uint32_t i = 6; i < 10; ++i) arrives(i, (41 + i) * ms);
  EXPECT_FALSE(judge(50 * ms).lost_any);
  EXPECT_TRUE(judge(56 * ms).lost_any);
}

TEST_F(RackTest, EachRoundWithDuplicatesAddsAQuarter) {
  arrives(1, 42 * ms);
  rack.duplicate_reported(SeqNumber(0), SeqNumber(10'000));
  rack.duplicate_reported(SeqNumber(5000), SeqNumber(12'000));  // the same round
  EXPECT_EQ(judge(42 * ms).judge_again_in, 19 * ms);
  rack.duplicate_reported(SeqNumber(10'000), SeqNumber(20'000));
  EXPECT_EQ(judge(42 * ms).judge_again_in, 29 * ms);
  for (int i = 0; i < 16; ++i) rack.recovery_ended();
  EXPECT_EQ(judge(42 * ms).judge_again_in, 9 * ms);
}

TEST(Undo, OriginalsShowByTheirEcho) {
  Congestion congestion;
  congestion.start(CongestionKind::cubic, 1000);
  SentRecord record{.length = 1000, .retransmitted = true};
  for (const auto& [echo, spurious] : {std::pair{99u, false}, {100u, true}, {149u, true}, {150u, false}}) {
    Undo undo;
    undo.cut(congestion, SeqNumber(0), SeqNumber(5000), 100);
    undo.sent_again(1000, 150);
    undo.sent_again(1000, 160);
    EXPECT_EQ(undo.arrived(record, echo), spurious) << echo;
  }
  Undo undo;
  EXPECT_FALSE(undo.arrived(record, 100));  // nothing was cut
  undo.cut(congestion, SeqNumber(0), SeqNumber(5000), 100);
  record.retransmitted = false;
  EXPECT_TRUE(undo.arrived(record, std::nullopt));
}

TEST(Undo, EveryRepetitionMustBeReported) {
  Congestion congestion;
  congestion.start(CongestionKind::cubic, 1000);
  Undo undo;
  undo.cut(congestion, SeqNumber(0), SeqNumber(5000), 100);
  EXPECT_FALSE(undo.arrived_twice({SeqNumber(0), SeqNumber(1000)}));  // nothing was sent again
  undo.sent_again(1000, 150);
  undo.sent_again(1000, 150);
  EXPECT_FALSE(undo.arrived_twice({SeqNumber(0), SeqNumber(1000)}));
  EXPECT_FALSE(undo.arrived_twice({SeqNumber(5000), SeqNumber(6000)}));  // sent later
  EXPECT_TRUE(undo.arrived_twice({SeqNumber(1000), SeqNumber(2000)}));
  congestion.lost(10'000);
  congestion.restore(undo.before());
  EXPECT_EQ(congestion.window(), 10'000u);
  EXPECT_TRUE(congestion.slow_start());
}

}  // namespace
}  // namespace penstock::tcp
