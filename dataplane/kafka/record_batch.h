// Kafka's record batch, format version 2: what a producer may send, checked once, and the few bytes a broker writes.
//
//   0            12                   21                                      61
//   |base offset |leader epoch, magic |attributes ... record count            | records, plain or compressed
//   | and length | and CRC            |<------------- covered by the CRC -------------------------------->
//
// validate_batch() turns the record bytes of a Produce request into a ValidBatch or names the rule that refused them.
// It reads pieces in place and never copies more than the header. Plain batches are walked record by record;
// compressed ones are not opened, so for them the record count is what the header says and keys are not seen.
// Source of the layout: Apache Kafka documentation, "Record Batch".
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/kafka/api.h"

namespace penstock::kafka {

// CRC32C over more bytes: the CRC of those before, or 0, and the bytes. The log's crc32c has this shape.
using Crc32c = uint32_t (*)(uint32_t crc, const void* bytes, size_t count);
// The CRC of A followed by B from both alone and B's length; the log's crc32c_combine has this shape.
using Crc32cCombine = uint32_t (*)(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

struct RecordBatchHeader {
  Big<int64_t> base_offset;
  Big<int32_t> batch_length;  // bytes after this field
  Big<int32_t> partition_leader_epoch;
  Big<int8_t> magic;
  Big<uint32_t> crc;
  Big<uint16_t> attributes;
  Big<int32_t> last_offset_delta;
  Big<int64_t> first_timestamp;
  Big<int64_t> max_timestamp;
  Big<int64_t> producer_id;
  Big<int16_t> producer_epoch;
  Big<int32_t> base_sequence;
  Big<int32_t> record_count;
};
static_assert(sizeof(RecordBatchHeader) == 61);

inline constexpr uint32_t batch_length_prefix_bytes = 12;  // base offset and length, which batch_length leaves out
inline constexpr uint32_t batch_crc_start = 21;            // the CRC covers everything from here on

enum class Codec : uint8_t { none = 0, gzip = 1, snappy = 2, lz4 = 3, zstd = 4 };
enum class TimestampType : uint8_t { create_time = 0, log_append_time = 1 };

// The bits of the attributes.
namespace attributes {
inline constexpr uint16_t codec = 0x07;
inline constexpr uint16_t log_append_time = 0x08;
inline constexpr uint16_t transactional = 0x10;
inline constexpr uint16_t control = 0x20;
inline constexpr uint16_t reserved = 0xffc0;  // bit 6 (delete horizon, KIP-534) is only ever set by a log cleaner
}  // namespace attributes

// What the topic and the request allow.
struct TopicLimits {
  uint32_t message_bytes_max = 1'048'588;  // max.message.bytes, of the whole batch with its first 12 bytes
  bool compacted = false;                  // every record needs a key
  bool zstd_allowed = true;                // false for Produce requests before version 7 (KIP-110)
};

enum class BatchVerdict : uint8_t {
  no_batch,
  length_too_small,
  incomplete,
  old_magic,
  unknown_magic,
  several_batches,
  base_offset_not_zero,
  too_large,
  crc_mismatch,
  reserved_attributes,
  unknown_codec,
  zstd_too_early,
  control_batch,
  transactional_batch,
  log_append_time_from_client,
  no_records,
  count_mismatch,
  negative_timestamp,
  negative_producer_id,
  producer_epoch_missing,
  sequence_missing,
  record_malformed,
  record_offset_delta,
  record_without_key,
  count,
};
// A few words for a log line, and the error code of the Produce response.
const char* to_string(BatchVerdict verdict);
ErrorCode error_of(BatchVerdict verdict);

// A batch that may be appended: made by validate_batch(), or by check_contents() when the caller has compared the CRC.
struct ValidBatch {
  PieceRange bytes;  // the whole batch
  uint32_t crc = 0;  // as in the header
  int32_t record_count = 0;
  int32_t last_offset_delta = 0;
  uint16_t attributes = 0;
  Milliseconds first_timestamp = -1;  // -1: none
  // Of a plain batch the largest of its records, whatever the header says, so that look-ups by time can trust it.
  Milliseconds max_timestamp = -1;
  int64_t producer_id = -1;  // -1: not idempotent; epoch and sequence then mean nothing
  int16_t producer_epoch = -1;
  int32_t base_sequence = -1;

  uint32_t size() const { return static_cast<uint32_t>(bytes.size()); }  // bytes, with the first 12
  Codec codec() const { return static_cast<Codec>(attributes & attributes::codec); }
  TimestampType timestamp_type() const {
    return (attributes & attributes::log_append_time) != 0 ? TimestampType::log_append_time
                                                           : TimestampType::create_time;
  }
  bool idempotent() const { return producer_id >= 0; }
  // Sequence numbers wrap from INT32_MAX to 0.
  int32_t last_sequence() const {
    return static_cast<int32_t>((static_cast<uint32_t>(base_sequence) + static_cast<uint32_t>(last_offset_delta)) &
                                INT32_MAX);
  }
};

// The record bytes of one partition in a Produce request: exactly one batch (since Produce 3, KIP-98). Reads every
// byte once for the CRC, and once more, while it is in cache, if the batch is plain.
[[nodiscard]] std::expected<ValidBatch, BatchVerdict> validate_batch(PieceRange records, const TopicLimits& limits,
                                                                     Crc32c crc32c);

// The same in two steps, for a caller that reads every byte in between anyway and compares the CRC itself (the log
// checksums a batch in the pass that copies it): first what the CRC leaves out, then, the bytes being in cache and
// meant by the producer, the rest.
struct BatchEnvelope {
  PieceRange bytes;
  RecordBatchHeader header;
};
[[nodiscard]] std::expected<BatchEnvelope, BatchVerdict> check_envelope(PieceRange records, const TopicLimits& limits);
[[nodiscard]] std::expected<ValidBatch, BatchVerdict> check_contents(const BatchEnvelope& envelope,
                                                                     const TopicLimits& limits);
// The CRC of a whole batch, as its header should have it.
uint32_t crc_of(PieceRange batch, Crc32c crc32c);

// The bytes the CRC leaves out belong to the broker. Written in place, into the pieces.
void set_placement(PieceRange batch, int64_t base_offset, int32_t partition_leader_epoch);

// Makes `now_ms` the time of every record (message.timestamp.type=LogAppendTime): the batch's new header, with its CRC
// mended without reading the records: only 10 header bytes change, and a CRC is linear in its bytes.
RecordBatchHeader with_log_append_time(ValidBatch& batch, Milliseconds now_ms, Crc32c crc32c, Crc32cCombine combine);
// The same, and the header is written in place, into the pieces.
void set_log_append_time(ValidBatch& batch, Milliseconds now_ms, Crc32c crc32c, Crc32cCombine combine);

struct RecordPosition {
  int64_t offset = 0;
  Milliseconds timestamp = -1;
};
// The first record of a stored, intact batch at or beyond `begin` with a timestamp of at least `from`. Of a compressed batch, which is not
// opened, the answer is its first offset and max timestamp: a consumer that starts there misses nothing, but may
// see a few earlier records. Kafka opens the batch and names the record.
std::optional<RecordPosition> find_by_timestamp(PieceRange batch, Milliseconds from, int64_t begin = 0);

}  // namespace penstock::kafka
