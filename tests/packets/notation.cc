#include "tests/packets/notation.h"

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

}  // namespace

Message message_of(const FrameSpec& spec) {
  for (const MessageName& name : message_names) {
    if (spec.kind == name.kind && spec.head == name.word) return {name.type, name.code};
  }
  return {static_cast<int>(evaluate(spec.head, {})), 0};
}

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
