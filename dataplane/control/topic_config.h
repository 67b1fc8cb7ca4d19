// Kafka's topic configurations: which exist, what they may hold, and which of them this node obeys.
// Source: Apache Kafka 4.1, TopicConfig and LogConfig.
//
// All are stored and returned. Told to the lanes, which obey them: max.message.bytes, cleanup.policy (a compacted topic
// takes no record without a key), message.timestamp.type, retention.ms, retention.bytes. The others describe what a
// broker of many replicas or of one log per partition does (min.insync.replicas, segment.bytes, flush.ms ...): every
// acknowledged batch is durable here whatever they say.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/control/catalog_view.h"

namespace penstock {

// Longer values of the known configurations mean nothing; a hundred thousand topics with 33 of them must fit in memory.
inline constexpr size_t topic_config_value_bytes_max = 4096;

using TopicConfigs = std::map<std::string, std::string, std::less<>>;  // by name; only what was set for the topic

// As DescribeConfigs numbers them.
enum class TopicConfigType : int8_t { boolean = 1, string = 2, integer = 3, long_integer = 5, fraction = 6, list = 7 };

struct TopicConfigKey {
  std::string_view name;
  TopicConfigType type;
  std::string_view default_value;
  int64_t low = INT64_MIN;   // of numbers, inclusive
  int64_t high = INT64_MAX;  // inclusive
  std::string_view choices;  // of strings and lists, separated by commas; empty: anything
};

std::span<const TopicConfigKey> topic_config_keys();  // by name
const TopicConfigKey* find_topic_config(std::string_view name);

// Why the topic may not have this configuration, in a sentence for the client; nothing when it may.
std::optional<std::string> topic_config_complaint(std::string_view name, std::string_view value);

// The value in force: the topic's own, or the default (`max.message.bytes`: the node's).
std::string effective_topic_config(const TopicConfigKey& key, const TopicConfigs& configs, int32_t max_message_bytes);

// What the produce path obeys. The configurations were checked when they were stored.
TopicSettings settings_of(const TopicConfigs& configs, int32_t max_message_bytes);

}  // namespace penstock
