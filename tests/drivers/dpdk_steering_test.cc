// Which lane a frame is for, and how a port is told: pure functions.
#include <gtest/gtest.h>

#include <random>

#include "dataplane/base/byte_order.h"
#include "drivers/dpdk/hand_over.h"
#include "drivers/dpdk/lane_of_frame.h"
#include "drivers/dpdk/port.h"
#include "drivers/dpdk/steering.h"

namespace penstock {
namespace {

constexpr LanePorts ports{.first = 9092, .lane_count = 4};

using Bytes = std::vector<std::byte>;

void put(Bytes& to, std::initializer_list<int> bytes) {
  for (const int each : bytes) to.push_back(static_cast<std::byte>(each));
}
void put_word(Bytes& to, uint16_t word) { put(to, {word >> 8, word & 0xff}); }

Bytes link(uint16_t type, bool tagged = false) {
  Bytes frame(12);
  if (tagged) {
    put_word(frame, 0x8100);
    put_word(frame, 7);
  }
  put_word(frame, type);
  return frame;
}
void put_v4(Bytes& frame, uint8_t protocol, int option_words = 0, uint16_t fragment = 0) {
  put(frame, {0x45 + option_words, 0, 0, 60, 0, 0, fragment >> 8, fragment & 0xff, 64, protocol, 0, 0});
  frame.resize(frame.size() + 8 + static_cast<size_t>(option_words) * 4);
}
void put_v6(Bytes& frame, uint8_t next) {
  put(frame, {0x60, 0, 0, 0, 0, 40, next, 64});
  frame.resize(frame.size() + 32);
}
void put_tcp(Bytes& frame, uint16_t from, uint16_t to) {
  put_word(frame, from);
  put_word(frame, to);
  frame.resize(frame.size() + 16);
}

Destination of(const Bytes& frame) { return lane_of_frame(frame, ports); }

TEST(LaneOfFrame, SegmentsGoToTheLaneOfTheirPort) {
  for (const int lane : {0, 1, 2, 3}) {
    for (const int options : {0, 3}) {
      for (const bool tagged : {false, true}) {
        Bytes frame = link(0x0800, tagged);
        put_v4(frame, 6, options);
        put_tcp(frame, 50'000, static_cast<uint16_t>(9092 + lane));
        EXPECT_EQ(of(frame).lane, static_cast<uint32_t>(lane));
        EXPECT_EQ(of(frame).kind, FrameFor::one_lane);
      }
    }
    Bytes frame = link(0x86dd);
    put_v6(frame, 6);
    put_tcp(frame, 50'000, static_cast<uint16_t>(9092 + lane));
    EXPECT_EQ(of(frame).lane, static_cast<uint32_t>(lane));
  }
}

TEST(LaneOfFrame, ForeignPortsAndLaterFragmentsAreLaneZeros) {
  for (const int port : {9091, 9096, 0, 65535}) {
    Bytes frame = link(0x0800);
    put_v4(frame, 6);
    put_tcp(frame, 9093, static_cast<uint16_t>(port));
    EXPECT_EQ(of(frame).lane, 0U) << port;
  }
  Bytes frame = link(0x0800);
  put_v4(frame, 6, 0, 100);
  put_tcp(frame, 1, 9095);
  EXPECT_EQ(of(frame).lane, 0U);
}

TEST(LaneOfFrame, AddressesAreEveryLanes) {
  EXPECT_EQ(of([] {
              Bytes frame = link(0x0806);
              frame.resize(42);
              return frame;
            }())
                .kind,
            FrameFor::every_lane);
  for (const int type : {133, 134, 135, 136, 137, 128, 129, 1}) {
    Bytes frame = link(0x86dd);
    put_v6(frame, 58);
    put(frame, {type, 0, 0, 0, 0, 0, 0, 0});
    const bool neighbour = type >= 133;
    EXPECT_EQ(of(frame).kind, neighbour ? FrameFor::every_lane : FrameFor::one_lane) << type;
    EXPECT_EQ(about_addresses(frame), neighbour) << type;
  }
}

TEST(LaneOfFrame, AnErrorGoesWhereTheQuotedSegmentCameFrom) {
  Bytes v4 = link(0x0800);
  put_v4(v4, 1);
  put(v4, {3, 4, 0, 0, 0, 0, 5, 0xdc});
  put_v4(v4, 6);
  put_tcp(v4, 9094, 50'000);
  EXPECT_EQ(of(v4).lane, 2U);
  Bytes v6 = link(0x86dd);
  put_v6(v6, 58);
  put(v6, {2, 0, 0, 0, 0, 0, 5, 0});
  put_v6(v6, 6);
  put_tcp(v6, 9095, 50'000);
  EXPECT_EQ(of(v6).lane, 3U);
  v4[34] = std::byte{8};  // echo: whatever it carries
  EXPECT_EQ(of(v4).lane, 0U);
}

TEST(LaneOfFrame, ReadsNothingBeyondAnyFrame) {
  Bytes whole = link(0x86dd, true);
  put_v6(whole, 58);
  put(whole, {2, 0, 0, 0, 0, 0, 5, 0});
  put_v6(whole, 6);
  put_tcp(whole, 9095, 50'000);
  for (size_t length = 0; length <= whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));  // a sanitizer watches its end
    EXPECT_LT(of(cut).lane, 4U);
    about_addresses(cut);
  }
}

// The vectors of the RSS specification: Microsoft's "Verifying the RSS Hash Calculation".
TEST(Steering, ToeplitzIsTheOneThatCardsCompute) {
  const std::vector<uint8_t> key = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
                                    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
                                    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
  EXPECT_EQ(toeplitz_hash(key, {66, 9, 149, 187, 161, 142, 100, 80, 2794 >> 8, 2794 & 0xff, 1766 >> 8, 1766 & 0xff}),
            0x51ccc178U);
  EXPECT_EQ(toeplitz_hash(key, {199, 92, 111, 2, 65, 69, 140, 83, 14230 >> 8, 14230 & 0xff, 4739 >> 8, 4739 & 0xff}),
            0xc626b0eaU);
}

TEST(Steering, TheKeyMakesTheQueueDependOnTheDestinationPortAlone) {
  std::mt19937 random(7);
  for (const bool v4 : {true, false}) {
    for (const uint32_t bits : {6U, 7U, 9U}) {
      const std::vector<uint8_t> key = port_hash_key(v4, bits, 52);
      for (const uint32_t lanes : {2U, 4U, 16U}) {
        const LanePorts many{.first = 9092, .lane_count = lanes};
        const std::vector<uint16_t> table = port_hash_table(bits, many);
        for (uint32_t lane = 0; lane < lanes; ++lane) {
          for (int round = 0; round < 20; ++round) {
            std::vector<uint8_t> input(v4 ? 12 : 36);
            for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
            input[input.size() - 2] = static_cast<uint8_t>((9092 + lane) >> 8);
            input[input.size() - 1] = static_cast<uint8_t>(9092 + lane);
            ASSERT_EQ(table[toeplitz_hash(key, input) & ((1u << bits) - 1)], lane);
          }
        }
      }
    }
  }
}

TEST(ReceiveShape, PayloadBehindTheAssumedHeadersLiesOnTheAlignment) {
  constexpr uint32_t headroom = 128;
  for (const uint32_t mtu : {1500U, 9000U, 65521U}) {
    for (const uint32_t headers : {54U, 66U, 86U, 90U}) {
      for (const uint32_t alignment : {64U, 512U, 4096U}) {
        const ReceiveShape shape = receive_shape(mtu, headers, alignment);
        EXPECT_EQ((shape.shift_bytes + headroom + headers) % alignment, 0U);
        EXPECT_LT(shape.shift_bytes, alignment);
        EXPECT_LE(shape.shift_bytes + shape.room_bytes, shape.units * arena_unit_bytes);
        EXPECT_LE(shape.room_bytes, 65535U);
        // The longest frame TCP will be sent: MSS ends on a multiple of 4096 where the MTU holds one.
        const uint32_t frame = mtu > 9000 ? 61'440U + 86 : mtu + 18;
        EXPECT_GE(shape.room_bytes - headroom, frame) << mtu << " " << headers << " " << alignment;
      }
    }
  }
}

TEST(ReceiveDescriptors, AreAQuarterOfTheBuffersAtMost) {
  EXPECT_EQ(receive_descriptors_max(receive_buffers_min), 64);
  EXPECT_EQ(receive_descriptors_max(3712), 512);  // 96 MiB of arena at an MTU of 9000
  EXPECT_EQ(receive_descriptors_max(4096), 1024);
  EXPECT_EQ(receive_descriptors_max(UINT32_MAX), 32'768);
}

TEST(HandOver, AQueueHoldsItsCapacityAndKeepsTheOrder) {
  HandOver links(2);
  HandOverQueue& queue = links.link(0, 1).filled;
  HandedFrame frame;
  EXPECT_FALSE(queue.pop(frame));
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < HandOverQueue::capacity; ++i) EXPECT_TRUE(queue.push({.length = i}));
    EXPECT_FALSE(queue.push({}));
    for (uint32_t i = 0; i < HandOverQueue::capacity; ++i) {
      ASSERT_TRUE(queue.pop(frame));
      EXPECT_EQ(frame.length, i);
    }
  }
  EXPECT_TRUE(links.link(1, 0).filled.empty());
}

}  // namespace
}  // namespace penstock
