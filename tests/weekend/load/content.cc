#include "tests/weekend/load/content.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "dataplane/base/byte_order.h"
#include "storage/crc/crc32c.h"
#include "tests/weekend/load/wire.h"

namespace penstock::weekend {
namespace {

constexpr size_t length_at = 8, magic_at = 16, crc_at = 17, covered_at = 21, time_at = 27, producer_at = 43,
                 count_at = 57, header_bytes = 61;
constexpr size_t noise_bytes = 1 << 20;

struct Stamp {  // begins every value
  Big<uint32_t> place;
  Big<int64_t> number;
  Big<int32_t> index;
  Big<uint32_t> value_bytes;
};

void put_varint(std::string& to, int64_t value) {
  auto zigzag = static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
  for (; zigzag > 0x7f; zigzag >>= 7) to += static_cast<char>(zigzag | 0x80);
  to += static_cast<char>(zigzag);
}

size_t varint_bytes(int64_t value) {
  std::string bytes;
  put_varint(bytes, value);
  return bytes.size();
}

}  // namespace

Content::Content(uint64_t seed) : noise_(noise_bytes) {
  std::mt19937_64 random(seed);
  for (char& byte : noise_) byte = static_cast<char>(random());
}

std::string Content::make(const BatchShape& shape) const {
  const uint32_t value_bytes = std::max<uint32_t>(shape.value_bytes, sizeof(Stamp));
  std::string batch;
  batch.reserve(header_bytes + static_cast<size_t>(shape.count) * (value_bytes + 16));
  put(batch, int64_t{0});   // base offset
  put(batch, int32_t{0});   // length, below
  put(batch, int32_t{-1});  // leader epoch
  batch += '\2';            // magic
  put(batch, uint32_t{0});  // CRC, below
  put(batch, int16_t{0});   // attributes
  put(batch, shape.count - 1);
  put(batch, shape.timestamp_ms);
  put(batch, shape.timestamp_ms);
  put(batch, shape.writer.id);
  put(batch, shape.writer.epoch);
  put(batch, shape.writer.sequence);
  put(batch, shape.count);
  for (int32_t i = 0; i < shape.count; ++i) {
    // attributes and time delta 0, no key, no headers
    put_varint(batch, static_cast<int64_t>(4 + varint_bytes(i) + varint_bytes(value_bytes) + value_bytes));
    batch.append(2, '\0');
    put_varint(batch, i);
    put_varint(batch, -1);
    put_varint(batch, value_bytes);
    const Stamp stamp{shape.place, shape.number, i, value_bytes};
    batch.append(reinterpret_cast<const char*>(&stamp), sizeof stamp);
    const size_t rest = value_bytes - sizeof stamp;
    const auto turn = static_cast<uint64_t>(shape.number) * 7919 + static_cast<uint64_t>(i) * 104729 + shape.place;
    batch.append(noise_.data() + turn % (noise_bytes - rest), rest);
    batch += '\0';
  }
  store_big(batch.data() + length_at, static_cast<int32_t>(batch.size() - length_at - sizeof(int32_t)));
  store_big(batch.data() + crc_at, crc32c(0, batch.data() + covered_at, batch.size() - covered_at));
  return batch;
}

std::optional<FoundBatch> find_batch(std::span<const char> from) {
  if (from.size() < header_bytes) return std::nullopt;
  FoundBatch found{.base_offset = load_big<int64_t>(from.data())};
  found.bytes = length_at + sizeof(int32_t) + static_cast<size_t>(load_big<int32_t>(from.data() + length_at));
  if (found.bytes > from.size() || found.bytes < header_bytes) return std::nullopt;
  found.shape.count = load_big<int32_t>(from.data() + count_at);
  found.shape.timestamp_ms = load_big<int64_t>(from.data() + time_at);
  found.shape.writer = {load_big<int64_t>(from.data() + producer_at), load_big<int16_t>(from.data() + producer_at + 8),
                        load_big<int32_t>(from.data() + producer_at + 10)};
  // The first record: varint length, attributes, time delta, offset delta, key length, varint value length.
  size_t at = header_bytes;
  const auto skip_varint = [&] {
    while (at < found.bytes && (from[at] & 0x80) != 0) ++at;
    ++at;
  };
  skip_varint();
  at += 4;
  skip_varint();
  Stamp stamp;
  if (at + sizeof stamp > found.bytes) return found;  // none of ours: it compares as different
  std::memcpy(static_cast<void*>(&stamp), from.data() + at, sizeof stamp);
  found.shape.place = stamp.place;
  found.shape.number = stamp.number;
  found.shape.value_bytes = stamp.value_bytes;
  return found;
}

bool same_batch(const Content& content, const FoundBatch& found, std::span<const char> bytes) {
  const BatchShape& shape = found.shape;
  constexpr uint64_t bytes_max = 16 << 20;  // what a batch of garbage may claim
  if (shape.count <= 0 || static_cast<uint64_t>(shape.count) * shape.value_bytes > bytes_max) return false;
  const std::string expected = content.make(shape);
  return expected.size() == found.bytes &&
         std::memcmp(expected.data() + magic_at, bytes.data() + magic_at, found.bytes - magic_at) == 0;
}

}  // namespace penstock::weekend
