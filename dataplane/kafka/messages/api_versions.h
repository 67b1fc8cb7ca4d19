// ApiVersions, versions 0 to 4. The reply always has response header version 0, and is of version 0 altogether when
// the request's version is unknown (KIP-511).
#pragma once

#include "dataplane/kafka/api.h"

namespace penstock::kafka {

struct ApiVersionsRequest {
  static constexpr ApiKey key = ApiKey::api_versions;
  static constexpr Version oldest = 0, newest = 4, flexible = 3;

  Text client_software_name;
  Text client_software_version;
  static void describe(auto& wire, auto& m) {
    wire.field(m.client_software_name, since(3));
    wire.field(m.client_software_version, since(3));
    wire.tags();
  }
};

struct ApiVersionsResponse {
  static constexpr ApiKey key = ApiKey::api_versions;
  static constexpr Version oldest = 0, newest = 4, flexible = 3;

  struct Range {
    ApiKey api_key{};
    Version min_version = 0;
    Version max_version = 0;
    static void describe(auto& wire, auto& m) {
      wire.field(m.api_key);
      wire.field(m.min_version);
      wire.field(m.max_version);
      wire.tags();
    }
  };
  struct SupportedFeature {
    Text name;
    int16_t min_version = 0;
    int16_t max_version = 0;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.min_version);
      wire.field(m.max_version);
      wire.tags();
    }
  };
  struct FinalizedFeature {
    Text name;
    int16_t max_version_level = 0;
    int16_t min_version_level = 0;
    static void describe(auto& wire, auto& m) {
      wire.field(m.name);
      wire.field(m.max_version_level);
      wire.field(m.min_version_level);
      wire.tags();
    }
  };

  ErrorCode error_code = ErrorCode::NONE;
  Slice<Range> api_keys;
  int32_t throttle_time_ms = 0;
  Slice<SupportedFeature> supported_features;
  int64_t finalized_features_epoch = -1;
  Slice<FinalizedFeature> finalized_features;
  bool zk_migration_ready = false;
  static void describe(auto& wire, auto& m) {
    wire.field(m.error_code);
    wire.field(m.api_keys);
    wire.field(m.throttle_time_ms, since(1));
    wire.tags(tag(0, m.supported_features), tag(1, m.finalized_features_epoch, always, -1),
              tag(2, m.finalized_features), tag(3, m.zk_migration_ready));
  }
};

}  // namespace penstock::kafka
