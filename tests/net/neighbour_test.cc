// ARP, neighbour discovery, duplicate addresses, echo: net/neighbour.cc, net/icmp_reader.cc, net/frame_reader.cc.
#include <gtest/gtest.h>

#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

const Bytes everybody{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, other_link{2, 0, 0, 0, 0, 7};

Bytes arp(uint16_t operation, const Bytes& sender, const Bytes& target, const Bytes& link = other_link) {
  Bytes packet{0, 1, 8, 0, 6, 4};
  put16(packet, operation);
  packet.insert(packet.end(), link.begin(), link.end());
  packet.insert(packet.end(), sender.begin(), sender.end());
  packet.insert(packet.end(), 6, 0);
  packet.insert(packet.end(), target.begin(), target.end());
  return with_link(everybody, link, {}, 0x0806, packet);
}

Bytes icmpv6(const Bytes& from, const Bytes& to, Bytes message, const Bytes& link_to, const Bytes& link = other_link) {
  const uint32_t sum = ~message_sum(from, to, 58, message.data(), message.size());
  message[2] = static_cast<uint8_t>(sum >> 8);
  message[3] = static_cast<uint8_t>(sum);
  return with_link(link_to, link, {}, 0x86dd, with_ip(true, from, to, 58, message));
}

const Bytes solicited_group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1};
const Bytes solicited_link{0x33, 0x33, 0xff, 0, 0, 1};

Bytes solicitation(const Bytes& from, const Bytes& link = other_link) {
  Bytes message{135, 0, 0, 0, 0, 0, 0, 0};
  message.insert(message.end(), our_v6.begin(), our_v6.end());
  if (from == peer_v6) {
    message.insert(message.end(), {1, 1});
    message.insert(message.end(), link.begin(), link.end());
  }
  return icmpv6(from, solicited_group, message, solicited_link, link);
}

TEST(Neighbour, AnswersArp) {
  TcpWorld world;
  world.poll();
  world.frames.outgoing.clear();  // announcements
  world.frames.incoming.push_back(arp(1, peer_v4, our_v4));
  world.frames.incoming.push_back(arp(1, peer_v4, {10, 0, 0, 77}));
  world.poll();
  ASSERT_EQ(world.frames.outgoing.size(), 1u);
  const Bytes& reply = world.frames.outgoing[0];
  EXPECT_EQ(Bytes(reply.begin(), reply.begin() + 6), other_link);
  EXPECT_EQ(get16(&reply[12]), 0x0806u);
  EXPECT_EQ(get16(&reply[20]), 2u);
  EXPECT_EQ(Bytes(reply.begin() + 22, reply.begin() + 28), our_link);
  EXPECT_EQ(Bytes(reply.begin() + 28, reply.begin() + 32), our_v4);
}

TEST(Neighbour, AnswersSolicitations) {
  TcpWorld world;
  world.poll();
  world.frames.outgoing.clear();
  world.frames.incoming.push_back(solicitation(peer_v6));
  Bytes forwarded = solicitation(peer_v6);
  forwarded[21] = 254;  // hop limit
  world.frames.incoming.push_back(forwarded);
  world.poll();
  ASSERT_EQ(world.frames.outgoing.size(), 1u);
  const Bytes& reply = world.frames.outgoing[0];
  EXPECT_EQ(Bytes(reply.begin(), reply.begin() + 6), other_link);
  EXPECT_EQ(reply[54], 136);
  EXPECT_EQ(reply[58], 0x60);
  EXPECT_EQ(message_sum(our_v6, peer_v6, 58, &reply[54], 32), 0xffffu);
  EXPECT_EQ(world.counted(TcpCount::drop_icmp_malformed), 1u);
}

// Both ends of a tap device have the same one.
TEST(Neighbour, AnswersAPeerThatHasOurLinkAddress) {
  TcpWorld world;
  world.poll();
  world.frames.outgoing.clear();
  world.frames.incoming.push_back(arp(1, peer_v4, our_v4, our_link));
  world.frames.incoming.push_back(solicitation(peer_v6, our_link));
  world.poll();
  ASSERT_EQ(world.frames.outgoing.size(), 2u);
  EXPECT_EQ(world.counted(TcpCount::arp_requests_answered), 1u);
  EXPECT_EQ(world.counted(TcpCount::neighbour_solicitations_answered), 1u);
  world.frames.outgoing.clear();
  world.frames.incoming.push_back(arp(1, our_v4, our_v4, our_link));  // our announcement and our probe, come back
  world.frames.incoming.push_back(solicitation(Bytes(16), our_link));
  world.poll();
  EXPECT_TRUE(world.frames.outgoing.empty());
  EXPECT_EQ(world.counted(TcpCount::address_conflicts), 0u);
}

TEST(Neighbour, ProbesThenAnnounces) {
  TcpConfig config = small_config();
  config.times.duplicate_address_wait = second_ns;
  TcpWorld world(config);
  world.poll();
  ASSERT_EQ(world.frames.outgoing.size(), 2u);
  EXPECT_EQ(get32(&world.frames.outgoing[0][28]), 0u);  // ARP probe: no sender
  EXPECT_EQ(world.frames.outgoing[1][54], 135);
  world.frames.outgoing.clear();
  world.frames.incoming.push_back(arp(1, peer_v4, our_v4));
  world.poll();
  EXPECT_TRUE(world.frames.outgoing.empty());  // not ours yet
  world.poll(second_ns);
  ASSERT_EQ(world.frames.outgoing.size(), 2u);
  EXPECT_EQ(Bytes(world.frames.outgoing[0].begin() + 28, world.frames.outgoing[0].begin() + 32), our_v4);
  EXPECT_EQ(world.frames.outgoing[1][54], 136);
}

TEST(Neighbour, AnAddressOfSomebodyElseIsNotUsed) {
  TcpConfig config = small_config();
  config.times.duplicate_address_wait = second_ns;
  TcpWorld world(config);
  world.poll();
  world.frames.incoming.push_back(arp(2, our_v4, our_v4));
  world.frames.incoming.push_back(solicitation(Bytes(16, 0)));
  world.poll();
  world.frames.outgoing.clear();
  world.poll(2 * second_ns);
  EXPECT_TRUE(world.frames.outgoing.empty());
  EXPECT_EQ(world.counted(TcpCount::address_conflicts), 2u);
  Peer peer{world};
  peer.syn();
  EXPECT_TRUE(world.frames.outgoing.empty());
}

// RFC 5227 2.3: announced twice, two seconds apart.
TEST(Neighbour, AnnouncesTwice) {
  TcpWorld world;
  const auto sent = [&](Nanoseconds later) {
    world.frames.outgoing.clear();
    world.poll(later);
    return world.frames.outgoing.size();
  };
  EXPECT_EQ(sent(0), 2u);
  EXPECT_EQ(sent(1999 * millisecond_ns), 0u);
  EXPECT_EQ(sent(millisecond_ns), 2u);
  EXPECT_EQ(sent(100 * second_ns), 0u);
}

// RFC 5227 2.4: an address in use is defended, but two who both claim it don't answer each other without end.
TEST(Neighbour, DefendsOnceASecond) {
  TcpWorld world;
  world.poll();
  world.poll(2 * second_ns);
  const auto answers = [&](Nanoseconds later) {
    world.frames.outgoing.clear();
    for (int i = 0; i < 5; ++i) world.frames.incoming.push_back(arp(2, our_v4, our_v4));
    world.poll(later);
    return world.frames.outgoing.size();
  };
  EXPECT_EQ(answers(second_ns), 1u);
  EXPECT_EQ(answers(second_ns / 2), 0u);
  EXPECT_EQ(answers(second_ns / 2), 1u);
}

TEST(IcmpReader, AThousandEchoesASecond) {
  TcpWorld world;
  world.poll();
  world.poll(2 * second_ns);  // announcements are over
  const auto answered = [&](Nanoseconds later, int count) {
    world.frames.outgoing.clear();
    for (int i = 0; i < count; ++i) {
      world.frames.incoming.push_back(icmpv6(peer_v6, our_v6, {128, 0, 0, 0, 0, 5, 0, 6}, our_link));
      world.poll(i == 0 ? later : 0);
    }
    return world.frames.outgoing.size();
  };
  EXPECT_EQ(answered(second_ns, 1200), 1000u);
  EXPECT_EQ(answered(second_ns / 2, 10), 0u);
  EXPECT_EQ(answered(second_ns / 2, 10), 10u);
}

TEST(Neighbour, EchoBothFamilies) {
  TcpWorld world;
  world.poll();
  world.frames.outgoing.clear();
  Bytes message{8, 0, 0, 0, 0, 5, 0, 6, 'p', 'i', 'n', 'g', '!'};
  const uint32_t sum = ~plain_sum(message.data(), message.size());
  message[2] = static_cast<uint8_t>(sum >> 8);
  message[3] = static_cast<uint8_t>(sum);
  world.frames.incoming.push_back(
      with_link(our_link, other_link, 5, 0x0800, with_ip(false, peer_v4, our_v4, 1, message)));
  message[0] = 128;
  message[2] = message[3] = 0;
  world.frames.incoming.push_back(icmpv6(peer_v6, our_v6, message, our_link));
  world.poll();
  ASSERT_EQ(world.frames.outgoing.size(), 2u);
  const Bytes& v4 = world.frames.outgoing[0];
  EXPECT_EQ(get16(&v4[14]), 5u);  // VLAN echoed
  EXPECT_EQ(v4[38], 0);
  EXPECT_EQ(plain_sum(&v4[38], v4.size() - 38), 0xffffu);
  EXPECT_EQ(world.frames.outgoing[1][54], 129);
}

TEST(FrameReader, EveryRefusalIsCounted) {
  TcpWorld world;
  Wire wire;
  wire.flags = SYN;
  const auto counted_once = [&](TcpCount which, const std::function<void(Bytes&)>& change, bool v6 = false) {
    wire.v6 = v6;
    Bytes frame = frame_of(wire);
    change(frame);
    const uint64_t before = world.counted(which);
    world.frames.verified = true;
    world.frames.incoming.push_back(frame);
    world.poll();
    EXPECT_EQ(world.counted(which), before + 1) << to_string(which);
  };
  counted_once(TcpCount::drop_frame_too_short, [](Bytes& f) { f.resize(10); });
  counted_once(TcpCount::drop_not_for_us, [](Bytes& f) { f[5] = 99; });
  counted_once(TcpCount::drop_not_for_us, [](Bytes& f) { f[33] = 99; });
  counted_once(TcpCount::drop_ether_type, [](Bytes& f) { f[12] = 0x88; });
  counted_once(TcpCount::drop_ip_header, [](Bytes& f) { f[14] = 0x55; });
  counted_once(TcpCount::drop_ip_header, [](Bytes& f) { f[17] = 200; });
  counted_once(TcpCount::drop_ip_fragment, [](Bytes& f) { f[20] = 0x20; });
  counted_once(TcpCount::drop_ip_source, [](Bytes& f) { f[26] = 224; });
  counted_once(TcpCount::drop_ip_source, [](Bytes& f) { f[26] = 127; });
  counted_once(TcpCount::drop_ip_protocol, [](Bytes& f) { f[23] = 17; });
  counted_once(TcpCount::drop_tcp_header, [](Bytes& f) { f[46] = 0x40; });
  counted_once(TcpCount::drop_tcp_header, [](Bytes& f) { f[46] = 0xf0; });
  counted_once(TcpCount::drop_tcp_flags, [](Bytes& f) { f[47] = SYN | FIN; });
  counted_once(TcpCount::drop_tcp_flags, [](Bytes& f) { f[47] = 0; });
  counted_once(TcpCount::drop_ipv6_extension, [](Bytes& f) { f[20] = 0; }, true);
  counted_once(TcpCount::drop_ip_fragment, [](Bytes& f) { f[20] = 44; }, true);
}

}  // namespace
}  // namespace penstock::test
