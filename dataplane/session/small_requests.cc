// ApiVersions, versions 0 to 4; InitProducerId, versions 0 to 5; FindCoordinator, versions 0 to 6; and the requests
// the control plane answers: CreateTopics, versions 2 to 7, and DeleteTopics, versions 1 to 6.
#include <array>
#include <cstring>

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/find_coordinator.h"
#include "dataplane/kafka/messages/init_producer_id.h"
#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::ErrorCode;

namespace {

std::array<kafka::ApiVersionsResponse::Range, kafka::served_apis.size()> advertised_ranges() {
  std::array<kafka::ApiVersionsResponse::Range, kafka::served_apis.size()> ranges;
  for (size_t i = 0; i < ranges.size(); ++i) {
    ranges[i] = {kafka::served_apis[i].key, kafka::served_apis[i].oldest, kafka::served_apis[i].newest};
  }
  return ranges;
}

}  // namespace

Outcome handle_api_versions(Broker& broker, RequestContext& context) {
  kafka::ApiVersionsRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  auto ranges = advertised_ranges();
  kafka::ApiVersionsResponse response;
  response.api_keys = kafka::Slice<kafka::ApiVersionsResponse::Range>(std::span(ranges));
  return broker.outcome_of(context, broker.respond(context, response));
}

Outcome refuse_api_versions(Broker& broker, RequestContext& context) {
  auto ranges = advertised_ranges();
  kafka::ApiVersionsResponse response;
  response.error_code = ErrorCode::UNSUPPORTED_VERSION;
  response.api_keys = kafka::Slice<kafka::ApiVersionsResponse::Range>(std::span(ranges));
  context.version = 0;
  broker.count_error(response.error_code);
  return broker.outcome_of(context, broker.respond(context, response));
}

// Ids come from a block the catalog gave this lane durably, so none is ever given twice. Without transactions every
// request gets a new id with epoch 0, also one that wants to bump the epoch of an id it has (KIP-360): a new id is as
// good to it.
Outcome handle_init_producer_id(Broker& broker, RequestContext& context) {
  kafka::InitProducerIdRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  kafka::InitProducerIdResponse response;
  if (!request.transactional_id.is_null()) {
    // Transactions are not served; COORDINATOR_NOT_AVAILABLE is what a client that asked for one retries or reports.
    response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
    broker.count_error(response.error_code);
    broker.notice("a client asked for a transactional id: transactions are not served yet");
    return broker.outcome_of(context, broker.respond(context, response));
  }
  const auto id = broker.take_producer_id(context.connection_index);
  if (!id.has_value() && broker.no_producer_ids()) {
    response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;  // clients back off and ask again
    broker.count_error(response.error_code);
    return broker.outcome_of(context, broker.respond(context, response));
  }
  if (!id.has_value()) {
    broker.block(context.connection_index, Blocked::control);
    return Outcome::blocked;
  }
  response.producer_id = *id;
  response.producer_epoch = 0;
  return broker.outcome_of(context, broker.respond(context, response));
}

Outcome handle_find_coordinator(Broker& broker, RequestContext& context) {
  kafka::FindCoordinatorRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  constexpr auto message = "consumer groups and transactions are not served yet";
  kafka::FindCoordinatorResponse response;
  response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
  response.error_message = message;
  response.node_id = -1;
  response.port = -1;
  if (!broker.scratch().make(request.coordinator_keys.size(), response.coordinators)) return Outcome::malformed;
  for (uint32_t i = 0; i < request.coordinator_keys.size(); ++i) {
    response.coordinators[i] = {.key = request.coordinator_keys[i],
                                .node_id = -1,
                                .port = -1,
                                .error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE,
                                .error_message = message};
  }
  broker.count_error(ErrorCode::COORDINATOR_NOT_AVAILABLE);
  broker.notice("a client asked for a coordinator: consumer groups and transactions are not served yet");
  return broker.outcome_of(context, broker.respond(context, response));
}

// The whole request goes to the control plane; when its answer is there the request is run again and finds it.
Outcome handle_admin(Broker& broker, RequestContext& context) {
  if (!broker.control_answer().empty()) {
    // Without memory for it the connection is given up: what the control plane did must not be done again.
    const Response* sent = broker.respond_unprefixed(context, broker.control_answer());
    return sent != nullptr ? Outcome::responded : Outcome::malformed;
  }
  if (context.whole.size() > admin_request_bytes_max) return Outcome::malformed;
  ToControl message;
  message.kind = ToControlKind::admin_request;
  message.bytes.resize(context.whole.size());
  context.whole.copy_out(0, message.bytes.data(), message.bytes.size());
  broker.ask_control(context.connection_index, std::move(message));
  broker.block(context.connection_index, Blocked::control);
  return Outcome::blocked;
}

}  // namespace penstock
