#include "tools/penstock/config.h"

#include <arpa/inet.h>

#include <toml++/toml.h>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include "dataplane/base/check.h"
#include "dataplane/control/identity.h"

namespace penstock {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit size_units[] = {{"GiB", int64_t{1} << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}};
constexpr Unit time_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}, {"", 1}};
constexpr Unit no_units[] = {{"", 1}};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::span<const Unit> units_of(ConfigType type) {
  if (type == ConfigType::bytes) return size_units;
  if (type == ConfigType::milliseconds) return time_units;
  return no_units;
}

// "256 MiB" -> 268435456; nothing when it is no number, has a foreign unit, or does not fit.
std::optional<int64_t> number_with_unit(std::string_view text, std::span<const Unit> units) {
  text = trimmed(text);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view name = trimmed(text.substr(static_cast<size_t>(end - text.data())));
  const auto unit = std::ranges::find(units, name, &Unit::name);
  int64_t value = 0;
  if (unit == units.end() || __builtin_mul_overflow(number, unit->factor, &value)) return std::nullopt;
  return value;
}

std::vector<std::string> words(std::string_view text, char separator) {
  std::vector<std::string> found;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (const std::string_view word = trimmed(text.substr(0, end)); !word.empty()) found.emplace_back(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return found;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

bool is_address(const std::string& text) {
  in6_addr buffer;
  return inet_pton(AF_INET, text.c_str(), &buffer) == 1 || inet_pton(AF_INET6, text.c_str(), &buffer) == 1;
}

bool is_interface_address(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return false;
  in6_addr buffer;
  const std::string address = text.substr(0, slash);
  const bool v4 = inet_pton(AF_INET, address.c_str(), &buffer) == 1;
  const std::optional<int64_t> prefix = number_with_unit(text.substr(slash + 1), no_units);
  return (v4 || inet_pton(AF_INET6, address.c_str(), &buffer) == 1) && prefix && *prefix >= 0 &&
         *prefix <= (v4 ? 32 : 128);
}

// Rules of single keys that no type expresses: why the value is not accepted, or nothing.
std::string special_complaint(std::string_view name, const std::vector<std::string>& values) {
  const std::string& text = values.empty() ? std::string() : values[0];
  if (name == "data_directory" && text.empty()) return "must not be empty";
  if ((name == "listen" || name == "admin_listen") && !is_address(text))
    return "must be an IPv4 or IPv6 address of this machine, or \"::\" or \"0.0.0.0\" for all of them";
  if (name == "dpdk.addresses" && !std::ranges::all_of(values, is_interface_address))
    return "must be addresses with their prefix, such as 192.0.2.10/24 or 2001:db8::10/64";
  if (name == "cluster_id" && !text.empty() && !valid_cluster_id(text))
    return "must be 1 to 64 characters of a-z, A-Z, 0-9, '-', '_' and '.'";
  if (name == "segment_bytes") {
    const int64_t bytes = number_with_unit(text, size_units).value_or(-1);
    if (bytes != 0 && (bytes < 16 << 20 || bytes % (1 << 20) != 0))
      return "must be 0, or a multiple of 1 MiB from 16 MiB to 16 GiB";
  }
  return "";
}

// ------------------------------------------------------------------------------------------------- reading the file

struct Reader {
  Config config;
  std::string source;
  std::vector<std::string> errors;

  void fail(const std::string& where, const std::string& what) { errors.push_back(where + ": " + what); }

  std::string where(const toml::node& node) const {
    return source + ":" + std::to_string(static_cast<unsigned>(node.source().begin.line));
  }

  void read(const toml::table& table, const std::string& prefix) {
    for (const auto& [key, node] : table) {
      const std::string name = prefix + std::string(key.str());
      const std::string place = source + ":" + std::to_string(static_cast<unsigned>(key.source().begin.line));
      const bool known = find_config_key(name) != nullptr;
      if (node.is_table() && !known && is_prefix(name + "."))
        read(*node.as_table(), name + ".");
      else
        take(name, node, place);
    }
  }

  static bool is_prefix(std::string_view prefix) {
    return std::ranges::any_of(config_keys(),
                               [&](const ConfigKey& key) { return std::string_view(key.name).starts_with(prefix); });
  }

  void take(const std::string& name, const toml::node& node, const std::string& place) {
    std::vector<std::string> values;
    if (const toml::array* array = node.as_array()) {
      for (const toml::node& item : *array) {
        const std::optional<std::string> text = text_of(item);
        if (!text) return fail(where(item), name + ": a list of numbers and strings is expected here");
        values.push_back(*text);
      }
    } else if (const std::optional<std::string> text = text_of(node)) {
      values = {*text};
    } else {
      return fail(place, find_config_key(name) == nullptr
                             ? unknown(name)
                             : name + ": " + accepted_values(*find_config_key(name)) + " is expected here");
    }
    const ConfigKey* key = find_config_key(name);
    if (key != nullptr && node.is_array() && key->type != ConfigType::list)
      return fail(place, name + ": one value is expected here, not a list");
    if (const std::optional<std::string> complaint = set_config(config, name, values)) fail(place, *complaint);
  }

  static std::optional<std::string> text_of(const toml::node& node) {
    if (const auto text = node.value_exact<std::string>()) return *text;
    if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
    if (const auto boolean = node.value_exact<bool>()) return *boolean ? "true" : "false";
    return std::nullopt;
  }

  static std::string unknown(std::string_view name) {
    return "there is no key '" + std::string(name) + "'; did you mean '" + std::string(nearest_config_key(name)) + "'?";
  }

  void set(const std::string& setting) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) return fail("--set " + setting, "key=value is expected");
    const std::string name(trimmed(setting.substr(0, equals)));
    std::string value(trimmed(setting.substr(equals + 1)));
    const ConfigKey* key = find_config_key(name);
    std::vector<std::string> values = {value};
    if (key != nullptr && key->type == ConfigType::list) {
      std::erase_if(value, [](char c) { return c == '[' || c == ']' || c == '"'; });  // TOML's form is fine too
      values = words(value, ',');
    }
    if (const std::optional<std::string> complaint = set_config(config, name, values)) fail("--set", *complaint);
  }

  void check_together() {
    const std::string place = source.empty() ? "--set" : source;
    if (config.network == "dpdk" && config.dpdk_device.empty())
      fail(place, "network is \"dpdk\", so dpdk.device must name a port");
    if (config.network == "dpdk" && config.dpdk_addresses.empty())
      fail(place, "network is \"dpdk\", so dpdk.addresses must say which addresses the port has");
    if (config.dpdk_addresses.size() > 16) fail(place, "dpdk.addresses: at most 16 addresses");
    const int64_t arena = config.memory_arena_bytes;
    const auto share = [&](int64_t bytes, int64_t otherwise) { return bytes == 0 ? otherwise : bytes; };
    const int64_t used = share(config.memory_receive_bytes, arena / 8 * 3) +
                         share(config.memory_resident_bytes, arena / 4) + share(config.memory_send_bytes, arena / 16);
    if (used > arena / 8 * 7)
      fail(place, "memory.receive_bytes, memory.resident_bytes and memory.send_bytes are " + bytes_text(used) +
                      " together; of memory.arena_bytes (" + bytes_text(arena) + ") at least one eighth must be left");
  }
};

}  // namespace

std::string_view nearest_config_key(std::string_view name) {
  return std::ranges::min_element(config_keys(), {},
                                  [&](const ConfigKey& key) { return edit_distance(name, key.name); })
      ->name;
}

std::string bytes_text(int64_t bytes) {
  for (const Unit& unit : size_units) {
    if (bytes != 0 && unit.factor > 1 && bytes % unit.factor == 0)
      return std::to_string(bytes / unit.factor) + " " + std::string(unit.name);
  }
  return std::to_string(bytes);
}

std::string accepted_values(const ConfigKey& key) {
  switch (key.type) {
    case ConfigType::text:
      return "text";
    case ConfigType::list:
      return "text or a list";
    case ConfigType::boolean:
      return "true or false";
    case ConfigType::choice:
      return "one of " + joined(words(key.choices, ' '));
    case ConfigType::integer:
      return std::to_string(key.low) + " to " + std::to_string(key.high);
    case ConfigType::milliseconds:
      return std::to_string(key.low) + " to " + std::to_string(key.high) + " ms";
    case ConfigType::bytes:
      return bytes_text(key.low) + " to " + bytes_text(key.high);
  }
  return "";
}

std::optional<std::string> set_config(Config& config, std::string_view name, const std::vector<std::string>& values) {
  const ConfigKey* key = find_config_key(name);
  if (key == nullptr) return Reader::unknown(name);
  const std::string text = joined(values);
  const auto refuse = [&](const std::string& why) { return std::string(name) + " = " + text + ": " + why; };

  std::optional<int64_t> number;
  switch (key->type) {
    case ConfigType::text:
      config.*std::get<std::string Config::*>(key->field) = text;
      break;
    case ConfigType::list:
      config.*std::get<std::vector<std::string> Config::*>(key->field) = words(text, ',');
      break;
    case ConfigType::choice:
      if (const auto choices = words(key->choices, ' '); std::ranges::find(choices, text) == choices.end())
        return refuse("must be " + accepted_values(*key));
      config.*std::get<std::string Config::*>(key->field) = text;
      break;
    case ConfigType::boolean:
      if (text != "true" && text != "false") return refuse("must be true or false");
      config.*std::get<bool Config::*>(key->field) = text == "true";
      break;
    case ConfigType::integer:
    case ConfigType::bytes:
    case ConfigType::milliseconds:
      number = number_with_unit(text, units_of(key->type));
      if (!number || *number < key->low || *number > key->high) return refuse("must be " + accepted_values(*key));
      config.*std::get<int64_t Config::*>(key->field) = *number;
      break;
  }
  if (const std::string complaint = special_complaint(name, values); !complaint.empty()) return refuse(complaint);
  return std::nullopt;
}

Config default_config() {
  Config config;
  for (const ConfigKey& key : config_keys()) {
    std::vector<std::string> values = {key.default_text};
    if (key.type == ConfigType::list) values = words(key.default_text, ',');
    const std::optional<std::string> complaint = set_config(config, key.name, values);
    check(!complaint.has_value(), key.name);  // a default outside its own range
  }
  return config;
}

std::expected<Config, std::string> parse_config(std::string_view toml, const std::string& source,
                                                const std::vector<std::string>& settings) {
  Reader reader{.config = default_config(), .source = source, .errors = {}};
  try {
    reader.read(toml::parse(toml, source), "");
  } catch (const toml::parse_error& error) {
    return std::unexpected(source + ":" + std::to_string(static_cast<unsigned>(error.source().begin.line)) + ": " +
                           std::string(error.description()));
  }
  for (const std::string& setting : settings) reader.set(setting);
  if (reader.errors.empty()) reader.check_together();
  if (!reader.errors.empty()) {
    std::string text;
    for (const std::string& error : reader.errors) text += (text.empty() ? "" : "\n") + error;
    return std::unexpected(text);
  }
  return std::move(reader.config);
}

std::expected<Config, std::string> load_config(const std::string& path, const std::vector<std::string>& settings) {
  if (path.empty()) return parse_config("", "", settings);
  std::error_code error;
  std::ifstream file;
  if (!std::filesystem::is_directory(path, error)) file.open(path, std::ios::binary);
  if (!file.is_open()) return std::unexpected(path + ": the configuration cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return parse_config(text, path, settings);
}

}  // namespace penstock
