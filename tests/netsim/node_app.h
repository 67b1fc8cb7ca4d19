// What stands above the stack in the simulated network: a server that takes and gives streams as planned, by credit as
// a Kafka session would, holds buffers for a while, sends from buffers of its own, and closes or aborts.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/streams.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/sim/random.h"
#include "drivers/sim/sim_frames.h"
#include "tests/netsim/segment.h"

namespace penstock::netsim {

enum class Ending : uint8_t { by_peer, by_node, node_aborts, peer_resets, peer_vanishes };

// One connection: what both sides will do.
struct Plan {
  Place peer;
  uint64_t seed = 0;  // of the contents: seed to the node, ~seed from it
  uint64_t to_node_bytes = 0;
  uint64_t from_node_bytes = 0;
  uint64_t send_after_bytes = 0;  // received before the node begins to send
  uint32_t request_bytes_max = 4096;
  uint32_t write_bytes_max = 4096;
  Nanoseconds hold_max_ns = 0;  // how long the node holds received buffers
  uint64_t abort_after_bytes = 0;
  bool close_at_once = false;  // in the turn in which the last credit is allowed
  Ending ending = Ending::by_peer;
};

struct Outcome {
  bool opened = false, peer_finished = false, closed = false;
  bool node_closed = false;  // close() or abort() was called
  uint64_t received = 0, given = 0, sent = 0;
};

class NodeApp {
 public:
  using Stack = TcpStreams<SimFrames>;
  NodeApp(uint64_t seed, Stack& streams, Arena arena, BufferTable& buffers, BufferAllocator& send_buffers,
          uint64_t receive_bytes)
      : streams_(streams),
        arena_(arena),
        buffers_(buffers),
        send_buffers_(send_buffers),
        receive_bytes_(receive_bytes),
        random_(seed) {}

  void plan(const Plan& plan) { plans_[plan.peer] = plan; }
  void on_event(const StreamEvent& event, Nanoseconds now);
  // Lets go, allows, sends, closes: whatever is due.
  bool work(Nanoseconds now);
  Nanoseconds next_deadline() const;

  const Outcome& outcome(const Place& peer) { return outcomes_[peer]; }
  bool all_closed() const { return streams_of_.empty(); }
  const std::string& fault() const { return fault_; }
  // What a stream of this peer has and waits for, for reports.
  std::string describe(const Place& peer) const;
  // Peers from whom nothing more is taken, since the last call: by close() here, or because the stream is over.
  std::vector<Place> take_closed() { return std::exchange(closed_, {}); }

 private:
  struct Stream {
    StreamId id;
    Place peer;
    Plan plan;
    uint64_t allowed = 0;       // in sum
    uint64_t request_left = 0;  // of the request under way
    uint64_t reserved = 0;
    bool last_allowed = false;
    bool may_close = false;  // the last credit was allowed in an earlier turn, or the plan closes in the same
    std::deque<Piece> to_send;
    uint64_t made = 0;  // bytes made for sending, in sum
    Nanoseconds next_send = 0;
  };
  struct Held {
    Nanoseconds until = 0;
    BufferIndex buffer;
  };

  void take_data(Stream& stream, const StreamEvent& event, Nanoseconds now);
  bool allow_more(Stream& stream);
  bool send_more(Stream& stream, Nanoseconds now);
  bool make_pieces(Stream& stream);
  bool end(Stream& stream);
  void complain(const Stream& stream, const char* what, uint64_t a = 0, uint64_t b = 0);

  Stack& streams_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& send_buffers_;
  const uint64_t receive_bytes_;
  SimRandom random_;
  std::map<Place, Plan> plans_;
  std::map<Place, Outcome> outcomes_;
  std::map<uint32_t, Stream> streams_of_;  // by stream index
  std::set<uint32_t> ghosts_;              // streams opened again by a late segment; aborted at once
  std::vector<Held> held_;
  uint64_t reserved_ = 0;
  std::vector<Place> closed_;
  std::string fault_;
};

}  // namespace penstock::netsim
