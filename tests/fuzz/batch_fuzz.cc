// Record batches that get past their envelope: length, magic and CRC are made right, so that what is behind them is
// reached. The verdict is the same whole and cut into pieces; of a plain batch that is taken, a second walk over its
// octets finds the same; and what the broker writes into it leaves its CRC right.
//
// Input: byte 0 cuts the pieces; byte 1: bit 0 compacted, bit 1 no zstd, bit 2 the CRC stays as it is; the rest is the
// batch.
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/kafka/record_batch.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/pieces.h"

namespace penstock::kafka {
namespace {

using Octets = std::vector<std::byte>;

// Kafka's variable-length numbers, a bit at a time.
class Walk {
 public:
  explicit Walk(std::span<const std::byte> bytes) : bytes_(bytes) {}
  int64_t number() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto next = std::to_integer<uint64_t>(octet());
      if (shift < 64) value |= (next & 0x7f) << shift;
      if ((next & 0x80) == 0) return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
      check(shift < 70, "a number without an end was taken");
    }
  }
  void skip(int64_t count) {
    check(count >= 0 && static_cast<uint64_t>(count) <= left(), "a length beyond the batch was taken");
    at_ += static_cast<size_t>(count);
  }
  std::byte octet() {
    check(left() > 0, "a batch that ends early was taken");
    return bytes_[at_++];
  }
  size_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

void walk(const ValidBatch& batch, const Octets& bytes, bool compacted) {
  RecordBatchHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  Walk at(std::span(bytes).subspan(sizeof header));
  Milliseconds largest = -1;
  for (int32_t i = 0; i < batch.record_count; ++i) {
    const int64_t length = at.number();
    const size_t left = at.left();
    at.octet();  // attributes
    const auto timestamp = static_cast<int64_t>(static_cast<uint64_t>(int64_t{header.first_timestamp}) +
                                                static_cast<uint64_t>(at.number()));
    largest = std::max(largest, timestamp);
    check(at.number() == i, "an offset delta that does not count was taken");
    for (int field = 0; field < 2; ++field) {
      const int64_t size = at.number();
      check(size >= -1 && (size >= 0 || field == 1 || !compacted), "a record without a key was taken");
      if (size > 0) at.skip(size);
    }
    for (int64_t headers = at.number(); headers > 0; --headers) {
      at.skip(at.number());
      if (const int64_t size = at.number(); size > 0) at.skip(size);
    }
    check(left - at.left() == static_cast<uint64_t>(length), "a record of another length was taken");
  }
  check(at.left() == 0, "bytes behind the last record were taken");
  check(batch.max_timestamp == largest, "max timestamp", batch.max_timestamp, largest);
}

void check_crc(PieceRange bytes) {
  RecordBatchHeader header;
  bytes.copy_out(0, &header, sizeof header);
  check(crc_of(bytes, crc32c) == header.crc, "the broker's own bytes spoil the CRC");
}

std::vector<size_t> piece_sizes(uint8_t seed) { return {1u + seed % 7, 1u + seed / 7 % 30, 1u + seed % 61}; }

}  // namespace
}  // namespace penstock::kafka

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  using namespace penstock::kafka;
  if (size < 2 + sizeof(RecordBatchHeader)) return 0;
  const TopicLimits limits{.compacted = (data[1] & 1) != 0, .zstd_allowed = (data[1] & 2) == 0};
  const auto* begin = reinterpret_cast<const std::byte*>(data + 2);
  Octets bytes(begin, begin + size - 2);
  RecordBatchHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.base_offset = 0;
  header.batch_length = static_cast<int32_t>(bytes.size() - batch_length_prefix_bytes);
  header.magic = 2;
  std::memcpy(bytes.data(), &header, sizeof header);
  if ((data[1] & 4) == 0) {
    header.crc = crc32c(0, bytes.data() + batch_crc_start, bytes.size() - batch_crc_start);
    std::memcpy(bytes.data(), &header, sizeof header);
  }

  const CutPieces whole(bytes, {bytes.size()}), cut(bytes, piece_sizes(data[0]));
  const auto verdict = validate_batch(whole.range(), limits, crc32c);
  auto again = validate_batch(cut.range(), limits, crc32c);
  check(verdict.has_value() == again.has_value(), "cut and whole differ");
  if (!verdict) {
    check(verdict.error() == again.error(), "refused for different reasons");
    return 0;
  }
  check(verdict->max_timestamp == again->max_timestamp && verdict->record_count == again->record_count,
        "different contents");
  if (verdict->codec() == Codec::none) walk(*verdict, bytes, limits.compacted);
  const auto found = find_by_timestamp(cut.range(), verdict->max_timestamp);
  check(found.has_value() || verdict->max_timestamp < 0, "the newest record is not found by its time");
  set_placement(cut.range(), 77, 5);
  check_crc(cut.range());
  set_log_append_time(*again, 12345, crc32c, crc32c_combine);
  check_crc(cut.range());
  return 0;
}
