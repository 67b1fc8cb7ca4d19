#include "dataplane/kafka/record_batch.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/kafka/record_walk.h"

namespace penstock::kafka {
namespace {

using Header = RecordBatchHeader;
using enum BatchVerdict;

// One refusal. Departures from Kafka are noted here and tested in record_batch_test.cc.
struct Row {
  BatchVerdict verdict;
  ErrorCode error;
  const char* label;
};
constexpr std::array rows = {
    Row{no_batch, ErrorCode::INVALID_RECORD, "no record batch"},
    Row{length_too_small, ErrorCode::CORRUPT_MESSAGE, "batch length smaller than a header"},
    Row{incomplete, ErrorCode::INVALID_RECORD, "batch longer than the record bytes"},
    Row{old_magic, ErrorCode::INVALID_RECORD, "message format 0 or 1"},
    Row{unknown_magic, ErrorCode::CORRUPT_MESSAGE, "unknown magic"},
    // Kafka overlooks up to 11 bytes, or the beginning of a batch, behind the one batch.
    Row{several_batches, ErrorCode::INVALID_RECORD, "bytes behind the one batch allowed"},
    Row{base_offset_not_zero, ErrorCode::INVALID_RECORD, "base offset from a producer not 0"},
    Row{too_large, ErrorCode::MESSAGE_TOO_LARGE, "larger than max.message.bytes"},
    Row{crc_mismatch, ErrorCode::CORRUPT_MESSAGE, "CRC mismatch"},
    // Kafka ignores these bits.
    Row{reserved_attributes, ErrorCode::INVALID_RECORD, "reserved attribute bits set"},
    Row{unknown_codec, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "unknown compression codec"},
    Row{zstd_too_early, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "zstd before Produce version 7"},
    Row{control_batch, ErrorCode::INVALID_RECORD, "control batch from a client"},
    // Until transactions are served; Kafka accepts these from a transaction's producer.
    Row{transactional_batch, ErrorCode::INVALID_RECORD, "transactional batch"},
    Row{log_append_time_from_client, ErrorCode::INVALID_TIMESTAMP, "timestamp type LogAppendTime from a client"},
    Row{no_records, ErrorCode::INVALID_RECORD, "no records"},
    Row{count_mismatch, ErrorCode::INVALID_RECORD, "record count is not last offset delta + 1"},
    // Kafka accepts times before -1, which is "none".
    Row{negative_timestamp, ErrorCode::INVALID_TIMESTAMP, "negative timestamp"},
    Row{negative_producer_id, ErrorCode::INVALID_RECORD, "negative producer id"},
    Row{producer_epoch_missing, ErrorCode::INVALID_RECORD, "producer id without epoch"},
    Row{sequence_missing, ErrorCode::INVALID_RECORD, "producer id without sequence"},
    Row{record_malformed, ErrorCode::INVALID_RECORD, "record malformed, or records do not fill the batch"},
    Row{record_offset_delta, ErrorCode::INVALID_RECORD, "record offset deltas not 0, 1, 2, ..."},
    Row{record_without_key, ErrorCode::INVALID_RECORD, "record without key in a compacted topic"},
};
static_assert([] {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<size_t>(rows[i].verdict) != i) return false;
  }
  return rows.size() == static_cast<size_t>(BatchVerdict::count);
}());

// The rules on the header, in Kafka's order: first what the CRC leaves out and the size, then, once the CRC has shown
// that the producer meant them, the covered fields. A damaged batch so gets the error that producers retry.
struct Rule {
  BatchVerdict verdict;
  bool (*broken)(const Header& header, const TopicLimits& limits, uint64_t record_bytes);
};
uint64_t whole_size(const Header& header) {
  return static_cast<uint64_t>(int64_t{header.batch_length} + batch_length_prefix_bytes);
}
constexpr std::array envelope_rules = {
    // The magic's place is the same in all formats; the others are shorter, so it is judged before the length.
    Rule{old_magic, [](const Header& h, const TopicLimits&, uint64_t) { return h.magic == 0 || h.magic == 1; }},
    Rule{length_too_small,
         [](const Header& h, const TopicLimits&, uint64_t) {
           return h.batch_length < static_cast<int32_t>(sizeof(Header) - batch_length_prefix_bytes);
         }},
    Rule{unknown_magic, [](const Header& h, const TopicLimits&, uint64_t) { return h.magic != 2; }},
    Rule{incomplete, [](const Header& h, const TopicLimits&, uint64_t bytes) { return whole_size(h) > bytes; }},
    Rule{several_batches, [](const Header& h, const TopicLimits&, uint64_t bytes) { return whole_size(h) < bytes; }},
    Rule{base_offset_not_zero, [](const Header& h, const TopicLimits&, uint64_t) { return h.base_offset != 0; }},
    Rule{too_large,
         [](const Header&, const TopicLimits& limits, uint64_t bytes) { return bytes > limits.message_bytes_max; }},
};
bool has_codec(const Header& h, Codec codec) {
  return (h.attributes & attributes::codec) == static_cast<uint16_t>(codec);
}
constexpr std::array covered_rules = {
    Rule{reserved_attributes,
         [](const Header& h, const TopicLimits&, uint64_t) { return (h.attributes & attributes::reserved) != 0; }},
    Rule{unknown_codec,
         [](const Header& h, const TopicLimits&, uint64_t) {
           return (h.attributes & attributes::codec) > static_cast<uint16_t>(Codec::zstd);
         }},
    Rule{zstd_too_early, [](const Header& h, const TopicLimits& limits,
                            uint64_t) { return has_codec(h, Codec::zstd) && !limits.zstd_allowed; }},
    Rule{control_batch,
         [](const Header& h, const TopicLimits&, uint64_t) { return (h.attributes & attributes::control) != 0; }},
    Rule{transactional_batch,
         [](const Header& h, const TopicLimits&, uint64_t) { return (h.attributes & attributes::transactional) != 0; }},
    Rule{log_append_time_from_client, [](const Header& h, const TopicLimits&,
                                         uint64_t) { return (h.attributes & attributes::log_append_time) != 0; }},
    Rule{no_records, [](const Header& h, const TopicLimits&, uint64_t) { return h.record_count <= 0; }},
    Rule{count_mismatch,
         [](const Header& h, const TopicLimits&, uint64_t) { return h.last_offset_delta != h.record_count - 1; }},
    Rule{negative_timestamp,
         [](const Header& h, const TopicLimits&, uint64_t) { return h.first_timestamp < -1 || h.max_timestamp < -1; }},
    Rule{negative_producer_id, [](const Header& h, const TopicLimits&, uint64_t) { return h.producer_id < -1; }},
    // Without a producer id the epoch and the sequence may hold anything: some clients leave 0 there.
    Rule{producer_epoch_missing,
         [](const Header& h, const TopicLimits&, uint64_t) { return h.producer_id >= 0 && h.producer_epoch < 0; }},
    Rule{sequence_missing,
         [](const Header& h, const TopicLimits&, uint64_t) { return h.producer_id >= 0 && h.base_sequence < 0; }},
};

// The first broken rule, or BatchVerdict::count. Unrolled, so that the rules are inlined and not called by pointer.
template <const auto& rules>
BatchVerdict judge(const Header& header, const TopicLimits& limits, uint64_t record_bytes) {
  BatchVerdict verdict = BatchVerdict::count;
  [&]<size_t... I>(std::index_sequence<I...>) {
    (void)((rules[I].broken(header, limits, record_bytes) && (verdict = rules[I].verdict, true)) || ...);
  }(std::make_index_sequence<rules.size()>());
  return verdict;
}

PieceRange records_of(PieceRange batch) {
  batch.drop_front(sizeof(Header));
  return batch;
}

// Every record of a plain batch. Sets batch.max_timestamp.
BatchVerdict judge_records(ValidBatch& batch, const TopicLimits& limits) {
  RecordWalk walk(records_of(batch.bytes));
  int64_t timestamp_max = -1;
  for (int32_t i = 0; i < batch.record_count; ++i) {
    Record record;
    if (!walk.next(record)) return record_malformed;
    if (record.offset_delta != i) return record_offset_delta;
    if (limits.compacted && !record.has_key) return record_without_key;
    int64_t timestamp;
    if (__builtin_add_overflow(batch.first_timestamp, record.timestamp_delta, &timestamp)) return record_malformed;
    if (timestamp < -1) return negative_timestamp;
    if (timestamp > timestamp_max) timestamp_max = timestamp;
  }
  if (walk.remaining() > 0) return record_malformed;
  batch.max_timestamp = timestamp_max;
  return BatchVerdict::count;
}

}  // namespace

const char* to_string(BatchVerdict verdict) {
  return verdict < BatchVerdict::count ? rows[static_cast<size_t>(verdict)].label : "valid";
}

ErrorCode error_of(BatchVerdict verdict) {
  return verdict < BatchVerdict::count ? rows[static_cast<size_t>(verdict)].error : ErrorCode::NONE;
}

uint32_t crc_of(PieceRange batch, Crc32c crc32c) {
  uint32_t crc = 0;
  batch.drop_front(batch_crc_start);
  batch.for_each([&](const Piece& piece) { crc = crc32c(crc, piece.data, piece.length); });
  return crc;
}

std::expected<BatchEnvelope, BatchVerdict> check_envelope(PieceRange records, const TopicLimits& limits) {
  if (records.empty()) return std::unexpected(no_batch);
  BatchEnvelope envelope{.bytes = records, .header = {}};
  // Old formats can be shorter than this header; what is missing reads as 0.
  const size_t header_bytes = records.size() < sizeof(Header) ? static_cast<size_t>(records.size()) : sizeof(Header);
  if (header_bytes <= offsetof(Header, magic)) return std::unexpected(incomplete);
  records.copy_out(0, &envelope.header, header_bytes);
  const BatchVerdict verdict = judge<envelope_rules>(envelope.header, limits, records.size());
  if (verdict != BatchVerdict::count) return std::unexpected(verdict);
  return envelope;
}

std::expected<ValidBatch, BatchVerdict> check_contents(const BatchEnvelope& envelope, const TopicLimits& limits) {
  const Header& header = envelope.header;
  BatchVerdict verdict = judge<covered_rules>(header, limits, envelope.bytes.size());
  if (verdict != BatchVerdict::count) return std::unexpected(verdict);
  ValidBatch batch{.bytes = envelope.bytes,
                   .crc = header.crc,
                   .record_count = header.record_count,
                   .last_offset_delta = header.last_offset_delta,
                   .attributes = header.attributes,
                   .first_timestamp = header.first_timestamp,
                   .max_timestamp = header.max_timestamp,
                   .producer_id = header.producer_id,
                   .producer_epoch = header.producer_epoch,
                   .base_sequence = header.base_sequence};
  if (batch.codec() == Codec::none) verdict = judge_records(batch, limits);
  if (verdict != BatchVerdict::count) return std::unexpected(verdict);
  return batch;
}

std::expected<ValidBatch, BatchVerdict> validate_batch(PieceRange records, const TopicLimits& limits, Crc32c crc32c) {
  const auto envelope = check_envelope(records, limits);
  if (!envelope.has_value()) return std::unexpected(envelope.error());
  if (crc_of(records, crc32c) != envelope->header.crc) return std::unexpected(crc_mismatch);
  return check_contents(*envelope, limits);
}

void set_placement(PieceRange batch, int64_t base_offset, int32_t partition_leader_epoch) {
  const Big<int64_t> offset(base_offset);
  const Big<int32_t> epoch(partition_leader_epoch);
  batch.copy_in(offsetof(Header, base_offset), &offset, sizeof offset);
  batch.copy_in(offsetof(Header, partition_leader_epoch), &epoch, sizeof epoch);
}

RecordBatchHeader with_log_append_time(ValidBatch& batch, Milliseconds now_ms, Crc32c crc32c, Crc32cCombine combine) {
  Header header;
  batch.bytes.copy_out(0, &header, sizeof header);
  const auto covered_head_crc = [&] {
    return crc32c(0, reinterpret_cast<const std::byte*>(&header) + batch_crc_start, sizeof header - batch_crc_start);
  };
  const uint32_t head_crc_before = covered_head_crc();
  header.attributes = static_cast<uint16_t>(header.attributes | attributes::log_append_time);
  header.max_timestamp = now_ms;
  // With shift(x) = combine(x, 0, tail): crc = shift(head crc) ^ tail crc, so the tail's crc need not be known.
  header.crc = combine(head_crc_before ^ covered_head_crc(), header.crc, batch.bytes.size() - sizeof header);

  batch.crc = header.crc;
  batch.attributes = header.attributes;
  batch.max_timestamp = now_ms;
  return header;
}

void set_log_append_time(ValidBatch& batch, Milliseconds now_ms, Crc32c crc32c, Crc32cCombine combine) {
  const Header header = with_log_append_time(batch, now_ms, crc32c, combine);
  batch.bytes.copy_in(0, &header, sizeof header);
}

std::optional<RecordPosition> find_by_timestamp(PieceRange batch, Milliseconds from, int64_t begin) {
  check(batch.size() >= sizeof(Header), "batch without a header", static_cast<long long>(batch.size()));
  Header header;
  batch.copy_out(0, &header, sizeof header);
  // All records of such batches count as having the batch's time.
  if (!has_codec(header, Codec::none) || (header.attributes & attributes::log_append_time) != 0) {
    if (header.max_timestamp < from) return std::nullopt;
    return RecordPosition{std::max<int64_t>(header.base_offset, begin), header.max_timestamp};
  }
  RecordWalk walk(records_of(batch));
  Record record;
  for (int32_t i = 0; i < header.record_count && walk.next(record); ++i) {
    const int64_t timestamp = header.first_timestamp + record.timestamp_delta;
    const int64_t offset = header.base_offset + record.offset_delta;
    if (offset >= begin && timestamp >= from) return RecordPosition{offset, timestamp};
  }
  return std::nullopt;
}

}  // namespace penstock::kafka
