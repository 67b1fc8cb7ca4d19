// The clients' side of one lane's streams, whoever carries the bytes: the simulated streams, or our TCP with simulated
// peers on the other end of a simulated link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/base/units.h"
#include "drivers/sim/sim_streams.h"
#include "tests/simulator/faults.h"

namespace penstock::sim {

class Network {
 public:
  virtual ~Network() = default;
  // An index for the calls below; UINT32_MAX when nobody accepts or the table is full.
  virtual uint32_t connect(Nanoseconds now, uint16_t local_port) = 0;
  virtual void write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds now) = 0;
  // Appends what has arrived at the peer to `to`.
  virtual void read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds now) = 0;
  // Nothing more comes: the node has closed or aborted.
  virtual bool ended(uint32_t peer, Nanoseconds now) const = 0;
  virtual void forget(uint32_t peer) = 0;
  // Lets frames and peers do what is due; whether anything happened.
  virtual bool step(Nanoseconds now) = 0;
  // The peer takes nothing of what arrives, for a while.
  virtual void stop_reading(uint32_t peer, bool stopped) = 0;
  // Another one, at random; `calm`: nothing goes wrong that did not from the beginning.
  virtual void change_weather(bool calm) = 0;
  // When step() or a peer has something to do.
  virtual Nanoseconds next_arrival() const = 0;
  // Adds what has gone wrong.
  virtual void count(FaultCounts& faults) const = 0;
};

class StreamsNetwork final : public Network {
 public:
  explicit StreamsNetwork(SimStreams& streams) : streams_(streams) {}
  uint32_t connect(Nanoseconds now, uint16_t local_port) override { return streams_.connect(now, local_port); }
  void write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds now) override {
    streams_.write(peer, bytes, now);
  }
  void read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds now) override { streams_.read(peer, to, now); }
  bool ended(uint32_t peer, Nanoseconds now) const override { return streams_.ended(peer, now); }
  void forget(uint32_t peer) override { streams_.forget(peer); }
  void stop_reading(uint32_t peer, bool stopped) override { streams_.stop_reading(peer, stopped); }
  void change_weather(bool) override {}
  bool step(Nanoseconds) override { return false; }
  Nanoseconds next_arrival() const override { return streams_.next_arrival(); }
  void count(FaultCounts&) const override {}

 private:
  SimStreams& streams_;
};

}  // namespace penstock::sim
