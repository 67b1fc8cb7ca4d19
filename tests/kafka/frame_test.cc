#include "dataplane/kafka/frame.h"

#include <gtest/gtest.h>

#include "dataplane/kafka/messages/all.h"
#include "tests/kafka/pieces.h"

namespace penstock::kafka {
namespace {

class FrameTest : public testing::Test {
 protected:
  std::vector<std::byte> memory_ = std::vector<std::byte>(1 << 16);
  Scratch scratch_{memory_};
  std::vector<std::byte> out_ = std::vector<std::byte>(4096);

  static std::span<const std::byte> behind_length(const Encoded& encoded) {
    EXPECT_EQ(load_big<int32_t>(encoded.bytes.data()), static_cast<int32_t>(encoded.total - frame_length_bytes));
    return encoded.bytes.subspan(frame_length_bytes);
  }
};

TEST_F(FrameTest, RequestThereAndBackInEveryVersion) {
  for (Version version = 0; version <= 4; ++version) {
    const ApiVersionsRequest request{.client_software_name = "probe", .client_software_version = "1"};
    const RequestHeader header{ApiKey::api_versions, version, 77, "me"};
    const auto encoded = encode_request(header, request, out_);
    ASSERT_TRUE(encoded.has_value());
    const CutPieces pieces(behind_length(*encoded), {3});
    scratch_.reset();
    const OpenedRequest opened = open_request(pieces.range(), scratch_);
    ASSERT_EQ(opened.status, DecodeStatus::ok);
    ASSERT_TRUE(opened.served);
    EXPECT_EQ(opened.header.correlation_id, 77);
    EXPECT_EQ(opened.header.client_id, "me");
    ApiVersionsRequest decoded;
    ASSERT_EQ(decode_body(opened.body, version, scratch_, decoded), DecodeStatus::ok);
    EXPECT_EQ(decoded.client_software_name, version >= 3 ? "probe" : "");
  }
}

TEST_F(FrameTest, ApiVersionsReplyKeepsTheOldHeader) {
  ApiVersionsResponse::Range range{ApiKey::fetch, 4, 17};
  const ApiVersionsResponse response{.api_keys = std::span(&range, 1)};
  const auto encoded = encode_response(5, response, 3, out_);
  ASSERT_TRUE(encoded.has_value());
  // length, correlation id, and at once the error code: no tags between.
  EXPECT_EQ(load_big<int32_t>(out_.data() + 4), 5);
  EXPECT_EQ(load_big<int16_t>(out_.data() + 8), 0);
  EXPECT_EQ(out_[10], std::byte{2});
  const ContiguousPieces pieces(behind_length(*encoded));
  int32_t correlation_id = 0;
  ApiVersionsResponse again;
  ASSERT_EQ(decode_response(pieces.range(), 3, scratch_, correlation_id, again), DecodeStatus::ok);
  EXPECT_EQ(correlation_id, 5);
  EXPECT_EQ(again.api_keys[0].max_version, 17);
}

TEST_F(FrameTest, FlexibleReplyHasTheNewHeader) {
  const auto encoded = encode_response(5, InitProducerIdResponse{.producer_id = 9}, 2, out_);
  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(encoded->bytes.size(), 4u + 4 + 1 + 4 + 2 + 8 + 2 + 1);
  const ContiguousPieces pieces(behind_length(*encoded));
  int32_t correlation_id = 0;
  InitProducerIdResponse again;
  ASSERT_EQ(decode_response(pieces.range(), 2, scratch_, correlation_id, again), DecodeStatus::ok);
  EXPECT_EQ(again.producer_id, 9);
}

TEST_F(FrameTest, UnknownVersionAndApiKeepTheCorrelationId) {
  for (const auto& [key, version, known] : {std::tuple<int16_t, int16_t, bool>{18, 99, true},
                                            {0, 2, true},
                                            {0, -1, true},
                                            {18, INT16_MIN, true},
                                            {999, 0, false},
                                            {-1, 0, false}}) {
    std::vector<std::byte> bytes(8);
    store_big<int16_t>(bytes.data(), key);
    store_big<int16_t>(bytes.data() + 2, version);
    store_big<int32_t>(bytes.data() + 4, 1234);
    const ContiguousPieces pieces(bytes);
    const OpenedRequest opened = open_request(pieces.range(), scratch_);
    EXPECT_EQ(opened.status, DecodeStatus::ok);
    EXPECT_EQ(opened.api != nullptr, known);
    EXPECT_FALSE(opened.served);
    EXPECT_EQ(opened.header.correlation_id, 1234);
    EXPECT_TRUE(opened.body.empty());
  }
}

TEST_F(FrameTest, ShortHeaderFails) {
  const std::vector<std::byte> bytes(7);
  const ContiguousPieces pieces(bytes);
  EXPECT_EQ(open_request(pieces.range(), scratch_).status, DecodeStatus::malformed);
}

}  // namespace
}  // namespace penstock::kafka
