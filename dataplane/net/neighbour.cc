#include "dataplane/net/neighbour.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/frame_writer.h"
#include "dataplane/net/icmp.h"

namespace penstock::net {

namespace {

constexpr uint8_t neighbour_hops = 255;  // RFC 4861 7.1: proof that the message was not forwarded

IpAddress all_nodes() {
  constexpr uint8_t bytes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return IpAddress::from_v6(bytes);
}

IpAddress solicited_group(const IpAddress& of) {
  uint8_t bytes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(bytes + 13, of.bytes() + 13, 3);
  return IpAddress::from_v6(bytes);
}

// RFC 2464 7.
LinkPath multicast_path(const IpAddress& group) {
  LinkPath path;
  path.peer = {0x33, 0x33, group.bytes()[12], group.bytes()[13], group.bytes()[14], group.bytes()[15]};
  return path;
}

// RFC 4861 7.1.1, 7.1.2: an option of length 0 discards the message.
bool options_whole(const std::byte* at, uint32_t bytes) {
  while (bytes >= 2) {
    const uint32_t length = static_cast<uint32_t>(at[1]) * 8u;
    if (length == 0 || length > bytes) return false;
    at += length;
    bytes -= length;
  }
  return bytes == 0;
}

// The link address that an option of this type carries; false when there is none.
bool find_link_option(const std::byte* at, uint32_t bytes, uint8_t type, LinkAddress& found) {
  while (bytes >= sizeof(LinkAddressOption)) {
    LinkAddressOption option;
    std::memcpy(static_cast<void*>(&option), at, sizeof option);
    const uint32_t length = option.words * 8u;
    if (option.type == type) {
      found = option.address;
      return true;
    }
    at += length;
    bytes -= length;
  }
  return false;
}

}  // namespace

// All addresses are new at the same time, so they go through the stages together: one probe, the wait, two
// announcements. RFC 5227 2.1.1 asks for three probes over up to seven seconds; RFC 4862 5.1 for one: we take one.
void Neighbour::on_timer(Nanoseconds now) {
  if (now < deadline_) return;
  const auto usable = [&](auto&& act) {
    for (const LocalAddresses::Entry& entry : addresses_.entries()) {
      if (entry.state == AddressState::usable) act(entry.interface.address);
    }
  };
  if (stage_ == Stage::start && wait_ > 0) {
    for (const LocalAddresses::Entry& entry : addresses_.entries()) probe(entry.interface.address);
    stage_ = Stage::probing;
    deadline_ = now + wait_;
    return;
  }
  switch (stage_) {
    case Stage::start:
    case Stage::probing:
      for (LocalAddresses::Entry& entry : addresses_.entries()) {
        if (entry.state == AddressState::tentative) entry.state = AddressState::usable;
      }
      usable([&](const IpAddress& address) { announce(address); });
      stage_ = Stage::announced_once;
      deadline_ = now + announce_interval_ns;
      return;
    case Stage::announced_once:
      usable([&](const IpAddress& address) { announce(address); });
      stage_ = Stage::done;
      deadline_ = never_ns;
      return;
    case Stage::done:
      deadline_ = never_ns;
      return;
  }
}

// What we sent ourselves, come back. The link address alone does not say so: both ends of a tap device have the same.
bool Neighbour::is_own(const LinkAddress& link, const IpAddress& source) const {
  return link == link_address_ && (source.is_unspecified() || addresses_.find(source) != nullptr);
}

void Neighbour::on_arp(const ArpPacket& packet, const LinkPath& link, Nanoseconds now) {
  const IpAddress sender = IpAddress::from_v4(packet.sender), target = IpAddress::from_v4(packet.target);
  if (is_own(packet.sender_link, sender)) return;
  for (LocalAddresses::Entry& entry : addresses_.entries()) {
    const IpAddress& ours = entry.interface.address;
    // RFC 5227 2.1.1: while probing, somebody else's probe for the same address is a conflict too.
    const bool also_probed = entry.state == AddressState::tentative && sender.is_unspecified() && target == ours &&
                             packet.operation == arp_request;
    if (sender == ours || also_probed) return conflict(entry, now);
  }
  if (packet.operation != arp_request || !addresses_.owns(target)) return;
  if (!answers_.take(now)) return;
  LinkPath back = link;
  back.peer = packet.sender_link;
  if ((back.peer[0] & 1) != 0) return counters_.add(TcpCount::drop_arp_malformed);
  counters_.add(TcpCount::arp_requests_answered);
  send_arp(back, arp_reply, target, packet.sender_link, sender);
}

// An address somebody else uses: tentative, it is given up; in use, it is defended (RFC 5227 2.4 b).
void Neighbour::conflict(LocalAddresses::Entry& entry, Nanoseconds now) {
  counters_.add(TcpCount::address_conflicts);
  if (entry.state == AddressState::tentative) {
    entry.state = AddressState::conflict;
  } else if (entry.state == AddressState::usable && defences_.take(now)) {
    announce(entry.interface.address);
  }
}

void Neighbour::probe(const IpAddress& address) {
  if (address.is_v4()) {
    LinkPath everybody;
    everybody.peer = link_broadcast;
    send_arp(everybody, arp_request, IpAddress::v4(0, 0, 0, 0), LinkAddress{}, address);
  } else {
    send_solicitation(address);
  }
}

// RFC 5227 2.3: an announcement is a request whose sender and target are the same. IPv6: RFC 4861 7.2.6.
void Neighbour::announce(const IpAddress& address) {
  if (address.is_v4()) {
    LinkPath everybody;
    everybody.peer = link_broadcast;
    send_arp(everybody, arp_request, address, LinkAddress{}, address);
  } else {
    send_advertisement(multicast_path(all_nodes()), address, all_nodes(), neighbour_override);
  }
}

void Neighbour::send_arp(const LinkPath& link, uint16_t operation, const IpAddress& sender,
                         const LinkAddress& target_link, const IpAddress& target) {
  std::byte* to = replies_.reserve(link_header_bytes(link) + sizeof(ArpPacket));
  if (to == nullptr) return;
  to = write_link_header(to, link, link_address_, ether_arp);
  ArpPacket packet;
  packet.operation = operation;
  packet.sender_link = link_address_;
  std::memcpy(packet.sender, sender.v4_bytes(), 4);
  packet.target_link = target_link;
  std::memcpy(packet.target, target.v4_bytes(), 4);
  std::memcpy(to, static_cast<const void*>(&packet), sizeof packet);
  replies_.push();
}

void Neighbour::on_message(const IpPacket& packet, const std::byte* message, uint32_t bytes, Nanoseconds now) {
  const auto malformed = [&] { counters_.add(TcpCount::drop_icmp_malformed); };
  // RFC 4861 7.1.1, 7.1.2.
  if (packet.hops_left != neighbour_hops || bytes < sizeof(NeighbourMessage)) return malformed();
  NeighbourMessage neighbour;
  std::memcpy(static_cast<void*>(&neighbour), message, sizeof neighbour);
  if (neighbour.header.code != 0) return malformed();
  const IpAddress target = IpAddress::from_v6(neighbour.target);
  if (target.is_multicast()) return malformed();
  if (!options_whole(message + sizeof neighbour, bytes - uint32_t{sizeof neighbour})) return malformed();
  LocalAddresses::Entry* entry = nullptr;
  for (LocalAddresses::Entry& candidate : addresses_.entries()) {
    if (candidate.interface.address == target) entry = &candidate;
  }
  if (entry == nullptr) return;
  if (is_own(packet.link.peer, packet.source)) return;
  if (neighbour.header.type == icmpv6_neighbour_advertisement) return conflict(*entry, now);

  const std::byte* options = message + sizeof neighbour;
  const uint32_t options_bytes = bytes - static_cast<uint32_t>(sizeof neighbour);
  LinkPath back = packet.link;
  const bool has_link = find_link_option(options, options_bytes, 1, back.peer);
  const bool probe_by_other = packet.source.is_unspecified();
  if (probe_by_other && (has_link || !packet.destination.is_multicast())) return malformed();
  if (entry->state == AddressState::tentative) {
    if (probe_by_other) conflict(*entry, now);  // RFC 4862 5.4.3
    return;
  }
  if (entry->state != AddressState::usable) return;
  if ((back.peer[0] & 1) != 0) return malformed();
  if (!answers_.take(now)) return;
  counters_.add(TcpCount::neighbour_solicitations_answered);
  if (probe_by_other) {
    // RFC 4861 7.2.4: to all nodes, not "solicited".
    LinkPath everybody = multicast_path(all_nodes());
    everybody.vlan_control = back.vlan_control;
    return send_advertisement(everybody, target, all_nodes(), neighbour_override);
  }
  send_advertisement(back, target, packet.source, neighbour_solicited | neighbour_override);
}

void Neighbour::send_advertisement(const LinkPath& link, const IpAddress& of, const IpAddress& to, uint32_t flags) {
  struct Message {
    NeighbourMessage neighbour;
    LinkAddressOption option;
  } message;
  static_assert(sizeof message == 32);
  message.neighbour.header.type = icmpv6_neighbour_advertisement;
  message.neighbour.header.rest = flags;
  std::memcpy(message.neighbour.target, of.bytes(), 16);
  message.option.type = 2;
  message.option.address = link_address_;
  Checksum checksum;
  checksum.add_pseudo_header(of, to, protocol_icmpv6, sizeof message);
  checksum.add(&message, sizeof message);
  message.neighbour.header.checksum = checksum.finish();
  std::byte* at = replies_.reserve(link_header_bytes(link) + sizeof(Ipv6Header) + sizeof message);
  if (at == nullptr) return;
  at = write_link_header(at, link, link_address_, ether_ipv6);
  at = write_network_header(at, {of, to, sizeof message, protocol_icmpv6, neighbour_hops, false});
  std::memcpy(at, static_cast<const void*>(&message), sizeof message);
  replies_.push();
}

// RFC 4862 5.4.2: from the unspecified address, so without a link address.
void Neighbour::send_solicitation(const IpAddress& of) {
  const IpAddress group = solicited_group(of);
  const LinkPath link = multicast_path(group);
  NeighbourMessage message;
  message.header.type = icmpv6_neighbour_solicitation;
  std::memcpy(message.target, of.bytes(), 16);
  Checksum checksum;
  checksum.add_pseudo_header(IpAddress{}, group, protocol_icmpv6, sizeof message);
  checksum.add(&message, sizeof message);
  message.header.checksum = checksum.finish();
  std::byte* at = replies_.reserve(link_header_bytes(link) + sizeof(Ipv6Header) + sizeof message);
  if (at == nullptr) return;
  at = write_link_header(at, link, link_address_, ether_ipv6);
  at = write_network_header(at, {IpAddress{}, group, sizeof message, protocol_icmpv6, neighbour_hops, false});
  std::memcpy(at, static_cast<const void*>(&message), sizeof message);
  replies_.push();
}

}  // namespace penstock::net
