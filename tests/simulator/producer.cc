#include "tests/simulator/producer.h"

#include <algorithm>
#include <array>

#include "dataplane/kafka/messages/init_producer_id.h"
#include "dataplane/kafka/messages/metadata.h"
#include "dataplane/kafka/messages/produce.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/batch_builder.h"

namespace penstock::sim {

using kafka::ErrorCode;

namespace {
constexpr kafka::Version metadata_version = 12, identify_version = 4;
constexpr Nanoseconds retry_ns = 5 * millisecond_ns;
}  // namespace

void Producer::node_lost() {
  connection_.lost();
  restart();
}

bool Producer::drop_connection() {
  if (!connection_.open()) return false;
  connection_.close();
  restart();
  return true;
}

// Back to the beginning: find the leader, then send again, or give up, what was not answered.
void Producer::restart() {
  state_ = State::idle;
  if (config_.idempotent) {
    for (InFlight& batch : in_flight_) batch.sent = false;
    return;
  }
  std::erase_if(in_flight_, [](const InFlight& batch) { return batch.sent; });
}

bool Producer::step(std::span<Network* const> networks, Nanoseconds now) {
  if (gone_at_ && !over_ && now - *gone_at_ >= linger_ns) {
    connection_.close();
    state_ = State::idle;
    over_ = true;
  }
  if (state_ != State::idle && connection_.ended(now)) {
    connection_.close();
    restart();
    retry_at_ = now + retry_ns;
    return true;
  }
  if (done()) {
    connection_.close();
    state_ = State::idle;
    return false;
  }
  if (state_ == State::idle) return locate(networks, now);
  bool busy = receive(networks, now);
  if (state_ == State::producing) busy |= send_more(now);
  return busy;
}

bool Producer::locate(std::span<Network* const> networks, Nanoseconds now) {
  if (now < retry_at_) return false;
  if (!connection_.connect(networks[random_.below(networks.size())], 9092, now)) {
    retry_at_ = now + retry_ns;
    return false;
  }
  ask_for_metadata(!config_.life, now);
  state_ = State::locating;
  return true;
}

void Producer::ask_for_metadata(bool may_create, Nanoseconds now) {
  kafka::MetadataRequest request;
  std::array<kafka::MetadataRequest::Topic, 1> topics;
  topics[0].name = kafka::NullableText(std::string_view(config_.topic_name()));
  request.topics = kafka::NullableSlice<kafka::MetadataRequest::Topic>(std::span(topics));
  request.allow_auto_topic_creation = may_create;
  connection_.send(request, metadata_version, now);
}

bool Producer::receive(std::span<Network* const> networks, Nanoseconds now) {
  bool busy = false;
  while (state_ != State::idle) {
    const auto frame = connection_.receive(now);
    if (!frame.has_value()) break;
    busy = true;
    switch (state_) {
      case State::idle:
        break;
      case State::locating:
        on_located(*frame, networks, now);
        break;
      case State::identifying:
        on_identified(*frame, now);
        break;
      case State::producing:
        if (frame->key == kafka::ApiKey::metadata)
          on_refreshed(*frame);
        else
          on_produced(*frame, now);
        break;
    }
  }
  return busy;
}

void Producer::on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now) {
  const Decoded<kafka::MetadataResponse> metadata(frame, metadata_version);
  connection_.close();
  state_ = State::idle;
  retry_at_ = now + retry_ns;
  check(metadata.message.topics.size() == 1, "metadata: not the one topic that was asked for");
  const auto& topic = metadata.message.topics[0];
  if (topic.error_code != ErrorCode::NONE) return;
  if (config_.life && topic.topic_id != config_.life->id) return;
  topic_id_ = topic.topic_id;
  leader_ = topic.partitions[static_cast<uint32_t>(config_.partition)].leader_id;
  if (!connection_.connect(networks[static_cast<size_t>(leader_)], 9092, now)) return;
  constexpr std::array<kafka::Version, 5> versions = {3, 7, 9, 12, 13};
  produce_version_ = config_.life ? versions.back() : versions[random_.below(versions.size())];
  state_ = State::producing;
  if (config_.idempotent && producer_id_ < 0) {
    connection_.send(kafka::InitProducerIdRequest{}, identify_version, now);
    state_ = State::identifying;
  }
}

void Producer::on_identified(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::InitProducerIdResponse> answer(frame, identify_version);
  if (answer.message.error_code == ErrorCode::COORDINATOR_NOT_AVAILABLE) {  // the catalog fails
    connection_.close();
    restart();
    retry_at_ = now + retry_ns;
    return;
  }
  check(answer.message.error_code == ErrorCode::NONE, "no producer id", static_cast<int>(answer.message.error_code));
  producer_id_ = answer.message.producer_id;
  producer_epoch_ = answer.message.producer_epoch;
  state_ = State::producing;
}

// Between batches, as clients do now and then. Nothing moves here.
void Producer::on_refreshed(const Frame& frame) {
  const Decoded<kafka::MetadataResponse> metadata(frame, metadata_version);
  const auto& topic = metadata.message.topics[0];
  const bool same = topic.error_code == ErrorCode::NONE && topic.topic_id == topic_id_;
  check(same || config_.life, "a topic is gone, or is another one", static_cast<int>(topic.error_code));
  if (!same) return;
  const int32_t leader = topic.partitions[static_cast<uint32_t>(config_.partition)].leader_id;
  check(leader == leader_, "a partition has moved", leader, leader_);
}

void Producer::on_produced(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::ProduceResponse> answer(frame, produce_version_);
  check(!in_flight_.empty() && in_flight_.front().sent, "an answer to no batch");
  const auto& partition = answer.message.topics[0].partitions[0];
  if (partition.error_code == ErrorCode::NONE) {
    check(!gone_at_ || in_flight_.front().sent_at <= *gone_at_, "a deleted topic takes batches");
    const auto [place, fresh] = acknowledged_.emplace(in_flight_.front().batch, partition.base_offset);
    check(fresh, "batch acknowledged twice", in_flight_.front().batch);
    acknowledged_end_ = partition.base_offset + record_count(config_.number, in_flight_.front().batch);
    check(!in_flight_.front().damaged, "a batch is taken whose bytes do not match its CRC", in_flight_.front().batch);
    in_flight_.pop_front();
    // The connection breaks, and what is on its way is sent again at once.
    if (random_.one_in(20)) drop_connection();
    return;
  }
  ++errors_;
  connection_.close();
  if (!config_.idempotent) in_flight_.pop_front();
  restart();
  retry_at_ = now + retry_ns;
}

bool Producer::send_more(Nanoseconds now) {
  bool busy = false;
  const auto unsent = [](const InFlight& batch) { return !batch.sent; };
  // Where nothing is known of a producer it may begin anywhere, in Kafka as here: were the first batch refused and the one
  // behind it taken, the first would be out of order for ever.
  const size_t in_flight_max = config_.idempotent && acknowledged_.empty() ? 1 : config_.in_flight_max;
  while (next_ < config_.batches && in_flight_.size() < in_flight_max && !random_.one_in(8)) {
    InFlight batch;
    batch.batch = next_++;
    batch.sequence = next_sequence_;
    next_sequence_ += static_cast<int32_t>(record_count(config_.number, batch.batch));
    const Milliseconds timestamp = wall_start_ms + now / millisecond_ns;
    batch.bytes = written_.add({config_.number, batch.batch}, build(batch.batch, batch.sequence, timestamp));
    built_[batch.batch] = {timestamp, batch.bytes.size()};
    in_flight_.push_back(std::move(batch));
  }
  for (auto next = std::find_if(in_flight_.begin(), in_flight_.end(), unsent); next != in_flight_.end(); ++next) {
    kafka::ProduceRequest request;
    request.acks = static_cast<int16_t>(random_.one_in(2) ? 1 : -1);
    request.timeout_ms = 30'000;
    std::array<kafka::ProduceRequest::Topic, 1> topics;
    std::array<kafka::ProduceRequest::Partition, 1> partitions;
    topics[0].name = std::string_view(config_.topic_name());
    topics[0].topic_id = topic_id_;
    partitions[0].index = config_.partition;
    partitions[0].records = kafka::Records::external(next->bytes.size());
    topics[0].partitions = kafka::Slice<kafka::ProduceRequest::Partition>(std::span(partitions));
    request.topics = kafka::Slice<kafka::ProduceRequest::Topic>(std::span(topics));
    std::vector<std::byte> bytes(next->bytes.begin(), next->bytes.end());
    // Not the first of all: who knows nothing of a producer takes what follows it (KIP-360).
    next->damaged = !acknowledged_.empty() && random_.one_in(64);
    if (next->damaged) bytes[bytes.size() - 2] ^= std::byte{1};
    damaged_ += next->damaged ? 1 : 0;
    const std::array<std::span<const std::byte>, 1> records = {bytes};
    connection_.send(request, produce_version_, now, records);
    next->sent = true;
    next->sent_at = now;
    if (random_.one_in(16)) ask_for_metadata(false, now);
    busy = true;
  }
  return busy;
}

std::vector<std::byte> Producer::build(uint32_t batch, int32_t sequence, Milliseconds timestamp) {
  kafka::BatchBuilder builder;
  if (config_.idempotent) builder.producer(producer_id_, producer_epoch_, sequence);
  const uint64_t size_class = random_.below(4);
  const uint64_t size = size_class == 0 ? random_.below(100) : random_.below(config_.record_bytes_max);
  for (uint32_t i = 0; i < record_count(config_.number, batch); ++i) {
    std::string value = label_of({config_.number, batch}) + std::to_string(i) + ":";
    SimRandom fill(config_.number * 1'000'003ull + batch * 1009ull + i);
    const size_t whole = std::max<size_t>(size, value.size());
    value.reserve(whole + sizeof(uint64_t));
    while (value.size() < whole) {
      const uint64_t eight = 0x6161616161616161 + (fill.next() & 0x0f0f0f0f0f0f0f0f);  // 'a' to 'p'
      value.append(reinterpret_cast<const char*>(&eight), sizeof eight);
    }
    value.resize(whole);
    builder.add(timestamp, std::nullopt, value);
  }
  return builder.build(crc32c);
}

}  // namespace penstock::sim
