// InitProducerId, versions 0 to 5. Version 6 (two-phase commit, KIP-939) is still unstable in Kafka 4.1.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

struct InitProducerIdRequest {
  static constexpr ApiKey key = ApiKey::init_producer_id;
  static constexpr Version oldest = 0, newest = 5, flexible = 2;

  NullableText transactional_id;
  int32_t transaction_timeout_ms = 0;
  int64_t producer_id = -1;
  int16_t producer_epoch = -1;
  static void describe(auto& wire, auto& m) {
    wire.field(m.transactional_id);
    wire.field(m.transaction_timeout_ms);
    wire.field(m.producer_id, since(3));
    wire.field(m.producer_epoch, since(3));
    wire.tags();
  }
};

struct InitProducerIdResponse {
  static constexpr ApiKey key = ApiKey::init_producer_id;
  static constexpr Version oldest = 0, newest = 5, flexible = 2;

  int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::NONE;
  int64_t producer_id = -1;
  int16_t producer_epoch = 0;
  static void describe(auto& wire, auto& m) {
    wire.field(m.throttle_time_ms);
    wire.field(m.error_code);
    wire.field(m.producer_id);
    wire.field(m.producer_epoch);
    wire.tags();
  }
};

}  // namespace penstock::kafka
