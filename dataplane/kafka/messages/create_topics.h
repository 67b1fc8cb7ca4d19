// CreateTopics, versions 2 to 7.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

struct CreateTopicsRequest {
  static constexpr ApiKey key = ApiKey::create_topics;
  static constexpr Version oldest = 2, newest = 7, flexible = 5;

  struct Assignment {
    int32_t partition_index = 0;
    Slice<int32_t> broker_ids;
    static void describe(auto& wire, auto& m) {
      wire.field(m.partition_index);
      wire.field(m.broker_ids);
      wire.tags();
    }
  };
  struct Config {
    Text name;
    NullableText value;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.value);
      wire.tags();
    }
  };
  struct Topic {
    Text name;
    int32_t partition_count = 0;     // -1: the broker's default (KIP-464), or as `assignments` say
    int16_t replication_factor = 0;  // -1: likewise
    Slice<Assignment> assignments;
    Slice<Config> configs;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.partition_count);
      wire.field(m.replication_factor);
      wire.field(m.assignments);
      wire.field(m.configs);
      wire.tags();
    }
  };

  Slice<Topic> topics;
  int32_t timeout_ms = 60'000;
  bool validate_only = false;
  static void describe(auto& wire, auto& m) {
    wire.field(m.topics);
    wire.field(m.timeout_ms);
    wire.field(m.validate_only);
    wire.tags();
  }
};

struct CreateTopicsResponse {
  static constexpr ApiKey key = ApiKey::create_topics;
  static constexpr Version oldest = 2, newest = 7, flexible = 5;

  struct Config {
    Text name;
    NullableText value;
    bool read_only = false;
    int8_t config_source = -1;
    bool is_sensitive = false;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.value);
      wire.field(m.read_only);
      wire.field(m.config_source);
      wire.field(m.is_sensitive);
      wire.tags();
    }
  };
  struct Topic {
    Text name;
    Uuid topic_id;
    ErrorCode error_code = ErrorCode::NONE;
    NullableText error_message;
    ErrorCode topic_config_error_code = ErrorCode::NONE;  // why `configs` is null
    int32_t partition_count = -1;
    int16_t replication_factor = -1;
    NullableSlice<Config> configs;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.topic_id, since(7));
      wire.field(m.error_code);
      wire.field(m.error_message);
      wire.field(m.partition_count, since(5));
      wire.field(m.replication_factor, since(5));
      wire.field(m.configs, since(5));
      wire.tags(tag(0, m.topic_config_error_code));
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
