// One function per API. Each decodes its request, and either responds, or blocks the connection and runs again from
// the start later, or calls the request malformed. Files are named after the API and open with versions and behaviour.
#pragma once

#include "dataplane/kafka/messages/leader.h"
#include "dataplane/session/broker.h"

namespace penstock {

Outcome handle_produce(Broker& broker, RequestContext& context);
Outcome handle_fetch(Broker& broker, RequestContext& context);
Outcome handle_list_offsets(Broker& broker, RequestContext& context);
Outcome handle_delete_records(Broker& broker, RequestContext& context);
Outcome handle_metadata(Broker& broker, RequestContext& context);
Outcome handle_find_coordinator(Broker& broker, RequestContext& context);
Outcome handle_api_versions(Broker& broker, RequestContext& context);
Outcome handle_init_producer_id(Broker& broker, RequestContext& context);
Outcome handle_describe_cluster(Broker& broker, RequestContext& context);
Outcome handle_admin(Broker& broker, RequestContext& context);  // CreateTopics, DeleteTopics: the control plane answers

// The version-0 reply to an ApiVersions request whose version is unknown (KIP-511).
Outcome refuse_api_versions(Broker& broker, RequestContext& context);

// Decodes the body into `message`; false when it is malformed. Bytes behind a complete message are ignored, as Kafka
// does.
template <class Message>
[[nodiscard]] bool decode(Broker& broker, RequestContext& context, Message& message) {
  const kafka::DecodeStatus status =
      kafka::decode_body(context.request.body, context.version, broker.scratch(), message);
  return status == kafka::DecodeStatus::ok || status == kafka::DecodeStatus::trailing_bytes;
}

// Where a partition named by a client is, or why it cannot be had here.
struct Located {
  kafka::ErrorCode error = kafka::ErrorCode::NONE;
  const TopicView* topic = nullptr;
  const PartitionPlace* place = nullptr;  // set also with NOT_LEADER_OR_FOLLOWER
  PartitionState* state = nullptr;        // set only without error
};
Located locate(Broker& broker, const TopicView* topic, int32_t partition, kafka::ErrorCode unknown_topic);
// Kafka's check of the epoch a client believes in (KIP-320); -1 is not checked.
kafka::ErrorCode check_leader_epoch(const PartitionState& state, int32_t current_leader_epoch);

// "1.2.3.4" or "2001:db8::1" of the 16-byte form, into scratch.
kafka::Text host_text(Broker& broker, const Endpoint& endpoint);
// The address clients are told for a lane, seen from the connection that asks.
kafka::Text broker_host(Broker& broker, const RequestContext& context, const BrokerView& lane);
// Every lane, for an answer that names another leader (KIP-951); false when scratch is full.
[[nodiscard]] bool name_endpoints(Broker& broker, const RequestContext& context,
                                  kafka::Slice<kafka::NodeEndpoint>& endpoints);

}  // namespace penstock
