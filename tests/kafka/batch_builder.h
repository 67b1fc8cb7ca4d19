// Builds plain record batches, for tests and simulated clients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/kafka/record_batch.h"

namespace penstock::kafka {

// Records are added, then build() gives the batch. The header's fields may be set before to what no client would send;
// build() fills the length, the CRC and, unless count_records is off, counts and timestamps.
class BatchBuilder {
 public:
  RecordBatchHeader header;
  bool count_records = true;  // false: last offset delta, record count and timestamps stay as set

  BatchBuilder() {
    header.magic = 2;
    header.partition_leader_epoch = -1;
    header.producer_id = -1;
    header.producer_epoch = -1;
    header.base_sequence = -1;
  }

  BatchBuilder& producer(int64_t id, int16_t epoch, int32_t sequence) {
    header.producer_id = id;
    header.producer_epoch = epoch;
    header.base_sequence = sequence;
    return *this;
  }

  BatchBuilder& add(Milliseconds timestamp, std::optional<std::string_view> key,
                    std::optional<std::string_view> value) {
    if (count_ == 0) first_timestamp_ = max_timestamp_ = timestamp;
    if (timestamp > max_timestamp_) max_timestamp_ = timestamp;
    std::vector<std::byte> body;
    body.push_back(std::byte{0});
    put(body, timestamp - first_timestamp_);
    put(body, count_);
    put_field(body, key);
    put_field(body, value);
    put(body, 0);
    put(records_, static_cast<int64_t>(body.size()));
    records_.insert(records_.end(), body.begin(), body.end());
    ++count_;
    return *this;
  }

  // Bytes that stand for records: malformed ones, or a compressed block.
  BatchBuilder& add_raw(const std::vector<std::byte>& bytes, int32_t count) {
    records_.insert(records_.end(), bytes.begin(), bytes.end());
    count_ += count;
    return *this;
  }

  // `crc32c` as validate_batch() takes it.
  std::vector<std::byte> build(Crc32c crc32c) const {
    RecordBatchHeader built = header;
    if (count_records) {
      built.last_offset_delta = count_ - 1;
      built.record_count = count_;
      built.first_timestamp = first_timestamp_;
      built.max_timestamp = max_timestamp_;
    }
    built.batch_length = static_cast<int32_t>(sizeof built - batch_length_prefix_bytes + records_.size());
    std::vector<std::byte> batch(sizeof built + records_.size());
    std::memcpy(batch.data(), static_cast<const void*>(&built), sizeof built);
    std::copy(records_.begin(), records_.end(), batch.begin() + sizeof built);
    mend_crc(batch, crc32c);
    return batch;
  }

  // After changing bytes of a built batch.
  static void mend_crc(std::vector<std::byte>& batch, Crc32c crc32c) {
    store_big(batch.data() + offsetof(RecordBatchHeader, crc),
              crc32c(0, batch.data() + batch_crc_start, batch.size() - batch_crc_start));
  }

 private:
  static void put(std::vector<std::byte>& out, int64_t value) {
    uint64_t zigzag = (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
    for (; zigzag >= 0x80; zigzag >>= 7) out.push_back(static_cast<std::byte>(zigzag | 0x80));
    out.push_back(static_cast<std::byte>(zigzag));
  }
  static void put_field(std::vector<std::byte>& out, std::optional<std::string_view> field) {
    put(out, field ? static_cast<int64_t>(field->size()) : -1);
    if (!field) return;
    const auto bytes = std::as_bytes(std::span(*field));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }

  std::vector<std::byte> records_;
  int32_t count_ = 0;
  Milliseconds first_timestamp_ = -1;
  Milliseconds max_timestamp_ = -1;
};

}  // namespace penstock::kafka
