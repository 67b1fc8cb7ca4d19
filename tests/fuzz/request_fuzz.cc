// Fuzzes the decoding of requests and responses, and the record batches in them.
//
// Input: byte 0 chooses the API (its low 7 bits, modulo the table) and, by its top bit, request or response; byte 1 the
// version (modulo the range); byte 2 seeds the sizes of the pieces; the rest is the body. make_corpus.py makes seeds.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/kafka/messages/all.h"
#include "dataplane/kafka/printer.h"
#include "dataplane/kafka/record_batch.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/message_bytes.h"
#include "tests/kafka/pieces.h"

namespace penstock::kafka {
namespace {

constexpr size_t scratch_bytes = 1 << 20;

// Four sizes from 1 to 64 bytes.
std::vector<size_t> piece_sizes(uint8_t seed) {
  std::vector<size_t> sizes;
  for (int i = 0; i < 4; ++i) sizes.push_back(size_t{1} << ((seed >> (2 * i) & 3) * 2));
  return sizes;
}

void fuzz_batch(PieceRange records) {
  const TopicLimits limits{.compacted = records.size() % 2 == 0};
  if (validate_batch(records, limits, crc32c)) (void)find_by_timestamp(records, 1000);
  // Random bytes never carry the right CRC, so the rules behind it are tried with one that always fits.
  if (records.size() < sizeof(RecordBatchHeader)) return;
  static uint32_t claimed;
  RecordBatchHeader header;
  records.copy_out(0, &header, sizeof header);
  claimed = header.crc;
  const auto accept = [](uint32_t, const void*, size_t) { return claimed; };
  auto batch = validate_batch(records, limits, accept);
  if (!batch) return;
  (void)find_by_timestamp(records, batch->max_timestamp);
  set_placement(records, 1, 2);
  set_log_append_time(*batch, 3, crc32c, crc32c_combine);
}

template <class Message>
void fuzz_message(std::span<const std::byte> body, Version version, uint8_t seed) {
  static std::vector<std::byte> memory(scratch_bytes);
  Scratch scratch(memory);
  const CutPieces pieces(body, piece_sizes(seed));
  Message message;
  if (decode_body(pieces.range(), version, scratch, message) != DecodeStatus::ok) return;

  // What was accepted encodes; without padded varints and unknown tags to the same length, and then for good.
  const auto bytes = message_bytes(message, version);
  check(bytes.has_value(), "decoded message does not encode");
  check(bytes->size() <= body.size(), "encoded message is longer than it came", static_cast<long long>(bytes->size()),
        static_cast<long long>(body.size()));
  std::vector<std::byte> again_memory(scratch_bytes);
  Scratch again_scratch(again_memory);
  const ContiguousPieces whole(*bytes);
  Message again;
  check(decode_body(whole.range(), version, again_scratch, again) == DecodeStatus::ok,
        "encoded message does not decode");
  check(*message_bytes(again, version) == *bytes, "message changes when encoded twice");

  char line[300];
  (void)print(message, version, line);
  RecordSets record_sets(version);
  record_sets.visit(message);
  for (const PieceRange& records : record_sets.ranges) fuzz_batch(records);
}

}  // namespace
}  // namespace penstock::kafka

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock::kafka;
  if (size < 3) return 0;
  const Api& api = served_apis[(data[0] & 0x7f) % served_apis.size()];
  const bool response = (data[0] & 0x80) != 0;
  const int versions = api.newest - api.oldest_served + 1;
  const auto version = static_cast<Version>(api.oldest_served + data[1] % versions);
  const auto body = std::as_bytes(std::span(data + 3, size - 3));
  with_exchange(api.key, [&](auto exchange) {
    using Exchange = decltype(exchange);
    if (response)
      fuzz_message<typename Exchange::Response>(body, version, data[2]);
    else
      fuzz_message<typename Exchange::Request>(body, version, data[2]);
  });
  return 0;
}
