// Metadata, versions 0 to 13, and DescribeCluster, versions 0 to 2: every lane is a broker, named by node id base +
// lane and reached at port base + lane. The host is the address the asking connection arrived on, unless the operator
// advertises another. Missing topics are created on request (auto.create.topics.enable) and answered when every lane
// knows them.
#include <algorithm>

#include "dataplane/kafka/messages/describe_cluster.h"
#include "dataplane/kafka/messages/metadata.h"
#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::ErrorCode;
using kafka::MetadataRequest;
using kafka::MetadataResponse;

namespace {

kafka::NullableText rack_of(const CatalogView& view) {
  return view.rack.empty() ? kafka::NullableText() : kafka::NullableText(std::string_view(view.rack));
}

bool describe_topic(Broker& broker, const TopicView& topic, MetadataResponse::Topic& answer) {
  const CatalogView& view = broker.view();
  answer.name = kafka::NullableText(std::string_view(topic.name));
  answer.topic_id = topic.id;
  answer.is_internal = topic.name == "__consumer_offsets" || topic.name == "__transaction_state";
  if (!broker.scratch().make(static_cast<uint32_t>(topic.partitions.size()), answer.partitions)) return false;
  // One list of one node per lane would do, but a list per partition is what the description points at; all
  // partitions of a lane share theirs.
  kafka::Slice<int32_t> nodes;
  if (!broker.scratch().make(static_cast<uint32_t>(view.brokers.size()), nodes)) return false;
  for (uint32_t i = 0; i < nodes.size(); ++i) nodes[i] = view.brokers[i].node_id;
  for (uint32_t i = 0; i < answer.partitions.size(); ++i) {
    const PartitionPlace& place = topic.partitions[i];
    MetadataResponse::Partition& partition = answer.partitions[i];
    partition.index = static_cast<int32_t>(i);
    partition.leader_id = nodes[place.lane];
    partition.leader_epoch = place.leader_epoch;
    partition.replica_nodes = kafka::Slice<int32_t>(&nodes[place.lane], 1);
    partition.isr_nodes = partition.replica_nodes;
  }
  return true;
}

// Names to create before this request can be answered; empty when none is missing or none may be created.
std::vector<std::string> missing_topics(Broker& broker, const RequestContext& context, const MetadataRequest& request) {
  std::vector<std::string> missing;
  if (context.connection->topics_ensured || !request.allow_auto_topic_creation || !broker.view().auto_create_topics) {
    return missing;
  }
  for (const auto& topic : request.topics) {
    if (!topic.name.is_null() && broker.view().find(topic.name.text()) == nullptr) {
      missing.emplace_back(topic.name.text());
    }
  }
  return missing;
}

}  // namespace

Outcome handle_metadata(Broker& broker, RequestContext& context) {
  MetadataRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  const CatalogView& view = broker.view();
  std::vector<std::string> missing = missing_topics(broker, context, request);
  if (!missing.empty()) {
    context.connection->asked_topics = missing;
    ToControl message;
    message.kind = ToControlKind::ensure_topics;
    message.topics = std::move(missing);
    broker.ask_control(context.connection_index, std::move(message));
    broker.block(context.connection_index, Blocked::control);
    return Outcome::blocked;
  }

  kafka::Scratch& scratch = broker.scratch();
  MetadataResponse response;
  response.cluster_id = kafka::NullableText(std::string_view(view.cluster_id));
  response.controller_id = view.brokers.empty() ? -1 : view.brokers.front().node_id;
  if (!scratch.make(static_cast<uint32_t>(view.brokers.size()), response.brokers)) return Outcome::malformed;
  for (uint32_t i = 0; i < response.brokers.size(); ++i) {
    response.brokers[i] = {view.brokers[i].node_id, broker_host(broker, context, view.brokers[i]), view.brokers[i].port,
                           rack_of(view)};
  }

  const bool all = request.topics.is_null() || (context.version == 0 && request.topics.empty());
  const uint32_t count = all ? static_cast<uint32_t>(view.topics.size()) : request.topics.size();
  if (!scratch.make(count, response.topics)) return Outcome::malformed;
  // The control plane's answers are in the order in which the topics were asked for, which is the request's; some of
  // its topics were there already and were not asked for.
  const std::vector<std::string>& asked = context.connection->asked_topics;
  const std::span<const int16_t> errors =
      broker.ensured_errors().first(std::min(asked.size(), broker.ensured_errors().size()));
  size_t ensured = 0;
  for (uint32_t i = 0; i < count; ++i) {
    MetadataResponse::Topic& answer = response.topics[i];
    const TopicView* topic = nullptr;
    if (all) {
      topic = view.topics[i].get();
    } else if (!request.topics[i].name.is_null()) {
      answer.name = request.topics[i].name;
      topic = view.find(answer.name.text());
      answer.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
      if (ensured < errors.size() && asked[ensured] == answer.name.text()) {
        if (errors[ensured] != 0) answer.error_code = static_cast<ErrorCode>(errors[ensured]);
        ++ensured;
      }
    } else {
      answer.topic_id = request.topics[i].topic_id;
      topic = view.find(answer.topic_id);
      answer.error_code = ErrorCode::UNKNOWN_TOPIC_ID;
    }
    if (topic == nullptr) {
      broker.count_error(answer.error_code);
      continue;
    }
    answer.error_code = ErrorCode::NONE;
    if (!describe_topic(broker, *topic, answer)) return Outcome::malformed;
  }
  return broker.outcome_of(context, broker.respond(context, response));
}

Outcome handle_describe_cluster(Broker& broker, RequestContext& context) {
  kafka::DescribeClusterRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  const CatalogView& view = broker.view();
  kafka::DescribeClusterResponse response;
  response.endpoint_type = request.endpoint_type;
  response.cluster_id = std::string_view(view.cluster_id);
  if (request.endpoint_type != kafka::endpoint_type_brokers) {
    response.error_code = request.endpoint_type == kafka::endpoint_type_controllers
                              ? ErrorCode::MISMATCHED_ENDPOINT_TYPE
                              : ErrorCode::UNSUPPORTED_ENDPOINT_TYPE;
    response.error_message = "this address serves brokers";
    broker.count_error(response.error_code);
    return broker.outcome_of(context, broker.respond(context, response));
  }
  response.controller_id = view.brokers.empty() ? -1 : view.brokers.front().node_id;
  if (!broker.scratch().make(static_cast<uint32_t>(view.brokers.size()), response.brokers)) return Outcome::malformed;
  for (uint32_t i = 0; i < response.brokers.size(); ++i) {
    response.brokers[i] = {view.brokers[i].node_id, broker_host(broker, context, view.brokers[i]), view.brokers[i].port,
                           rack_of(view)};
  }
  return broker.outcome_of(context, broker.respond(context, response));
}

}  // namespace penstock
