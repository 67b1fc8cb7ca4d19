// The kernel's small files below a prefix, so that a test can make a machine out of a directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::doctor {

class RootFiles {
 public:
  explicit RootFiles(std::string prefix);

  bool exists(const std::string& path) const;
  std::optional<std::string> text(const std::string& path) const;  // without the last newline
  std::string line(const std::string& path) const;                 // the first one; empty without the file
  std::optional<int64_t> number(const std::string& path) const;
  std::vector<std::string> names_in(const std::string& directory) const;  // sorted
  std::string real_path(const std::string& path) const;    // links followed, seen from the prefix; empty: not there
  std::string link_target(const std::string& path) const;  // the last name of what a link points to

 private:
  std::string prefix_;  // without a slash at the end
};

std::vector<std::string> words(std::string_view text);
// "0-3,8" -> 0 1 2 3 8
std::vector<uint32_t> numbers_of_list(std::string_view list);
// The opposite: 0 1 2 3 8 -> "0-3,8"; sorted and unique.
std::string list_of_numbers(std::vector<uint32_t> numbers);
// The word in brackets: "[mq-deadline] none" -> "mq-deadline".
std::string chosen_of(const std::string& line);

}  // namespace penstock::doctor
