#include "dataplane/net/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/tcp/tcp_world.h"

namespace penstock::net {
namespace {

TEST(Checksum, AgreesWithTheObviousSumForAnyCut) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes(1 + random() % 3000);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(round % 3 == 0 ? 0xff : random());
    const uint32_t expected = test::plain_sum(bytes.data(), bytes.size());
    Checksum checksum;
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = std::min<size_t>(bytes.size() - at, 1 + random() % 700);
      checksum.add(&bytes[at], count);
      at += count;
    }
    ASSERT_EQ(checksum.sum(), expected) << bytes.size();
    ASSERT_EQ(checksum_of(bytes.data(), bytes.size()), static_cast<uint16_t>(~expected));
  }
}

}  // namespace
}  // namespace penstock::net
