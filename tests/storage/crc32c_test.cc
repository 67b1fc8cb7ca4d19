#include "storage/crc/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace penstock {
namespace {

// Bit by bit, from the polynomial: slow and obvious.
uint32_t slow_crc32c(const std::byte* bytes, size_t count) {
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < count; ++i) {
    crc ^= std::to_integer<uint32_t>(bytes[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
  }
  return ~crc;
}

std::vector<std::byte> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(Crc32c, KnownVectors) {
  EXPECT_EQ(crc32c(0, "123456789", 9), 0xE3069283u);
  EXPECT_EQ(crc32c(0, "", 0), 0u);
  // RFC 3720 B.4: 32 bytes of zeros, of ones, ascending.
  std::array<unsigned char, 32> bytes{};
  EXPECT_EQ(crc32c(0, bytes.data(), bytes.size()), 0x8A9136AAu);
  bytes.fill(0xff);
  EXPECT_EQ(crc32c(0, bytes.data(), bytes.size()), 0x62A8AB43u);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i);
  EXPECT_EQ(crc32c(0, bytes.data(), bytes.size()), 0x46DD794Eu);
}

TEST(Crc32c, EveryLengthAndAlignmentAgreesWithTheDefinition) {
  const auto bytes = random_bytes(700, 1);
  for (size_t from = 0; from < 17; ++from) {
    for (size_t count = 0; from + count <= bytes.size(); count += 1 + count / 16) {
      ASSERT_EQ(crc32c(0, bytes.data() + from, count), slow_crc32c(bytes.data() + from, count)) << from << " " << count;
    }
  }
}

TEST(Crc32c, ContinuesOverPieces) {
  const auto bytes = random_bytes(5000, 2);
  const uint32_t whole = crc32c(0, bytes.data(), bytes.size());
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    uint32_t crc = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = std::min<size_t>(random() % 700, bytes.size() - at);
      crc = crc32c(crc, bytes.data() + at, count);
      at += count;
    }
    ASSERT_EQ(crc, whole);
  }
}

TEST(Crc32c, CopyIsExactAndChecksummed) {
  const auto bytes = random_bytes(100'000, 4);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{61}, size_t{8191}, size_t{8192}, size_t{8193}, size_t{16384},
                             size_t{65537}, bytes.size()}) {
    std::vector<std::byte> copy(count + 1, std::byte{0x5a});
    const uint32_t before = crc32c(0, "ahead", 5);
    EXPECT_EQ(copy_and_crc32c(before, copy.data(), bytes.data(), count), crc32c(before, bytes.data(), count));
    EXPECT_EQ(std::memcmp(copy.data(), bytes.data(), count), 0);
    EXPECT_EQ(copy[count], std::byte{0x5a}) << "wrote past the end";
  }
}

TEST(Crc32c, CombineIsConcatenation) {
  const auto bytes = random_bytes(70'000, 5);
  const uint32_t whole = crc32c(0, bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); cut += 1 + cut / 3) {
    const uint32_t a = crc32c(0, bytes.data(), cut);
    const uint32_t b = crc32c(0, bytes.data() + cut, bytes.size() - cut);
    ASSERT_EQ(crc32c_combine(a, b, bytes.size() - cut), whole) << cut;
  }
  EXPECT_EQ(crc32c_combine(crc32c(0, bytes.data(), bytes.size()), 0, 0), whole);
}

TEST(Crc32c, CombineWithLengthsNoBufferHas) {
  // Zeros of length 2^40 by doubling agree with one step.
  const uint32_t a = crc32c(0, "log", 3);
  const std::byte zero{0};
  uint32_t zeros = crc32c(0, &zero, 1);
  for (int k = 0; k < 40; ++k) zeros = crc32c_combine(zeros, zeros, uint64_t{1} << k);
  uint32_t stepwise = a;
  uint32_t half = crc32c(0, &zero, 1);
  for (int k = 0; k < 39; ++k) half = crc32c_combine(half, half, uint64_t{1} << k);
  for (int i = 0; i < 2; ++i) stepwise = crc32c_combine(stepwise, half, uint64_t{1} << 39);
  EXPECT_EQ(crc32c_combine(a, zeros, uint64_t{1} << 40), stepwise);
}

}  // namespace
}  // namespace penstock
