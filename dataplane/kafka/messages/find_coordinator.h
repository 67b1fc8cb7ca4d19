// FindCoordinator, versions 0 to 6. From 4 on several keys are asked for at once (KIP-699).
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

inline constexpr int8_t coordinator_of_group = 0;
inline constexpr int8_t coordinator_of_transaction = 1;
inline constexpr int8_t coordinator_of_share_group = 2;  // since 6

struct FindCoordinatorRequest {
  static constexpr ApiKey key = ApiKey::find_coordinator;
  static constexpr Version oldest = 0, newest = 6, flexible = 3;

  Text coordinator_key;  // until 3
  int8_t key_type = coordinator_of_group;
  Slice<Text> coordinator_keys;  // since 4
  static void describe(auto& wire, auto& m) {
    wire.field(m.coordinator_key, until(3));
    wire.field(m.key_type, since(1));
    wire.field(m.coordinator_keys, since(4));
    wire.tags();
  }
};

struct FindCoordinatorResponse {
  static constexpr ApiKey key = ApiKey::find_coordinator;
  static constexpr Version oldest = 0, newest = 6, flexible = 3;

  struct Coordinator {
    Text key;
    int32_t node_id = 0;
    Text host;
    int32_t port = 0;
    ErrorCode error_code = ErrorCode::NONE;
    NullableText error_message;
    static void describe(auto& wire, auto& m) {
      wire.field(m.key);
      wire.field(m.node_id);
      wire.field(m.host);
      wire.field(m.port);
      wire.field(m.error_code);
      wire.field(m.error_message);
      wire.tags();
    }
  };

  int32_t throttle_time_ms = 0;
  // Until 3 the one answer stands in the message itself, since 4 in `coordinators`.
  ErrorCode error_code = ErrorCode::NONE;
  NullableText error_message;
  int32_t node_id = 0;
  Text host;
  int32_t port = 0;
  Slice<Coordinator> coordinators;
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms, since(1));
    wire.field(m.error_code, until(3));
    wire.field(m.error_message, between(1, 3));
    wire.field(m.node_id, until(3));
    wire.field(m.host, until(3));
    wire.field(m.port, until(3));
    wire.field(m.coordinators, since(4));
    wire.tags();
  }
};

}  // namespace penstock::kafka
