// CreateTopics, versions 2 to 7. One request is one change of the catalog: the topics that are refused are answered
// each with its reason, the others are created together.
//
// Unlike Kafka: a replication factor above 1 needs the setting accept_replication_factor and is recorded as 1; a manual
// assignment names this node's lanes by their node ids and may name one replica per partition.
#include <algorithm>
#include <deque>
#include <set>

#include "dataplane/control/control.h"
#include "dataplane/control/encode_reply.h"

namespace penstock {

using kafka::ErrorCode;

namespace {

using Request = kafka::CreateTopicsRequest;
using Response = kafka::CreateTopicsResponse;

constexpr int default_source = 5, static_broker_source = 4, topic_source = 1;  // DescribeConfigs' numbers

std::unexpected<Refusal> refuse(ErrorCode error, std::string message) {
  return std::unexpected(Refusal{error, std::move(message)});
}

// A topic's configurations take 1.3 KB in a response; a lane sends responses from a bounded memory. Later topics of the
// request say instead that theirs are left out.
constexpr size_t configs_per_response_max = 1000;

// What became of one topic of the request.
struct Verdict {
  std::string_view name;
  Refusal refusal;
  kafka::Uuid id{};
  int32_t partition_count = -1;
  TopicConfigs configs;
};

// Every configuration the topic has, with the texts the response points into.
class ConfigList {
 public:
  ConfigList(const TopicConfigs& own, int32_t max_message_bytes) {
    const std::span<const TopicConfigKey> keys = topic_config_keys();
    values_.reserve(keys.size());  // the response points into them
    for (const TopicConfigKey& key : keys) {
      const std::string& value = values_.emplace_back(effective_topic_config(key, own, max_message_bytes));
      const int source = own.contains(key.name)       ? topic_source
                         : value != key.default_value ? static_broker_source
                                                      : default_source;
      configs_.push_back({.name = kafka::Text(key.name),
                          .value = std::string_view(value),
                          .config_source = static_cast<int8_t>(source)});
    }
  }
  std::span<Response::Config> configs() { return configs_; }

 private:
  std::vector<std::string> values_;
  std::vector<Response::Config> configs_;
};

bool excessive(const Request& request) {
  uint64_t partition_count = 0;
  for (const Request::Topic& topic : request.topics)
    partition_count += static_cast<uint64_t>(std::max(topic.partition_count, 1)) + topic.assignments.size();
  return request.topics.size() > Control::topics_per_request_max ||
         partition_count > Control::partitions_per_request_max;
}

std::set<std::string_view> names_given_twice(const Request& request) {
  std::set<std::string_view> seen, twice;
  for (const Request::Topic& topic : request.topics) {
    if (!seen.insert(topic.name).second) twice.insert(topic.name);
  }
  return twice;
}

// Lanes by partition index, from node ids.
std::expected<std::vector<uint32_t>, Refusal> assigned_lanes(const Request::Topic& topic, const NodeRecord& node,
                                                             bool accept_replication_factor) {
  constexpr uint32_t unassigned = UINT32_MAX;
  std::vector<uint32_t> lanes(topic.assignments.size(), unassigned);
  for (const Request::Assignment& assignment : topic.assignments) {
    const int32_t index = assignment.partition_index;
    if (index < 0 || static_cast<uint32_t>(index) >= lanes.size())
      return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    "partitions should be a consecutive 0-based integer sequence");
    if (lanes[static_cast<uint32_t>(index)] != unassigned)
      return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    "Found multiple manual partition assignments for partition " + std::to_string(index));
    if (assignment.broker_ids.empty())
      return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    "The manual partition assignment of partition " + std::to_string(index) + " is empty.");
    if (assignment.broker_ids.size() > 1 && !accept_replication_factor)
      return refuse(ErrorCode::INVALID_REPLICATION_FACTOR,
                    "This node keeps one replica of each partition; the assignment of partition " +
                        std::to_string(index) + " names " + std::to_string(assignment.broker_ids.size()) +
                        ". The setting accept_replication_factor = true makes it accept more and record the first.");
    const int64_t lane = int64_t{assignment.broker_ids[0]} - node.node_id_base;
    if (lane < 0 || lane >= node.lane_count)
      return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, "The manual partition assignment includes broker " +
                                                               std::to_string(assignment.broker_ids[0]) +
                                                               ", but no such broker is registered.");
    lanes[static_cast<uint32_t>(index)] = static_cast<uint32_t>(lane);
  }
  return lanes;
}

}  // namespace

std::vector<std::byte> Control::create_topics(const Request& request, const kafka::RequestHeader& header) {
  std::expected<CatalogDraft, StoreError> draft = begin();
  const bool too_many = excessive(request);
  const std::set<std::string_view> twice = too_many ? std::set<std::string_view>() : names_given_twice(request);
  std::set<std::string_view> answered;

  std::vector<Verdict> verdicts;
  for (const Request::Topic& topic : request.topics) {
    if (twice.contains(topic.name) && !answered.insert(topic.name).second) continue;
    Verdict& verdict = verdicts.emplace_back(Verdict{.name = topic.name});
    if (too_many) {
      verdict.refusal = {ErrorCode::POLICY_VIOLATION, "Excessively large number of topics or partitions per request."};
    } else if (twice.contains(topic.name)) {
      verdict.refusal = {ErrorCode::INVALID_REQUEST, "Duplicate topic name."};
    } else if (!draft) {
      verdict.refusal = storage_refusal();
    } else if (auto wish = wanted(topic); !wish) {
      verdict.refusal = std::move(wish.error());
    } else if (auto record = draft->create(*wish, random_); !record) {
      verdict.refusal = std::move(record.error());
    } else {
      verdict.partition_count = static_cast<int32_t>((*record)->partitions.size());
      verdict.configs = (*record)->configs;
      if (!request.validate_only) verdict.id = (*record)->id;
    }
  }

  const bool done = request.validate_only || !draft || commit(*draft);
  for (Verdict& verdict : verdicts) {
    if (verdict.refusal.error != ErrorCode::NONE) continue;
    if (!done) verdict = {.name = verdict.name, .refusal = storage_refusal()};
    if (done && !request.validate_only)
      say("topic '" + std::string(verdict.name) + "' created: id " + to_text(verdict.id) + ", " +
          std::to_string(verdict.partition_count) + " partitions");
  }

  std::deque<ConfigList> configs;
  std::vector<Response::Topic> topics;
  for (const Verdict& verdict : verdicts) {
    const bool good = verdict.refusal.error == ErrorCode::NONE;
    Response::Topic& topic = topics.emplace_back();
    topic.name = verdict.name;
    topic.topic_id = verdict.id;
    topic.error_code = verdict.refusal.error;
    if (!good) topic.error_message = error_text(verdict.refusal);
    topic.partition_count = verdict.partition_count;
    topic.replication_factor = good ? 1 : -1;
    topic.configs = kafka::Slice<Response::Config>();
    if (!good || header.api_version < 5) continue;
    if (configs.size() < configs_per_response_max) {
      topic.configs = configs.emplace_back(verdict.configs, settings_.max_message_bytes).configs();
    } else {
      topic.configs = {};
      topic.topic_config_error_code = ErrorCode::POLICY_VIOLATION;
    }
  }
  Response response;
  response.topics = std::span(topics);
  return encode_reply(header, response);
}

std::expected<NewTopic, Refusal> Control::wanted(const Request::Topic& topic) const {
  NewTopic wish{.name = topic.name};
  if (!topic.assignments.empty()) {
    if (topic.replication_factor != -1)
      return refuse(ErrorCode::INVALID_REQUEST,
                    "A manual partition assignment was specified, but replication factor was not set to -1.");
    if (topic.partition_count != -1)
      return refuse(ErrorCode::INVALID_REQUEST,
                    "A manual partition assignment was specified, but numPartitions was not set to -1.");
    auto lanes = assigned_lanes(topic, catalog_.node(), settings_.accept_replication_factor);
    if (!lanes) return std::unexpected(std::move(lanes.error()));
    wish.lanes = std::move(*lanes);
    wish.partition_count = static_cast<uint32_t>(wish.lanes.size());
  } else {
    if (topic.replication_factor == 0 || topic.replication_factor < -1)
      return refuse(ErrorCode::INVALID_REPLICATION_FACTOR,
                    "Replication factor must be larger than 0, or -1 to use the default value.");
    if (topic.replication_factor > 1 && !settings_.accept_replication_factor)
      return refuse(ErrorCode::INVALID_REPLICATION_FACTOR,
                    "Replication factor " + std::to_string(topic.replication_factor) +
                        " was asked for, but this node keeps one replica of each partition. Ask for 1 or -1; the "
                        "setting accept_replication_factor = true makes it accept more and record 1.");
    if (topic.partition_count == 0 || topic.partition_count < -1)
      return refuse(ErrorCode::INVALID_PARTITIONS,
                    "Number of partitions must be larger than 0, or -1 to use the default value.");
    wish.partition_count =
        static_cast<uint32_t>(topic.partition_count == -1 ? settings_.num_partitions : topic.partition_count);
  }

  for (const Request::Config& config : topic.configs) {
    if (config.value.is_null())
      return refuse(ErrorCode::INVALID_CONFIG,
                    "Null value not supported for topic configs: " + std::string(config.name));
    wish.configs.insert_or_assign(std::string(config.name), std::string(config.value.text()));
  }
  return wish;
}

}  // namespace penstock
