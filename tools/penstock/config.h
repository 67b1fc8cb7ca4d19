// The node's configuration: one table of keys drives parsing, --set, `penstock config`, docs/CONFIGURATION.md and every
// error message.
//
// Values come from a TOML file and then from --set key=value, the later one wins. Sizes may be written as numbers of
// bytes or as "256 MiB". All errors name the key, the value, where it stands, and what would be accepted.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace penstock {

struct Config {
  std::string data_directory;
  int64_t lanes = 0;
  std::vector<std::string> cores;
  std::vector<std::string> drives;
  std::string poll;

  std::string network;
  std::string dpdk_device;
  std::vector<std::string> dpdk_addresses;
  int64_t dpdk_mtu = 0;
  int64_t dpdk_header_bytes = 0;
  int64_t dpdk_receive_descriptors = 0;
  int64_t dpdk_transmit_descriptors = 0;
  std::string dpdk_steering;
  std::string dpdk_interrupts;
  std::string dpdk_iova;

  std::string listen;
  int64_t port = 0;
  std::vector<std::string> advertised;
  std::string admin_listen;
  int64_t admin_port = 0;

  int64_t node_id_base = 0;
  std::string rack;
  std::string cluster_id;

  int64_t memory_arena_bytes = 0;
  int64_t memory_receive_bytes = 0;
  int64_t memory_resident_bytes = 0;
  int64_t memory_send_bytes = 0;
  std::string hugepages;

  int64_t segment_bytes = 0;
  int64_t spare_segments = 0;
  std::string io_writev_fixed;
  std::string io_measure;

  int64_t connections_max = 0;
  int64_t connections_max_idle_ms = 0;
  int64_t request_bytes_max = 0;
  int64_t request_stall_ms = 0;

  bool auto_create_topics = false;
  int64_t num_partitions = 0;
  bool accept_replication_factor = false;
  int64_t message_bytes_max = 0;

  int64_t shutdown_deadline_ms = 0;
  std::string log_level;
};

enum class ConfigType : uint8_t { text, choice, list, boolean, integer, bytes, milliseconds };

struct ConfigKey {
  const char* name;  // as in TOML; "memory.arena_bytes" may also stand in a table [memory]
  ConfigType type;
  const char* default_text;
  int64_t low, high;    // of numbers, inclusive
  const char* choices;  // of a choice, separated by blanks
  const char* meaning;
  std::variant<std::string Config::*, std::vector<std::string> Config::*, bool Config::*, int64_t Config::*> field;
};

std::span<const ConfigKey> config_keys();
const ConfigKey* find_config_key(std::string_view name);
// The known key a mistyped one was most likely meant to be.
std::string_view nearest_config_key(std::string_view name);

// "4 KiB to 1 GiB", "true or false", ...
std::string accepted_values(const ConfigKey& key);

Config default_config();

// One value, as text or as a list of texts; a complaint, or nothing when it was taken.
std::optional<std::string> set_config(Config& config, std::string_view name, const std::vector<std::string>& values);

// Everything together: the file (empty: none), then "key=value" settings. The error may have several lines.
std::expected<Config, std::string> load_config(const std::string& path, const std::vector<std::string>& settings);

// For tests: TOML from memory, `source` stands in messages.
std::expected<Config, std::string> parse_config(std::string_view toml, const std::string& source,
                                                const std::vector<std::string>& settings);

// "256 MiB"; plain numbers where no unit divides.
std::string bytes_text(int64_t bytes);

}  // namespace penstock
