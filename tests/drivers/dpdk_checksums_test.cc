// What a port says of a frame's checksums, and what is made of it.
#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <array>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ethernet.h"
#include "dataplane/net/ip.h"
#include "drivers/dpdk/dpdk_frames.h"

namespace penstock {
namespace {

constexpr uint32_t ethernet = sizeof(net::EthernetHeader);

class Checksums : public testing::Test {
 protected:
  void SetUp() override {
    type(net::ether_ipv4);
    bytes_[ethernet] = std::byte{0x45};
    for (uint32_t i = 1; i < 20; ++i) bytes_[ethernet + i] = static_cast<std::byte>(i * 11);
    bytes_[ethernet + 10] = bytes_[ethernet + 11] = std::byte{0};
    reinterpret_cast<net::Ipv4Header*>(&bytes_[ethernet])->checksum.set(net::checksum_of(&bytes_[ethernet], 20));
  }
  void type(uint16_t value) { reinterpret_cast<net::EthernetHeader*>(bytes_.data())->type.set(value); }
  bool verified(uint64_t flags, uint16_t bytes = 60) {
    rte_mbuf frame{};
    frame.buf_addr = bytes_.data();
    frame.data_len = bytes;
    frame.pkt_len = bytes;
    frame.ol_flags = flags;
    return checksums_verified(frame);
  }

  std::array<std::byte, 64> bytes_{};
};

constexpr uint64_t tcp_good = RTE_MBUF_F_RX_L4_CKSUM_GOOD, tcp_left_out = RTE_MBUF_F_RX_L4_CKSUM_NONE,
                   tcp_bad = RTE_MBUF_F_RX_L4_CKSUM_BAD, ip_good = RTE_MBUF_F_RX_IP_CKSUM_GOOD,
                   ip_left_out = RTE_MBUF_F_RX_IP_CKSUM_NONE, ip_bad = RTE_MBUF_F_RX_IP_CKSUM_BAD;

TEST_F(Checksums, ArePassedWhereThePortAnswersForBoth) {
  for (const uint64_t tcp : {tcp_good, tcp_left_out}) {
    EXPECT_TRUE(verified(tcp | ip_good));
    EXPECT_TRUE(verified(tcp | ip_left_out));
    EXPECT_FALSE(verified(tcp | ip_bad));
  }
  EXPECT_FALSE(verified(tcp_bad | ip_good));
  EXPECT_FALSE(verified(ip_good));
  EXPECT_FALSE(verified(0));
}

// As virtio has it: a host gives its guest frames without TCP's sum and says nothing of the header's.
TEST_F(Checksums, OfAnIpv4HeaderThePortDidNotLookAtAreLookedAtHere) {
  EXPECT_TRUE(verified(tcp_left_out));
  EXPECT_TRUE(verified(tcp_good));
  EXPECT_FALSE(verified(tcp_left_out, ethernet + 19));
  EXPECT_FALSE(verified(tcp_left_out, ethernet - 1));
  bytes_[ethernet + 8] ^= std::byte{1};
  EXPECT_FALSE(verified(tcp_left_out));
  EXPECT_FALSE(verified(tcp_good));
}

TEST_F(Checksums, Ipv6HasNoneOfItsOwn) {
  bytes_[ethernet + 8] ^= std::byte{1};
  type(net::ether_ipv6);
  EXPECT_TRUE(verified(tcp_left_out));
  EXPECT_TRUE(verified(tcp_good));
  type(0x0806);
  EXPECT_FALSE(verified(tcp_left_out));
}

}  // namespace
}  // namespace penstock
