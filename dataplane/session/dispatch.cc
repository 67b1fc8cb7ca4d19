// From request header to handler. What cannot be decoded closes the connection, as Kafka does; an ApiVersions request
// of an unknown version is the exception (KIP-511).
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::ApiKey;
using kafka::ErrorCode;

Outcome Broker::dispatch(RequestContext& context) {
  scratch_.reset();
  context.request = kafka::open_request(context.whole, scratch_);
  if (context.request.status != kafka::DecodeStatus::ok || context.request.api == nullptr) return Outcome::malformed;
  context.version = context.request.header.api_version;
  if (!context.request.served) {
    return context.request.api->key == ApiKey::api_versions ? refuse_api_versions(*this, context) : Outcome::malformed;
  }
  const bool on_the_log = context.request.api->key == ApiKey::produce || context.request.api->key == ApiKey::fetch ||
                          context.request.api->key == ApiKey::list_offsets ||
                          context.request.api->key == ApiKey::delete_records;
  if (on_the_log && log_.state() == LogState::starting) {
    // What recovery found is not known to be on stable storage yet.
    block(context.connection_index, Blocked::room);
    return Outcome::blocked;
  }
  switch (context.request.api->key) {
    case ApiKey::produce:
      return handle_produce(*this, context);
    case ApiKey::fetch:
      return handle_fetch(*this, context);
    case ApiKey::list_offsets:
      return handle_list_offsets(*this, context);
    case ApiKey::metadata:
      return handle_metadata(*this, context);
    case ApiKey::find_coordinator:
      return handle_find_coordinator(*this, context);
    case ApiKey::api_versions:
      return handle_api_versions(*this, context);
    case ApiKey::create_topics:
      return handle_admin(*this, context);
    case ApiKey::delete_topics:
      return handle_admin(*this, context);
    case ApiKey::delete_records:
      return handle_delete_records(*this, context);
    case ApiKey::init_producer_id:
      return handle_init_producer_id(*this, context);
    case ApiKey::describe_cluster:
      return handle_describe_cluster(*this, context);
  }
  return Outcome::malformed;
}

Outcome Broker::outcome_of(RequestContext& context, const Response* response) {
  if (response != nullptr) return Outcome::responded;
  if (context.too_large) return Outcome::too_large;
  block(context.connection_index, Blocked::room);
  return Outcome::blocked;
}

void Broker::count_error(ErrorCode error) {
  const auto slot = static_cast<size_t>(static_cast<int>(error) + 1);
  if (error != ErrorCode::NONE && slot < error_code_slots) metrics_.errors[slot].add(1);
}

Located locate(Broker& broker, const TopicView* topic, int32_t partition, ErrorCode unknown_topic) {
  Located located;
  located.topic = topic;
  if (topic == nullptr) {
    located.error = unknown_topic;
    return located;
  }
  if (partition < 0 || static_cast<size_t>(partition) >= topic->partitions.size()) {
    located.error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    return located;
  }
  located.place = &topic->partitions[static_cast<size_t>(partition)];
  if (located.place->lane != broker.lane()) {
    located.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    return located;
  }
  located.state = broker.log().partition(located.place->slot);
  if (located.state == nullptr || located.state->number != located.place->number) {
    located.state = nullptr;
    located.error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
  }
  return located;
}

ErrorCode check_leader_epoch(const PartitionState& state, int32_t current_leader_epoch) {
  if (current_leader_epoch < 0 || current_leader_epoch == state.leader_epoch) return ErrorCode::NONE;
  return current_leader_epoch < state.leader_epoch ? ErrorCode::FENCED_LEADER_EPOCH : ErrorCode::UNKNOWN_LEADER_EPOCH;
}

kafka::Text host_text(Broker& broker, const Endpoint& endpoint) {
  static constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  char text[INET6_ADDRSTRLEN] = "";
  if (std::equal(mapped, mapped + sizeof mapped, endpoint.address)) {
    inet_ntop(AF_INET, endpoint.address + sizeof mapped, text, sizeof text);
  } else {
    inet_ntop(AF_INET6, endpoint.address, text, sizeof text);
  }
  kafka::Text copy;
  return broker.scratch().copy(text, copy) ? copy : kafka::Text("");
}

kafka::Text broker_host(Broker& broker, const RequestContext& context, const BrokerView& lane) {
  return lane.host.empty() ? host_text(broker, broker.local_of(context)) : kafka::Text(lane.host);
}

bool name_endpoints(Broker& broker, const RequestContext& context, kafka::Slice<kafka::NodeEndpoint>& endpoints) {
  const CatalogView& view = broker.view();
  if (!broker.scratch().make(static_cast<uint32_t>(view.brokers.size()), endpoints)) return false;
  for (uint32_t i = 0; i < endpoints.size(); ++i) {
    endpoints[i] = {view.brokers[i].node_id, broker_host(broker, context, view.brokers[i]), view.brokers[i].port,
                    view.rack.empty() ? kafka::NullableText() : kafka::NullableText(view.rack)};
  }
  return true;
}

}  // namespace penstock
