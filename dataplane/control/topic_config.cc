#include "dataplane/control/topic_config.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace penstock {
namespace {

using enum TopicConfigType;
constexpr int64_t int_max = INT32_MAX;
constexpr std::string_view long_max = "9223372036854775807";

constexpr std::array keys = {
    TopicConfigKey{"cleanup.policy", list, "delete", 0, 0, "compact,delete"},
    TopicConfigKey{"compression.gzip.level", integer, "-1", -1, 9, ""},
    TopicConfigKey{"compression.lz4.level", integer, "9", 1, 17, ""},
    TopicConfigKey{"compression.type", string, "producer", 0, 0, "uncompressed,zstd,lz4,snappy,gzip,producer"},
    TopicConfigKey{"compression.zstd.level", integer, "3", -131072, 22, ""},
    TopicConfigKey{"delete.retention.ms", long_integer, "86400000", 0, INT64_MAX, ""},
    TopicConfigKey{"file.delete.delay.ms", long_integer, "60000", 0, INT64_MAX, ""},
    TopicConfigKey{"flush.messages", long_integer, long_max, 1, INT64_MAX, ""},
    TopicConfigKey{"flush.ms", long_integer, long_max, 0, INT64_MAX, ""},
    TopicConfigKey{"follower.replication.throttled.replicas", list, "", 0, 0, ""},
    TopicConfigKey{"index.interval.bytes", integer, "4096", 0, int_max, ""},
    TopicConfigKey{"leader.replication.throttled.replicas", list, "", 0, 0, ""},
    TopicConfigKey{"local.retention.bytes", long_integer, "-2", -2, INT64_MAX, ""},
    TopicConfigKey{"local.retention.ms", long_integer, "-2", -2, INT64_MAX, ""},
    TopicConfigKey{"max.compaction.lag.ms", long_integer, long_max, 1, INT64_MAX, ""},
    TopicConfigKey{"max.message.bytes", integer, "1048588", 0, int_max, ""},
    TopicConfigKey{"message.timestamp.after.max.ms", long_integer, "3600000", 0, INT64_MAX, ""},
    TopicConfigKey{"message.timestamp.before.max.ms", long_integer, long_max, 0, INT64_MAX, ""},
    TopicConfigKey{"message.timestamp.type", string, "CreateTime", 0, 0, "CreateTime,LogAppendTime"},
    TopicConfigKey{"min.cleanable.dirty.ratio", fraction, "0.5", 0, 1, ""},
    TopicConfigKey{"min.compaction.lag.ms", long_integer, "0", 0, INT64_MAX, ""},
    TopicConfigKey{"min.insync.replicas", integer, "1", 1, int_max, ""},
    TopicConfigKey{"preallocate", boolean, "false", 0, 0, ""},
    TopicConfigKey{"remote.log.copy.disable", boolean, "false", 0, 0, ""},
    TopicConfigKey{"remote.log.delete.on.disable", boolean, "false", 0, 0, ""},
    TopicConfigKey{"remote.storage.enable", boolean, "false", 0, 0, ""},
    TopicConfigKey{"retention.bytes", long_integer, "-1", -1, INT64_MAX, ""},
    TopicConfigKey{"retention.ms", long_integer, "604800000", -1, INT64_MAX, ""},
    TopicConfigKey{"segment.bytes", integer, "1073741824", 14, int_max, ""},
    TopicConfigKey{"segment.index.bytes", integer, "10485760", 4, int_max, ""},
    TopicConfigKey{"segment.jitter.ms", long_integer, "0", 0, INT64_MAX, ""},
    TopicConfigKey{"segment.ms", long_integer, "604800000", 1, INT64_MAX, ""},
    TopicConfigKey{"unclean.leader.election.enable", boolean, "false", 0, 0, ""},
};
static_assert(std::ranges::is_sorted(keys, {}, &TopicConfigKey::name));

// Kafka trims every value before it parses it.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view spaces = " \t\r\n";
  const size_t first = text.find_first_not_of(spaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

// Calls visit(item) for each item between commas, trimmed; an empty text has none. Stops when visit says false.
bool all_items(std::string_view text, auto&& visit) {
  if (trimmed(text).empty()) return true;
  for (;;) {
    const size_t comma = text.find(',');
    if (!visit(trimmed(text.substr(0, comma)))) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool is_choice(std::string_view choices, std::string_view value) {
  return choices.empty() || !all_items(choices, [&](std::string_view choice) { return choice != value; });
}

bool lists(std::string_view text, std::string_view item) {
  return !all_items(text, [&](std::string_view each) { return each != item; });
}

std::optional<int64_t> whole_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool equal_ignoring_case(std::string_view text, std::string_view lower) {
  return std::ranges::equal(text, lower, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

const char* type_name(TopicConfigType type) {
  switch (type) {
    case boolean:
      return "BOOLEAN";
    case string:
      return "STRING";
    case integer:
      return "INT";
    case long_integer:
      return "LONG";
    case fraction:
      return "DOUBLE";
    case list:
      return "LIST";
  }
  return "?";
}

std::optional<std::string> number_complaint(const TopicConfigKey& key, std::string_view value) {
  const std::optional<int64_t> number = whole_number(value);
  // An INT that does not fit is not an INT: Kafka's words too.
  if (!number || (key.type == integer && (*number > INT32_MAX || *number < INT32_MIN)))
    return std::string("Not a number of type ") + type_name(key.type);
  if (*number < key.low) return "Value must be at least " + std::to_string(key.low);
  if (*number > key.high) return "Value must be no more than " + std::to_string(key.high);
  return std::nullopt;
}

std::optional<std::string> fraction_complaint(const TopicConfigKey& key, std::string_view value) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) return "Not a number of type DOUBLE";
  if (!(number >= static_cast<double>(key.low) && number <= static_cast<double>(key.high)))
    return "Value must be between " + std::to_string(key.low) + " and " + std::to_string(key.high);
  return std::nullopt;
}

std::optional<std::string> value_complaint(const TopicConfigKey& key, std::string_view value) {
  switch (key.type) {
    case boolean:
      if (equal_ignoring_case(value, "true") || equal_ignoring_case(value, "false")) return std::nullopt;
      return "Expected value to be either true or false";
    case integer:
    case long_integer:
      return number_complaint(key, value);
    case fraction:
      return fraction_complaint(key, value);
    case string:
      if (is_choice(key.choices, value)) return std::nullopt;
      return "String must be one of: " + std::string(key.choices);
    case list:
      if (all_items(value, [&](std::string_view item) { return is_choice(key.choices, item); })) return std::nullopt;
      return "String must be one of: " + std::string(key.choices);
  }
  return "Unknown type";
}

}  // namespace

std::span<const TopicConfigKey> topic_config_keys() { return keys; }

const TopicConfigKey* find_topic_config(std::string_view name) {
  const auto found = std::ranges::lower_bound(keys, name, {}, &TopicConfigKey::name);
  return found != keys.end() && found->name == name ? &*found : nullptr;
}

std::optional<std::string> topic_config_complaint(std::string_view name, std::string_view value) {
  const TopicConfigKey* key = find_topic_config(name);
  if (key == nullptr) return "Unknown topic config name: " + std::string(name);
  if (value.size() > topic_config_value_bytes_max)
    return "The value of configuration " + std::string(name) + " is longer than " +
           std::to_string(topic_config_value_bytes_max) + " bytes";
  if (const std::optional<std::string> complaint = value_complaint(*key, trimmed(value)))
    return "Invalid value " + std::string(value) + " for configuration " + std::string(name) + ": " + *complaint;
  if (name == "remote.storage.enable" && equal_ignoring_case(trimmed(value), "true"))
    return "This node has no tiered storage: remote.storage.enable cannot be true";
  return std::nullopt;
}

std::string effective_topic_config(const TopicConfigKey& key, const TopicConfigs& configs, int32_t max_message_bytes) {
  if (const auto own = configs.find(key.name); own != configs.end()) return own->second;
  if (key.name == "max.message.bytes") return std::to_string(max_message_bytes);
  return std::string(key.default_value);
}

TopicSettings settings_of(const TopicConfigs& configs, int32_t max_message_bytes) {
  const auto number = [&](std::string_view name, int64_t otherwise) {
    const auto own = configs.find(name);
    return own == configs.end() ? otherwise : whole_number(trimmed(own->second)).value_or(otherwise);
  };
  TopicSettings settings;
  settings.max_message_bytes = static_cast<int32_t>(number("max.message.bytes", max_message_bytes));
  settings.retention_ms = number("retention.ms", settings.retention_ms);
  settings.retention_bytes = number("retention.bytes", settings.retention_bytes);
  if (const auto own = configs.find("cleanup.policy"); own != configs.end()) {
    settings.compacted = lists(own->second, "compact");
    settings.deletes = lists(own->second, "delete");
  }
  if (const auto own = configs.find("message.timestamp.type"); own != configs.end())
    settings.log_append_time = trimmed(own->second) == "LogAppendTime";
  return settings;
}

}  // namespace penstock
