// ICMP and ICMPv6: echo is answered here, neighbour discovery passed on, and errors about a segment of ours are
// returned for the connection to judge.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/net/neighbour.h"
#include "dataplane/net/rate_limit.h"
#include "dataplane/net/reply_queue.h"
#include "dataplane/net/segment.h"

namespace penstock::net {

enum class IcmpErrorKind : uint8_t { too_big, unreachable };

// An error about a segment that we are said to have sent.
struct IcmpError {
  IcmpErrorKind kind{};
  Flow flow;               // of the quoted segment: local is its source
  SeqNumber seq;           // of the quoted segment
  uint32_t mtu_bytes = 0;  // too_big: of the IP packet; 0: the router did not say (RFC 1191 5)
};

class IcmpReader {
 public:
  IcmpReader(const LinkAddress& link_address, const LocalAddresses& addresses, Neighbour& neighbour,
             ReplyQueue& replies, TcpCounters& counters)
      : link_address_(link_address),
        addresses_(addresses),
        neighbour_(neighbour),
        replies_(replies),
        counters_(counters) {}

  std::optional<IcmpError> read(const IpPacket& packet, Nanoseconds now);

 private:
  std::optional<IcmpError> read_v4(const IpPacket& packet, const FramePayload& message, Nanoseconds now);
  std::optional<IcmpError> read_v6(const IpPacket& packet, const FramePayload& message, Nanoseconds now);
  void answer_echo(const IpPacket& packet, const FramePayload& message, uint8_t reply_type, Nanoseconds now);
  std::optional<IcmpError> drop(TcpCount why);

  const LinkAddress link_address_;
  const LocalAddresses& addresses_;
  Neighbour& neighbour_;
  ReplyQueue& replies_;
  TcpCounters& counters_;
  RateLimit echoes_{1000};  // a second
};

}  // namespace penstock::net
