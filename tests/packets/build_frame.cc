// From the words of an injected frame to its bytes.
#include <algorithm>
#include <map>
#include <stdexcept>

#include "tests/packets/notation.h"
#include "tests/packets/world.h"

namespace penstock::packets {

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

}  // namespace penstock::packets
