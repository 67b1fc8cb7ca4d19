// How the answers to admin requests are put into bytes.
#pragma once

#include <cstddef>
#include <vector>

#include "dataplane/control/catalog.h"
#include "dataplane/kafka/frame.h"

namespace penstock {

// Header and body without the length prefix, as ToLane::bytes carries it.
template <class Response>
std::vector<std::byte> encode_reply(const kafka::RequestHeader& request, const Response& response) {
  std::vector<std::byte> frame(kafka::response_size(response, request.api_version));
  const auto encoded = kafka::encode_response(request.correlation_id, response, request.api_version, frame);
  check(encoded.has_value() && encoded->bytes.size() == frame.size(), "control: an answer without a wire form");
  frame.erase(frame.begin(), frame.begin() + kafka::frame_length_bytes);
  return frame;
}

// A refusal may quote what the client sent, which may be as long as a string can be.
inline std::string_view error_text(const Refusal& refusal) {
  constexpr size_t length_max = 1000;
  return std::string_view(refusal.message).substr(0, length_max);
}

// The store is to blame: which of its errors is the operator's business.
inline Refusal storage_refusal() {
  return {kafka::ErrorCode::KAFKA_STORAGE_ERROR, "The node could not write its catalog; see its log."};
}

}  // namespace penstock
