#include "dataplane/base/piece.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace penstock {
namespace {

struct PieceTest : testing::Test {
  PieceTest() {
    std::iota(reinterpret_cast<uint8_t*>(bytes.data()), reinterpret_cast<uint8_t*>(bytes.data()) + 4096, 0);
  }
  ~PieceTest() override {
    list.clear(pool, [&](BufferIndex) { ++released; });
    EXPECT_EQ(pool.free_count(), pool.chunk_count());
  }
  void add(uint32_t from, uint32_t length) {
    ASSERT_TRUE(list.push_back(pool, {bytes.data() + from, length, BufferIndex(from)}));
  }
  std::vector<std::byte> content(const PieceRange& range) {
    std::vector<std::byte> out(range.size());
    if (!out.empty()) range.copy_out(0, out.data(), out.size());
    return out;
  }
  std::vector<std::byte> bytes = std::vector<std::byte>(4096);
  PiecePool pool{400};
  PieceList list;
  int released = 0;
};

TEST_F(PieceTest, RangesSeeTheBytesInOrder) {
  add(0, 100);
  add(100, 1);
  add(101, 400);
  EXPECT_EQ(list.size(), 501u);
  EXPECT_EQ(content(list.range()), std::vector<std::byte>(bytes.begin(), bytes.begin() + 501));
  EXPECT_EQ(content(list.slice(99, 3)), std::vector<std::byte>(bytes.begin() + 99, bytes.begin() + 102));
}

TEST_F(PieceTest, LaterIsSoManyPiecesBehindAlsoInTheNextChunk) {
  for (uint32_t i = 0; i < 40; ++i) add(i * 10, 10);
  uint32_t visited = 1, fetched = 1;
  list.slice(15, 370).for_each_and_later<2>(
      [&](const Piece& piece) { EXPECT_EQ(piece.buffer.value, 10 * visited++); },
      [&](const Piece& piece) {
        EXPECT_EQ(piece.buffer.value, 10 * (visited + 2));
        ++fetched;
      });
  EXPECT_EQ(visited, 39u);
  EXPECT_EQ(fetched, 38u) << "the last piece of the list has none so far behind it";
}

TEST_F(PieceTest, CopyInReachesAcrossPieces) {
  add(10, 3);
  add(13, 3);
  const uint8_t written[4] = {200, 201, 202, 203};
  list.range().copy_in(1, written, sizeof written);
  EXPECT_EQ(std::to_integer<int>(bytes[11]), 200);
  EXPECT_EQ(std::to_integer<int>(bytes[14]), 203);
  EXPECT_EQ(std::to_integer<int>(bytes[15]), 15);
}

TEST_F(PieceTest, DroppingReleasesEveryPieceOnce) {
  for (uint32_t i = 0; i < 40; ++i) add(i * 10, 10);
  list.drop_front(pool, 15, [&](BufferIndex buffer) {
    EXPECT_EQ(buffer.value, 0u);
    ++released;
  });
  EXPECT_EQ(released, 1);
  EXPECT_EQ(list.size(), 385u);
  EXPECT_EQ(std::to_integer<int>(*list.range().front().data), 15);
  list.drop_front(pool, 385, [&](BufferIndex) { ++released; });
  EXPECT_EQ(released, 40);
  EXPECT_EQ(pool.free_count(), pool.chunk_count());
  add(7, 5);  // an emptied list takes pieces again
  EXPECT_EQ(content(list.range()), std::vector<std::byte>(bytes.begin() + 7, bytes.begin() + 12));
}

TEST_F(PieceTest, RefusesWhenThePoolIsEmpty) {
  PiecePool one(1);
  PieceList small;
  for (uint32_t i = 0; i < PieceChunk::capacity; ++i)
    ASSERT_TRUE(small.push_back(one, {bytes.data(), 1, BufferIndex(0)}));
  EXPECT_FALSE(small.push_back(one, {bytes.data(), 1, BufferIndex(0)}));
  EXPECT_EQ(small.size(), uint64_t{PieceChunk::capacity});
  small.clear(one, [](BufferIndex) {});
}

TEST_F(PieceTest, AgreesWithAVectorOfBytes) {
  std::mt19937 random(5);
  std::vector<std::byte> model;
  uint32_t at = 0;
  for (int step = 0; step < 2000; ++step) {
    if (random() % 2 == 0 && at < 4000) {
      const uint32_t length = 1 + static_cast<uint32_t>(random() % 30);
      if (at + length > 4096) break;
      add(at, length);
      model.insert(model.end(), bytes.begin() + at, bytes.begin() + at + length);
      at += length;
    } else if (!model.empty()) {
      const uint64_t count = random() % (model.size() + 1);
      list.drop_front(pool, count, [&](BufferIndex) { ++released; });
      model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(count));
    }
    ASSERT_EQ(list.size(), model.size());
    ASSERT_EQ(content(list.range()), model);
    if (!model.empty()) {
      const uint64_t from = random() % model.size(), count = random() % (model.size() - from + 1);
      ASSERT_EQ(content(list.slice(from, count)),
                std::vector<std::byte>(model.begin() + static_cast<ptrdiff_t>(from),
                                       model.begin() + static_cast<ptrdiff_t>(from + count)));
    }
  }
}

}  // namespace
}  // namespace penstock
