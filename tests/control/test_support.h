// What control-plane tests share: a seeded random source and requests in bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "dataplane/control/identity.h"
#include "dataplane/kafka/frame.h"

namespace penstock {

inline RandomSource seeded(uint64_t seed) {
  auto generator = std::make_shared<std::mt19937_64>(seed);
  return [generator] { return (*generator)(); };
}

// An array or vector as the messages want it.
template <class Range>
auto slice(Range& range) {
  return kafka::Slice(std::data(range), static_cast<uint32_t>(std::size(range)));
}

// Header and body without the length prefix, as a lane hands a request on.
template <class Request>
std::vector<std::byte> request_bytes(const Request& request, kafka::Version version, int32_t correlation_id = 7) {
  const kafka::RequestHeader header{
      .api_key = Request::key, .api_version = version, .correlation_id = correlation_id, .client_id = "test"};
  std::vector<std::byte> frame(1 << 20);
  const auto encoded = kafka::encode_request(header, request, frame);
  check(encoded.has_value(), "test request too long");
  return {encoded->bytes.begin() + kafka::frame_length_bytes, encoded->bytes.end()};
}

// A response with the memory its texts and arrays live in.
template <class Response>
struct Decoded {
  std::vector<std::byte> bytes;
  std::vector<std::byte> memory = std::vector<std::byte>(1 << 20);
  kafka::Scratch scratch{std::span(memory)};
  Response body;
  int32_t correlation_id = -1;
};

template <class Response>
std::unique_ptr<Decoded<Response>> decoded(std::vector<std::byte> bytes, kafka::Version version) {
  auto result = std::make_unique<Decoded<Response>>();
  result->bytes = std::move(bytes);
  const kafka::ContiguousPieces pieces(result->bytes);
  const kafka::DecodeStatus status =
      kafka::decode_response(pieces.range(), version, result->scratch, result->correlation_id, result->body);
  check(status == kafka::DecodeStatus::ok, "test response malformed", static_cast<int>(status));
  return result;
}

}  // namespace penstock
