// Every message, and the way from a key known at run time to its types.
#pragma once

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/create_topics.h"
#include "dataplane/kafka/messages/delete_records.h"
#include "dataplane/kafka/messages/delete_topics.h"
#include "dataplane/kafka/messages/describe_cluster.h"
#include "dataplane/kafka/messages/fetch.h"
#include "dataplane/kafka/messages/find_coordinator.h"
#include "dataplane/kafka/messages/headers.h"
#include "dataplane/kafka/messages/init_producer_id.h"
#include "dataplane/kafka/messages/list_offsets.h"
#include "dataplane/kafka/messages/metadata.h"
#include "dataplane/kafka/messages/produce.h"

namespace penstock::kafka {

// The two messages of one API. The table in api.h and the messages must agree.
template <class RequestType, class ResponseType>
struct Exchange {
  using Request = RequestType;
  using Response = ResponseType;
  static constexpr ApiKey key = Request::key;
  static_assert(Request::key == Response::key && Request::oldest == Response::oldest &&
                Request::newest == Response::newest && Request::flexible == Response::flexible);
  static_assert(find_api(key)->oldest_served == Request::oldest && find_api(key)->newest == Request::newest &&
                find_api(key)->flexible == Request::flexible);
};

// Calls visit(Exchange<...>()) for the API of `key`; false when it is not served.
template <class Visit>
bool with_exchange(ApiKey key, Visit&& visit) {
  switch (key) {
    case ApiKey::produce:
      visit(Exchange<ProduceRequest, ProduceResponse>());
      return true;
    case ApiKey::fetch:
      visit(Exchange<FetchRequest, FetchResponse>());
      return true;
    case ApiKey::list_offsets:
      visit(Exchange<ListOffsetsRequest, ListOffsetsResponse>());
      return true;
    case ApiKey::metadata:
      visit(Exchange<MetadataRequest, MetadataResponse>());
      return true;
    case ApiKey::find_coordinator:
      visit(Exchange<FindCoordinatorRequest, FindCoordinatorResponse>());
      return true;
    case ApiKey::api_versions:
      visit(Exchange<ApiVersionsRequest, ApiVersionsResponse>());
      return true;
    case ApiKey::create_topics:
      visit(Exchange<CreateTopicsRequest, CreateTopicsResponse>());
      return true;
    case ApiKey::delete_topics:
      visit(Exchange<DeleteTopicsRequest, DeleteTopicsResponse>());
      return true;
    case ApiKey::delete_records:
      visit(Exchange<DeleteRecordsRequest, DeleteRecordsResponse>());
      return true;
    case ApiKey::init_producer_id:
      visit(Exchange<InitProducerIdRequest, InitProducerIdResponse>());
      return true;
    case ApiKey::describe_cluster:
      visit(Exchange<DescribeClusterRequest, DescribeClusterResponse>());
      return true;
  }
  return false;
}

}  // namespace penstock::kafka
