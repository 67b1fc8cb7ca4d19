#include "dataplane/net/seq_number.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace penstock {
namespace {

template <class T>
concept Addable = requires(T a, T b) { a + b; };
static_assert(!Addable<SeqNumber>);
static_assert(std::is_same_v<decltype(SeqNumber() - SeqNumber()), uint32_t>);

TEST(SeqNumber, ComparesModulo) {
  for (const uint32_t base : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu}) {
    const SeqNumber a(base);
    for (const uint32_t ahead : {1u, 2u, 1448u, 0x7ffffffeu, 0x7fffffffu}) {
      EXPECT_LT(a, a + ahead);
      EXPECT_GT(a + ahead, a);
      EXPECT_LE(a, a + ahead);
      EXPECT_EQ((a + ahead) - a, ahead);
      EXPECT_EQ(earlier(a, a + ahead), a);
      EXPECT_EQ(later(a, a + ahead), a + ahead);
      EXPECT_TRUE(within(a, a, a + ahead));
      EXPECT_FALSE(within(a + ahead, a, a + ahead));
    }
    EXPECT_LE(a, a);
    EXPECT_FALSE(a < a);
  }
}

}  // namespace
}  // namespace penstock
