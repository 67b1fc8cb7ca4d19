// A packet script, read into steps. NOTATION.md describes the language; what a word means for a frame or a connection
// is decided in player.cc, here only its form is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dataplane/base/units.h"

namespace penstock::packets {

// What is wrong with a script or a run of it: "file:line: message".
class ScriptError : public std::runtime_error {
 public:
  ScriptError(const std::string& file, int line, const std::string& message)
      : std::runtime_error(file + ":" + std::to_string(line) + ": " + message) {}
};

using Variables = std::map<std::string, int64_t>;

// Digits (decimal or 0x...), $variable, + - * / and parentheses. Throws std::invalid_argument.
int64_t evaluate(const std::string& expression, const Variables& variables);

// Its form, before its variables are known.
void check_expression(const std::string& text);

// What an expected number may be: 5, 3..7, >3, >=3, <3, <=3, !=3 or *; ":name" behind it keeps what was seen.
struct Pattern {
  enum class Kind : uint8_t { any, range, not_equal };
  Kind kind = Kind::any;
  std::string low, high;  // empty: no bound
  bool low_open = false, high_open = false;
  std::string keep;  // the variable, or empty
};
Pattern parse_pattern(const std::string& text);
bool matches(const Pattern& pattern, int64_t seen, const Variables& variables);

// "10ms", "1.5s", "3us", "2min". Throws std::invalid_argument.
Nanoseconds parse_duration(const std::string& text);

struct Field {
  std::string name;
  std::vector<std::string> words;
};

struct FrameSpec {
  std::string kind = "tcp";  // tcp icmp icmp6 arp nd udp ip eth raw
  std::string head;          // TCP flags, or the type of the message
  std::vector<Field> fields;
  std::optional<std::vector<Field>> options;  // what stands in [ ]

  const Field* field(const std::string& name) const;
};

enum class StepKind : uint8_t {
  inject,
  expect,
  expect_optional,
  expect_many,
  nothing,
  wait,
  connect,
  opened,
  data,
  sent,
  peer_finished,
  closed,
  quiet,
  application,  // words[0]: allow send close abort hold unhold keep_credit request_done probe stop_accepting
  let,
  check_that,
  peer,
  port,
  count,
};

// When a step happens, counted from the one before it; for an expectation the earliest and the latest.
struct When {
  bool given = false;
  bool absolute = false;  // from the start of the script
  Nanoseconds earliest = 0;
  Nanoseconds latest = 0;
};

struct Step {
  int line = 0;
  std::string text;  // as written
  std::string connection;
  When when;
  StepKind kind{};
  std::string repeat = "1";  // frames of an inject or expect
  Nanoseconds every = 0;     // between them, of an inject
  FrameSpec frame;
  std::vector<std::string> words;  // of other steps
};

struct Script {
  std::string file;
  std::string title;                      // the first comment
  std::map<std::string, Field> settings;  // by name
  std::map<std::string, int> setting_lines;
  std::vector<Step> steps;
};

// Throws ScriptError.
Script parse_script(const std::string& file, const std::string& text);

}  // namespace penstock::packets
