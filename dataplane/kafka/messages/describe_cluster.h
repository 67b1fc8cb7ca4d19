// DescribeCluster, versions 0 to 2.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

inline constexpr int8_t endpoint_type_brokers = 1;
inline constexpr int8_t endpoint_type_controllers = 2;

struct DescribeClusterRequest {
  static constexpr ApiKey key = ApiKey::describe_cluster;
  static constexpr Version oldest = 0, newest = 2, flexible = 0;

  bool include_cluster_authorized_operations = false;
  int8_t endpoint_type = endpoint_type_brokers;
  bool include_fenced_brokers = false;
  static void describe(auto& wire, auto& m) {
    wire.field(m.include_cluster_authorized_operations);
    wire.field(m.endpoint_type, since(1));
    wire.field(m.include_fenced_brokers, since(2));
    wire.tags();
  }
};

struct DescribeClusterResponse {
  static constexpr ApiKey key = ApiKey::describe_cluster;
  static constexpr Version oldest = 0, newest = 2, flexible = 0;

  struct Broker {
    int32_t broker_id = 0;
    Text host;
    int32_t port = 0;
    NullableText rack;
    bool is_fenced = false;
    static void describe(auto& wire, auto& m) {
      wire.field(m.broker_id);
      wire.field(m.host);
      wire.field(m.port);
      wire.field(m.rack);
      wire.field(m.is_fenced, since(2));
      wire.tags();
    }
  };

  int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::NONE;
  NullableText error_message;
  int8_t endpoint_type = endpoint_type_brokers;
  Text cluster_id;
  int32_t controller_id = -1;
  Slice<Broker> brokers;
  int32_t cluster_authorized_operations = INT32_MIN;  // INT32_MIN: not asked for
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms);
    wire.field(m.error_code);
    wire.field(m.error_message);
    wire.field(m.endpoint_type, since(1));
    wire.field(m.cluster_id);
    wire.field(m.controller_id);
    wire.field(m.brokers);
    wire.field(m.cluster_authorized_operations);
    wire.tags();
  }
};

}  // namespace penstock::kafka
