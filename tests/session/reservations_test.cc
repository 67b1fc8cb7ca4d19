#include "dataplane/session/reservations.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace penstock {
namespace {

using Class = Reservations::Class;

TEST(Reservations, GrantsAtOnceWhileThereIsRoom) {
  Reservations reservations(100, 20, 10);
  const auto grant = reservations.request(0, 20, Class::proven);
  EXPECT_EQ(grant.cost, 20u);
  EXPECT_EQ(reservations.used(), 20u);
  reservations.release(grant);
  EXPECT_EQ(reservations.used(), 0u);
}

// 80 are shared: newcomers get 40 of them, however many there are.
TEST(Reservations, NewcomersLeaveHalfToTheProven) {
  Reservations reservations(100, 20, 10);
  EXPECT_EQ(reservations.request(0, 20, Class::newcomer).cost, 20u);
  EXPECT_EQ(reservations.request(1, 20, Class::newcomer).cost, 20u);
  EXPECT_EQ(reservations.request(2, 20, Class::newcomer).cost, 0u);
  EXPECT_TRUE(reservations.waits(2));
  EXPECT_EQ(reservations.request(3, 20, Class::proven).cost, 20u);
  EXPECT_EQ(reservations.request(4, 20, Class::proven).cost, 20u);
}

// What is kept for the oldest waiter is granted when nothing else is free, to one at a time, by turns.
TEST(Reservations, SomethingCanAlwaysFinish) {
  Reservations reservations(100, 20, 10);
  for (uint32_t i = 0; i < 4; ++i) ASSERT_EQ(reservations.request(i, 20, Class::proven).cost, 20u);
  ASSERT_EQ(reservations.request(4, 20, Class::proven).cost, 0u);
  ASSERT_EQ(reservations.request(5, 20, Class::newcomer).cost, 0u);
  Reservations::Grant first, second;
  EXPECT_EQ(reservations.grant_next(first), 4u);
  EXPECT_TRUE(first.reserve);
  EXPECT_EQ(reservations.grant_next(second), UINT32_MAX);
  reservations.release(first);
  EXPECT_EQ(reservations.grant_next(second), 5u);
  EXPECT_TRUE(second.reserve);
  EXPECT_EQ(reservations.waiting(), 0u);
}

TEST(Reservations, ArrivalOrderWithinAClassEvenIfASmallerOneWouldFit) {
  Reservations reservations(100, 40, 10);
  const auto held = reservations.request(0, 40, Class::proven);
  ASSERT_EQ(reservations.request(1, 40, Class::proven).cost, 0u);
  EXPECT_EQ(reservations.request(2, 1, Class::proven).cost, 0u) << "overtook the one before";
  reservations.release(held);
  Reservations::Grant grant;
  EXPECT_EQ(reservations.grant_next(grant), 1u);
  EXPECT_EQ(reservations.grant_next(grant), 2u);
}

TEST(Reservations, RandomLivesNeverExceedTheBudgetAndAlwaysMove) {
  std::mt19937 random(7);
  constexpr uint32_t connections = 50;
  Reservations reservations(1000, 100, connections);
  std::map<uint32_t, Reservations::Grant> granted;
  for (int step = 0; step < 50'000; ++step) {
    const auto connection = static_cast<uint32_t>(random() % connections);
    if (granted.contains(connection)) {
      reservations.release(granted[connection]);
      granted.erase(connection);
    } else if (reservations.waits(connection)) {
      if (random() % 4 == 0) reservations.stop_waiting(connection);
    } else {
      const auto grant =
          reservations.request(connection, 1 + random() % 100, random() % 2 ? Class::proven : Class::newcomer);
      if (grant.cost > 0) granted[connection] = grant;
    }
    Reservations::Grant grant;
    for (uint32_t next; (next = reservations.grant_next(grant)) != UINT32_MAX;) {
      ASSERT_FALSE(granted.contains(next));
      granted[next] = grant;
    }
    uint64_t sum = 0;
    for (const auto& [index, held] : granted) sum += held.cost;
    ASSERT_EQ(sum, reservations.used());
    ASSERT_LE(sum, 1000u);
    ASSERT_TRUE(!granted.empty() || reservations.waiting() == 0) << "nobody holds anything and somebody waits";
  }
}

}  // namespace
}  // namespace penstock
