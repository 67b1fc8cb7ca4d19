// Clients that reach a lane over frames: each connection is a PeerTcp, and the link between them and the lane's TCP
// loses, reorders, repeats and damages as its seed wants.
#pragma once

#include <map>
#include <memory>

#include "drivers/sim/sim_frames.h"
#include "tests/netsim/peer_tcp.h"
#include "tests/simulator/network.h"

namespace penstock::sim {

class TcpNetwork final : public Network {
 public:
  static constexpr netsim::Link link_node{2, 0, 0, 0, 0, 1}, link_peer{2, 0, 0, 0, 0, 2};
  // The node listens at 10.0.0.1 and fd00::1.
  TcpNetwork(uint64_t seed, SimFrames& frames);

  uint32_t connect(Nanoseconds now, uint16_t local_port) override;
  void write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds now) override;
  void read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds now) override;
  bool ended(uint32_t peer, Nanoseconds now) const override;
  void forget(uint32_t peer) override;
  void stop_reading(uint32_t, bool) override {}  // who does not read() has its window fill up
  void change_weather(bool calm) override;
  bool step(Nanoseconds now) override;
  Nanoseconds next_arrival() const override;
  void count(FaultCounts& faults) const override;

 private:
  void deliver(const netsim::Segment& segment, Nanoseconds now);
  void send(const std::vector<netsim::Segment>& segments, Nanoseconds now);

  uint16_t mss(bool v6) const;

  SimFrames& frames_;
  SimRandom random_;
  uint32_t path_mtu_ = 0;  // 0: the port's
  uint64_t links_down_ = 0;
  struct Peer {
    netsim::PeerTcp tcp;
    bool forgotten = false;
  };
  std::map<netsim::Place, std::unique_ptr<Peer>> peers_;
  std::map<uint32_t, Peer*> by_index_;  // those not forgotten, by the index connect() gave
  uint32_t next_ = 0;
};

}  // namespace penstock::sim
