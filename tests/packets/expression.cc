// Numbers, patterns and durations of a script.
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>

#include "tests/packets/script.h"

namespace penstock::packets {

namespace {

class Evaluator {
 public:
  Evaluator(const std::string& text, const Variables& variables) : text_(text), variables_(variables) {}
  int64_t all() {
    const int64_t value = sum();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  [[noreturn]] void fail() const { throw std::invalid_argument("'" + text_ + "' is no number"); }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  int64_t sum() {
    int64_t value = product();
    while (true) {
      if (take('+')) {
        value += product();
      } else if (take('-')) {
        value -= product();
      } else {
        return value;
      }
    }
  }
  int64_t product() {
    int64_t value = term();
    while (true) {
      if (take('*')) {
        value *= term();
      } else if (take('/')) {
        const int64_t by = term();
        if (by == 0) throw std::invalid_argument("'" + text_ + "' divides by zero");
        value /= by;
      } else {
        return value;
      }
    }
  }
  int64_t term() {
    if (take('-')) return -term();
    if (take('(')) {
      const int64_t value = sum();
      if (!take(')')) fail();
      return value;
    }
    if (take('$')) return variable();
    if (at_ >= text_.size() || !std::isdigit(static_cast<unsigned char>(text_[at_]))) fail();
    char* end = nullptr;
    const bool hexadecimal = text_.compare(at_, 2, "0x") == 0;
    const auto value = static_cast<int64_t>(std::strtoull(text_.c_str() + at_, &end, hexadecimal ? 16 : 10));
    at_ = static_cast<size_t>(end - text_.c_str());
    return value;
  }
  int64_t variable() {
    std::string name;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) {
      name += text_[at_++];
    }
    const auto found = variables_.find(name);
    if (found == variables_.end()) throw std::invalid_argument("no variable $" + name);
    return found->second;
  }

  const std::string& text_;
  const Variables& variables_;
  size_t at_ = 0;
};

}  // namespace

// The form of an expression, before its variables are known.
void check_expression(const std::string& text) {
  Variables every;
  int64_t value = 1;  // a different one each, so that differences are not zero
  for (size_t at = text.find('$'); at != std::string::npos; at = text.find('$', at + 1)) {
    size_t end = at + 1;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) ++end;
    every[text.substr(at + 1, end - at - 1)] = value *= 3;
  }
  Evaluator(text, every).all();
}

int64_t evaluate(const std::string& expression, const Variables& variables) {
  return Evaluator(expression, variables).all();
}

Pattern parse_pattern(const std::string& text) {
  Pattern pattern;
  std::string body = text;
  if (const size_t colon = body.find(':'); colon != std::string::npos) {
    pattern.keep = body.substr(colon + 1);
    body.resize(colon);
    if (pattern.keep.empty()) throw std::invalid_argument("a variable's name belongs behind ':' in '" + text + "'");
  }
  if (body == "*") return pattern;
  pattern.kind = Pattern::Kind::range;
  if (const size_t dots = body.find(".."); dots != std::string::npos) {
    pattern.low = body.substr(0, dots);
    pattern.high = body.substr(dots + 2);
  } else if (body.starts_with("!=")) {
    pattern.kind = Pattern::Kind::not_equal;
    pattern.low = pattern.high = body.substr(2);
  } else if (body.starts_with(">")) {
    pattern.low_open = !body.starts_with(">=");
    pattern.low = body.substr(pattern.low_open ? 1 : 2);
  } else if (body.starts_with("<")) {
    pattern.high_open = !body.starts_with("<=");
    pattern.high = body.substr(pattern.high_open ? 1 : 2);
  } else {
    pattern.low = pattern.high = body;
  }
  if (pattern.low.empty() && pattern.high.empty()) throw std::invalid_argument("'" + text + "' is no pattern");
  if (!pattern.low.empty()) check_expression(pattern.low);
  if (!pattern.high.empty()) check_expression(pattern.high);
  return pattern;
}

bool matches(const Pattern& pattern, int64_t seen, const Variables& variables) {
  if (pattern.kind == Pattern::Kind::any) return true;
  if (pattern.kind == Pattern::Kind::not_equal) return seen != evaluate(pattern.low, variables);
  if (!pattern.low.empty()) {
    const int64_t low = evaluate(pattern.low, variables);
    if (pattern.low_open ? seen <= low : seen < low) return false;
  }
  if (!pattern.high.empty()) {
    const int64_t high = evaluate(pattern.high, variables);
    if (pattern.high_open ? seen >= high : seen > high) return false;
  }
  return true;
}

Nanoseconds parse_duration(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  static const std::map<std::string, double> units{{"ns", 1},  {"us", 1e3},   {"ms", 1e6},
                                                   {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}};
  const auto found = units.find(unit);
  if (end == text.c_str() || value < 0 || (found == units.end() && text != "0")) {
    throw std::invalid_argument("'" + text + "' is no duration");
  }
  return text == "0" ? 0 : static_cast<Nanoseconds>(std::llround(value * found->second));
}

}  // namespace penstock::packets
