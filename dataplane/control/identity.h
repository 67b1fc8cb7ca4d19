// Names that must be unique: topic ids and the cluster id. Randomness comes from the caller: a seeded generator in the
// simulator, the kernel's in a node.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "dataplane/kafka/types.h"

namespace penstock {

using RandomSource = std::function<uint64_t()>;

// A version 4 UUID (RFC 9562, 5.4). Its version bits keep it apart from Kafka's reserved ids 0 and 1, and like Kafka's
// Uuid.randomUuid() it never begins with '-' in text, which command lines would take for an option.
kafka::Uuid random_uuid(const RandomSource& random);

// 22 characters of URL-safe base64 without padding: how Kafka prints topic ids and what a cluster id is.
std::string to_text(const kafka::Uuid& id);

// A cluster id from the configuration: what Kafka's own form allows, and other short plain names.
bool valid_cluster_id(std::string_view id);

}  // namespace penstock
