// Metadata, versions 0 to 13.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

// What "authorized operations" holds when nobody asked for them or nothing is authorized.
inline constexpr int32_t no_authorized_operations = INT32_MIN;

// All topics are asked for by an empty list in version 0, by null later; an empty list then asks for none.
struct MetadataRequest {
  static constexpr ApiKey key = ApiKey::metadata;
  static constexpr Version oldest = 0, newest = 13, flexible = 9;

  struct Topic {
    Uuid topic_id;
    NullableText name;
    static void describe(auto& wire, auto& m) {
      wire.field(m.topic_id, since(10));
      wire.field(m.name, null_since(10));
      wire.tags();
    }
  };

  NullableSlice<Topic> topics;
  bool allow_auto_topic_creation = true;
  bool include_cluster_authorized_operations = false;
  bool include_topic_authorized_operations = false;
  static void describe(auto& wire, auto& m) {
    wire.field(m.topics, null_since(1));
    wire.field(m.allow_auto_topic_creation, since(4));
    wire.field(m.include_cluster_authorized_operations, between(8, 10));
    wire.field(m.include_topic_authorized_operations, since(8));
    wire.tags();
  }
};

struct MetadataResponse {
  static constexpr ApiKey key = ApiKey::metadata;
  static constexpr Version oldest = 0, newest = 13, flexible = 9;

  struct Broker {
    int32_t node_id = 0;
    Text host;
    int32_t port = 0;
    NullableText rack;
    static void describe(auto& wire, auto& m) {
      wire.field(m.node_id);
      wire.field(m.host);
      wire.field(m.port);
      wire.field(m.rack, since(1));
      wire.tags();
    }
  };
  struct Partition {
    ErrorCode error_code = ErrorCode::NONE;
    int32_t index = 0;
    int32_t leader_id = 0;
    int32_t leader_epoch = -1;
    Slice<int32_t> replica_nodes;
    Slice<int32_t> isr_nodes;
    Slice<int32_t> offline_replicas;
    static void describe(auto& wire, auto& m) {
      wire.field(m.error_code);
      wire.field(m.index);
      wire.field(m.leader_id);
      wire.field(m.leader_epoch, since(7));
      wire.field(m.replica_nodes);
      wire.field(m.isr_nodes);
      wire.field(m.offline_replicas, since(5));
      wire.tags();
    }
  };
  struct Topic {
    ErrorCode error_code = ErrorCode::NONE;
    NullableText name;
    Uuid topic_id;
    bool is_internal = false;
    Slice<Partition> partitions;
    int32_t authorized_operations = no_authorized_operations;
    static void describe(auto& wire, auto& m) {
      wire.field(m.error_code);
      wire.field(m.name, null_since(12));
      wire.field(m.topic_id, since(10));
      wire.field(m.is_internal, since(1));
      wire.field(m.partitions);
      wire.field(m.authorized_operations, since(8));
      wire.tags();
    }
  };

  int32_t throttle_time_ms = 0;
  Slice<Broker> brokers;
  NullableText cluster_id;
  int32_t controller_id = -1;
  Slice<Topic> topics;
  int32_t cluster_authorized_operations = no_authorized_operations;
  ErrorCode error_code = ErrorCode::NONE;
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms, since(3));
    wire.field(m.brokers);
    wire.field(m.cluster_id, since(2));
    wire.field(m.controller_id, since(1));
    wire.field(m.topics);
    wire.field(m.cluster_authorized_operations, between(8, 10));
    wire.field(m.error_code, since(13));
    wire.tags();
  }
};

}  // namespace penstock::kafka
