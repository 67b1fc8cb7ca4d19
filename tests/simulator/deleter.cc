#include "tests/simulator/deleter.h"

#include <algorithm>
#include <array>

#include "dataplane/kafka/messages/delete_records.h"
#include "dataplane/kafka/messages/metadata.h"

namespace penstock::sim {

using kafka::DeleteRecordsRequest;
using kafka::ErrorCode;

namespace {
constexpr kafka::Version metadata_version = 9;
}  // namespace

void Deleter::node_lost() {
  connection_.lost();
  state_ = State::idle;
}

bool Deleter::step(std::span<Network* const> networks, Nanoseconds now) {
  if (state_ != State::idle && connection_.ended(now)) {
    connection_.close();
    state_ = State::idle;
    return true;
  }
  if (state_ == State::idle) {
    if (now < retry_at_) return false;
    retry_at_ = now + static_cast<Nanoseconds>(random_.between(5, 80)) * millisecond_ns;
    if (!connection_.connect(networks[random_.below(networks.size())], 9092, now)) return false;
    kafka::MetadataRequest request;
    std::array<kafka::MetadataRequest::Topic, 1> topics;
    topics[0].name = kafka::NullableText(std::string_view(config_.topic));
    request.topics = kafka::NullableSlice<kafka::MetadataRequest::Topic>(std::span(topics));
    connection_.send(request, metadata_version, now);
    state_ = State::locating;
    return true;
  }
  const auto frame = connection_.receive(now);
  if (!frame.has_value()) return false;
  if (state_ == State::locating)
    on_located(*frame, networks, now);
  else
    on_deleted(*frame);
  return true;
}

void Deleter::on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now) {
  const Decoded<kafka::MetadataResponse> metadata(frame, metadata_version);
  connection_.close();
  state_ = State::idle;
  const auto& topic = metadata.message.topics[0];
  if (topic.error_code != ErrorCode::NONE) return;
  const auto leader = static_cast<size_t>(topic.partitions[static_cast<uint32_t>(config_.partition)].leader_id);
  if (!connection_.connect(networks[leader], 9092, now)) return;
  std::array<DeleteRecordsRequest::Partition, 1> partitions;
  partitions[0].index = config_.partition;
  partitions[0].offset = confirmed_ + static_cast<int64_t>(random_.below(12));
  std::array<DeleteRecordsRequest::Topic, 1> topics;
  topics[0].name = std::string_view(config_.topic);
  topics[0].partitions = kafka::Slice<DeleteRecordsRequest::Partition>(std::span(partitions));
  DeleteRecordsRequest request;
  request.topics = kafka::Slice<DeleteRecordsRequest::Topic>(std::span(topics));
  asked_ = std::max(asked_, partitions[0].offset);
  version_ = static_cast<kafka::Version>(random_.below(3));
  connection_.send(request, version_, now);
  state_ = State::deleting;
}

void Deleter::on_deleted(const Frame& frame) {
  const Decoded<kafka::DeleteRecordsResponse> answer(frame, version_);
  connection_.close();
  state_ = State::idle;
  const auto& partition = answer.message.topics[0].partitions[0];
  if (partition.error_code != ErrorCode::NONE) return;
  check(partition.low_watermark >= confirmed_, "the log start went back", partition.low_watermark,
        static_cast<long long>(confirmed_));
  confirmed_ = partition.low_watermark;
}

}  // namespace penstock::sim
