// DeleteTopics, versions 1 to 6. Version 6 names topics by name or by id (KIP-516).
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

struct DeleteTopicsRequest {
  static constexpr ApiKey key = ApiKey::delete_topics;
  static constexpr Version oldest = 1, newest = 6, flexible = 4;

  struct Topic {
    NullableText name;  // null: the id counts
    Uuid topic_id;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.topic_id);
      wire.tags();
    }
  };

  Slice<Topic> topics;      // since 6
  Slice<Text> topic_names;  // until 5
  int32_t timeout_ms = 0;
  static void describe(auto& wire, auto& m) {
    wire.field(m.topics, since(6));
    wire.field(m.topic_names, until(5));
    wire.field(m.timeout_ms);
    wire.tags();
  }
};

struct DeleteTopicsResponse {
  static constexpr ApiKey key = ApiKey::delete_topics;
  static constexpr Version oldest = 1, newest = 6, flexible = 4;

  struct Topic {
    NullableText name;
    Uuid topic_id;
    ErrorCode error_code = ErrorCode::NONE;
    NullableText error_message;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name, null_since(6));
      wire.field(m.topic_id, since(6));
      wire.field(m.error_code);
      wire.field(m.error_message, since(5));
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
