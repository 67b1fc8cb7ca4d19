// Configuration files. Whatever is in one: it is taken with every value within its bounds, or refused with a complaint
// that says where. Input: a line of --set (perhaps empty), and the file.
#include <cstdint>
#include <string>

#include "dataplane/base/check.h"
#include "tools/penstock/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  std::vector<std::string> settings;
  if (line > 0) settings.push_back(input.substr(0, line));
  const auto config = parse_config(std::string_view(input).substr(std::min(line + 1, size)), "fuzz.toml", settings);
  if (!config) {
    check(!config.error().empty(), "refused without a word");
    return 0;
  }
  for (const ConfigKey& key : config_keys()) {
    const auto* field = std::get_if<int64_t Config::*>(&key.field);
    if (field == nullptr) continue;
    const int64_t value = (*config).**field;
    check(value >= key.low && value <= key.high, "a number out of its bounds was taken", value);
  }
  return 0;
}
