// A simulated network from a seed: the stack with a server above it, one link that misbehaves for a while, and peers on
// the other side of it, each a TCP that shares no line with the stack. Contents, windows, memory and progress are
// checked at every step; when all is over, nothing may be left behind.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/sim/random.h"
#include "drivers/sim/sim_frames.h"
#include "tests/netsim/audit.h"
#include "tests/netsim/node_app.h"
#include "tests/netsim/peer_tcp.h"

namespace penstock::netsim {

struct NetSummary {
  uint64_t steps = 0, connections = 0, whole = 0;  // whole: both streams arrived to the last byte
  uint64_t bytes = 0;                              // that arrived, both ways
  uint64_t segments = 0, retransmitted = 0, lost = 0, reordered = 0, duplicated = 0, corrupted = 0;
  uint64_t cookies = 0;
  Nanoseconds simulated_ns = 0;
};

struct NetOptions {
  bool trace = false;
  // 0: as the seed wants. Else a scenario of so many of each kind beside the seed's own connections.
  uint32_t syn_flood = 0;     // SYNs from addresses that never answer
  uint32_t half_open = 0;     // peers that vanish after their SYN
  uint32_t slow_readers = 0;  // peers that never read
};

// The wire between peers and stack, and who is on it. Used by the campaign and by the simulator of the whole node.
class NetWorld {
 public:
  explicit NetWorld(uint64_t seed, const NetOptions& options = {});
  ~NetWorld();
  NetSummary run();

 private:
  static constexpr Link link_node{2, 0, 0, 0, 0, 1}, link_peer{2, 0, 0, 0, 0, 2};
  struct Client {
    Plan plan;
    std::unique_ptr<PeerTcp> tcp;
    PeerConfig config;
    Nanoseconds starts = 0, acts_at = 0;  // acts_at: when it resets or vanishes
    uint64_t written = 0, read = 0;
    uint64_t write_bytes_max = 0;
    Nanoseconds next_write = 0, next_read = 0;
    uint64_t read_bytes = UINT64_MAX;  // at a time
    Nanoseconds read_pause_ns = 0;
    Nanoseconds stall_from = never_ns, stall_until = never_ns;
    bool finished = false;
    bool honest() const { return plan.ending == Ending::by_peer || plan.ending == Ending::by_node; }
  };

  void make_memory();
  void make_stack();
  void make_clients();
  Client& add_client(uint32_t number, Ending ending);
  void change_faults();
  void end_faults();
  void flood();

  bool step();
  bool act(Client& client);
  void read(Client& client);
  void dispatch();
  void send(const std::vector<Segment>& segments);
  void answer_unknown(const Segment& segment);
  void give_back();
  Nanoseconds next_time() const;
  bool done(const Client& client);
  bool forgotten(const Client& client);
  void check_step();
  void check_client(Client& client);
  void check_end();
  void fail(const std::string& what);
  void note(const std::string& line);
  bool content_matches(const Place& peer, uint64_t at, std::span<const std::byte> bytes) const;

  const uint64_t seed_;
  const NetOptions options_;
  SimRandom random_;
  Nanoseconds now_ = 10 * second_ns;
  Nanoseconds faults_until_ = 0, faults_change_at_ = 0;
  bool faults_over_ = false;

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  Arena arena_;
  std::unique_ptr<BufferTable> buffers_;
  std::unique_ptr<BufferAllocator> header_buffers_, send_buffers_, receive_buffers_;
  uint64_t header_bytes_ = 0, send_bytes_ = 0, receive_bytes_ = 0;
  TcpConfig tcp_;
  SimFramesConfig port_;
  std::unique_ptr<SimFrames> frames_;
  std::unique_ptr<TcpStreams<SimFrames>> streams_;
  std::unique_ptr<Audit> audit_;
  std::unique_ptr<NodeApp> app_;
  std::map<Place, Client> clients_;
  std::vector<Place> places_;  // of the node
  uint32_t flood_left_ = 0;
  Nanoseconds next_flood_ = 0;
  bool answers_unknown_ = true;
  NetSummary summary_;
};

}  // namespace penstock::netsim
