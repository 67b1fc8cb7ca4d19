#include "tests/simulator/consumer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/kafka/messages/fetch.h"
#include "dataplane/kafka/messages/list_offsets.h"
#include "dataplane/kafka/messages/metadata.h"
#include "dataplane/kafka/record_batch.h"
#include "storage/crc/crc32c.h"
#include "storage/format.h"

namespace penstock::sim {

using kafka::ErrorCode;

namespace {
constexpr kafka::Version metadata_version = 9, metadata_version_with_ids = 12, fetch_version_with_ids = 13;
constexpr Nanoseconds retry_ns = 5 * millisecond_ns;
}  // namespace

void Consumer::node_lost() {
  connection_.lost();
  state_ = State::idle;
  high_watermark_ = as_of_ = -1;
}

bool Consumer::drop_connection() {
  if (!connection_.open()) return false;
  connection_.close();
  state_ = State::idle;
  return true;
}

void Consumer::leave() {
  drop_connection();
  over_ = true;
}

bool Consumer::stop_reading(Nanoseconds until) {
  if (!connection_.open()) return false;
  connection_.stop_reading(true);
  reads_again_at_ = until;
  return true;
}

void Consumer::read_again() {
  const auto seen = static_cast<uint64_t>(next_offset_ - log_start_);
  next_offset_ = log_start_ + (random_.one_in(2) ? 0 : static_cast<int64_t>(random_.below(seen + 1)));
  begins_anywhere_ = true;
}

void Consumer::begin_audit() {
  seen_before_ = std::exchange(seen_, {});
  next_offset_ = log_start_;
}

kafka::Version Consumer::metadata_version_used() const {
  return config_.life ? metadata_version_with_ids : metadata_version;
}

bool Consumer::step(std::span<Network* const> networks, Nanoseconds now) {
  if (gone_at_ && now - *gone_at_ >= linger_ns) {
    connection_.close();
    state_ = State::idle;
    return !std::exchange(over_, true);
  }
  if (over_) return false;
  if (reads_again_at_ && now >= *reads_again_at_) {
    connection_.stop_reading(false);
    reads_again_at_.reset();
  }
  if (reads_again_at_) return false;
  if (state_ != State::idle && connection_.ended(now)) {
    if (state_ == State::fetching) pass_over_missing();
    connection_.close();
    state_ = State::idle;
    retry_at_ = now + retry_ns;
    return true;
  }
  if (state_ == State::idle) {
    if (now < retry_at_) return false;
    retry_at_ = now + retry_ns;
    if (!connection_.connect(networks[random_.below(networks.size())], 9092, now)) return false;
    kafka::MetadataRequest request;
    std::array<kafka::MetadataRequest::Topic, 1> topics;
    topics[0].name = kafka::NullableText(std::string_view(config_.topic_name()));
    request.topics = kafka::NullableSlice<kafka::MetadataRequest::Topic>(std::span(topics));
    request.allow_auto_topic_creation = !config_.life;
    connection_.send(request, metadata_version_used(), now);
    state_ = State::locating;
    return true;
  }
  bool busy = false;
  while (state_ != State::idle) {
    const auto frame = connection_.receive(now);
    if (!frame.has_value()) break;
    busy = true;
    if (state_ == State::locating)
      on_located(*frame, networks, now);
    else if (frame->key == kafka::ApiKey::list_offsets)
      on_listed(*frame);
    else
      on_fetched(*frame, now);
  }
  return busy;
}

void Consumer::on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now) {
  const Decoded<kafka::MetadataResponse> metadata(frame, metadata_version_used());
  connection_.close();
  state_ = State::idle;
  retry_at_ = now + retry_ns;
  const auto& topic = metadata.message.topics[0];
  if (topic.error_code != ErrorCode::NONE) return;
  if (config_.life && topic.topic_id != config_.life->id) return;
  topic_id_ = topic.topic_id;
  const auto leader = static_cast<size_t>(topic.partitions[static_cast<uint32_t>(config_.partition)].leader_id);
  if (!connection_.connect(networks[leader], 9092, now)) return;
  // Version 9 of Metadata has no topic ids, so the fetch goes by name.
  constexpr std::array<kafka::Version, 4> versions = {4, 7, 11, 12};
  fetch_version_ = versions[random_.below(versions.size())];
  if (config_.life) fetch_version_ = fetch_version_with_ids;
  if (config_.records_expire) fetch_version_ = std::max<kafka::Version>(fetch_version_, 7);  // they have the log start
  state_ = State::fetching;
  listings_.clear();
  fetch(now);
}

// For a time it asks for that of a batch it has seen.
void Consumer::list_offsets(Nanoseconds now) {
  constexpr std::array<Milliseconds, 3> others = {kafka::list_offsets_latest, kafka::list_offsets_earliest,
                                                  kafka::list_offsets_max_timestamp};
  Listing listing{.version = static_cast<kafka::Version>(random_.between(7, 10)),
                  .timestamp = others[random_.below(others.size())]};
  if (!seen_.empty() && random_.one_in(2)) listing.timestamp = seen_[random_.below(seen_.size())].timestamp;
  kafka::ListOffsetsRequest request;
  std::array<kafka::ListOffsetsRequest::Topic, 1> topics;
  std::array<kafka::ListOffsetsRequest::Partition, 1> partitions;
  topics[0].name = std::string_view(config_.topic_name());
  partitions[0].index = config_.partition;
  partitions[0].timestamp = listing.timestamp;
  topics[0].partitions = kafka::Slice<kafka::ListOffsetsRequest::Partition>(std::span(partitions));
  request.topics = kafka::Slice<kafka::ListOffsetsRequest::Topic>(std::span(topics));
  request.replica_id = -1;
  connection_.send(request, listing.version, now);
  listings_.push_back(listing);
}

void Consumer::on_listed(const Frame& frame) {
  const Listing listing = listings_.front();
  listings_.pop_front();
  const Decoded<kafka::ListOffsetsResponse> answer(frame, listing.version);
  const auto& partition = answer.message.topics[0].partitions[0];
  if (partition.error_code != ErrorCode::NONE || drive_is_damaged_) return;  // a look-up that met damage
  switch (listing.timestamp) {
    case kafka::list_offsets_latest:
      check(partition.offset >= highest_watermark_, "the latest offset went back", partition.offset,
            static_cast<long long>(highest_watermark_));
      highest_watermark_ = partition.offset;
      break;
    case kafka::list_offsets_earliest:
      check(partition.offset >= log_start_, "the earliest offset went back", partition.offset,
            static_cast<long long>(log_start_));
      check(partition.offset == 0 || config_.records_expire, "the earliest offset of what is kept for ever",
            partition.offset);
      log_start_ = partition.offset;
      break;
    default:
      check_time(listing.timestamp, partition.offset, partition.timestamp);
  }
}

// What it saw must agree, where nothing has expired since.
void Consumer::check_time(Milliseconds asked, int64_t offset, Milliseconds timestamp) const {
  const bool largest = asked == kafka::list_offsets_max_timestamp;
  for (const SeenBatch& batch : seen_) {
    if (batch.base_offset <= offset && offset < batch.next_offset) {
      check(batch.timestamp == timestamp && (largest || timestamp >= asked), "the time of a record", batch.timestamp,
            timestamp);
    }
    if (config_.records_expire) continue;
    if (largest) {
      check(batch.timestamp <= timestamp, "not the largest timestamp", timestamp, batch.timestamp);
    } else {
      check(batch.timestamp < asked || (offset >= 0 && offset < batch.next_offset), "not the first record of a time",
            offset, batch.base_offset);
    }
  }
}

void Consumer::fetch(Nanoseconds now) {
  if (!config_.life && random_.one_in(12)) list_offsets(now);
  kafka::FetchRequest request;
  request.max_wait_ms = static_cast<int32_t>(random_.below(60));
  request.min_bytes = static_cast<int32_t>(random_.one_in(2) ? 1 : random_.below(20'000));
  request.max_bytes = static_cast<int32_t>(random_.between(1, 100'000));
  std::array<kafka::FetchRequest::Topic, 1> topics;
  std::array<kafka::FetchRequest::Partition, 1> partitions;
  topics[0].name = std::string_view(config_.topic_name());
  topics[0].topic_id = topic_id_;
  partitions[0].index = config_.partition;
  partitions[0].fetch_offset = next_offset_;
  partitions[0].partition_max_bytes = static_cast<int32_t>(random_.between(1, 100'000));
  // An answer breaks off at the first damaged batch in it: what lies before is had one by one.
  if (drive_is_damaged_ && random_.one_in(2)) partitions[0].partition_max_bytes = 1;
  topics[0].partitions = kafka::Slice<kafka::FetchRequest::Partition>(std::span(partitions));
  request.topics = kafka::Slice<kafka::FetchRequest::Topic>(std::span(topics));
  connection_.send(request, fetch_version_, now);
  asked_at_ = now;
}

void Consumer::on_fetched(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::FetchResponse> answer(frame, fetch_version_);
  const auto& partition = answer.message.topics[0].partitions[0];
  if (partition.log_start_offset >= 0) {
    check(partition.log_start_offset >= log_start_ || drive_is_damaged_, "the log start went back", partition.log_start_offset,
          static_cast<long long>(log_start_));
    log_start_ = partition.log_start_offset;
  }
  if (!config_.records_expire) {
    // Only damage takes something from the beginning.
    int64_t there = 0;
    while (there < log_start_ && may_miss(there)) ++there;
    check(there >= log_start_, "records expired that are kept for ever", static_cast<long long>(log_start_));
    missed_unawares_ |= next_offset_ < log_start_;
  }
  if (partition.error_code == ErrorCode::OFFSET_OUT_OF_RANGE && next_offset_ < log_start_) {
    next_offset_ = log_start_;
    return fetch(now);
  }
  if (partition.error_code != ErrorCode::NONE) {
    const bool out_of_range = partition.error_code == ErrorCode::OFFSET_OUT_OF_RANGE;
    if (out_of_range && drive_is_damaged_) {
      missed_unawares_ = true;
      high_watermark_ = partition.high_watermark;
    }
    check(!out_of_range || drive_is_damaged_, "what a consumer was shown is gone",
          static_cast<long long>(next_offset_), static_cast<long long>(partition.high_watermark));
    pass_over_missing();
    connection_.close();
    state_ = State::idle;
    retry_at_ = now + retry_ns;
    return;
  }
  check(!gone_at_ || asked_at_ <= *gone_at_, "a deleted topic is served");
  high_watermark_ = partition.high_watermark;
  check(high_watermark_ >= highest_watermark_ || drive_is_damaged_, "the high watermark went back", static_cast<long long>(high_watermark_),
        static_cast<long long>(highest_watermark_));
  highest_watermark_ = high_watermark_;
  as_of_ = asked_at_;
  std::vector<std::byte> records(partition.records.size());
  if (!records.empty()) partition.records.range().copy_out(0, records.data(), records.size());
  if (records.empty() && next_offset_ < high_watermark_ && may_miss(next_offset_)) {
    missed_unawares_ = true;
    pass_over_missing();
  }
  take_batches(records);
  check(next_offset_ <= high_watermark_ || drive_is_damaged_, "a consumer saw what is not durable", static_cast<long long>(next_offset_),
        static_cast<long long>(high_watermark_));
  fetch(now);
}

void Consumer::take_batches(std::span<const std::byte> records) {
  while (!records.empty()) {
    kafka::RecordBatchHeader header;
    check(records.size() >= sizeof header, "fetched half a batch header");
    std::memcpy(static_cast<void*>(&header), records.data(), sizeof header);
    const size_t size = kafka::batch_length_prefix_bytes + static_cast<size_t>(int32_t{header.batch_length});
    check(records.size() >= size, "fetched half a batch");
    const std::span<const std::byte> batch = records.first(size);
    records = records.subspan(size);
    check(crc32c(0, batch.data() + kafka::batch_crc_start, size - kafka::batch_crc_start) == header.crc,
          "CRC of a fetched batch");
    const int64_t base_offset = header.base_offset, next_offset = base_offset + header.last_offset_delta + 1;
    // A batch of which the first records are deleted, or not asked for, comes whole.
    const bool in_part = next_offset_ == log_start_ || begins_anywhere_;
    for (; next_offset_ < base_offset && may_miss(next_offset_); ++next_offset_) missed_unawares_ = true;
    check(base_offset == next_offset_ || (in_part && base_offset < next_offset_ && next_offset > next_offset_),
          "offsets are not dense", base_offset, static_cast<long long>(next_offset_));
    begins_anywhere_ = false;
    const char* text = reinterpret_cast<const char*>(batch.data());
    const auto name = find_label({text + sizeof header, size - sizeof header});
    check(name.has_value(), "a batch without label", base_offset);
    compare(*name, batch);
    next_offset_ = next_offset;
    seen_.push_back({base_offset, next_offset, header.max_timestamp, *name});
  }
}

// At once, not batch by batch: what lies behind it is asked for next.
void Consumer::pass_over_missing() {
  while (may_miss(next_offset_)) ++next_offset_;
}

// All but the two fields that the node assigns: the base offset, and the leader epoch, which is 0 here.
void Consumer::compare(const BatchName& name, std::span<const std::byte> batch) const {
  const std::span<const std::byte> written = written_.find(name);
  const auto same = [&](size_t begin, size_t end) {
    return std::memcmp(batch.data() + begin, written.data() + begin, end - begin) == 0;
  };
  const bool whole = written.size() == batch.size() && same(disk::batch_length_at, disk::batch_leader_epoch_at) &&
                     same(disk::batch_magic_at, batch.size());
  check(whole, "a batch is not what was written", name.producer, name.batch);
  check(load_big<int32_t>(batch.data() + disk::batch_leader_epoch_at) == 0, "leader epoch of a batch");
}

}  // namespace penstock::sim
