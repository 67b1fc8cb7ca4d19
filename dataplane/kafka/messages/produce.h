// Produce, versions 3 to 13. From 13 on topics are named by id only (KIP-516).
#pragma once

#include "dataplane/kafka/api.h"
#include "dataplane/kafka/messages/leader.h"

namespace penstock::kafka {

struct ProduceRequest {
  static constexpr ApiKey key = ApiKey::produce;
  static constexpr Version oldest = 3, newest = 13, flexible = 9;

  struct Partition {
    int32_t index = 0;
    Records records;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.records);
      wire.tags();
    }
  };
  struct Topic {
    Text name;
    Uuid topic_id;
    Slice<Partition> partitions;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name, until(12));
      wire.field(m.topic_id, since(13));
      wire.field(m.partitions);
      wire.tags();
    }
  };

  NullableText transactional_id;
  int16_t acks = 0;
  int32_t timeout_ms = 0;
  Slice<Topic> topics;
  static void describe(auto& wire, auto& m) {
    wire.field(m.transactional_id);
    wire.field(m.acks);
    wire.field(m.timeout_ms);
    wire.field(m.topics);
    wire.tags();
  }
};

struct ProduceResponse {
  static constexpr ApiKey key = ApiKey::produce;
  static constexpr Version oldest = 3, newest = 13, flexible = 9;

  struct RecordError {
    int32_t batch_index = 0;
    NullableText message;
    static void describe(auto& wire, auto& m) {
      wire.field(m.batch_index);
      wire.field(m.message);
      wire.tags();
    }
  };
  using Leader = CurrentLeader;
  struct Partition {
    int32_t index = 0;
    ErrorCode error_code = ErrorCode::NONE;
    int64_t base_offset = 0;
    int64_t log_append_time_ms = -1;
    int64_t log_start_offset = -1;
    Slice<RecordError> record_errors;
    NullableText error_message;
    Leader current_leader;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.error_code);
      wire.field(m.base_offset);
      wire.field(m.log_append_time_ms, since(2));
      wire.field(m.log_start_offset, since(5));
      wire.field(m.record_errors, since(8));
      wire.field(m.error_message, since(8));
      wire.tags(tag(0, m.current_leader, since(10)));
    }
  };
  struct Topic {
    Text name;
    Uuid topic_id;
    Slice<Partition> partitions;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name, until(12));
      wire.field(m.topic_id, since(13));
      wire.field(m.partitions);
      wire.tags();
    }
  };
  using Endpoint = NodeEndpoint;

  Slice<Topic> topics;
  int32_t throttle_time_ms = 0;
  Slice<Endpoint> node_endpoints;
  static void describe(auto& wire, auto& m) {
    wire.field(m.topics);
    wire.field(m.throttle_time_ms, since(1));
    wire.tags(tag(0, m.node_endpoints, since(10)));
  }
};

}  // namespace penstock::kafka
