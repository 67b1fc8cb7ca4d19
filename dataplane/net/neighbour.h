// Who has our addresses: ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861) answered, new addresses probed before
// they are used and then announced (RFC 5227, RFC 4862 5.4). We never ask for anybody else's address: an answer goes to
// the link address its question came from.
#pragma once

#include <cstdint>

#include "dataplane/net/arp.h"
#include "dataplane/net/counters.h"
#include "dataplane/net/local_addresses.h"
#include "dataplane/net/rate_limit.h"
#include "dataplane/net/reply_queue.h"
#include "dataplane/net/segment.h"

namespace penstock::net {

class Neighbour {
 public:
  // `wait`: how long a new address is tentative; 0: not at all.
  Neighbour(const LinkAddress& link_address, LocalAddresses& addresses, ReplyQueue& replies, TcpCounters& counters,
            Nanoseconds wait)
      : link_address_(link_address), addresses_(addresses), replies_(replies), counters_(counters), wait_(wait) {}

  void on_timer(Nanoseconds now);
  Nanoseconds next_deadline() const { return deadline_; }
  void on_arp(const ArpPacket& packet, const LinkPath& link, Nanoseconds now);
  // A neighbour solicitation or advertisement whose ICMPv6 checksum is right.
  void on_message(const IpPacket& packet, const std::byte* message, uint32_t bytes, Nanoseconds now);

 private:
  enum class Stage : uint8_t { start, probing, announced_once, done };
  static constexpr Nanoseconds announce_interval_ns = 2 * second_ns;  // RFC 5227 1.1 ANNOUNCE_INTERVAL

  void probe(const IpAddress& address);
  void announce(const IpAddress& address);
  bool is_own(const LinkAddress& link, const IpAddress& source) const;
  void conflict(LocalAddresses::Entry& entry, Nanoseconds now);
  void send_arp(const LinkPath& link, uint16_t operation, const IpAddress& sender, const LinkAddress& target_link,
                const IpAddress& target);
  void send_advertisement(const LinkPath& link, const IpAddress& of, const IpAddress& to, uint32_t flags);
  void send_solicitation(const IpAddress& of);

  const LinkAddress link_address_;
  LocalAddresses& addresses_;
  ReplyQueue& replies_;
  TcpCounters& counters_;
  const Nanoseconds wait_;
  Stage stage_ = Stage::start;
  Nanoseconds deadline_ = 0;
  RateLimit answers_{1000};  // a second
  RateLimit defences_{1};    // RFC 5227 2.4: DEFEND_INTERVAL is 10 s; one a second heals sooner
};

}  // namespace penstock::net
