// Where a partition's leader is, in answers to those who asked the wrong node (KIP-951): Produce since 10, Fetch since 16.
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

struct CurrentLeader {
  int32_t leader_id = -1;
  int32_t leader_epoch = -1;
  bool operator==(const CurrentLeader&) const = default;
  static void describe(auto& wire, auto& m) {
    wire.field(m.leader_id);
    wire.field(m.leader_epoch);
    wire.tags();
  }
};

struct NodeEndpoint {
  int32_t node_id = 0;
  Text host;
  int32_t port = 0;
  NullableText rack;
  static void describe(auto& wire, auto& m) {
    wire.field(m.node_id);
    wire.field(m.host);
    wire.field(m.port);
    wire.field(m.rack);
    wire.tags();
  }
};

}  // namespace penstock::kafka
