// Sequences of frames nobody would send: no crash, no leak, nothing beyond its bound. After every poll the world checks
// the stack's invariants, and at its end that every buffer came back.
#include <random>

#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

class Chaos {
 public:
  explicit Chaos(uint64_t seed) : random_(seed) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

TcpConfig tight() {
  TcpConfig config = small_config();
  config.connections_max = 6;
  config.syn_backlog = 4;
  config.time_wait_max = 3;
  config.reassembly_pieces = 40;
  config.reassembly_pieces_max = 20;
  config.reassembly_ranges_max = 5;
  config.send_records = 40;
  config.send_chunks = 8;
  config.receive_budget_bytes = 40'000;
  return config;
}

void run(uint64_t seed) {
  Chaos chaos(seed);
  PortFeatures features = small_port();
  if (chaos.one_in(3)) {
    features.segmentation = true;
    features.segmentation_bytes_max = 20'000;
  }
  features.pieces_max = 2 + chaos.below(6);
  TcpWorld world(tight(), features);
  world.credit_at_open = chaos.one_in(3) ? 0 : 1 + chaos.below(20'000);
  struct Known {
    uint32_t seq = 0, ack = 0;
  };
  std::vector<Known> known(10);
  std::vector<StreamId> ids;
  for (int step = 0; step < 1500; ++step) {
    const uint32_t who = chaos.below(10);
    Wire wire;
    wire.peer_port = static_cast<uint16_t>(40000 + who);
    wire.v6 = who % 3 == 0;
    Known& state = known[who];
    const auto near = [&](uint32_t value) {
      return chaos.one_in(20) ? chaos.below(UINT32_MAX) : value + (chaos.one_in(2) ? 0 : chaos.below(9000) - 3000);
    };
    wire.flags = chaos.one_in(8)    ? static_cast<uint8_t>(chaos.below(64))
                 : chaos.one_in(12) ? SYN
                 : chaos.one_in(25) ? ACK | FIN
                                    : ACK;
    wire.seq = near(state.seq);
    wire.ack = near(state.ack);
    wire.window = static_cast<uint16_t>(chaos.one_in(4) ? chaos.below(4) : chaos.below(65536));
    if (who % 2 == 0) wire.options.timestamps = {100 + static_cast<uint32_t>(step) + chaos.below(3), 0};
    if ((wire.flags & SYN) != 0) {
      wire.options.mss = static_cast<uint16_t>(chaos.below(3000));
      if (chaos.one_in(2)) wire.options.scale = static_cast<uint8_t>(chaos.below(20));
      wire.options.sack_permitted = chaos.one_in(2);
    } else if (chaos.one_in(5)) {
      for (uint32_t i = chaos.below(3); i > 0; --i) wire.options.sacks.emplace_back(near(state.ack), near(state.ack));
    }
    if (chaos.one_in(2)) wire.payload.assign(chaos.below(chaos.one_in(3) ? 9000 : 1400), 'x');
    Bytes frame = frame_of(wire);
    if (chaos.one_in(15))
      frame[chaos.below(static_cast<uint32_t>(frame.size()))] ^= static_cast<uint8_t>(1 << chaos.below(8));
    if (chaos.one_in(30)) frame.resize(chaos.below(static_cast<uint32_t>(frame.size())) + 1);
    world.frames.verified = chaos.one_in(4);
    world.frames.incoming.push_back(frame);
    if ((wire.flags & (SYN | ACK)) == SYN) state.seq = wire.seq + 1;
    if (chaos.one_in(3)) {
      world.frames.room = chaos.one_in(10) ? chaos.below(3) : UINT64_MAX;
      world.poll(chaos.one_in(30) ? 3 * second_ns : chaos.below(20) * millisecond_ns);
      for (const Wire& sent : world.all_out()) {
        if (sent.peer_port < 40000 || sent.peer_port >= 40010) continue;  // a damaged frame was answered
        Known& of = known[sent.peer_port - 40000u];
        of.ack = sent.seq + static_cast<uint32_t>(sent.payload.size()) + ((sent.flags & (SYN | FIN)) != 0);
        if ((sent.flags & ACK) != 0) of.seq = sent.ack;
      }
    }
    if (world.opened > static_cast<int>(ids.size())) ids.push_back(world.stream);
    if (!ids.empty()) {
      const StreamId id = ids[chaos.below(static_cast<uint32_t>(ids.size()))];
      switch (chaos.below(40)) {
        case 0:
          world.streams->close(id);
          break;
        case 1:
          world.streams->abort(id);
          break;
        case 2:
        case 3:
          world.streams->allow(id, chaos.below(10'000));
          break;
        case 4:
          world.streams->request_done(id);
          break;
        case 5:
        case 6:
          world.stream = id;
          world.send(std::string(chaos.below(9000) + 1, 'y'));
          break;
        default:
          break;
      }
    }
  }
  world.poll(600 * second_ns);
  EXPECT_LE(world.streams->stack().open_connections(), 6u);
}

TEST(Hostile, RandomSequences) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    run(seed);
    if (HasFailure()) break;
  }
}

TEST(Hostile, OptionListsOfEveryShape) {
  Chaos chaos(5);
  TcpWorld world;
  for (int i = 0; i < 20'000; ++i) {
    Wire wire;
    wire.flags = SYN;
    wire.peer_port = static_cast<uint16_t>(30000 + i % 1000);
    wire.options.timestamps = {1, 2};
    wire.options.mss = 1460;
    Bytes frame = frame_of(wire);
    for (int k = 0; k < 4; ++k) frame[54 + chaos.below(16)] = static_cast<uint8_t>(chaos.below(11));
    world.frames.verified = true;
    world.frames.incoming.push_back(frame);
    if (i % 60 == 0) world.poll(millisecond_ns);
  }
  world.poll();
  EXPECT_GT(world.counted(TcpCount::drop_tcp_options), 100u);
}

TEST(Hostile, ManyFramesOfNoise) {
  Chaos chaos(9);
  TcpWorld world;
  world.frames.verified = true;
  for (int i = 0; i < 20'000; ++i) {
    Wire wire;
    wire.flags = ACK;
    wire.v6 = chaos.one_in(2);
    Bytes frame = frame_of(wire);
    for (uint32_t k = chaos.below(6); k > 0; --k) {
      frame[12 + chaos.below(static_cast<uint32_t>(frame.size()) - 12)] = static_cast<uint8_t>(chaos.below(256));
    }
    frame.resize(1 + chaos.below(static_cast<uint32_t>(frame.size())));
    world.frames.incoming.push_back(frame);
    if (i % 64 == 0) world.poll(millisecond_ns);
  }
  world.poll();
}

}  // namespace
}  // namespace penstock::test
