// DeleteRecords, versions 0 to 2.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

// As an offset: everything that consumers see.
inline constexpr int64_t delete_records_high_watermark = -1;

struct DeleteRecordsRequest {
  static constexpr ApiKey key = ApiKey::delete_records;
  static constexpr Version oldest = 0, newest = 2, flexible = 2;

  struct Partition {
    int32_t index = 0;
    int64_t offset = 0;  // records below are deleted
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.offset);
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

  Slice<Topic> topics;
  int32_t timeout_ms = 0;
  static void describe(auto& wire, auto& m) {
    wire.field(m.topics);
    wire.field(m.timeout_ms);
    wire.tags();
  }
};

struct DeleteRecordsResponse {
  static constexpr ApiKey key = ApiKey::delete_records;
  static constexpr Version oldest = 0, newest = 2, flexible = 2;

  struct Partition {
    int32_t index = 0;
    int64_t low_watermark = -1;  // the log start, over all replicas
    ErrorCode error_code = ErrorCode::NONE;
    static void describe(auto& wire, auto& m) {
      wire.field(m.index);
      wire.field(m.low_watermark);
      wire.field(m.error_code);
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
    wire.field(m.throttle_time_ms);
    wire.field(m.topics);
    wire.tags();
  }
};

}  // namespace penstock::kafka
