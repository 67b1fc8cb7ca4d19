#include "tests/packets/notation.h"

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "tests/packets/world.h"

namespace penstock::packets {

// ---- names ----

namespace {

struct Name {
  const char* word;
  const char* v4;
  const char* v6;
};
constexpr Name address_names[] = {{"gateway", "10.0.0.254", "fd00::fe"},
                                  {"stranger", "10.0.0.66", "fd00::66"},
                                  {"broadcast", "10.0.0.255", "ff02::1"},
                                  {"any", "0.0.0.0", "::"},
                                  {"zero", "0.0.0.0", "::"},
                                  {"all_nodes", "224.0.0.1", "ff02::1"},
                                  {"our_solicited", "10.0.0.1", "ff02::1:ff00:1"},
                                  {"our_link_local", "169.254.0.1", "fe80::ff:fe00:1"}};

struct MacName {
  const char* word;
  Mac mac;
};
constexpr MacName mac_names[] = {{"us", our_mac},
                                 {"gateway", gateway_mac},
                                 {"stranger", stranger_mac},
                                 {"broadcast", Mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
                                 {"zero", Mac{}},
                                 {"our_solicited", Mac{0x33, 0x33, 0xff, 0, 0, 1}},
                                 {"all_nodes", Mac{0x33, 0x33, 0, 0, 0, 1}}};

struct MessageName {
  const char* kind;
  const char* word;
  int type, code;
};
constexpr MessageName message_names[] = {{"icmp", "echo_reply", 0, 0},
                                         {"icmp", "unreachable", 3, 1},
                                         {"icmp", "need_frag", 3, 4},
                                         {"icmp", "source_quench", 4, 0},
                                         {"icmp", "redirect", 5, 1},
                                         {"icmp", "echo", 8, 0},
                                         {"icmp", "time_exceeded", 11, 0},
                                         {"icmp", "parameter_problem", 12, 0},
                                         {"icmp", "timestamp", 13, 0},
                                         {"icmp6", "unreachable", 1, 0},
                                         {"icmp6", "too_big", 2, 0},
                                         {"icmp6", "time_exceeded", 3, 0},
                                         {"icmp6", "parameter_problem", 4, 0},
                                         {"icmp6", "echo", 128, 0},
                                         {"icmp6", "echo_reply", 129, 0},
                                         {"nd", "router_solicit", 133, 0},
                                         {"nd", "router_advert", 134, 0},
                                         {"nd", "solicit", 135, 0},
                                         {"nd", "advert", 136, 0},
                                         {"nd", "redirect", 137, 0},
                                         {"arp", "request", 1, 0},
                                         {"arp", "reply", 2, 0}};

// Type and code of an ICMP or discovery message, the operation of an ARP packet; code -1: given by number only.
struct Message {
  int type, code;
};
Message message_of(const FrameSpec& spec) {
  for (const MessageName& name : message_names) {
    if (spec.kind == name.kind && spec.head == name.word) return {name.type, name.code};
  }
  return {static_cast<int>(evaluate(spec.head, {})), 0};
}

}  // namespace

Address resolve_address(const std::string& word, const Context& context) {
  if (word == "us") return context.connection.us;
  if (word == "peer") return context.connection.peer;
  for (const Name& name : address_names) {
    if (word == name.word) return *parse_address(context.connection.us.v6 ? name.v6 : name.v4);
  }
  return *parse_address(word);
}

Mac resolve_mac(const std::string& word, const Context& context) {
  if (word == "peer") return context.connection.mac;
  for (const MacName& name : mac_names) {
    if (word == name.word) return name.mac;
  }
  return *parse_mac(word);
}

// ---- building ----

namespace {

void append(Bytes& to, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to.push_back(static_cast<uint8_t>(value >> shift));
}

// Reads the fields of one frame.
class Builder {
 public:
  Builder(const FrameSpec& spec, const Context& context)
      : spec_(spec), context_(context), connection_(context.connection) {}

  Injected build() {
    if (spec_.kind == "raw") {
      injected_.bytes = *parse_hex(spec_.field("bytes")->words[0]);
      injected_.intact = false;
    } else {
      build_link();
      if (spec_.kind == "tcp") build_tcp();
      if (spec_.kind == "icmp" || spec_.kind == "icmp6") build_icmp();
      if (spec_.kind == "nd") build_discovery();
      if (spec_.kind == "arp") build_arp();
      if (spec_.kind == "udp" || spec_.kind == "ip" || spec_.kind == "eth") build_other();
      override_ip();
      override_link();
      injected_.bytes = encode(injected_.packet, patches());
    }
    spoil_length();
    injected_.first_piece_bytes = static_cast<size_t>(number("split", 0));
    injected_.verified = spec_.field("verified") != nullptr;
    return std::move(injected_);
  }

 private:
  bool has(const char* name) const { return spec_.field(name) != nullptr; }
  int64_t number(const char* name, int64_t otherwise) const {
    const Field* field = spec_.field(name);
    return field == nullptr ? otherwise : evaluate(field->words[0], context_.variables);
  }
  Address address(const char* name, const std::string& otherwise) const {
    const Field* field = spec_.field(name);
    return resolve_address(field == nullptr ? otherwise : field->words[0], context_);
  }
  Mac mac(const char* name, const Mac& otherwise) const {
    const Field* field = spec_.field(name);
    return field == nullptr ? otherwise : resolve_mac(field->words[0], context_);
  }

  void build_link() {
    Packet& packet = injected_.packet;
    packet.destination_mac = our_mac;
    packet.source_mac = connection_.mac;
    packet.vlan = context_.settings.vlan;
    packet.ether_type = connection_.us.v6 ? ether_ipv6 : ether_ipv4;
    if (spec_.kind == "icmp") packet.ether_type = ether_ipv4;
    if (spec_.kind == "icmp6" || spec_.kind == "nd") packet.ether_type = ether_ipv6;
  }
  void override_link() {
    Packet& packet = injected_.packet;
    packet.destination_mac = mac("to_mac", packet.destination_mac);
    packet.source_mac = mac("from_mac", packet.source_mac);
    packet.ether_type = static_cast<uint16_t>(number("ether_type", packet.ether_type));
    if (has("vlan")) packet.vlan = static_cast<uint16_t>(number("vlan", 0));
    if (has("untagged")) packet.vlan.reset();
  }

  Ip& start_ip(uint8_t protocol, const std::string& source, const std::string& destination) {
    Ip& ip = injected_.packet.ip.emplace();
    ip.source = resolve_address(source, context_);
    ip.destination = resolve_address(destination, context_);
    ip.protocol = protocol;
    return ip;
  }
  void override_ip() {
    if (!injected_.packet.ip) return;
    Ip& ip = *injected_.packet.ip;
    if (has("src")) ip.source = address("src", "peer");
    if (has("dst")) ip.destination = address("dst", "us");
    ip.ttl = static_cast<uint8_t>(number("ttl", ip.ttl));
    ip.tos = static_cast<uint8_t>(number("tos", ip.tos));
    ip.id = static_cast<uint16_t>(number("id", ip.id));
    ip.dont_fragment = number("df", ip.dont_fragment) != 0;
    ip.more_fragments = number("mf", ip.more_fragments) != 0;
    ip.fragment_offset = static_cast<uint16_t>(number("fragment", ip.fragment_offset));
    if (has("total_length")) ip.total_length = static_cast<uint16_t>(number("total_length", 0));
    if (has("ip_options")) ip.options = *parse_hex(spec_.field("ip_options")->words[0]);
    for (const Field& field : spec_.fields) {
      if (field.name == "extension")
        ip.extensions.push_back(static_cast<uint8_t>(evaluate(field.words[0], context_.variables)));
    }
  }

  void build_tcp() {
    injected_.packet.kind = Kind::tcp;
    start_ip(protocol_tcp, "peer", "us");
    Tcp& tcp = injected_.packet.tcp;
    tcp.flags = *parse_flags(spec_.head);
    const bool syn = (tcp.flags & flag::syn) != 0;
    tcp.source_port = static_cast<uint16_t>(number("sport", connection_.peer_port));
    tcp.destination_port = static_cast<uint16_t>(number("dport", connection_.our_port));
    const int64_t seq = number("seq", syn ? 0 : connection_.next);
    tcp.sequence = static_cast<uint32_t>(connection_.peer_isn + seq);
    const bool ack = (tcp.flags & flag::ack) != 0 || has("ack");
    const int64_t acknowledged = number("ack", ack ? connection_.acked : 0);
    tcp.acknowledgement = ack ? static_cast<uint32_t>(connection_.our_isn.value_or(0) + acknowledged) : 0;
    tcp.window = window(acknowledged, syn);
    tcp.urgent = static_cast<uint16_t>(number("urg", 0));
    tcp.reserved = static_cast<uint8_t>(number("reserved", 0));
    if (has("header_words")) tcp.header_words = static_cast<uint8_t>(number("header_words", 5));
    tcp.options = spec_.options ? options(*spec_.options) : usual_options(syn);
    const auto bytes = static_cast<size_t>(number("data", 0));
    const int64_t first = seq + syn;
    for (size_t i = 0; i < bytes; ++i) tcp.payload.push_back(payload_byte(first + static_cast<int64_t>(i)));
  }
  uint8_t payload_byte(int64_t seq) const {
    if (!has("content")) return connection_.peer_content(seq);
    return content_at(static_cast<uint32_t>(1000 + number("content", 0)), static_cast<uint64_t>(seq));
  }
  // A window that is given is kept for what follows.
  uint16_t window(int64_t acknowledged, bool syn) {
    const int scale = !syn && connection_.scale_on ? connection_.peer_scale : 0;
    if (has("win")) connection_.window = static_cast<uint16_t>(number("win", 0));
    if (has("edge")) connection_.window = static_cast<uint16_t>((number("edge", 0) - acknowledged) >> scale);
    return connection_.window;
  }

  std::vector<TcpOption> usual_options(bool syn) const {
    if (syn) {
      const char* mss = connection_.us.v6 ? "1440" : "1460";
      return options({{"mss", {mss}}, {"sack_ok", {}}, {"ts", {"auto", "auto"}}, {"wscale", {"7"}}});
    }
    if (!connection_.ts_on) return {};
    return options({{"nop", {}}, {"nop", {}}, {"ts", {"auto", "auto"}}});
  }
  std::vector<TcpOption> options(const std::vector<Field>& fields) const {
    std::vector<TcpOption> list;
    for (const Field& field : fields) list.push_back(option(field));
    return list;
  }
  uint32_t value(const std::string& word) const { return static_cast<uint32_t>(evaluate(word, context_.variables)); }
  TcpOption option(const Field& field) const {
    TcpOption made;
    if (field.name == "nop") made.kind = 1;
    if (field.name == "mss") {
      made.kind = option_mss;
      append(made.body, value(field.words[0]), 2);
    } else if (field.name == "wscale") {
      made.kind = option_scale;
      append(made.body, value(field.words[0]), 1);
    } else if (field.name == "sack_ok") {
      made.kind = option_sack_ok;
    } else if (field.name == "ts") {
      made.kind = option_ts;
      append(made.body, timestamp(field.words[0]), 4);
      append(made.body, echo(field.words[1]), 4);
    } else if (field.name == "sack") {
      made.kind = option_sack;
      for (const std::string& word : field.words) append_block(made.body, word);
    } else if (field.name == "kind") {  // kind K [LENGTH] [BODY]
      made.kind = static_cast<uint8_t>(value(field.words[0]));
      if (field.words.size() > 1) made.stated_length = static_cast<uint8_t>(value(field.words[1]));
      if (field.words.size() > 2) made.body = hex_of(field.words[2]);
    } else if (field.name == "raw") {
      raw_option(field.words[0], made);
    } else if (field.name == "no_ts" || field.name == "anything") {
      throw std::invalid_argument("'" + field.name + "' is only expected");
    }
    return made;
  }
  static Bytes hex_of(const std::string& word) {
    const auto bytes = parse_hex(word);
    if (!bytes) throw std::invalid_argument("'" + word + "' is not hexadecimal");
    return *bytes;
  }
  // Bytes as they are: the first is the kind, the second whatever it says it is.
  static void raw_option(const std::string& word, TcpOption& to) {
    const Bytes bytes = hex_of(word);
    if (bytes.empty()) throw std::invalid_argument("an empty raw option");
    to.kind = bytes[0];
    if (bytes.size() > 1) {
      to.stated_length = bytes[1];
      to.body.assign(bytes.begin() + 2, bytes.end());
    }
  }
  uint32_t timestamp(const std::string& word) const {
    const int64_t relative = word == "auto" ? context_.now_ms : evaluate(word, context_.variables);
    return static_cast<uint32_t>(connection_.peer_ts + relative);
  }
  uint32_t echo(const std::string& word) const {
    if (word == "auto") return connection_.our_isn ? connection_.last_our_ts : 0;
    const uint32_t base = connection_.our_isn ? connection_.our_ts : 0;
    return static_cast<uint32_t>(base + evaluate(word, context_.variables));
  }
  // "1001..2001", of what we sent.
  void append_block(Bytes& to, const std::string& word) const {
    const size_t dots = word.find("..");
    if (dots == std::string::npos) throw std::invalid_argument("'" + word + "' is no SACK block like 1..1449");
    const uint32_t base = connection_.our_isn.value_or(0);
    append(to, base + value(word.substr(0, dots)), 4);
    append(to, base + value(word.substr(dots + 2)), 4);
  }

  void build_icmp() {
    const bool v6 = spec_.kind == "icmp6";
    const Message message = message_of(spec_);
    injected_.packet.kind = Kind::icmp;
    start_ip(v6 ? protocol_icmp6 : protocol_icmp, has("quote") ? "gateway" : "peer", "us");
    if (has("quote")) injected_.packet.source_mac = gateway_mac;
    Icmp& icmp = injected_.packet.icmp;
    icmp.type = static_cast<uint8_t>(message.type);
    icmp.code = static_cast<uint8_t>(number("code", message.code));
    Bytes rest;
    if (has("ident") || has("number")) {
      append(rest, static_cast<uint32_t>(number("ident", 0)), 2);
      append(rest, static_cast<uint32_t>(number("number", 0)), 2);
    } else {
      append(rest, static_cast<uint32_t>(number("mtu", 0)), 4);
    }
    std::copy(rest.begin(), rest.end(), icmp.rest.begin());
    if (has("quote")) icmp.payload = quote();
    for (int64_t i = 0; i < number("data", 0); ++i) icmp.payload.push_back(content_at(77, static_cast<uint64_t>(i)));
  }
  // The beginning of a packet of ours, as a router sends it back.
  Bytes quote() const {
    Packet inner;
    inner.ether_type = connection_.us.v6 ? ether_ipv6 : ether_ipv4;
    inner.kind = Kind::tcp;
    Ip& ip = inner.ip.emplace();
    ip.source = address("quote_src", "us");
    ip.destination = address("quote_dst", "peer");
    ip.protocol = static_cast<uint8_t>(number("quote_proto", protocol_tcp));
    inner.tcp.source_port = static_cast<uint16_t>(number("quote_sport", connection_.our_port));
    inner.tcp.destination_port = static_cast<uint16_t>(number("quote_dport", connection_.peer_port));
    inner.tcp.sequence =
        static_cast<uint32_t>(connection_.our_isn.value_or(0) + number("quote_seq", connection_.acked));
    inner.tcp.flags = flag::ack;
    inner.tcp.payload.resize(1400);
    Bytes bytes = encode(inner);
    bytes.erase(bytes.begin(), bytes.begin() + 14);
    const int64_t usual = connection_.us.v6 ? 1232 : 28;
    bytes.resize(std::min(bytes.size(), static_cast<size_t>(number("quote_bytes", usual))));
    return bytes;
  }

  void build_discovery() {
    const Message message = message_of(spec_);
    const bool solicit = message.type == 135;
    injected_.packet.kind = Kind::icmp;
    start_ip(protocol_icmp6, "peer", solicit ? "our_solicited" : "us").ttl = 255;
    if (solicit) injected_.packet.destination_mac = resolve_mac("our_solicited", context_);
    Icmp& icmp = injected_.packet.icmp;
    icmp.type = static_cast<uint8_t>(message.type);
    const int64_t flags = number("router", 0) << 7 | number("solicited", 0) << 6 | number("override", 0) << 5;
    icmp.rest = {static_cast<uint8_t>(flags), 0, 0, 0};
    const Address target = address("target", solicit ? "us" : "peer");
    icmp.payload.assign(target.bytes.begin(), target.bytes.end());
    if (has("no_link")) return;
    const Mac link = mac("link", connection_.mac);
    append(icmp.payload, solicit ? 1 : 2, 1);
    append(icmp.payload, static_cast<uint32_t>(number("option_length", 1)), 1);
    icmp.payload.insert(icmp.payload.end(), link.begin(), link.end());
  }

  void build_arp() {
    Packet& packet = injected_.packet;
    packet.kind = Kind::arp;
    packet.ether_type = ether_arp;
    Arp& arp = packet.arp;
    arp.operation = static_cast<uint16_t>(message_of(spec_).type);
    const bool request = arp.operation == 1;
    packet.destination_mac = request ? resolve_mac("broadcast", context_) : our_mac;
    arp.sender = address("sender", "peer");
    arp.sender_mac = mac("sender_mac", connection_.mac);
    arp.target = address("target", "us");
    arp.target_mac = mac("target_mac", request ? Mac{} : our_mac);
  }

  void build_other() {
    Bytes& payload = injected_.packet.payload;
    const auto bytes = static_cast<size_t>(number("data", 0));
    if (spec_.kind == "udp") {
      start_ip(protocol_udp, "peer", "us");
      append(payload, static_cast<uint32_t>(number("sport", 5000)), 2);
      append(payload, static_cast<uint32_t>(number("dport", connection_.our_port)), 2);
      append(payload, static_cast<uint32_t>(bytes + 8), 2);
      append(payload, 0, 2);
    } else if (spec_.kind == "ip") {
      start_ip(static_cast<uint8_t>(number("proto", 253)), "peer", "us");
    }
    payload.resize(payload.size() + bytes, 0x5a);
  }

  std::vector<Patch> patches() {
    std::vector<Patch> list;
    for (const Field& field : spec_.fields) {
      if (field.name == "patch" || field.name == "break") list.push_back(patch(field));
    }
    if (has("bad_checksum")) list.push_back(wrong(Patch::Layer::transport, spec_.kind == "tcp" ? 16 : 2));
    if (has("bad_ip_checksum")) list.push_back(wrong(Patch::Layer::network, 10));
    const bool spoiled = has("break") || has("bad_checksum") || has("bad_ip_checksum");
    if ((spoiled && !has("verified")) || has("total_length") || has("header_words")) injected_.intact = false;
    return list;
  }
  Patch patch(const Field& field) const {
    const std::string& word = field.words[0];
    const size_t plus = word.find('+'), equals = word.find('=');
    const std::string layer = word.substr(0, plus);
    Patch made;
    made.layer = layer == "eth"  ? Patch::Layer::ethernet
                 : layer == "ip" ? Patch::Layer::network
                                 : Patch::Layer::transport;
    made.at = static_cast<size_t>(evaluate(word.substr(plus + 1, equals - plus - 1), context_.variables));
    made.bytes = *parse_hex(word.substr(equals + 1));
    made.after_checksums = field.name == "break";
    return made;
  }
  // A checksum that cannot be right: what the right one is, is known by encoding once.
  Patch wrong(Patch::Layer layer, size_t at) const {
    Bytes right = encode(injected_.packet);
    const size_t link = injected_.packet.vlan ? 18 : 14;
    const size_t network = injected_.packet.ip->source.v6 ? 40 + 8 * injected_.packet.ip->extensions.size()
                                                          : 20 + injected_.packet.ip->options.size();
    const size_t position = link + at + (layer == Patch::Layer::transport ? network : 0);
    return {layer,
            at,
            {static_cast<uint8_t>(right[position] ^ 0x10), static_cast<uint8_t>(right[position + 1] ^ 0x01)},
            true};
  }

  // Short frames arrive padded to 60 bytes, and not with zeros; `pad` adds more, `cut` takes away.
  void spoil_length() {
    Bytes& bytes = injected_.bytes;
    constexpr size_t frame_bytes_min = 60;
    constexpr uint8_t padding = 0xee;
    if (spec_.kind != "raw" && !has("cut") && bytes.size() < frame_bytes_min) bytes.resize(frame_bytes_min, padding);
    bytes.resize(bytes.size() + static_cast<size_t>(number("pad", 0)), padding);
    if (!has("cut")) return;
    bytes.resize(std::min(bytes.size(), static_cast<size_t>(number("cut", 0))));
    injected_.intact = false;
  }

  const FrameSpec& spec_;
  const Context& context_;
  Connection& connection_;
  Injected injected_;
};

}  // namespace

Injected build(const FrameSpec& spec, const Context& context) { return Builder(spec, context).build(); }

// ---- comparing ----

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

// ---- describing ----

namespace {

std::string describe_option(const TcpOption& option, const Connection* connection, bool ours) {
  const uint32_t own_ts = connection == nullptr ? 0 : ours ? connection->our_ts : connection->peer_ts;
  const uint32_t other_ts = connection == nullptr ? 0 : ours ? connection->peer_ts : connection->our_ts;
  if (option.kind == option_mss) return "mss " + std::to_string(option_number(option, 0, 2));
  if (option.kind == option_scale) return "wscale " + std::to_string(option_number(option, 0, 1));
  if (option.kind == option_sack_ok) return "sack_ok";
  if (option.kind == option_ts) {
    const auto value = static_cast<int32_t>(option_number(option, 0, 4) - own_ts);
    const auto echo = static_cast<int32_t>(option_number(option, 4, 4) - other_ts);
    return "ts " + std::to_string(value) + " " + std::to_string(echo);
  }
  if (option.kind == option_sack) {
    std::string text = "sack";
    for (size_t at = 0; at + 8 <= option.body.size(); at += 8) {
      for (size_t half = 0; half < 2; ++half) {
        const uint32_t raw = option_number(option, at + 4 * half, 4);
        const int64_t seq = connection == nullptr ? raw
                            : ours                ? connection->seq_of_peer(raw)
                                                  : connection->seq_of_ours(raw);
        text += (half == 0 ? " " : "..") + std::to_string(seq);
      }
    }
    return text;
  }
  return "kind " + std::to_string(option.kind) + " " + std::to_string(option.body.size() + 2) + " " + hex(option.body);
}

std::string describe_tcp(const Tcp& tcp, const Connection* connection, bool ours) {
  int64_t seq = tcp.sequence, ack = tcp.acknowledgement;
  if (connection != nullptr && !connection->crowd()) {
    seq = ours ? connection->seq_of_ours(tcp.sequence) : connection->seq_of_peer(tcp.sequence);
    ack = ours ? connection->seq_of_peer(tcp.acknowledgement) : connection->seq_of_ours(tcp.acknowledgement);
  }
  std::string text = flags_to_string(tcp.flags) + " seq " + std::to_string(seq);
  if ((tcp.flags & flag::ack) != 0) text += " ack " + std::to_string(ack);
  text += " win " + std::to_string(tcp.window);
  if (!tcp.payload.empty()) text += " data " + std::to_string(tcp.payload.size());
  std::string options;
  for (const TcpOption& option : tcp.options) {
    if (option.kind > 1) options += (options.empty() ? "" : ", ") + describe_option(option, connection, ours);
  }
  return options.empty() ? text : text + " [" + options + "]";
}

std::string describe_icmp(const Packet& packet) {
  const Icmp& icmp = packet.icmp;
  return (packet.ip->source.v6 ? "icmp6 " : "icmp ") + std::to_string(icmp.type) + " code " +
         std::to_string(icmp.code) + " rest " + hex(icmp.rest) + " data " + std::to_string(icmp.payload.size()) +
         " from " + to_string(packet.ip->source) + " to " + to_string(packet.ip->destination);
}

}  // namespace

std::string describe(const Packet& packet, const Connection* connection, bool ours) {
  std::string text;
  if (packet.kind == Kind::tcp) {
    text = describe_tcp(packet.tcp, connection, ours);
    if (connection == nullptr) {
      text += " port " + std::to_string(packet.tcp.source_port) + " to " + to_string(packet.ip->destination) +
              " port " + std::to_string(packet.tcp.destination_port);
    }
  } else if (packet.kind == Kind::icmp) {
    text = describe_icmp(packet);
  } else if (packet.kind == Kind::arp) {
    const Arp& arp = packet.arp;
    text = "arp " + std::to_string(arp.operation) + " sender " + to_string(arp.sender) + " " +
           to_string(arp.sender_mac) + " target " + to_string(arp.target) + " " + to_string(arp.target_mac);
  } else {
    text = "frame of type " + std::to_string(packet.ether_type);
  }
  if (packet.vlan) text += " vlan " + std::to_string(*packet.vlan);
  return text + " to_mac " + to_string(packet.destination_mac);
}

}  // namespace penstock::packets
