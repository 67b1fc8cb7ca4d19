// The simulated network's own parts: a test of the testers. The networks themselves are run by the program netsim.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "drivers/sim/sim_frames.h"
#include "tests/netsim/audit.h"
#include "tests/netsim/content.h"
#include "tests/netsim/peer_tcp.h"
#include "tests/netsim/segment.h"

namespace penstock::netsim {
namespace {

constexpr Link link_node{2, 0, 0, 0, 0, 1}, link_peer{2, 0, 0, 0, 0, 2};
const Place node{address_v4(10, 0, 0, 1), 9092}, peer{address_v4(10, 0, 0, 2), 40000};

Segment from_node(uint32_t sequence, uint32_t acknowledgement, size_t payload = 0) {
  Segment segment;
  segment.link_from = link_node, segment.link_to = link_peer;
  segment.from = node, segment.to = peer;
  segment.ack = true;
  segment.sequence = sequence, segment.acknowledgement = acknowledgement;
  segment.window = 10'000;
  segment.payload.resize(payload);
  return segment;
}

Segment from_peer(uint32_t sequence, uint32_t acknowledgement, size_t payload = 0) {
  Segment segment = from_node(sequence, acknowledgement, payload);
  std::swap(segment.from, segment.to);
  std::swap(segment.link_from, segment.link_to);
  return segment;
}

// ---- segments ----

TEST(Segment, SurvivesTheWire) {
  for (const bool v6 : {false, true}) {
    Segment segment = from_node(0xfffffff0, 77, 123);
    if (v6) segment.from.address = address_v6(0, 1), segment.to.address = address_v6(1, 2);
    segment.syn = segment.fin = true;
    segment.mss = uint16_t{1400}, segment.window_scale = uint8_t{9}, segment.sack_permitted = true;
    segment.timestamps = {5, 6};
    segment.sack = {{100, 200}};
    fill_content(3, 0, segment.payload);
    const auto parsed = parse(encode(segment));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(to_string(*parsed), to_string(segment));
    EXPECT_EQ(parsed->payload, segment.payload);
    EXPECT_EQ(parsed->from, segment.from);
    EXPECT_FALSE(parsed->may_fragment);
    EXPECT_EQ(parsed->option_bytes, option_bytes(segment));
  }
}

TEST(Segment, NoBitFlipsUnseen) {
  const Bytes frame = encode(from_node(1, 2, 40));
  for (size_t bit = 14 * 8; bit < frame.size() * 8; ++bit) {
    Bytes damaged = frame;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_FALSE(parse(damaged).has_value()) << "bit " << bit;
  }
}

// ---- the peer ----

class PeerTest : public testing::Test {
 protected:
  PeerConfig config() {
    PeerConfig config;
    config.local = peer, config.remote = node;
    config.initial_sequence = 1000;
    config.mss = 1000;
    config.timestamps = false;
    config.window_scale.reset();
    return config;
  }
  std::vector<Segment> step(Nanoseconds passes = 0) {
    now_ += passes;
    std::vector<Segment> out;
    peer_->step(now_, out);
    return out;
  }
  void open(const PeerConfig& with, uint16_t window = 10'000) {
    peer_ = std::make_unique<PeerTcp>(with, now_);
    ASSERT_EQ(step().size(), 1u);
    Segment answer = from_node(500, 1001);
    answer.syn = true, answer.mss = uint16_t{1000}, answer.window = window, answer.sack_permitted = with.sack;
    give(answer);
    const auto out = step();
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(out[0].acknowledgement, 501u);
    EXPECT_EQ(peer_->state(), PeerTcp::State::open);
  }
  void give(const Segment& segment) { peer_->on_segment(segment, now_); }

  Nanoseconds now_ = second_ns;
  std::unique_ptr<PeerTcp> peer_;
};

TEST_F(PeerTest, SynIsSentAgain) {
  peer_ = std::make_unique<PeerTcp>(config(), now_);
  EXPECT_TRUE(step()[0].syn);
  EXPECT_TRUE(step().empty());
  const auto again = step(peer_->next_deadline() - now_);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_TRUE(again[0].syn && again[0].sequence == 1000);
}

TEST_F(PeerTest, SendsWithinTheWindowAndFinishes) {
  open(config(), 2500);
  peer_->write(Bytes(4000));
  peer_->finish();
  auto out = step();
  ASSERT_EQ(out.size(), 2u);  // half a segment waits
  EXPECT_EQ(out[1].sequence, 2001u);
  Segment ack = from_node(501, 3001);
  give(ack);
  out = step();
  ASSERT_EQ(out.size(), 2u);
  EXPECT_TRUE(out[1].fin);
  EXPECT_FALSE(peer_->all_acknowledged());
  ack.acknowledgement = 5002;
  give(ack);
  EXPECT_TRUE(peer_->all_acknowledged());
  EXPECT_EQ(peer_->fault(), "");
}

TEST_F(PeerTest, ASelectivelyAcknowledgedHoleIsFilledOnce) {
  open(config());
  peer_->write(Bytes(6000));
  ASSERT_EQ(step().size(), 6u);
  Segment ack = from_node(501, 1001);
  ack.sack = {{2001, 6001}};
  give(ack);
  const auto out = step();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].sequence, 1001u);
  give(ack);
  EXPECT_TRUE(step().empty());
}

TEST_F(PeerTest, ThreeDuplicatesWithoutSack) {
  PeerConfig plain = config();
  plain.sack = false;
  open(plain);
  peer_->write(Bytes(6000));
  ASSERT_EQ(step().size(), 6u);
  for (int i = 0; i < 3; ++i) give(from_node(501, 1001));
  const auto out = step();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].sequence, 1001u);
}

TEST_F(PeerTest, ProbesAClosedWindow) {
  for (const bool with_data : {true, false}) {
    PeerConfig each = config();
    each.probe_with_data = with_data;
    open(each, 0);
    peer_->write(Bytes(10));
    EXPECT_TRUE(step().empty());
    const auto out = step(second_ns);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(out[0].payload.size(), with_data ? 1u : 0u);
    EXPECT_EQ(out[0].sequence, with_data ? 1001u : 1000u);
  }
}

TEST_F(PeerTest, ReceivesInAnyOrderAndSaysSo) {
  open(config());
  Segment late = from_node(501 + 100, 1001, 100);
  fill_content(9, 100, late.payload);
  give(late);
  auto out = step();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].acknowledgement, 501u);
  EXPECT_EQ(out[0].sack, (std::vector<std::pair<uint32_t, uint32_t>>{{601, 701}}));
  Segment first = from_node(501, 1001, 150);
  fill_content(9, 0, first.payload);
  first.fin = false;
  give(first);
  out = step();
  EXPECT_EQ(out[0].acknowledgement, 701u);
  Bytes read;
  EXPECT_EQ(peer_->read(read, 1000), 200u);
  EXPECT_TRUE(is_content(9, 0, read));
  Segment last = from_node(701, 1001);
  last.fin = true;
  give(last);
  EXPECT_TRUE(peer_->finished_by_stack());
  EXPECT_EQ(step()[0].acknowledgement, 702u);
}

TEST_F(PeerTest, ASlowReaderClosesItsWindowAndOpensItInSteps) {
  PeerConfig small = config();
  small.receive_buffer_bytes = 2000;
  open(small);
  give(from_node(501, 1001, 1000));
  give(from_node(1501, 1001, 1000));
  EXPECT_EQ(step()[0].window, 0);
  Bytes read;
  peer_->read(read, 100);
  EXPECT_TRUE(step().empty());
  peer_->read(read, 1900);
  EXPECT_EQ(step()[0].window, 2000);
}

TEST_F(PeerTest, ComplainsOfWhatMustNeverBe) {
  const auto complaint = [&](const Segment& segment) {
    open(config(), 1000);
    give(segment);
    return !peer_->fault().empty();
  };
  EXPECT_TRUE(complaint(from_node(501, 1002)));  // acknowledges what was never sent
  Segment sack = from_node(501, 1001);
  sack.sack = {{1001, 1100}};
  EXPECT_TRUE(complaint(sack));
  Segment stamped = from_node(501, 1001);
  stamped.timestamps = {1, 1};
  EXPECT_TRUE(complaint(stamped));
  EXPECT_TRUE(complaint(from_node(501 + 66'000, 1001, 500)));  // beyond the window
  EXPECT_FALSE(complaint(from_node(501, 1001, 500)));
}

TEST_F(PeerTest, BelievesOnlyTheExactReset) {
  open(config());
  Segment reset = from_node(502, 1001);
  reset.rst = true;
  give(reset);
  EXPECT_EQ(peer_->state(), PeerTcp::State::open);
  reset.sequence = 501;
  give(reset);
  EXPECT_EQ(peer_->state(), PeerTcp::State::reset);
}

// ---- the audit ----

class AuditTest : public testing::Test {
 protected:
  void SetUp() override {
    Segment syn = from_peer(1000, 0);
    syn.ack = false, syn.syn = true, syn.window = 5000, syn.mss = uint16_t{1000}, syn.sack_permitted = true;
    audit_.delivered(encode(syn));
    Segment answer = from_node(500, 1001);
    answer.syn = true, answer.sack_permitted = true, answer.window = 4000;
    audit_.left(encode(answer));
    audit_.delivered(encode(from_peer(1001, 501)));
    ASSERT_EQ(audit_.fault(), "");
  }
  bool complains(const Segment& segment) {
    audit_.left(encode(segment));
    return !audit_.fault().empty();
  }
  Audit audit_{1500, {}};
};

TEST_F(AuditTest, GoodConductIsNoFault) {
  EXPECT_FALSE(complains(from_node(501, 1001, 900)));
  EXPECT_FALSE(complains(from_node(1401, 1001, 1000)));
  audit_.delivered(encode(from_peer(1001, 2401, 100)));
  EXPECT_FALSE(complains(from_node(2401, 1101))) << audit_.fault();
  EXPECT_EQ(audit_.advertised_bytes(), 10'000u);
}
TEST_F(AuditTest, AcknowledgesTooMuch) { EXPECT_TRUE(complains(from_node(501, 1002))); }
TEST_F(AuditTest, BeyondTheWindow) {
  Segment segment = from_node(501, 1001, 1000);
  for (int i = 0; i < 10; ++i, segment.sequence += 1000) EXPECT_FALSE(complains(segment));
  EXPECT_TRUE(complains(segment));
}
TEST_F(AuditTest, LargerThanTheMss) { EXPECT_TRUE(complains(from_node(501, 1001, 1001))); }
TEST_F(AuditTest, TheEdgeMovesLeft) {
  EXPECT_FALSE(complains(from_node(501, 1001)));
  Segment shrunk = from_node(501, 1001);
  shrunk.window -= 1;
  EXPECT_TRUE(complains(shrunk));
}
TEST_F(AuditTest, SackOfNothing) {
  Segment segment = from_node(501, 1001);
  segment.sack = {{1100, 1200}};
  EXPECT_TRUE(complains(segment));
}
TEST_F(AuditTest, AGapInWhatIsSent) { EXPECT_TRUE(complains(from_node(600, 1001, 10))); }

// ---- the port and the link ----

class SimFramesTest : public testing::Test {
 protected:
  static constexpr uint64_t arena_bytes = 1 * MiB;
  void make(SimFramesConfig config) {
    config.features.pieces_max = 16;
    frames_ = std::make_unique<SimFrames>(config, arena_, buffers_, receive_);
  }
  // What the stack would hand over: one buffer, cut into pieces.
  void transmit(const Bytes& frame, std::vector<size_t> cuts, TransmitFrame how = {}) {
    const BufferIndex buffer = send_.allocate(4);
    buffers_.open(buffer, 4, Holder::send);
    std::memcpy(arena_.at(buffer), frame.data(), frame.size());
    std::vector<Piece> pieces;
    cuts.push_back(frame.size());
    for (size_t at = 0; const size_t cut : cuts) {
      if (at > 0) buffers_.hold(buffer, Holder::send);
      pieces.push_back({arena_.at(buffer) + at, static_cast<uint32_t>(cut - at), buffer});
      at = cut;
    }
    how.pieces = pieces;
    ASSERT_TRUE(frames_->transmit(how));
    frames_->flush();
  }
  std::vector<Bytes> taken() {
    std::vector<Bytes> all;
    for (Bytes frame; frames_->next_arrival() != never_ns;) {
      now_ = std::max(now_, frames_->next_arrival());
      while (frames_->take(frame, now_)) all.push_back(frame);
    }
    return all;
  }
  std::vector<Bytes> polled() {
    std::vector<Bytes> all;
    while (frames_->next_deadline() != never_ns) {
      now_ = std::max(now_, frames_->next_deadline());
      frames_->poll(now_, [&](const ReceivedFrame& received) {
        Bytes whole;
        for (const Piece& piece : received.pieces) {
          whole.insert(whole.end(), piece.data, piece.data + piece.length);
          buffers_.release(piece.buffer, Holder::device);
        }
        all.push_back(whole);
      });
      give_back();
    }
    return all;
  }
  void give_back() {
    for (const BufferIndex buffer : buffers_.released()) {
      BufferAllocator& owner = send_.owns(buffer) ? send_ : receive_;
      owner.free(buffer, buffers_.order(buffer));
    }
    buffers_.forget_released();
  }
  void TearDown() override {
    frames_.reset();
    EXPECT_EQ(buffers_.leak_report(), "");
  }

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> memory_{static_cast<std::byte*>(std::aligned_alloc(arena_unit_bytes, arena_bytes))};
  Arena arena_{memory_.get(), arena_bytes};
  BufferTable buffers_{arena_.unit_count()};
  BufferAllocator send_{0, 128}, receive_{128, 128};
  std::unique_ptr<SimFrames> frames_;
  Nanoseconds now_ = 0;
};

TEST_F(SimFramesTest, LargeFramesTakeSeveralBuffers) {
  make({.features = {.mtu_bytes = 9000}, .header_split_one_in = 2});
  for (int i = 0; i < 20; ++i) {
    const Bytes frame = encode(from_peer(1, 2, static_cast<size_t>(400 * i)));
    frames_->put(frame, now_);
    const auto all = polled();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0], frame);
  }
}

TEST_F(SimFramesTest, OneSeedOneHistory) {
  const auto history = [&](uint64_t seed) {
    make({.seed = seed});
    frames_->to_stack() = {
        .jitter_ns = 10'000, .lose_one_in = 5, .duplicate_one_in = 5, .reorder_one_in = 3, .corrupt_one_in = 7};
    for (uint32_t i = 0; i < 100; ++i) frames_->put(encode(from_peer(i, 2, 100)), now_);
    return polled();
  };
  const auto first = history(1);
  EXPECT_EQ(first, history(1));
  EXPECT_NE(first, history(2));
  const SimFramesStatistics& statistics = frames_->statistics();
  EXPECT_GT(statistics.lost, 5u);
  EXPECT_GT(statistics.duplicated, 5u);
  EXPECT_GT(statistics.reordered, 10u);
  EXPECT_GT(statistics.corrupted, 5u);
}

TEST_F(SimFramesTest, SegmentsAreCutWithTheirChecksums) {
  PortFeatures features{.transmit_checksums = true, .segmentation = true, .segmentation_bytes_max = 60'000};
  make({.features = features});
  for (const bool v6 : {false, true}) {
    Segment large = from_node(0xffffff00, 7, 5000);
    if (v6) large.from.address = address_v6(0, 1), large.to.address = address_v6(1, 2);
    large.fin = large.psh = true;
    large.timestamps = {1, 2};
    fill_content(5, 0, large.payload);
    Bytes frame = encode(large);
    const size_t transport = v6 ? 54 : 34;
    // The folded sum of the pseudo-header stands where the checksum will be.
    Bytes pseudo(frame.begin() + (v6 ? 22 : 26), frame.begin() + static_cast<ptrdiff_t>(transport));
    const auto length = static_cast<uint32_t>(frame.size() - transport);
    const uint16_t sum = internet_sum(pseudo, length + 6);
    frame[transport + 16] = static_cast<std::byte>(sum >> 8), frame[transport + 17] = static_cast<std::byte>(sum & 255);
    transmit(frame, {transport + 32, 1000, 3000},
             {.transport_header_at = static_cast<uint16_t>(transport),
              .fill_checksums = true,
              .segment_payload_bytes = 1448});
    const auto all = taken();
    ASSERT_EQ(all.size(), 4u);
    uint32_t sequence = large.sequence;
    uint64_t at = 0;
    for (size_t i = 0; i < 4; ++i) {
      std::string why;
      const auto segment = parse(all[i], &why);
      ASSERT_TRUE(segment.has_value()) << why;
      EXPECT_EQ(segment->sequence, sequence);
      EXPECT_EQ(segment->fin, i == 3);
      EXPECT_EQ(segment->timestamps, large.timestamps);
      EXPECT_TRUE(is_content(5, at, segment->payload));
      sequence += static_cast<uint32_t>(segment->payload.size());
      at += segment->payload.size();
    }
    EXPECT_EQ(at, 5000u);
    give_back();
  }
}

TEST_F(SimFramesTest, ANarrowPathSaysSo) {
  make({});
  frames_->from_stack().path_mtu_bytes = 1300;
  for (const bool v6 : {false, true}) {
    Segment segment = from_node(1, 2, 1400);
    if (v6) segment.from.address = address_v6(0, 1), segment.to.address = address_v6(1, 2);
    transmit(encode(segment), {});
    EXPECT_TRUE(taken().empty());
    const auto all = polled();
    ASSERT_EQ(all.size(), 1u);
    const Bytes& icmp = all[0];
    const size_t at = v6 ? 54 : 34;
    EXPECT_EQ(static_cast<int>(icmp[at]), v6 ? 2 : 3);
    EXPECT_EQ(static_cast<int>(icmp[at + 6]) << 8 | static_cast<int>(icmp[at + 7]), 1300);
    if (!v6) {
      EXPECT_EQ(internet_sum(std::span(icmp).subspan(at)), 0xffff);
    }
    give_back();
  }
}

TEST_F(SimFramesTest, BuffersRunOut) {
  make({});
  frames_->set_starved(true);
  EXPECT_EQ(frames_->receive_free(), 0u);
  frames_->put(encode(from_peer(1, 2, 3)), now_);
  EXPECT_TRUE(polled().empty());
  EXPECT_EQ(frames_->statistics().no_buffer, 1u);
}

}  // namespace
}  // namespace penstock::netsim
