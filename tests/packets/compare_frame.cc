// What of an expected frame differs from the one that was seen.
#include <algorithm>
#include <map>
#include <stdexcept>

#include "tests/packets/notation.h"
#include "tests/packets/world.h"

namespace penstock::packets {

namespace {

// The ICMPv6 discovery option of this type, as a link address.
std::optional<Mac> link_option(const Icmp& icmp) {
  if (icmp.payload.size() < 24 || icmp.payload[17] != 1) return std::nullopt;
  Mac mac{};
  std::copy_n(icmp.payload.begin() + 18, 6, mac.begin());
  return mac;
}

class Comparer {
 public:
  Comparer(const FrameSpec& spec, const Packet& packet, const Context& context)
      : spec_(spec), packet_(packet), context_(context), connection_(context.connection) {}

  std::vector<std::string> compare() {
    if (kind_of_packet() != kind_of_spec()) {
      differ("kind", spec_.kind, kind_of_packet());
      return differences_;
    }
    if (spec_.kind == "tcp") {
      compare_tcp();
    } else {
      compare_head();
    }
    compare_link();
    for (const Field& field : spec_.fields) compare_field(field);
    if (differences_.empty()) {
      for (const auto& [name, value] : kept_) context_.variables[name] = value;
    }
    return differences_;
  }

 private:
  void differ(const std::string& what, const std::string& expected, const std::string& seen) {
    differences_.push_back(what + ": " + expected + " expected, " + seen + " seen");
  }
  std::string kind_of_packet() const {
    if (packet_.kind == Kind::tcp) return "tcp";
    if (packet_.kind == Kind::arp) return "arp";
    if (packet_.kind == Kind::icmp) return packet_.ip->source.v6 ? "icmp6" : "icmp";
    return "other";
  }
  std::string kind_of_spec() const { return spec_.kind == "nd" ? "icmp6" : spec_.kind; }

  void compare_number(const std::string& what, const std::string& expected, int64_t seen) {
    const Pattern pattern = parse_pattern(expected);
    if (!matches(pattern, seen, context_.variables)) differ(what, expected, std::to_string(seen));
    if (!pattern.keep.empty()) kept_[pattern.keep] = seen;
  }

  void compare_tcp() {
    const Tcp& tcp = packet_.tcp;
    const uint8_t expected = *parse_flags(spec_.head);
    // PSH is free unless it is asked for.
    const uint8_t compared = (expected & flag::psh) != 0 ? 0xff : static_cast<uint8_t>(~flag::psh);
    if ((tcp.flags & compared) != (expected & compared)) differ("flags", spec_.head, flags_to_string(tcp.flags));
    if (spec_.field("data") == nullptr) {
      compare_number("data", "0", static_cast<int64_t>(tcp.payload.size()));
    } else if (spec_.field("seq") == nullptr && !connection_.crowd()) {
      // New data, unless the script says otherwise.
      compare_number("seq", std::to_string(std::max<int64_t>(connection_.our_next, 1)), seq());
    }
    if (spec_.options) compare_options(*spec_.options);
  }
  int64_t seq() const { return connection_.seq_of_ours(packet_.tcp.sequence); }

  void compare_head() {
    const Message message = message_of(spec_);
    const int seen = spec_.kind == "arp" ? packet_.arp.operation : packet_.icmp.type;
    if (seen != message.type) differ("type", spec_.head, std::to_string(seen));
  }

  // Where answers go when the script does not say: back where the connection's segments come from.
  void compare_link() {
    if (spec_.field("to_mac") == nullptr && (spec_.kind == "tcp" || spec_.kind == "icmp" || spec_.kind == "icmp6")) {
      if (packet_.destination_mac != connection_.mac) {
        differ("to_mac", to_string(connection_.mac), to_string(packet_.destination_mac));
      }
    }
    if (packet_.source_mac != our_mac) differ("from_mac", to_string(our_mac), to_string(packet_.source_mac));
    if (spec_.field("vlan") == nullptr &&
        packet_.vlan != (spec_.field("untagged") ? std::nullopt : context_.settings.vlan)) {
      differ("vlan", context_.settings.vlan ? std::to_string(*context_.settings.vlan) : "none",
             packet_.vlan ? std::to_string(*packet_.vlan) : "none");
    }
  }

  void compare_field(const Field& field) {
    if (field.words.empty()) {
      if (field.name == "no_link" && link_option(packet_.icmp)) differ("no_link", "none", "a link address");
      return;
    }
    const std::string& word = field.words[0];
    if (const auto seen = mac_field(field.name)) {
      if (resolve_mac(word, context_) != *seen) differ(field.name, word, to_string(*seen));
    } else if (const auto address = address_field(field.name)) {
      const Address expected = resolve_address(word, context_);
      if (expected.v6 != address->v6 || expected != *address) differ(field.name, word, to_string(*address));
    } else if (const auto number = number_field(field.name)) {
      compare_number(field.name, word, *number);
    } else {
      differ(field.name, word, "nothing");
    }
  }
  std::optional<Mac> mac_field(const std::string& name) const {
    if (name == "to_mac") return packet_.destination_mac;
    if (name == "from_mac") return packet_.source_mac;
    if (name == "sender_mac") return packet_.arp.sender_mac;
    if (name == "target_mac") return packet_.arp.target_mac;
    if (name == "link") return link_option(packet_.icmp);
    return std::nullopt;
  }
  std::optional<Address> address_field(const std::string& name) const {
    if (name == "sender") return packet_.arp.sender;
    if (name == "target" && packet_.kind == Kind::arp) return packet_.arp.target;
    if (name == "target" && packet_.icmp.payload.size() >= 16) {
      Address target;
      target.v6 = true;
      std::copy_n(packet_.icmp.payload.begin(), 16, target.bytes.begin());
      return target;
    }
    if (name == "src" && packet_.ip) return packet_.ip->source;
    if (name == "dst" && packet_.ip) return packet_.ip->destination;
    return std::nullopt;
  }
  std::optional<int64_t> number_field(const std::string& name) const {
    if (name == "ether_type") return packet_.ether_type;
    if (name == "vlan") return packet_.vlan ? std::optional<int64_t>(*packet_.vlan) : std::nullopt;
    if (auto number = ip_number(name)) return number;
    if (packet_.kind == Kind::tcp) return tcp_number(name);
    if (packet_.kind == Kind::icmp) return icmp_number(name);
    return std::nullopt;
  }
  std::optional<int64_t> ip_number(const std::string& name) const {
    if (!packet_.ip) return std::nullopt;
    const Ip& ip = *packet_.ip;
    if (name == "ttl") return ip.ttl;
    if (name == "tos") return ip.tos;
    if (name == "id") return ip.id;
    if (name == "df") return ip.dont_fragment;
    if (name == "mf") return ip.more_fragments;
    if (name == "fragment") return ip.fragment_offset;
    return std::nullopt;
  }
  std::optional<int64_t> tcp_number(const std::string& name) const {
    const Tcp& tcp = packet_.tcp;
    const int scale = (tcp.flags & flag::syn) == 0 && connection_.scale_on ? connection_.our_scale : 0;
    const int64_t ack = connection_.seq_of_peer(tcp.acknowledgement);
    if (name == "seq") return seq();
    if (name == "ack") return ack;
    if (name == "win") return tcp.window;
    if (name == "edge") return ack + (int64_t{tcp.window} << scale);
    if (name == "urg") return tcp.urgent;
    if (name == "sport") return tcp.source_port;
    if (name == "dport") return tcp.destination_port;
    if (name == "reserved") return tcp.reserved;
    if (name == "data") return static_cast<int64_t>(tcp.payload.size());
    return std::nullopt;
  }
  std::optional<int64_t> icmp_number(const std::string& name) const {
    const Icmp& icmp = packet_.icmp;
    if (name == "code") return icmp.code;
    if (name == "ident") return icmp.rest[0] << 8 | icmp.rest[1];
    if (name == "number") return icmp.rest[2] << 8 | icmp.rest[3];
    if (name == "mtu") return icmp.rest[2] << 8 | icmp.rest[3];
    if (name == "data") return echo_data();
    if (name == "router") return icmp.rest[0] >> 7;
    if (name == "solicited") return icmp.rest[0] >> 6 & 1;
    if (name == "override") return icmp.rest[0] >> 5 & 1;
    return std::nullopt;
  }
  // The length of what was echoed, or -1 when its content is not what was sent.
  int64_t echo_data() const {
    const Bytes& payload = packet_.icmp.payload;
    for (size_t i = 0; i < payload.size(); ++i) {
      if (payload[i] != content_at(77, i)) return -1;
    }
    return static_cast<int64_t>(payload.size());
  }

  void compare_options(const std::vector<Field>& expected) {
    std::vector<const TcpOption*> left;
    for (const TcpOption& option : packet_.tcp.options) {
      if (option.kind > 1) left.push_back(&option);
    }
    bool anything = false, ts_free = true;
    for (const Field& field : expected) {
      if (field.name == "anything") anything = true;
      if (field.name == "ts" || field.name == "no_ts") ts_free = false;
      if (field.name == "anything" || field.name == "no_ts") continue;
      const uint8_t kind = kind_of(field);
      const auto found = std::find_if(left.begin(), left.end(), [&](const TcpOption* o) { return o->kind == kind; });
      if (found == left.end()) {
        differ("options", field.name, "none");
        continue;
      }
      compare_option(field, **found);
      left.erase(found);
    }
    for (const TcpOption* option : left) {
      if (anything || (ts_free && option->kind == option_ts)) continue;
      differ("options", "no kind " + std::to_string(option->kind), hex(option->body));
    }
  }
  static uint8_t kind_of(const Field& field) {
    static const std::map<std::string, uint8_t> kinds{{"mss", option_mss},         {"wscale", option_scale},
                                                      {"sack_ok", option_sack_ok}, {"sack", option_sack},
                                                      {"ts", option_ts},           {"nop", 1}};
    const auto found = kinds.find(field.name);
    if (found != kinds.end()) return found->second;
    if (field.name == "kind") return static_cast<uint8_t>(evaluate(field.words[0], {}));
    throw std::invalid_argument("option '" + field.name + "' is only injected");
  }
  void compare_option(const Field& field, const TcpOption& option) {
    if (field.name == "mss") compare_number("mss", field.words[0], option_number(option, 0, 2));
    if (field.name == "wscale") compare_number("wscale", field.words[0], option_number(option, 0, 1));
    if (field.name == "ts") {
      const uint32_t value = option_number(option, 0, 4), echo = option_number(option, 4, 4);
      compare_number("ts value", field.words[0], static_cast<int32_t>(value - connection_.our_ts));
      compare_number("ts echo", field.words[1], static_cast<int32_t>(echo - connection_.peer_ts));
    }
    if (field.name == "sack") compare_blocks(field, option);
  }
  void compare_blocks(const Field& field, const TcpOption& option) {
    const size_t count = option.body.size() / 8;
    if (count != field.words.size()) {
      differ("sack", std::to_string(field.words.size()) + " blocks", std::to_string(count));
    }
    for (size_t i = 0; i < std::min(count, field.words.size()); ++i) {
      const std::string& word = field.words[i];
      const size_t dots = word.find("..");
      const int64_t first = connection_.seq_of_peer(option_number(option, 8 * i, 4));
      const int64_t end = connection_.seq_of_peer(option_number(option, 8 * i + 4, 4));
      const std::string seen = std::to_string(first) + ".." + std::to_string(end);
      if (dots == std::string::npos || evaluate(word.substr(0, dots), context_.variables) != first ||
          evaluate(word.substr(dots + 2), context_.variables) != end) {
        differ("sack block " + std::to_string(i + 1), word, seen);
      }
    }
  }

  const FrameSpec& spec_;
  const Packet& packet_;
  const Context& context_;
  Connection& connection_;
  std::vector<std::string> differences_;
  Variables kept_;
};

}  // namespace

std::vector<std::string> differences(const FrameSpec& spec, const Packet& packet, const Context& context) {
  return Comparer(spec, packet, context).compare();
}

}  // namespace penstock::packets
