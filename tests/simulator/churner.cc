#include "tests/simulator/churner.h"

#include <array>

#include "dataplane/kafka/messages/create_topics.h"
#include "dataplane/kafka/messages/delete_topics.h"
#include "dataplane/kafka/messages/metadata.h"

namespace penstock::sim {

using kafka::ErrorCode;

namespace {
constexpr kafka::Version metadata_version = 12;
constexpr uint64_t life_ms_max = 60, pause_ms_max = 10;
}  // namespace

void Churner::node_lost() {
  connection_.lost();
  may_be_done_ |= state_ == State::creating || state_ == State::deleting;
  state_ = State::idle;
}

void Churner::rest(Nanoseconds now, uint64_t ms_max) {
  connection_.close();
  state_ = State::idle;
  next_at_ = now + static_cast<Nanoseconds>(random_.below(ms_max * 1000)) * (millisecond_ns / 1000);
}

bool Churner::step(std::span<Network* const> networks, Nanoseconds now) {
  if (state_ != State::idle && connection_.ended(now)) {
    may_be_done_ |= state_ == State::creating || state_ == State::deleting;
    rest(now, pause_ms_max);
    return true;
  }
  if (state_ == State::idle) {
    if (now < next_at_ || finished()) return false;
    next_at_ = now + millisecond_ns;
    if (!connection_.connect(networks[random_.below(networks.size())], 9092, now)) return false;
    if (exists_)
      remove(now);
    else
      create(now);
    return true;
  }
  const auto frame = connection_.receive(now);
  if (!frame.has_value()) return false;
  switch (state_) {
    case State::idle:
      break;
    case State::creating:
      on_created(*frame, now);
      break;
    case State::naming:
      on_named(*frame, now);
      break;
    case State::deleting:
      on_deleted(*frame, now);
      break;
  }
  return true;
}

void Churner::create(Nanoseconds now) {
  std::array<kafka::CreateTopicsRequest::Topic, 1> topics;
  topics[0].name = std::string_view(config_.topic);
  topics[0].partition_count = config_.partitions;
  topics[0].replication_factor = 1;
  kafka::CreateTopicsRequest request;
  request.topics = kafka::Slice<kafka::CreateTopicsRequest::Topic>(std::span(topics));
  version_ = static_cast<kafka::Version>(random_.between(2, 7));
  connection_.send(request, version_, now);
  state_ = State::creating;
}

void Churner::on_created(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::CreateTopicsResponse> answer(frame, version_);
  const auto& topic = answer.message.topics[0];
  if (topic.error_code == ErrorCode::NONE && version_ >= 7) return begin_life(topic.topic_id, now);
  if (topic.error_code == ErrorCode::NONE) return ask_its_name(now);
  if (topic.error_code == ErrorCode::TOPIC_ALREADY_EXISTS) {
    check(may_be_done_, "a deleted topic is there again");
    return ask_its_name(now);
  }
  check(topic.error_code != ErrorCode::INVALID_PARTITIONS, "a deleted topic keeps its slots");
  may_be_done_ = true;
  rest(now, pause_ms_max);
}

void Churner::ask_its_name(Nanoseconds now) {
  kafka::MetadataRequest request;
  std::array<kafka::MetadataRequest::Topic, 1> topics;
  topics[0].name = kafka::NullableText(std::string_view(config_.topic));
  request.topics = kafka::NullableSlice<kafka::MetadataRequest::Topic>(std::span(topics));
  request.allow_auto_topic_creation = false;
  connection_.send(request, metadata_version, now);
  state_ = State::naming;
  may_be_done_ = true;  // the topic is there
}

void Churner::on_named(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::MetadataResponse> metadata(frame, metadata_version);
  const auto& topic = metadata.message.topics[0];
  check(topic.error_code == ErrorCode::NONE, "a topic that was created is not there", static_cast<int>(topic.error_code));
  begin_life(topic.topic_id, now);
}

void Churner::begin_life(const kafka::Uuid& id, Nanoseconds now) {
  check(ids_.insert(id).second, "a topic id was given out twice");
  topic_id_ = id;
  exists_ = true;
  may_be_done_ = false;
  news_ = News::created;
  rest(now, life_ms_max);
}

void Churner::remove(Nanoseconds now) {
  kafka::DeleteTopicsRequest request;
  std::array<kafka::DeleteTopicsRequest::Topic, 1> topics;
  std::array<kafka::Text, 1> names = {std::string_view(config_.topic)};
  version_ = static_cast<kafka::Version>(random_.between(4, 6));
  if (version_ < 6) {
    request.topic_names = kafka::Slice<kafka::Text>(std::span(names));
  } else {
    topics[0].topic_id = topic_id_;
    request.topics = kafka::Slice<kafka::DeleteTopicsRequest::Topic>(std::span(topics));
  }
  connection_.send(request, version_, now);
  state_ = State::deleting;
  news_ = News::deletion_asked;
}

void Churner::on_deleted(const Frame& frame, Nanoseconds now) {
  const Decoded<kafka::DeleteTopicsResponse> answer(frame, version_);
  const ErrorCode error = answer.message.topics[0].error_code;
  const bool unknown = error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION || error == ErrorCode::UNKNOWN_TOPIC_ID;
  check(!unknown || may_be_done_, "a topic is gone that nobody deleted");
  if (error == ErrorCode::NONE || unknown) {
    exists_ = may_be_done_ = false;
    news_ = News::deleted;
  } else {
    may_be_done_ = true;
  }
  rest(now, pause_ms_max);
}

}  // namespace penstock::sim
