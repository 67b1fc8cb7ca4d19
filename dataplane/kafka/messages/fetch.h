// Fetch, versions 4 to 17. From 13 on topics are named by id only (KIP-516).
#pragma once

#include "dataplane/kafka/api.h"
#include "dataplane/kafka/messages/leader.h"

namespace penstock::kafka {

struct FetchRequest {
  static constexpr ApiKey key = ApiKey::fetch;
  static constexpr Version oldest = 4, newest = 17, flexible = 12;

  struct ReplicaState {
    int32_t replica_id = -1;
    int64_t replica_epoch = -1;
    bool operator==(const ReplicaState&) const = default;
    static void describe(auto& wire, auto& m) {
      wire.field(m.replica_id);
      wire.field(m.replica_epoch);
      wire.tags();
    }
  };
  struct Partition {
    int32_t index = 0;
    int32_t current_leader_epoch = -1;
    int64_t fetch_offset = 0;
    int32_t last_fetched_epoch = -1;
    int64_t log_start_offset = -1;
    int32_t partition_max_bytes = 0;
    Uuid replica_directory_id;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.current_leader_epoch, since(9));
      wire.field(m.fetch_offset);
      wire.field(m.last_fetched_epoch, since(12));
      wire.field(m.log_start_offset, since(5));
      wire.field(m.partition_max_bytes);
      wire.tags(tag(0, m.replica_directory_id, since(17)));
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
  struct ForgottenTopic {  // leaves the fetch session (KIP-227)
    Text name;
    Uuid topic_id;
    Slice<int32_t> partitions;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name, until(12));
      wire.field(m.topic_id, since(13));
      wire.field(m.partitions);
      wire.tags();
    }
  };

  NullableText cluster_id;
  int32_t replica_id = -1;  // -1: a consumer
  ReplicaState replica_state;
  int32_t max_wait_ms = 0;
  int32_t min_bytes = 0;
  int32_t max_bytes = INT32_MAX;
  int8_t isolation_level = 0;  // 0: read uncommitted, 1: read committed
  int32_t session_id = 0;
  int32_t session_epoch = -1;
  Slice<Topic> topics;
  Slice<ForgottenTopic> forgotten_topics;
  Text rack_id;
  static void describe(auto& wire, auto& m) {
    wire.field(m.replica_id, until(14));
    wire.field(m.max_wait_ms);
    wire.field(m.min_bytes);
    wire.field(m.max_bytes);
    wire.field(m.isolation_level);
    wire.field(m.session_id, since(7));
    wire.field(m.session_epoch, since(7));
    wire.field(m.topics);
    wire.field(m.forgotten_topics, since(7));
    wire.field(m.rack_id, since(11));
    wire.tags(tag(0, m.cluster_id), tag(1, m.replica_state, since(15)));
  }
};

struct FetchResponse {
  static constexpr ApiKey key = ApiKey::fetch;
  static constexpr Version oldest = 4, newest = 17, flexible = 12;

  struct EpochEndOffset {
    int32_t epoch = -1;
    int64_t end_offset = -1;
    bool operator==(const EpochEndOffset&) const = default;
    static void describe(auto& wire, auto& m) {
      wire.field(m.epoch);
      wire.field(m.end_offset);
      wire.tags();
    }
  };
  using Leader = CurrentLeader;
  struct SnapshotId {
    int64_t end_offset = -1;
    int32_t epoch = -1;
    bool operator==(const SnapshotId&) const = default;
    static void describe(auto& wire, auto& m) {
      wire.field(m.end_offset);
      wire.field(m.epoch);
      wire.tags();
    }
  };
  struct AbortedTransaction {
    int64_t producer_id = 0;
    int64_t first_offset = 0;
    static void describe(auto& wire, auto& m) {
      wire.field(m.producer_id);
      wire.field(m.first_offset);
      wire.tags();
    }
  };
  struct Partition {
    int32_t index = 0;
    ErrorCode error_code = ErrorCode::NONE;
    int64_t high_watermark = 0;
    int64_t last_stable_offset = -1;
    int64_t log_start_offset = -1;
    EpochEndOffset diverging_epoch;
    Leader current_leader;
    SnapshotId snapshot_id;
    NullableSlice<AbortedTransaction> aborted_transactions;
    int32_t preferred_read_replica = -1;
    Records records;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.error_code);
      wire.field(m.high_watermark);
      wire.field(m.last_stable_offset);
      wire.field(m.log_start_offset, since(5));
      wire.field(m.aborted_transactions);
      wire.field(m.preferred_read_replica, since(11));
      wire.field(m.records);
      wire.tags(tag(0, m.diverging_epoch), tag(1, m.current_leader), tag(2, m.snapshot_id));
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

  int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::NONE;
  int32_t session_id = 0;
  Slice<Topic> topics;
  Slice<Endpoint> node_endpoints;
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms);
    wire.field(m.error_code, since(7));
    wire.field(m.session_id, since(7));
    wire.field(m.topics);
    wire.tags(tag(0, m.node_endpoints, since(16)));
  }
};

}  // namespace penstock::kafka
