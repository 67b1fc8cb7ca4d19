#include "tools/penstock/config_page.h"

#include <algorithm>
#include <string_view>

#include "tools/penstock/config.h"

namespace penstock {
namespace {

// Greedy lines of at most `width` characters, each after `prefix`.
std::string wrapped(std::string_view text, std::string_view prefix, size_t width) {
  std::string lines, line;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find(' ', from), text.size());
    const std::string_view word = text.substr(from, end - from);
    if (!line.empty() && prefix.size() + line.size() + 1 + word.size() > width) {
      lines += std::string(prefix) + line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + std::string(word);
    from = end + 1;
  }
  return line.empty() ? lines : lines + std::string(prefix) + line + '\n';
}

// The default as TOML: numbers and booleans bare, the rest, also sizes with a unit, as strings.
std::string toml_value(const ConfigKey& key) {
  const std::string text = key.default_text;
  if (key.type == ConfigType::list && text.empty()) return "[]";
  const bool bare = key.type == ConfigType::boolean || key.type == ConfigType::integer ||
                    key.type == ConfigType::milliseconds ||
                    (key.type == ConfigType::bytes && text.find(' ') == std::string::npos);
  return bare ? text : '"' + text + '"';
}

bool has_range(const ConfigKey& key) { return key.type != ConfigType::text && key.type != ConfigType::list; }

}  // namespace

std::string config_as_toml() {
  constexpr size_t width = 110;
  std::string text =
      wrapped("Every key of Penstock's configuration with its default. Keys that are left out have it.", "# ", width);
  for (const ConfigKey& key : config_keys()) {
    text += '\n' + wrapped(key.meaning, "# ", width);
    if (has_range(key)) text += wrapped("Accepted: " + accepted_values(key) + ".", "# ", width);
    text += std::string(key.name) + " = " + toml_value(key) + '\n';
  }
  return text;
}

std::string config_as_markdown() {
  std::string text =
      "# Configuration\n"
      "\n"
      "`penstock serve --config penstock.toml` reads a [TOML](https://toml.io) file; every key may be left out. A key "
      "on\n"
      "the command line, `--set key=value`, wins over the file. `penstock config` prints a file with every key and "
      "its\n"
      "default, and is made from the same table as this page (`penstock config --markdown`). A key that does not "
      "exist, or\n"
      "a value out of range, is an error that names the line, and the node does not start (exit code 2).\n"
      "\n"
      "Sizes are numbers of bytes or text with a unit (`\"256 MiB\"`, with KiB, MiB, GiB); times are milliseconds or "
      "text\n"
      "with a unit (`\"30 s\"`, with ms, s, min, h). A key with a dot may also stand in a table: `memory.arena_bytes` "
      "is\n"
      "`arena_bytes` under `[memory]`.\n"
      "\n"
      "| key | default | accepted | meaning |\n"
      "|---|---|---|---|\n";
  for (const ConfigKey& key : config_keys())
    text += "| `" + std::string(key.name) + "` | `" + toml_value(key) + "` | " + accepted_values(key) + " | " +
            key.meaning + " |\n";
  return text;
}

}  // namespace penstock
