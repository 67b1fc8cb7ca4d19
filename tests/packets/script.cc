#include "tests/packets/script.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "tests/packets/packet.h"

namespace penstock::packets {

const Field* FrameSpec::field(const std::string& name) const {
  for (const Field& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

namespace {

// What a field of a frame takes: n number or pattern, a address, m link address, x hexadecimal bytes, w any word.
struct FieldRule {
  const char* name;
  const char* words;
  const char* kinds;  // "*": all that have the layer
  const char* use;    // ">" to inject, "<" to expect, "<>" both
};

constexpr FieldRule field_rules[] = {
    // The link and the port.
    {"vlan", "n", "*", "<>"},
    {"from_mac", "m", "*", "<>"},
    {"to_mac", "m", "*", "<>"},
    {"ether_type", "n", "*", "<>"},
    {"pad", "n", "*", ">"},
    {"cut", "n", "*", ">"},
    {"split", "n", "*", ">"},
    {"verified", "", "*", ">"},
    {"patch", "x", "*", ">"},
    {"break", "x", "*", ">"},
    {"untagged", "", "*", "<>"},
    // IP.
    {"src", "a", "*", "<>"},
    {"dst", "a", "*", "<>"},
    {"ttl", "n", "*", "<>"},
    {"tos", "n", "*", "<>"},
    {"id", "n", "*", "<>"},
    {"df", "n", "*", "<>"},
    {"mf", "n", "*", "<>"},
    {"fragment", "n", "*", "<>"},
    {"total_length", "n", "*", ">"},
    {"ip_options", "x", "*", ">"},
    {"extension", "n", "*", ">"},
    {"bad_ip_checksum", "", "*", ">"},
    {"bad_checksum", "", "*", ">"},
    {"proto", "n", "ip", "<>"},
    // TCP.
    {"seq", "n", "tcp", "<>"},
    {"ack", "n", "tcp", "<>"},
    {"win", "n", "tcp", "<>"},
    {"edge", "n", "tcp", "<>"},
    {"urg", "n", "tcp", "<>"},
    {"sport", "n", "tcp udp", "<>"},
    {"dport", "n", "tcp udp", "<>"},
    {"header_words", "n", "tcp", ">"},
    {"reserved", "n", "tcp", "<>"},
    {"content", "n", "tcp", ">"},
    {"data", "n", "tcp udp icmp icmp6 ip eth", "<>"},
    // ICMP.
    {"code", "n", "icmp icmp6", "<>"},
    {"number", "n", "icmp icmp6", "<>"},
    {"mtu", "n", "icmp icmp6", "<>"},
    {"ident", "n", "icmp icmp6", "<>"},
    {"quote", "", "icmp icmp6", ">"},
    {"quote_seq", "n", "icmp icmp6", ">"},
    {"quote_bytes", "n", "icmp icmp6", ">"},
    {"quote_sport", "n", "icmp icmp6", ">"},
    {"quote_dport", "n", "icmp icmp6", ">"},
    {"quote_proto", "n", "icmp icmp6", ">"},
    {"quote_src", "a", "icmp icmp6", ">"},
    {"quote_dst", "a", "icmp icmp6", ">"},
    // ARP and neighbour discovery.
    {"sender", "a", "arp", "<>"},
    {"target", "a", "arp nd", "<>"},
    {"sender_mac", "m", "arp", "<>"},
    {"target_mac", "m", "arp", "<>"},
    {"link", "m", "nd", "<>"},
    {"no_link", "", "nd", "<>"},
    {"router", "n", "nd", "<>"},
    {"solicited", "n", "nd", "<>"},
    {"override", "n", "nd", "<>"},
    {"option_length", "n", "nd", ">"},
    // Bytes as they are.
    {"bytes", "x", "raw", ">"},
};

bool has_word(const std::string& list, const std::string& word) {
  std::istringstream in(list);
  for (std::string each; in >> each;) {
    if (each == word) return true;
  }
  return false;
}

const FieldRule* rule_of(const std::string& name, const std::string& kind, char direction) {
  for (const FieldRule& rule : field_rules) {
    if (rule.name != name) continue;
    if (std::string(rule.use).find(direction) == std::string::npos) {
      throw std::invalid_argument("'" + name + "' is " + (direction == '>' ? "only expected" : "only injected"));
    }
    if (std::string(rule.kinds) != "*" && !has_word(rule.kinds, kind)) {
      throw std::invalid_argument("a frame of kind " + kind + " has no '" + name + "'");
    }
    return &rule;
  }
  throw std::invalid_argument("unknown field '" + name + "'");
}

constexpr const char* named_addresses[] = {"us",  "peer",      "gateway",       "stranger",       "broadcast",
                                           "any", "all_nodes", "our_solicited", "our_link_local", "zero"};
constexpr const char* named_macs[] = {"us",        "peer", "gateway",       "stranger",
                                      "broadcast", "zero", "our_solicited", "all_nodes"};

template <class Names>
bool is_named(const Names& names, const std::string& word) {
  return std::find(std::begin(names), std::end(names), word) != std::end(names);
}

void check_word(char type, const std::string& word, char direction) {
  if (type == 'n') {
    if (direction == '<') {
      parse_pattern(word);
    } else {
      check_expression(word);
    }
  } else if (type == 'a' && !is_named(named_addresses, word) && !parse_address(word)) {
    throw std::invalid_argument("'" + word + "' is no address");
  } else if (type == 'm' && !is_named(named_macs, word) && !parse_mac(word)) {
    throw std::invalid_argument("'" + word + "' is no link address");
  }
}

// "tcp+12=5000", "eth+0=ff": checked here, applied by the player.
void check_patch(const std::string& word) {
  const size_t plus = word.find('+'), equals = word.find('=');
  if (plus == std::string::npos || equals == std::string::npos || equals < plus ||
      !has_word("eth ip tcp icmp", word.substr(0, plus)) || !parse_hex(word.substr(equals + 1))) {
    throw std::invalid_argument("'" + word + "' is no patch like tcp+12=50 (eth, ip, tcp or icmp)");
  }
  check_expression(word.substr(plus + 1, equals - plus - 1));
}

struct OptionRule {
  const char* name;
  int words_min, words_max;
};
constexpr OptionRule option_rules[] = {{"mss", 1, 1},  {"wscale", 1, 1}, {"sack_ok", 0, 0}, {"ts", 2, 2},
                                       {"sack", 1, 4}, {"nop", 0, 0},    {"eol", 0, 0},     {"raw", 1, 1},
                                       {"kind", 1, 3}, {"no_ts", 0, 0},  {"anything", 0, 0}};

// The inside of [ ]: options separated by commas.
std::vector<Field> parse_options(const std::string& inside) {
  std::vector<Field> options;
  std::istringstream list(inside);
  for (std::string item; std::getline(list, item, ',');) {
    std::istringstream in(item);
    Field option;
    in >> option.name;
    for (std::string word; in >> word;) option.words.push_back(word);
    if (option.name.empty()) throw std::invalid_argument("an empty option in [" + inside + "]");
    const auto* rule = std::find_if(std::begin(option_rules), std::end(option_rules),
                                    [&](const OptionRule& each) { return option.name == each.name; });
    const int count = static_cast<int>(option.words.size());
    if (rule == std::end(option_rules)) throw std::invalid_argument("unknown option '" + option.name + "'");
    if (count < rule->words_min || count > rule->words_max) {
      throw std::invalid_argument("option '" + option.name + "' does not take " + std::to_string(count) + " words");
    }
    options.push_back(option);
  }
  return options;
}

// One line, cut at white space; what stands in [ ] is one word.
std::vector<std::string> cut_line(const std::string& line) {
  std::vector<std::string> words;
  bool inside = false, begun = false;
  for (const char c : line) {
    if (c == '#' && !inside) break;
    if (std::isspace(static_cast<unsigned char>(c)) && !inside) {
      begun = false;
      continue;
    }
    if (c == '[') inside = true;
    if (!begun) words.emplace_back();
    begun = true;
    words.back() += c;
    if (c == ']') {
      inside = false;
      begun = false;
    }
  }
  if (inside) throw std::invalid_argument("'[' without ']'");
  return words;
}

// The words of a line, taken front to back.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {}
  bool empty() const { return at_ == words_.size(); }
  size_t left() const { return words_.size() - at_; }
  const std::string& peek(size_t ahead = 0) const {
    static const std::string none;
    return at_ + ahead < words_.size() ? words_[at_ + ahead] : none;
  }
  std::string take(const char* what) {
    if (empty()) throw std::invalid_argument(std::string(what) + " is missing at the end of the line");
    return words_[at_++];
  }
  bool take_if(const std::string& word) {
    if (peek() != word) return false;
    ++at_;
    return true;
  }

 private:
  std::vector<std::string> words_;
  size_t at_ = 0;
};

// The heads of a frame other than TCP: its type, by name or by number.
bool takes_head(const std::string& kind) { return kind == "icmp" || kind == "icmp6" || kind == "arp" || kind == "nd"; }

void parse_field(Words& words, FrameSpec& frame, char direction) {
  Field field{words.take("a field"), {}};
  const FieldRule* rule = rule_of(field.name, frame.kind, direction);
  for (const char* type = rule->words; *type != 0; ++type) {
    std::string word = words.take(("the value of '" + field.name + "'").c_str());
    if (field.name == "patch" || field.name == "break") {
      check_patch(word);
    } else if (*type == 'x') {
      while (!words.empty() && parse_hex(words.peek())) word += words.take("bytes");
      if (!parse_hex(word)) throw std::invalid_argument("'" + word + "' is not hexadecimal");
    } else {
      check_word(*type, word, direction);
    }
    field.words.push_back(word);
  }
  frame.fields.push_back(field);
}

void parse_frame(Words& words, Step& step, char direction) {
  if (words.left() > 1 && words.peek(1) == "x") {
    step.repeat = words.take("a count");
    check_expression(step.repeat);
    words.take("x");
  }
  FrameSpec& frame = step.frame;
  const std::string first = words.take("a frame");
  if (has_word("icmp icmp6 arp nd udp ip eth raw", first)) {
    frame.kind = first;
    if (takes_head(first)) frame.head = words.take("the type");
  } else {
    if (!parse_flags(first) && first != "-") throw std::invalid_argument("'" + first + "' is neither flags nor a kind");
    frame.head = first == "-" ? "" : first;
  }
  while (!words.empty()) {
    if (words.peek().starts_with("[")) {
      const std::string list = words.take("options");
      if (frame.kind != "tcp" || frame.options) throw std::invalid_argument("one list of options, of a TCP segment");
      frame.options = parse_options(list.substr(1, list.size() - 2));
    } else if (direction == '>' && words.take_if("every")) {
      step.every = parse_duration(words.take("a duration"));
    } else {
      parse_field(words, frame, direction);
    }
  }
}

When parse_when(const std::string& word) {
  When when{true, word[0] == '@', 0, 0};
  const std::string body = word.substr(1);
  const size_t dots = body.find("..");
  when.earliest = parse_duration(body.substr(0, dots));
  when.latest = dots == std::string::npos ? when.earliest : parse_duration(body.substr(dots + 2));
  if (when.latest < when.earliest) throw std::invalid_argument("'" + word + "' ends before it begins");
  return when;
}

struct VerbRule {
  const char* verb;
  StepKind kind;
  int words_min, words_max;
  bool first_is_number;
};
constexpr VerbRule verb_rules[] = {
    {"opened", StepKind::opened, 0, 0, false},
    {"data", StepKind::data, 1, 2, true},
    {"sent", StepKind::sent, 1, 1, true},
    {"peer_finished", StepKind::peer_finished, 0, 0, false},
    {"closed", StepKind::closed, 0, 0, false},
    {"quiet", StepKind::quiet, 0, 0, false},
    {"allow", StepKind::application, 1, 1, true},
    {"send", StepKind::application, 1, 2, true},
    {"keep_credit", StepKind::application, 1, 1, true},
    {"close", StepKind::application, 0, 0, false},
    {"abort", StepKind::application, 0, 0, false},
    {"hold", StepKind::application, 0, 0, false},
    {"unhold", StepKind::application, 0, 0, false},
    {"request_done", StepKind::application, 0, 0, false},
    {"probe", StepKind::application, 0, 0, false},
    {"stop_accepting", StepKind::application, 0, 0, false},
    {"let", StepKind::let, 2, 2, false},
    {"check", StepKind::check_that, 2, 2, true},
    {"peer", StepKind::peer, 1, 13, false},
    {"port", StepKind::port, 1, 1, false},
    {"count", StepKind::count, 2, 2, false},
};

void parse_verb(const std::string& verb, Words& words, Step& step) {
  const auto* rule = std::find_if(std::begin(verb_rules), std::end(verb_rules),
                                  [&](const VerbRule& each) { return verb == each.verb; });
  if (rule == std::end(verb_rules)) throw std::invalid_argument("unknown word '" + verb + "'");
  step.kind = rule->kind;
  if (step.kind == StepKind::application) step.words.push_back(verb);
  const int count = static_cast<int>(words.left());
  if (count < rule->words_min || count > rule->words_max) {
    throw std::invalid_argument("'" + verb + "' does not take " + std::to_string(count) + " words");
  }
  if (rule->first_is_number) check_expression(words.peek());
  while (!words.empty()) step.words.push_back(words.take("a word"));
  if (step.kind == StepKind::let) check_expression(step.words[1]);
  if (step.kind == StepKind::check_that || step.kind == StepKind::count) parse_pattern(step.words[1]);
}

void parse_step(Words& words, Step& step) {
  while (words.peek().starts_with("+") || words.peek().starts_with("@") || words.peek().ends_with(":")) {
    const std::string word = words.take("a prefix");
    if (word.ends_with(":")) {
      step.connection = word.substr(0, word.size() - 1);
    } else {
      step.when = parse_when(word);
    }
  }
  if (words.empty()) {
    step.kind = StepKind::wait;
    return;
  }
  const std::string verb = words.take("a verb");
  if (verb == ">") {
    step.kind = StepKind::inject;
    parse_frame(words, step, '>');
  } else if (verb == "<" || verb == "<?" || verb == "<*") {
    step.kind = verb == "<" ? StepKind::expect : verb == "<?" ? StepKind::expect_optional : StepKind::expect_many;
    parse_frame(words, step, '<');
  } else if (verb == "<<" || verb == "nothing") {
    step.kind = StepKind::nothing;
    words.take_if("nothing");
    if (words.take_if("for")) step.every = parse_duration(words.take("a duration"));
    if (!words.empty()) throw std::invalid_argument("'" + words.peek() + "' after 'nothing'");
  } else if (verb == "connect") {
    step.kind = StepKind::connect;
    step.frame.head = "S";
    while (!words.empty()) {
      if (words.peek().starts_with("[")) {
        const std::string list = words.take("options");
        step.frame.options = parse_options(list.substr(1, list.size() - 2));
      } else if (words.take_if("rtt")) {
        step.every = parse_duration(words.take("a duration"));
      } else if (words.take_if("warm")) {
        step.words.push_back("warm");
      } else {
        parse_field(words, step.frame, '>');
      }
    }
  } else {
    parse_verb(verb, words, step);
  }
}

// Lines of a file, those that end in a backslash joined.
struct Line {
  int number;
  std::string text;
};
std::vector<Line> lines_of(const std::string& text) {
  std::vector<Line> lines;
  std::istringstream in(text);
  bool join = false;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const bool joins_next = line.ends_with("\\");
    if (joins_next) line.pop_back();
    if (join) {
      lines.back().text += line;
    } else {
      lines.push_back({number, line});
    }
    join = joins_next;
  }
  return lines;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

class Parser {
 public:
  Parser(const std::string& file, const std::string& text) : lines_(lines_of(text)) { script_.file = file; }

  Script parse() {
    parse_title();
    while (at_ < lines_.size()) parse_line(script_.steps);
    if (script_.steps.empty()) throw ScriptError(script_.file, 1, "a script without steps");
    return std::move(script_);
  }

 private:
  // Every script says first which section it holds.
  void parse_title() {
    for (; at_ < lines_.size() && lines_[at_].text.starts_with("#"); ++at_) {
      script_.title += trimmed(lines_[at_].text.substr(1)) + "\n";
    }
    const bool names_source = script_.title.find("RFC ") != std::string::npos ||
                              script_.title.find("design") != std::string::npos ||
                              script_.title.find("IEEE") != std::string::npos;
    if (!names_source) {
      throw ScriptError(script_.file, 1, "a script begins with a comment that names the RFC section it holds");
    }
  }

  void parse_line(std::vector<Step>& to) {
    const Line& line = lines_[at_++];
    try {
      Words words(cut_line(line.text));
      if (words.empty()) return;
      if (words.take_if("set")) {
        parse_setting(words, line.number);
      } else if (words.take_if("repeat")) {
        parse_repeat(words, line.number, to);
      } else {
        Step step;
        step.line = line.number;
        step.text = trimmed(line.text);
        parse_step(words, step);
        to.push_back(step);
      }
    } catch (const std::invalid_argument& error) {
      throw ScriptError(script_.file, line.number, error.what());
    }
  }

  void parse_setting(Words& words, int line) {
    if (!script_.steps.empty()) throw std::invalid_argument("settings come before the first step");
    Field setting{words.take("a setting's name"), {}};
    while (!words.empty()) setting.words.push_back(words.take("a value"));
    if (setting.words.empty()) throw std::invalid_argument("a setting needs a value");
    if (!script_.settings.emplace(setting.name, setting).second) throw std::invalid_argument("set twice");
    script_.setting_lines[setting.name] = line;
  }

  // repeat N ... end: the steps N times over, with $i counting from 0.
  void parse_repeat(Words& words, int line, std::vector<Step>& to) {
    const int64_t count = evaluate(words.take("a count"), {});
    std::vector<Step> body;
    while (true) {
      if (at_ == lines_.size()) throw ScriptError(script_.file, line, "'repeat' without 'end'");
      if (trimmed(lines_[at_].text) == "end") break;
      parse_line(body);
    }
    ++at_;
    for (int64_t i = 0; i < count; ++i) {
      Step counter;
      counter.line = line;
      counter.kind = StepKind::let;
      counter.words = {"i", std::to_string(i)};
      to.push_back(counter);
      to.insert(to.end(), body.begin(), body.end());
    }
  }

  std::vector<Line> lines_;
  size_t at_ = 0;
  Script script_;
};

}  // namespace

Script parse_script(const std::string& file, const std::string& text) { return Parser(file, text).parse(); }

}  // namespace penstock::packets
