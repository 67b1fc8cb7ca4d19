#include "tools/penstock/doctor/root_files.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace penstock::doctor {
namespace fs = std::filesystem;

RootFiles::RootFiles(std::string prefix) {
  std::error_code error;
  const fs::path real = fs::canonical(prefix.empty() ? "/" : prefix, error);
  prefix_ = error ? prefix : real.string();
  while (prefix_.ends_with('/')) prefix_.pop_back();
}

bool RootFiles::exists(const std::string& path) const {
  std::error_code error;
  return fs::exists(prefix_ + path, error);
}

std::optional<std::string> RootFiles::text(const std::string& path) const {
  std::ifstream file(prefix_ + path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string all{std::istreambuf_iterator<char>(file), {}};
  while (all.ends_with('\n') || all.ends_with(' ')) all.pop_back();
  return all;
}

std::string RootFiles::line(const std::string& path) const {
  const std::string all = text(path).value_or("");
  return all.substr(0, all.find('\n'));
}

std::optional<int64_t> RootFiles::number(const std::string& path) const {
  const std::string text = line(path);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::vector<std::string> RootFiles::names_in(const std::string& directory) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator each(prefix_ + directory, error), end; !error && each != end; each.increment(error))
    names.push_back(each->path().filename());
  std::ranges::sort(names);
  return names;
}

std::string RootFiles::real_path(const std::string& path) const {
  std::error_code error;
  const std::string real = fs::canonical(prefix_ + path, error);
  return error || !real.starts_with(prefix_) ? "" : real.substr(prefix_.size());
}

std::string RootFiles::link_target(const std::string& path) const {
  std::error_code error;
  const fs::path target = fs::read_symlink(prefix_ + path, error);
  return error ? "" : target.filename().string();
}

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  return {std::istream_iterator<std::string>(stream), {}};
}

std::vector<uint32_t> numbers_of_list(std::string_view list) {
  std::vector<uint32_t> numbers;
  std::istringstream items{std::string(list)};
  for (std::string item; std::getline(items, item, ',');) {
    uint32_t first = 0, last = 0;
    const char* end = item.data() + item.size();
    const auto [dash, error] = std::from_chars(item.data(), end, first);
    if (error != std::errc()) continue;
    last = first;
    if (dash != end && *dash == '-') std::from_chars(dash + 1, end, last);
    for (uint32_t each = first; each <= last; ++each) numbers.push_back(each);
  }
  return numbers;
}

std::string list_of_numbers(std::vector<uint32_t> numbers) {
  std::ranges::sort(numbers);
  numbers.erase(std::ranges::unique(numbers).begin(), numbers.end());
  std::string list;
  for (size_t from = 0; from < numbers.size();) {
    size_t to = from;
    while (to + 1 < numbers.size() && numbers[to + 1] == numbers[to] + 1) ++to;
    list += (list.empty() ? "" : ",") + std::to_string(numbers[from]);
    if (to > from) list += "-" + std::to_string(numbers[to]);
    from = to + 1;
  }
  return list;
}

std::string chosen_of(const std::string& line) {
  const size_t open = line.find('['), close = line.find(']', open);
  if (open == std::string::npos || close == std::string::npos) return line;
  return line.substr(open + 1, close - open - 1);
}

}  // namespace penstock::doctor
