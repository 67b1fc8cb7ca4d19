// From a frame to a checked IP packet or ARP packet.
#pragma once

#include <cstdint>

#include "dataplane/frames.h"
#include "dataplane/net/arp.h"
#include "dataplane/net/counters.h"
#include "dataplane/net/local_addresses.h"
#include "dataplane/net/segment.h"

namespace penstock::net {

enum class FrameKind : uint8_t { dropped, arp, ip };

class FrameReader {
 public:
  FrameReader(const LinkAddress& link_address, const LocalAddresses& addresses, TcpCounters& counters)
      : link_address_(link_address), addresses_(addresses), counters_(counters) {}

  // What ip() or arp() and link() then hold until the next call. IP packets are for one of our usable addresses, or,
  // ICMPv6 only, for a multicast group or an address still being probed.
  FrameKind read(const ReceivedFrame& frame);
  const IpPacket& ip() const { return ip_; }
  const ArpPacket& arp() const { return arp_; }
  const LinkPath& link() const { return ip_.link; }

 private:
  FrameKind drop(TcpCount why);
  FrameKind read_ipv4(const ReceivedFrame& frame, uint32_t at, uint32_t frame_bytes);
  FrameKind read_ipv6(const ReceivedFrame& frame, uint32_t at, uint32_t frame_bytes);

  const LinkAddress link_address_;
  const LocalAddresses& addresses_;
  TcpCounters& counters_;
  IpPacket ip_;
  ArpPacket arp_;
};

}  // namespace penstock::net
