#include "dataplane/kafka/record_walk.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "tests/kafka/pieces.h"

namespace penstock::kafka {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(RecordWalk, ReadsNumbersAcrossPieces) {
  // Timestamp delta -300 and 2^40, offset deltas 0 and 1, key "k" and null.
  const auto bytes = bytes_of({18, 0, 0xd7, 0x04, 0,    2,    'k',  2,    'v', 0,  //
                               24, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 2,   1, 1, 0, 0});
  for (const size_t piece : {size_t{1}, size_t{4}, size_t{100}}) {
    const CutPieces pieces(bytes, {piece});
    RecordWalk walk(pieces.range());
    Record record;
    ASSERT_TRUE(walk.next(record));
    EXPECT_EQ(record.timestamp_delta, -300);
    EXPECT_EQ(record.offset_delta, 0);
    EXPECT_TRUE(record.has_key);
    EXPECT_EQ(walk.remaining(), 13u);
    EXPECT_FALSE(walk.next(record));  // its length says 12, its parts take 11
  }
}

TEST(RecordWalk, StaysFailed) {
  const auto bytes = bytes_of({11, 0, 12, 0, 0, 0, 1, 0, 0});
  const CutPieces pieces(bytes, {2});
  RecordWalk walk(pieces.range());
  Record record;
  EXPECT_FALSE(walk.next(record));
  EXPECT_FALSE(walk.next(record));
  EXPECT_EQ(walk.remaining(), 0u);
}

TEST(RecordWalk, EmptyRangeHasNoRecord) {
  RecordWalk walk{PieceRange()};
  Record record;
  EXPECT_FALSE(walk.next(record));
}

}  // namespace
}  // namespace penstock::kafka
