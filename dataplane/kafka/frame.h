// Whole requests and responses: length prefix, header, body.
//
//   server:  open_request -> decode_body<ProduceRequest> -> ... -> encode_response(correlation_id, response, version)
//   client:  encode_request(header, request) -> ... -> decode_response<ProduceResponse>
//
// A frame is a 4-byte length of what follows, then header and body. Decoding starts behind the length, encoding
// includes it; the length counts spliced record bytes.
#pragma once

#include <optional>
#include <span>

#include "dataplane/kafka/api.h"
#include "dataplane/kafka/messages/headers.h"
#include "dataplane/kafka/wire.h"

namespace penstock::kafka {

inline constexpr uint32_t frame_length_bytes = 4;
inline constexpr uint64_t frame_bytes_max = INT32_MAX;  // of the length's value

// Decodes one message that fills `body` exactly. Strings and arrays of `message` stay valid while the pieces and the
// scratch do.
template <class Message>
[[nodiscard]] DecodeStatus decode_body(PieceRange body, Version version, Scratch& scratch, Message& message) {
  Decoder decoder(body, version, dialect_of(version, Message::flexible), scratch);
  decoder.read(message);
  return decoder.finish();
}

struct OpenedRequest {
  DecodeStatus status = DecodeStatus::ok;  // not ok: nothing below can be relied on, the connection must close
  RequestHeader header;      // without client id when the API or version is not served: its header may have any form
  const Api* api = nullptr;  // nullptr: unknown API; Kafka closes the connection
  bool served = false;       // the body can be decoded in this version
  PieceRange body;           // empty unless served
};

// `request` is what follows the length prefix.
OpenedRequest open_request(PieceRange request, Scratch& scratch);

template <class Message>
[[nodiscard]] DecodeStatus decode_response(PieceRange response, Version version, Scratch& scratch,
                                           int32_t& correlation_id, Message& message) {
  const Version header_version = response_header_version(*find_api(Message::key), version);
  Decoder decoder(response, header_version, dialect_of(header_version, ResponseHeader::flexible), scratch);
  ResponseHeader header;
  decoder.read(header);
  correlation_id = header.correlation_id;
  decoder.turn_to(version, dialect_of(version, Message::flexible));
  decoder.read(message);
  return decoder.finish();
}

// What an encoder left: `bytes` is the beginning of the caller's memory, `splices` of the caller's splices. On the
// wire go bytes up to the first splice's position, that splice's record bytes, and so on, then the rest.
struct Encoded {
  std::span<const std::byte> bytes;
  std::span<const Splice> splices;
  uint64_t total = 0;  // bytes on the wire: bytes.size() and the splices' sizes
};

// A message alone. Nothing when it does not fit `out` or `splices`, or has a string no wire form can hold.
template <class Message>
[[nodiscard]] std::optional<Encoded> encode_body(const Message& message, Version version, std::span<std::byte> out,
                                                 std::span<Splice> splices = {}) {
  Encoder encoder({.out = out, .splices = splices}, version, dialect_of(version, Message::flexible));
  encoder.write(message);
  const SpanSink& sink = encoder.sink();
  if (sink.failed) return std::nullopt;
  return Encoded{out.first(sink.position), splices.first(sink.splice_count), sink.position + sink.external_bytes};
}

// Bytes on the wire of a message alone, record bytes included.
template <class Message>
uint64_t body_size(const Message& message, Version version) {
  Sizer sizer({}, version, dialect_of(version, Message::flexible));
  sizer.write(message);
  return sizer.sink().size;
}

namespace detail {

template <class Header, class Message>
std::optional<Encoded> encode_frame(const Header& header, Version header_version, const Message& message,
                                    Version version, std::span<std::byte> out, std::span<Splice> splices) {
  Encoder encoder({.out = out, .splices = splices}, header_version, dialect_of(header_version, Header::flexible));
  encoder.write(int32_t{0});
  encoder.write(header);
  encoder.turn_to(version, dialect_of(version, Message::flexible));
  encoder.write(message);
  const SpanSink& sink = encoder.sink();
  const uint64_t total = sink.position + sink.external_bytes;
  if (sink.failed || total - frame_length_bytes > frame_bytes_max) return std::nullopt;
  store_big(out.data(), static_cast<int32_t>(total - frame_length_bytes));
  return Encoded{out.first(sink.position), splices.first(sink.splice_count), total};
}

template <class Header, class Message>
uint64_t frame_size(const Header& header, Version header_version, const Message& message, Version version) {
  Sizer sizer({}, header_version, dialect_of(header_version, Header::flexible));
  sizer.write(header);
  sizer.turn_to(version, dialect_of(version, Message::flexible));
  sizer.write(message);
  return frame_length_bytes + sizer.sink().size;
}

}  // namespace detail

// A whole response frame. Nothing when it does not fit or would exceed frame_bytes_max; `out` then holds garbage.
template <class Message>
[[nodiscard]] std::optional<Encoded> encode_response(int32_t correlation_id, const Message& message, Version version,
                                                     std::span<std::byte> out, std::span<Splice> splices = {}) {
  return detail::encode_frame(ResponseHeader{correlation_id}, response_header_version(*find_api(Message::key), version),
                              message, version, out, splices);
}

// Bytes of the whole response frame, length prefix and record bytes included.
template <class Message>
uint64_t response_size(const Message& message, Version version) {
  return detail::frame_size(ResponseHeader{}, response_header_version(*find_api(Message::key), version), message,
                            version);
}

// A whole request frame; key and version are the header's business, so `header.api_key` must be Message::key.
template <class Message>
[[nodiscard]] std::optional<Encoded> encode_request(const RequestHeader& header, const Message& message,
                                                    std::span<std::byte> out, std::span<Splice> splices = {}) {
  check(header.api_key == Message::key, "request header names another API", static_cast<int16_t>(header.api_key),
        static_cast<int16_t>(Message::key));
  return detail::encode_frame(header, request_header_version(*find_api(Message::key), header.api_version), message,
                              header.api_version, out, splices);
}

}  // namespace penstock::kafka
