// The headers in front of every request and response, after the length prefix.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

// Header versions 0 (once used by ControlledShutdown only), 1, and 2 in front of flexible requests.
struct RequestHeader {
  static constexpr Version oldest = 0, newest = 2, flexible = 2;
  ApiKey api_key{};
  Version api_version = 0;
  int32_t correlation_id = 0;
  NullableText client_id;
  static void describe(auto& wire, auto& m) {
    wire.field(m.api_key);
    wire.field(m.api_version);
    wire.field(m.correlation_id);
    wire.field(m.client_id, since(1).in_classic_form());
    wire.tags();
  }
};

struct ResponseHeader {
  static constexpr Version oldest = 0, newest = 1, flexible = 1;
  int32_t correlation_id = 0;
  static void describe(auto& wire, auto& m) {
    wire.field(m.correlation_id);
    wire.tags();
  }
};

}  // namespace penstock::kafka
