// ListOffsets, versions 1 to 10.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

// What a request's timestamp may hold besides a time in ms.
inline constexpr int64_t list_offsets_latest = -1;
inline constexpr int64_t list_offsets_earliest = -2;
inline constexpr int64_t list_offsets_max_timestamp = -3;   // since 7, KIP-734
inline constexpr int64_t list_offsets_earliest_local = -4;  // since 8, KIP-405
inline constexpr int64_t list_offsets_latest_tiered = -5;   // since 9, KIP-1005

struct ListOffsetsRequest {
  static constexpr ApiKey key = ApiKey::list_offsets;
  static constexpr Version oldest = 1, newest = 10, flexible = 6;

  struct Partition {
    int32_t index = 0;
    int32_t current_leader_epoch = -1;
    int64_t timestamp = 0;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.current_leader_epoch, since(4));
      wire.field(m.timestamp);
      wire.tags();
    }
  };
  struct Topic {
    Text name;
    Slice<Partition> partitions;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.partitions);
      wire.tags();
    }
  };

  int32_t replica_id = 0;  // -1: a consumer
  int8_t isolation_level = 0;
  Slice<Topic> topics;
  int32_t timeout_ms = 0;
  static void describe(auto& wire, auto& m) {
    wire.field(m.replica_id);
    wire.field(m.isolation_level, since(2));
    wire.field(m.topics);
    wire.field(m.timeout_ms, since(10));
    wire.tags();
  }
};

struct ListOffsetsResponse {
  static constexpr ApiKey key = ApiKey::list_offsets;
  static constexpr Version oldest = 1, newest = 10, flexible = 6;

  struct Partition {
    int32_t index = 0;
    ErrorCode error_code = ErrorCode::NONE;
    int64_t timestamp = -1;
    int64_t offset = -1;
    int32_t leader_epoch = -1;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.error_code);
      wire.field(m.timestamp);
      wire.field(m.offset);
      wire.field(m.leader_epoch, since(4));
      wire.tags();
    }
  };
  struct Topic {
    Text name;
    Slice<Partition> partitions;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.partitions);
      wire.tags();
    }
  };

  int32_t throttle_time_ms = 0;
  Slice<Topic> topics;
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms, since(2));
    wire.field(m.topics);
    wire.tags();
  }
};

}  // namespace penstock::kafka
