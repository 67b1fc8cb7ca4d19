// Lane directories in memory, built byte by byte from the page in storage/format.h: not with its structs and not with
// the log's commit builder, so that a mistake in either shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/crc/crc32c.h"
#include "storage/drive.h"
#include "storage/index.h"

namespace penstock::test {

using Bytes = std::vector<std::byte>;

template <class T>
void append_little(Bytes& to, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) to.push_back(static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i)));
}
template <class T>
T take_little(std::span<const std::byte> from, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<uint64_t>(from[at + i]) << (8 * i);
  return static_cast<T>(value);
}
inline void store_little(std::span<std::byte> to, size_t at, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to[at + i] = static_cast<std::byte>(value >> (8 * i));
}
inline void append_text(Bytes& to, std::string_view text) {
  for (const char c : text) to.push_back(static_cast<std::byte>(c));
}
// The CRC at 8 covers everything from 12 on.
inline void seal_header(Bytes& header) {
  store_little(header, 8, crc32c(0, header.data() + 12, header.size() - 12), 4);
}

class MemoryFiles final : public SegmentFiles {
 public:
  std::vector<Bytes> slots;
  std::set<std::pair<uint32_t, uint64_t>> unreadable;  // slot, sector of 512 bytes
  uint64_t reads = 0;

  uint32_t slot_count() const override { return static_cast<uint32_t>(slots.size()); }
  uint64_t slot_bytes(SegmentSlot slot) const override { return slots[slot.value].size(); }
  std::expected<size_t, int> read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) override {
    ++reads;
    const Bytes& file = slots[slot.value];
    if (position.value >= file.size()) return 0;
    const size_t count = std::min<size_t>(to.size(), file.size() - position.value);
    for (uint64_t sector = position.value / 512; sector <= (position.value + count - 1) / 512; ++sector) {
      if (unreadable.contains({slot.value, sector})) return std::unexpected(5);
    }
    std::memcpy(to.data(), file.data() + position.value, count);
    return count;
  }
};

struct ImageEntry {
  uint8_t kind = 1;
  uint64_t partition = 1;
  int64_t base_offset = 0;
  int32_t records = 1;
  int64_t max_timestamp = 1000;
  int64_t producer_id = -1;
  int16_t producer_epoch = -1;
  int32_t base_sequence = -1;
  int32_t leader_epoch = 0;
  uint32_t batch_bytes = 100;
  uint32_t runs = 1;
};

inline void append_big(Bytes& to, uint64_t value, size_t bytes) {
  for (size_t i = bytes; i-- > 0;) to.push_back(static_cast<std::byte>(value >> (8 * i)));
}

// A batch as Kafka would store it: 21 bytes that its CRC does not cover, then bytes that depend on all of the entry.
inline Bytes batch_of(const ImageEntry& entry) {
  Bytes covered;
  uint32_t x =
      static_cast<uint32_t>(entry.partition * 31 + static_cast<uint64_t>(entry.base_offset) * 7 + entry.batch_bytes);
  while (covered.size() + 21 < entry.batch_bytes)
    covered.push_back(static_cast<std::byte>((x = x * 1664525 + 1013904223) >> 24));
  Bytes batch;
  append_big(batch, static_cast<uint64_t>(entry.base_offset), 8);
  append_big(batch, entry.batch_bytes - 12, 4);
  append_big(batch, static_cast<uint32_t>(entry.leader_epoch), 4);
  append_big(batch, 2, 1);
  append_big(batch, crc32c(0, covered.data(), covered.size()), 4);
  batch.insert(batch.end(), covered.begin(), covered.end());
  return batch;
}

struct SegmentParameters {
  uint32_t slot = 0;
  uint64_t number = 1;
  uint64_t id = 0x1111;
  uint64_t term = 1;
  uint32_t lane = 0;
  uint32_t block = 512;
  uint64_t segment_bytes = 16 * 1024;
  uint8_t version = 1;
};

struct ImageCommit {
  uint64_t position = 0;
  uint64_t header_bytes = 0;
  uint64_t bytes = 0;
  uint64_t sequence = 0;
  uint64_t durable = 0;
  std::vector<ImageEntry> entries;
};

// One segment being written into a slot of `files`, which grows to hold it.
class ImageSegment {
 public:
  // The first of a log, or after `predecessor` as it stands now.
  ImageSegment(MemoryFiles& files, const SegmentParameters& parameters, const ImageSegment* predecessor = nullptr)
      : files_(files), parameters_(parameters) {
    if (files.slots.size() <= parameters.slot) files.slots.resize(parameters.slot + 1);
    file().resize(parameters.segment_bytes);
    if (predecessor != nullptr) {
      sequence = predecessor->sequence;
      hash = predecessor->hash;
      predecessor_number = predecessor->parameters_.number;
      predecessor_id = predecessor->parameters_.id;
      predecessor_end = predecessor->end;
    }
    first_sequence = sequence;
    first_hash = hash;
    end = parameters.block;
    write_header();
  }

  void write_header() {
    Bytes header;
    append_text(header, "PNSTKSEG");
    append_little<uint32_t>(header, 0);
    append_little<uint8_t>(header, parameters_.version);
    header.resize(16);
    append_little(header, parameters_.lane);
    append_little(header, parameters_.block);
    append_little(header, parameters_.segment_bytes);
    append_little(header, parameters_.number);
    append_little(header, parameters_.id);
    append_little(header, parameters_.term);
    append_little(header, predecessor_number);
    append_little(header, first_sequence);
    append_little(header, first_hash);
    append_little(header, predecessor_end);
    append_little(header, first_sequence);  // durable
    append_little(header, predecessor_id);
    seal_header(header);
    std::memcpy(file().data(), header.data(), header.size());
  }

  // Appends a commit that claims everything up to `durable`; the previous commit by default.
  ImageCommit& commit(std::vector<ImageEntry> entries) { return commit(std::move(entries), sequence); }
  ImageCommit& commit(std::vector<ImageEntry> entries, uint64_t durable) {
    ImageCommit made{.position = end, .sequence = ++sequence, .durable = durable, .entries = std::move(entries)};
    made.header_bytes = 80;
    for (const ImageEntry& entry : made.entries) made.header_bytes += entry_bytes(entry);
    Bytes table, payload;
    const uint64_t payload_at = made.header_bytes + 13;  // any alignment will do
    payload.resize(13, std::byte{0xee});
    for (const ImageEntry& entry : made.entries) append_entry(table, payload, entry, made.header_bytes);
    made.bytes = (made.header_bytes + payload.size() + parameters_.block - 1) / parameters_.block * parameters_.block;
    (void)payload_at;

    Bytes header;
    append_text(header, "PNSTKCMT");
    append_little<uint32_t>(header, 0);
    append_little<uint8_t>(header, 1);
    header.resize(16);
    append_little(header, static_cast<uint32_t>(made.header_bytes));
    append_little(header, static_cast<uint32_t>(made.entries.size()));
    append_little(header, made.bytes);
    append_little(header, parameters_.id);
    append_little(header, parameters_.term);
    append_little(header, end);
    append_little(header, made.sequence);
    append_little(header, hash);
    append_little(header, durable);
    header.insert(header.end(), table.begin(), table.end());
    seal_header(header);
    hash = hash_after(hash, made.sequence, take_little<uint32_t>(header, 8));

    std::memcpy(file().data() + end, header.data(), header.size());
    std::memcpy(file().data() + end + header.size(), payload.data(), payload.size());
    end += made.bytes;
    commits.push_back(made);
    return commits.back();
  }

  // Rewrites a field of a commit's header and its CRC: what a defect of the writer would leave.
  void forge(const ImageCommit& commit, size_t at, uint64_t value, size_t bytes) {
    Bytes header(file().begin() + static_cast<ptrdiff_t>(commit.position),
                 file().begin() + static_cast<ptrdiff_t>(commit.position + commit.header_bytes));
    store_little(header, at, value, bytes);
    seal_header(header);
    std::memcpy(file().data() + commit.position, header.data(), header.size());
  }
  void flip(uint64_t position) { file()[position] ^= std::byte{0x40}; }
  void erase(uint64_t position, uint64_t count) { std::memset(file().data() + position, 0, count); }
  Bytes& file() { return files_.slots[parameters_.slot]; }
  const SegmentParameters& parameters() const { return parameters_; }

  std::vector<ImageCommit> commits;
  uint64_t end = 0;
  uint64_t sequence = 0;
  uint64_t hash = 0;
  uint64_t first_sequence = 0;  // of the predecessor's last commit
  uint64_t first_hash = 0;
  uint64_t predecessor_number = 0, predecessor_id = 0, predecessor_end = 0;

 private:
  static bool has_payload(const ImageEntry& entry) { return entry.kind == 1 || entry.kind == 2; }
  static uint64_t entry_bytes(const ImageEntry& entry) {
    if (entry.kind >= 5) return 16;  // a kind this version skips
    return 72 + (has_payload(entry) ? entry.runs * 8 : 0);
  }
  static uint64_t hash_after(uint64_t previous, uint64_t sequence, uint32_t crc) {
    uint64_t x = previous ^ (sequence * 0x9e3779b97f4a7c15) ^ (uint64_t{crc} << 16);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  void append_entry(Bytes& table, Bytes& payload, const ImageEntry& entry, uint64_t header_bytes) {
    const uint32_t runs = has_payload(entry) ? entry.runs : 0;
    append_little(table, static_cast<uint32_t>(entry_bytes(entry)));
    append_little(table, entry.kind);
    append_little<uint8_t>(table, 0);
    append_little(table, static_cast<uint16_t>(runs));
    if (entry.kind >= 5) return append_little<uint64_t>(table, UINT64_MAX);
    const Bytes batch = batch_of(entry);
    append_little(table, entry.partition);
    append_little(table, entry.base_offset);
    append_little(table, has_payload(entry) ? entry.records - 1 : 0);
    append_little(table, has_payload(entry) ? entry.records : 0);
    append_little(table, entry.max_timestamp);
    append_little(table, entry.producer_id);
    append_little(table, entry.base_sequence);
    append_little(table, entry.producer_epoch);
    append_little<uint16_t>(table, 0);
    append_little(table, entry.leader_epoch);
    append_little(table, has_payload(entry) ? crc32c(0, batch.data() + 21, batch.size() - 21) : 0);
    append_little(table, has_payload(entry) ? entry.batch_bytes : 0);
    append_little<uint32_t>(table, 0);
    // Runs of about equal length, with a few meaningless bytes between them.
    for (uint32_t i = 0, at = 0; i < runs; ++i) {
      const uint32_t length = i + 1 == runs ? entry.batch_bytes - at : entry.batch_bytes / runs;
      append_little(table, static_cast<uint32_t>(header_bytes + payload.size()));
      append_little(table, length);
      payload.insert(payload.end(), batch.begin() + at, batch.begin() + at + length);
      payload.resize(payload.size() + 5, std::byte{0xee});
      at += length;
    }
  }

  MemoryFiles& files_;
  SegmentParameters parameters_;
};

// Reads a batch as the log would: runs from the commit header, bytes 0-20 rewritten from the entry.
inline Bytes read_batch(std::span<const std::byte> file, const IndexEntry& entry) {
  size_t at = entry.commit.value + 80;
  for (uint32_t i = 0; i < entry.ordinal; ++i) at += take_little<uint32_t>(file, at);
  Bytes batch;
  const auto runs = take_little<uint16_t>(file, at + 6);
  for (uint32_t i = 0; i < runs; ++i) {
    const auto position = entry.commit.value + take_little<uint32_t>(file, at + 72 + i * 8);
    const auto length = take_little<uint32_t>(file, at + 72 + i * 8 + 4);
    batch.insert(batch.end(), file.begin() + static_cast<ptrdiff_t>(position),
                 file.begin() + static_cast<ptrdiff_t>(position + length));
  }
  Bytes front;
  append_big(front, take_little<uint64_t>(file, at + 16), 8);
  append_big(front, batch.size() - 12, 4);
  append_big(front, take_little<uint32_t>(file, at + 56), 4);
  append_big(front, 2, 1);
  append_big(front, take_little<uint32_t>(file, at + 60), 4);
  std::memcpy(batch.data(), front.data(), front.size());
  return batch;
}
inline Bytes read_batch(const MemoryFiles& files, uint32_t slot, const IndexEntry& entry) {
  return read_batch(files.slots[slot], entry);
}

}  // namespace penstock::test
