#include "dataplane/net/frame_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace penstock::net {
namespace {

constexpr LinkAddress us{2, 0, 0, 0, 0, 1}, peer{2, 0, 0, 0, 0, 2};

std::vector<int> bytes(const std::byte* from, const std::byte* end) {
  std::vector<int> result;
  for (; from != end; ++from) result.push_back(static_cast<int>(*from));
  return result;
}

TEST(FrameWriter, LinkHeaderWithAndWithoutTag) {
  std::array<std::byte, 64> to;
  std::byte* end = write_link_header(to.data(), {.peer = peer}, us, ether_ipv4);
  EXPECT_EQ(bytes(to.data(), end), (std::vector<int>{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}));
  end = write_link_header(to.data(), {.peer = peer, .vlan_control = 0x2005}, us, ether_ipv6);
  EXPECT_EQ(bytes(to.data(), end),
            (std::vector<int>{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0x20, 5, 0x86, 0xdd}));
}

TEST(FrameWriter, Ipv4WithChecksum) {
  constexpr uint8_t from[] = {10, 0, 0, 1}, dest[] = {10, 0, 0, 2};
  NetworkHeader header{IpAddress::from_v4(from), IpAddress::from_v4(dest), 20, protocol_tcp};
  std::array<std::byte, 64> to;
  std::byte* end = write_network_header(to.data(), header);
  std::vector<int> expected{0x45, 0,    0,  40, 0, 0, 0x40, 0, 64, 6,  // RFC 791 3.1
                            0x26, 0xce, 10, 0,  0, 1, 10,   0, 0,  2};
  EXPECT_EQ(bytes(to.data(), end), expected);
  header.fill_checksum = false;
  write_network_header(to.data(), header);
  expected[10] = expected[11] = 0;
  EXPECT_EQ(bytes(to.data(), end), expected);
}

TEST(FrameWriter, Ipv6) {
  uint8_t from[16] = {0xfd}, dest[16] = {0xfe};
  from[15] = 1, dest[15] = 2;
  std::array<std::byte, 64> to;
  std::byte* end =
      write_network_header(to.data(), {IpAddress::from_v6(from), IpAddress::from_v6(dest), 0x1234, protocol_tcp, 255});
  const auto written = bytes(to.data(), end);
  ASSERT_EQ(written.size(), 40u);
  EXPECT_EQ(bytes(to.data(), to.data() + 8), (std::vector<int>{0x60, 0, 0, 0, 0x12, 0x34, 6, 255}));
  EXPECT_EQ(written[8], 0xfd);
  EXPECT_EQ(written[23], 1);
  EXPECT_EQ(written[24], 0xfe);
  EXPECT_EQ(written[39], 2);
}

}  // namespace
}  // namespace penstock::net
