#include "dataplane/kafka/wire.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "dataplane/kafka/messages/all.h"
#include "tests/kafka/filler.h"
#include "tests/kafka/message_bytes.h"

namespace penstock::kafka {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

struct Example {
  static constexpr Version flexible = 1;
  Text name;
  Slice<int32_t> numbers;
  NullableBytes blob;
  int16_t extra = 5;
  static void describe(auto& wire, auto& m) {
    wire.field(m.name);
    wire.field(m.numbers);
    wire.field(m.blob);
    wire.tags(tag(1, m.extra, always, int16_t{5}));
  }
};

class WireTest : public testing::Test {
 protected:
  std::vector<std::byte> memory_ = std::vector<std::byte>(1 << 16);
  Scratch scratch_{memory_};

  template <class Message = Example>
  DecodeStatus status(const std::vector<std::byte>& bytes, Version version, Message message = {}) {
    DecodeStatus first = DecodeStatus::ok;
    for (const size_t piece : {size_t{1}, size_t{3}, size_t{100'000}}) {
      scratch_.reset();
      const CutPieces pieces(bytes, {piece});
      message = {};
      const DecodeStatus decoded = decode_body(pieces.range(), version, scratch_, message);
      if (piece == 1) first = decoded;
      EXPECT_EQ(decoded, first) << "pieces of " << piece;
    }
    return first;
  }
};

TEST_F(WireTest, ClassicAndFlexibleForms) {
  std::vector<int32_t> numbers = {1, -1};
  Example example{.name = "ab", .numbers = Slice<int32_t>(std::span<int32_t>(numbers)), .blob = {}, .extra = 5};
  EXPECT_EQ(*message_bytes(example, 0),
            bytes_of({0, 2, 'a', 'b', 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(*message_bytes(example, 1), bytes_of({3, 'a', 'b', 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0}));
  example.extra = 6;
  example.numbers = {};
  EXPECT_EQ(*message_bytes(example, 1), bytes_of({3, 'a', 'b', 1, 0, 1, 1, 2, 0, 6}));
}

TEST_F(WireTest, UnknownTagsAreSkippedAndKnownOnesRead) {
  const auto bytes = bytes_of({1, 1, 0, 3, 0, 2, 9, 9, 1, 2, 0, 7, 200, 1, 0});
  const CutPieces pieces(bytes, {1});
  Example example;
  ASSERT_EQ(decode_body(pieces.range(), 1, scratch_, example), DecodeStatus::ok);
  EXPECT_EQ(example.extra, 7);
}

TEST_F(WireTest, WrongTagsFail) {
  EXPECT_EQ(status(bytes_of({1, 1, 0, 2, 3, 0, 2, 0}), 1), DecodeStatus::malformed);              // descending
  EXPECT_EQ(status(bytes_of({1, 1, 0, 2, 1, 2, 0, 7, 1, 2, 0, 7}), 1), DecodeStatus::malformed);  // twice
  EXPECT_EQ(status(bytes_of({1, 1, 0, 1, 1, 3, 0, 7, 0}), 1), DecodeStatus::malformed);  // longer than its value
  EXPECT_EQ(status(bytes_of({1, 1, 0, 1, 1, 1, 0, 7}), 1), DecodeStatus::malformed);     // shorter
  EXPECT_EQ(status(bytes_of({1, 1, 0, 1, 9, 200, 1, 7}), 1), DecodeStatus::malformed);   // beyond the end
}

TEST_F(WireTest, WrongLengthsFail) {
  EXPECT_EQ(status(bytes_of({0xff, 0xff}), 0), DecodeStatus::malformed);  // null Text
  EXPECT_EQ(status(bytes_of({0xff, 0xfe}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0, 9, 'a'}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0, 0, 0xff, 0xff, 0xff, 0xff}), 0), DecodeStatus::malformed);  // null array
  EXPECT_EQ(status(bytes_of({0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0}), 1), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0xff, 0xff, 0xff, 0xff, 0x0f}), 1), DecodeStatus::malformed);
}

TEST_F(WireTest, VarintsOfMoreThan32BitsFailAndPaddedOnesDoNot) {
  EXPECT_EQ(status(bytes_of({0x81, 0x80, 0x80, 0x80, 0x10, 1, 0, 0}), 1), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0x81, 0x80, 0x80, 0x80, 0x80, 0, 1, 0, 0}), 1), DecodeStatus::malformed);
  EXPECT_EQ(status(bytes_of({0x81, 0x80, 0x00, 1, 0, 0}), 1), DecodeStatus::ok);
}

TEST_F(WireTest, TextLongerThanKafkaAllows) {
  const std::string longest(text_bytes_max, 'x');
  for (const Version version : {Version{0}, Version{1}}) {
    const auto bytes = message_bytes(Example{.name = longest.c_str()}, version);
    ASSERT_TRUE(bytes.has_value());
    std::vector<std::byte> room(2 * text_bytes_max);
    scratch_ = Scratch(room);
    EXPECT_EQ(status(*bytes, version), DecodeStatus::ok);
    const std::string longer(text_bytes_max + 1, 'x');
    EXPECT_FALSE(message_bytes(Example{.name = longer.c_str()}, version).has_value());
  }
}

TEST_F(WireTest, TrailingBytesAreNamed) {
  EXPECT_EQ(status(bytes_of({1, 1, 0, 0, 7}), 1), DecodeStatus::trailing_bytes);
}

TEST_F(WireTest, NullOnlyInVersionsThatKnowIt) {
  EXPECT_EQ(status<MetadataRequest>(bytes_of({0xff, 0xff, 0xff, 0xff}), 0), DecodeStatus::malformed);
  EXPECT_EQ(status<MetadataRequest>(bytes_of({0xff, 0xff, 0xff, 0xff}), 1), DecodeStatus::ok);
  EXPECT_EQ(*message_bytes(MetadataRequest(), 0), bytes_of({0, 0, 0, 0}));
}

TEST_F(WireTest, FullScratchIsNotMalformed) {
  std::vector<int32_t> numbers(100);
  const auto bytes = *message_bytes(Example{.numbers = Slice<int32_t>(std::span<int32_t>(numbers))}, 0);
  const ContiguousPieces pieces(bytes);
  std::vector<std::byte> little(399);
  Scratch small(little);
  Example example;
  EXPECT_EQ(decode_body(pieces.range(), 0, small, example), DecodeStatus::scratch_full);
  std::vector<std::byte> enough(403);
  Scratch larger(enough);
  EXPECT_EQ(decode_body(pieces.range(), 0, larger, example), DecodeStatus::ok);
}

TEST_F(WireTest, TextsInOnePieceAreNotCopied) {
  const auto bytes = bytes_of({3, 'a', 'b', 1, 0, 0});
  const ContiguousPieces whole(bytes);
  Example example;
  ASSERT_EQ(decode_body(whole.range(), 1, scratch_, example), DecodeStatus::ok);
  EXPECT_EQ(static_cast<const void*>(example.name.data()), bytes.data() + 1);
  EXPECT_EQ(scratch_.used(), 0u);
}

TEST_F(WireTest, EncoderRefusesWhatDoesNotFit) {
  const Example example{.name = "abcdef"};
  std::vector<std::byte> out(body_size(example, 1));
  EXPECT_TRUE(encode_body(example, 1, out).has_value());
  for (size_t size = 0; size < out.size(); ++size)
    EXPECT_FALSE(encode_body(example, 1, std::span(out).first(size)).has_value());

  FetchResponse::Partition partition;
  partition.records = Records::external(100);
  FetchResponse::Topic topic{.partitions = std::span(&partition, 1)};
  const FetchResponse fetch{.topics = std::span(&topic, 1)};
  std::vector<std::byte> room(1000);
  EXPECT_FALSE(encode_response(1, fetch, 12, room).has_value());  // no slot for the splice
  Splice splice;
  const auto encoded = encode_response(1, fetch, 12, room, std::span(&splice, 1));
  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(encoded->total, encoded->bytes.size() + 100);
  EXPECT_EQ(encoded->total, response_size(fetch, 12));
  EXPECT_EQ(load_big<int32_t>(room.data()), static_cast<int32_t>(encoded->total - 4));
  EXPECT_EQ(splice.ordinal, 0u);
  EXPECT_EQ(splice.size, 100u);
  // Behind the records: the tags of the partition, the topic and the response.
  EXPECT_EQ(splice.position, encoded->bytes.size() - 3);
}

template <class Message>
void round_trips(uint64_t seed) {
  std::vector<std::byte> memory(1 << 20);
  Scratch scratch(memory);
  std::mt19937_64 random(seed);
  for (Version version = Message::oldest; version <= Message::newest; ++version) {
    Filler filler(random(), version);
    Message message;
    filler.fill(message);
    const auto bytes = message_bytes(message, version);
    ASSERT_TRUE(bytes.has_value());
    {
      const CutPieces pieces(*bytes, {random() % 9, random() % 40, random() % 3});
      scratch.reset();
      Message again;
      ASSERT_EQ(decode_body(pieces.range(), version, scratch, again), DecodeStatus::ok);
      EXPECT_EQ(*message_bytes(again, version), *bytes);
    }
    // Cut off at every byte (of the first thousand): fails, and says so.
    for (size_t size = 0; size < bytes->size() && size < 1000; ++size) {
      const std::vector<std::byte> cut(bytes->begin(), bytes->begin() + static_cast<ptrdiff_t>(size));
      const ContiguousPieces pieces(cut);
      scratch.reset();
      Message again;
      ASSERT_EQ(decode_body(pieces.range(), version, scratch, again), DecodeStatus::malformed);
    }
    // Damaged anywhere: any verdict, and what is accepted can be encoded.
    for (int turn = 0; turn < 60 && !bytes->empty(); ++turn) {
      auto damaged = *bytes;
      for (uint64_t i = random() % 4 + 1; i > 0; --i)
        damaged[random() % damaged.size()] = static_cast<std::byte>(random());
      const CutPieces pieces(damaged, {random() % 9 + 1, random() % 40 + 1});
      scratch.reset();
      Message again;
      if (decode_body(pieces.range(), version, scratch, again) == DecodeStatus::ok) {
        EXPECT_TRUE(message_bytes(again, version).has_value());
      }
    }
  }
}

TEST(CodecProperty, RandomMessages) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    round_trips<RequestHeader>(seed);
    round_trips<ResponseHeader>(seed);
    for (const Api& api : served_apis) {
      ASSERT_TRUE(with_exchange(api.key, [&](auto exchange) {
        round_trips<typename decltype(exchange)::Request>(seed);
        round_trips<typename decltype(exchange)::Response>(seed);
      }));
    }
  }
}

}  // namespace
}  // namespace penstock::kafka
