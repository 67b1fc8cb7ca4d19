#include "dataplane/kafka/record_batch.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "dataplane/kafka/types.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/batch_builder.h"
#include "tests/kafka/pieces.h"
#include "tests/kafka/vectors.h"

namespace penstock::kafka {
namespace {

BatchBuilder three_records() {
  BatchBuilder builder;
  builder.add(1000, "a", "one").add(990, "b", "two").add(1005, "c", std::nullopt);
  return builder;
}

BatchVerdict verdict_of(const std::vector<std::byte>& bytes, const TopicLimits& limits = {}) {
  BatchVerdict verdict = BatchVerdict::count;
  for (const size_t piece : {size_t{1'000'000}, size_t{7}, size_t{1}}) {
    const CutPieces pieces(bytes, {piece});
    const auto batch = validate_batch(pieces.range(), limits, crc32c);
    const BatchVerdict here = batch ? BatchVerdict::count : batch.error();
    if (piece == 1'000'000) verdict = here;
    EXPECT_EQ(here, verdict) << "pieces of " << piece;
  }
  return verdict;
}

TEST(RecordBatch, ValidBatchCarriesItsHeader) {
  const auto bytes = three_records().producer(4000, 3, 17).build(crc32c);
  const CutPieces pieces(bytes, {5});
  const auto batch = validate_batch(pieces.range(), {}, crc32c);
  ASSERT_TRUE(batch.has_value()) << to_string(batch.error());
  EXPECT_EQ(batch->size(), bytes.size());
  EXPECT_EQ(batch->record_count, 3);
  EXPECT_EQ(batch->last_offset_delta, 2);
  EXPECT_EQ(batch->first_timestamp, 1000);
  EXPECT_EQ(batch->max_timestamp, 1005);
  EXPECT_EQ(batch->codec(), Codec::none);
  EXPECT_EQ(batch->timestamp_type(), TimestampType::create_time);
  EXPECT_TRUE(batch->idempotent());
  EXPECT_EQ(batch->producer_id, 4000);
  EXPECT_EQ(batch->producer_epoch, 3);
  EXPECT_EQ(batch->base_sequence, 17);
  EXPECT_EQ(batch->last_sequence(), 19);
  EXPECT_EQ(batch->crc, load_big<uint32_t>(bytes.data() + 17));
}

TEST(RecordBatch, SequenceWraps) {
  ValidBatch batch{.last_offset_delta = 2, .producer_id = 1, .base_sequence = INT32_MAX};
  EXPECT_EQ(batch.last_sequence(), 1);
}

// One row per rule: the least change to a good batch that breaks it. `mend`: the CRC is right again afterwards.
struct BrokenRule {
  BatchVerdict verdict;
  ErrorCode error;
  bool mend;
  std::function<void(std::vector<std::byte>&)> distort;
  TopicLimits limits = {};
};

template <class T>
std::function<void(std::vector<std::byte>&)> put(size_t at, T value) {
  return [=](std::vector<std::byte>& bytes) { store_big<T>(bytes.data() + at, value); };
}

TEST(RecordBatch, EveryHeaderRule) {
  const auto resize = [](ptrdiff_t by) {
    return [=](std::vector<std::byte>& bytes) { bytes.resize(bytes.size() + static_cast<size_t>(by)); };
  };
  const TopicLimits no_zstd{.zstd_allowed = false};
  const TopicLimits tiny{.message_bytes_max = 90};
  const BrokenRule rules[] = {
      {BatchVerdict::no_batch, ErrorCode::INVALID_RECORD, false, [](auto& bytes) { bytes.clear(); }},
      {BatchVerdict::incomplete, ErrorCode::INVALID_RECORD, false, [](auto& bytes) { bytes.resize(16); }},
      {BatchVerdict::incomplete, ErrorCode::INVALID_RECORD, false, [](auto& bytes) { bytes.resize(60); }},
      {BatchVerdict::incomplete, ErrorCode::INVALID_RECORD, false, resize(-1)},
      {BatchVerdict::incomplete, ErrorCode::INVALID_RECORD, false, put<int32_t>(8, INT32_MAX)},
      {BatchVerdict::length_too_small, ErrorCode::CORRUPT_MESSAGE, false, put<int32_t>(8, 48)},
      {BatchVerdict::length_too_small, ErrorCode::CORRUPT_MESSAGE, false, put<int32_t>(8, -1)},
      {BatchVerdict::old_magic, ErrorCode::INVALID_RECORD, false, put<int8_t>(16, 0)},
      {BatchVerdict::old_magic, ErrorCode::INVALID_RECORD, false, put<int8_t>(16, 1)},
      {BatchVerdict::unknown_magic, ErrorCode::CORRUPT_MESSAGE, false, put<int8_t>(16, 3)},
      {BatchVerdict::unknown_magic, ErrorCode::CORRUPT_MESSAGE, false, put<int8_t>(16, -1)},
      {BatchVerdict::several_batches, ErrorCode::INVALID_RECORD, false, resize(1)},
      {BatchVerdict::several_batches, ErrorCode::INVALID_RECORD, false,
       [](auto& bytes) { bytes.insert(bytes.end(), bytes.begin(), bytes.end()); }},
      {BatchVerdict::base_offset_not_zero, ErrorCode::INVALID_RECORD, false, put<int64_t>(0, 1)},
      {BatchVerdict::too_large, ErrorCode::MESSAGE_TOO_LARGE, false, [](auto&) {}, tiny},
      {BatchVerdict::crc_mismatch, ErrorCode::CORRUPT_MESSAGE, false, put<uint32_t>(17, 0)},
      {BatchVerdict::crc_mismatch, ErrorCode::CORRUPT_MESSAGE, false, put<uint16_t>(21, attributes::control)},
      {BatchVerdict::reserved_attributes, ErrorCode::INVALID_RECORD, true, put<uint16_t>(21, 0x40)},
      {BatchVerdict::reserved_attributes, ErrorCode::INVALID_RECORD, true, put<uint16_t>(21, 0x8000)},
      {BatchVerdict::unknown_codec, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, true, put<uint16_t>(21, 5)},
      {BatchVerdict::zstd_too_early, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, true, put<uint16_t>(21, 4), no_zstd},
      {BatchVerdict::control_batch, ErrorCode::INVALID_RECORD, true, put<uint16_t>(21, attributes::control)},
      {BatchVerdict::transactional_batch, ErrorCode::INVALID_RECORD, true,
       put<uint16_t>(21, attributes::transactional)},
      {BatchVerdict::log_append_time_from_client, ErrorCode::INVALID_TIMESTAMP, true,
       put<uint16_t>(21, attributes::log_append_time)},
      {BatchVerdict::no_records, ErrorCode::INVALID_RECORD, true, put<int32_t>(57, 0)},
      {BatchVerdict::no_records, ErrorCode::INVALID_RECORD, true, put<int32_t>(57, INT32_MIN)},
      {BatchVerdict::count_mismatch, ErrorCode::INVALID_RECORD, true, put<int32_t>(23, 3)},
      {BatchVerdict::count_mismatch, ErrorCode::INVALID_RECORD, true, put<int32_t>(23, -1)},
      {BatchVerdict::negative_timestamp, ErrorCode::INVALID_TIMESTAMP, true, put<int64_t>(27, -2)},
      {BatchVerdict::negative_timestamp, ErrorCode::INVALID_TIMESTAMP, true, put<int64_t>(35, -2)},
      {BatchVerdict::negative_producer_id, ErrorCode::INVALID_RECORD, true, put<int64_t>(43, -2)},
      {BatchVerdict::producer_epoch_missing, ErrorCode::INVALID_RECORD, true, put<int64_t>(43, 1)},
      {BatchVerdict::sequence_missing, ErrorCode::INVALID_RECORD, true,
       [](auto& bytes) {
         store_big<int64_t>(bytes.data() + 43, 1);
         store_big<int16_t>(bytes.data() + 51, 0);
       }},
  };
  const auto good = three_records().build(crc32c);
  ASSERT_EQ(verdict_of(good), BatchVerdict::count);
  ASSERT_EQ(good.size(), 91u);
  for (const BrokenRule& rule : rules) {
    auto bytes = good;
    rule.distort(bytes);
    if (rule.mend) BatchBuilder::mend_crc(bytes, crc32c);
    const BatchVerdict verdict = verdict_of(bytes, rule.limits);
    EXPECT_EQ(verdict, rule.verdict) << to_string(verdict) << " instead of " << to_string(rule.verdict);
    EXPECT_EQ(error_of(rule.verdict), rule.error) << to_string(rule.verdict);
  }
}

TEST(RecordBatch, ProducerFieldsWithoutAProducerIdMayHoldAnything) {
  EXPECT_EQ(verdict_of(three_records().producer(-1, 0, 0).build(crc32c)), BatchVerdict::count);
}

TEST(RecordBatch, LargestAllowedSizePasses) {
  EXPECT_EQ(verdict_of(three_records().build(crc32c), {.message_bytes_max = 91}), BatchVerdict::count);
}

TEST(RecordBatch, RecordRules) {
  const auto raw = [](std::initializer_list<int> values, int32_t count) {
    std::vector<std::byte> bytes;
    for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
    BatchBuilder builder;
    return builder.add_raw(bytes, count).build(crc32c);
  };
  // length 6: attributes, timestamp delta, offset delta, null key, empty value, no headers.
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 1, 0, 0}, 1)), BatchVerdict::count);
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 1, 0, 0}, 2)), BatchVerdict::record_malformed);        // one record missing
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 1, 0, 0, 0}, 1)), BatchVerdict::record_malformed);     // a byte left
  EXPECT_EQ(verdict_of(raw({14, 0, 0, 0, 1, 0, 0, 0}, 1)), BatchVerdict::record_malformed);     // parts end early
  EXPECT_EQ(verdict_of(raw({10, 0, 0, 0, 1, 0, 0}, 1)), BatchVerdict::record_malformed);        // parts end late
  EXPECT_EQ(verdict_of(raw({11, 0, 0, 0, 1, 0, 0}, 1)), BatchVerdict::record_malformed);        // negative length
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 3, 0, 0}, 1)), BatchVerdict::record_malformed);        // key length -2
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 1, 0, 1}, 1)), BatchVerdict::record_malformed);        // header count -1
  EXPECT_EQ(verdict_of(raw({16, 0, 0, 0, 1, 0, 2, 1, 0}, 1)), BatchVerdict::record_malformed);  // null header key
  EXPECT_EQ(verdict_of(raw({16, 0, 0, 0, 1, 0, 2, 0, 1}, 1)), BatchVerdict::count);             // null header value
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 2, 1, 0, 0}, 1)), BatchVerdict::record_offset_delta);
  EXPECT_EQ(verdict_of(raw({12, 0, 3, 0, 1, 0, 0}, 1)), BatchVerdict::negative_timestamp);
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 1, 0, 0}, 1), {.compacted = true}), BatchVerdict::record_without_key);
  EXPECT_EQ(verdict_of(raw({12, 0, 0, 0, 0, 0, 0}, 1), {.compacted = true}), BatchVerdict::count);  // empty key
  // A varint of 33 bits, and one that never ends.
  EXPECT_EQ(verdict_of(raw({0xff, 0xff, 0xff, 0xff, 0x1f, 0}, 1)), BatchVerdict::record_malformed);
  EXPECT_EQ(verdict_of(raw({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 1)), BatchVerdict::record_malformed);
}

TEST(RecordBatch, InTwoStepsTheCrcIsItsCallers) {
  auto bytes = three_records().build(crc32c);
  store_big<uint16_t>(bytes.data() + 21, attributes::control);
  const CutPieces pieces(bytes, {3});
  const auto envelope = check_envelope(pieces.range(), {});
  ASSERT_TRUE(envelope.has_value());
  EXPECT_NE(crc_of(pieces.range(), crc32c), envelope->header.crc);  // not what the producer sent
  EXPECT_EQ(check_contents(*envelope, {}).error(), BatchVerdict::control_batch);
  EXPECT_EQ(validate_batch(pieces.range(), {}, crc32c).error(), BatchVerdict::crc_mismatch);
}

TEST(RecordBatch, ByKafkaItself) {
  for (const auto& [label, verdict, compacted] :
       {std::tuple<const char*, BatchVerdict, BatchVerdict>{"plain", BatchVerdict::count,
                                                            BatchVerdict::record_without_key},
        {"gzip", BatchVerdict::count, BatchVerdict::count},  // unopened
        {"idempotent", BatchVerdict::count, BatchVerdict::record_without_key},
        {"transactional", BatchVerdict::transactional_batch, BatchVerdict::transactional_batch},
        {"keyed", BatchVerdict::count, BatchVerdict::count}}) {
    const Vector vector = vector_of(std::string("Batch records 2 ") + label);
    EXPECT_EQ(verdict_of(vector.bytes), verdict) << label;
    EXPECT_EQ(verdict_of(vector.bytes, {.compacted = true}), compacted) << label;
  }
}

TEST(RecordBatch, DamageNeverPassesUnseen) {
  const auto good = vector_of("Batch records 2 plain").bytes;
  std::mt19937_64 random(7);
  for (int turn = 0; turn < 4000; ++turn) {
    auto bytes = good;
    // Only the leader epoch may differ without notice.
    const size_t at = random() % bytes.size();
    const auto value = static_cast<std::byte>(random());
    if (bytes[at] == value || (at >= 12 && at < 16)) continue;
    bytes[at] = value;
    if (turn % 2 == 0 && at >= batch_crc_start) BatchBuilder::mend_crc(bytes, crc32c);  // the walk alone: no crash
    const CutPieces pieces(bytes, {random() % 30 + 1});
    const auto batch = validate_batch(pieces.range(), {}, crc32c);
    if (turn % 2 == 1 || at < batch_crc_start) {
      EXPECT_FALSE(batch.has_value()) << at;
    }
  }
}

TEST(RecordBatch, PlacementIsOutsideTheCrc) {
  const auto bytes = three_records().build(crc32c);
  const CutPieces pieces(bytes, {3});
  set_placement(pieces.range(), 123456789012345, 7);
  const auto placed = joined(pieces.range());
  EXPECT_EQ(load_big<int64_t>(placed.data()), 123456789012345);
  EXPECT_EQ(load_big<int32_t>(placed.data() + 12), 7);
  EXPECT_EQ(crc32c(0, placed.data() + 21, placed.size() - 21), load_big<uint32_t>(placed.data() + 17));
  EXPECT_TRUE(std::equal(placed.begin() + 16, placed.end(), bytes.begin() + 16));
}

TEST(RecordBatch, LogAppendTimeMendsTheCrc) {
  for (const size_t record_bytes : {size_t{1}, size_t{100}, size_t{100'000}}) {
    BatchBuilder builder;
    const auto bytes = builder.add(1000, "key", std::string(record_bytes, 'v')).build(crc32c);
    const CutPieces pieces(bytes, {11, 700});
    auto batch = validate_batch(pieces.range(), {}, crc32c);
    ASSERT_TRUE(batch.has_value());
    set_log_append_time(*batch, 5000, crc32c, crc32c_combine);
    const auto stamped = joined(pieces.range());
    EXPECT_EQ(crc32c(0, stamped.data() + 21, stamped.size() - 21), load_big<uint32_t>(stamped.data() + 17));
    EXPECT_EQ(batch->crc, load_big<uint32_t>(stamped.data() + 17));
    EXPECT_EQ(batch->timestamp_type(), TimestampType::log_append_time);
    EXPECT_EQ(load_big<int64_t>(stamped.data() + 35), 5000);
    EXPECT_EQ(batch->max_timestamp, 5000);
    // Every record has that time now.
    set_placement(pieces.range(), 40, 0);
    EXPECT_EQ(find_by_timestamp(pieces.range(), 5000)->offset, 40);
    EXPECT_FALSE(find_by_timestamp(pieces.range(), 5001).has_value());
  }
}

TEST(RecordBatch, FindByTimestamp) {
  const auto bytes = three_records().build(crc32c);
  const CutPieces pieces(bytes, {4});
  set_placement(pieces.range(), 100, 0);
  EXPECT_EQ(find_by_timestamp(pieces.range(), 0)->offset, 100);
  EXPECT_EQ(find_by_timestamp(pieces.range(), 1000)->offset, 100);
  EXPECT_EQ(find_by_timestamp(pieces.range(), 1001)->offset, 102);
  EXPECT_EQ(find_by_timestamp(pieces.range(), 1001)->timestamp, 1005);
  EXPECT_FALSE(find_by_timestamp(pieces.range(), 1006).has_value());

  const auto gzip = vector_of("Batch records 2 gzip").bytes;
  const ContiguousPieces whole(gzip);
  EXPECT_EQ(find_by_timestamp(whole.range(), 1001)->offset, 0);
  EXPECT_EQ(find_by_timestamp(whole.range(), 1001)->timestamp, 1005);
  EXPECT_FALSE(find_by_timestamp(whole.range(), 1006).has_value());
}

TEST(RecordBatch, MaxTimestampOfPlainBatchesComesFromTheRecords) {
  auto bytes = three_records().build(crc32c);
  store_big<int64_t>(bytes.data() + 35, 77);
  BatchBuilder::mend_crc(bytes, crc32c);
  const ContiguousPieces pieces(bytes);
  EXPECT_EQ(validate_batch(pieces.range(), {}, crc32c)->max_timestamp, 1005);
}

}  // namespace
}  // namespace penstock::kafka
