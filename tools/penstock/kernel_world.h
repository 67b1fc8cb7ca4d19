// A lane's streams over kernel sockets. What a world is: see lane_thread.cc.
#pragma once

#include "dataplane/lane.h"
#include "drivers/kernel/kernel_streams.h"
#include "tools/penstock/lane_thread.h"

namespace penstock {

class KernelWorld {
 public:
  using Streams = KernelStreams;

  explicit KernelWorld(LaneSetup& setup) : setup_(setup), receive_buffers_(0, setup.memory.receive_units()) {}

  std::expected<void, std::string> create(BufferTable& buffers, BufferAllocator& send_buffers);
  Streams& streams() { return *streams_; }
  void limit(BrokerConfig& config) const;
  std::string report() const { return ""; }

  void count() {}
  // What the lane found to do, and when it wants to be called again.
  void rest(Nanoseconds now, const Polled& polled);

  void take_back() {}
  void close() { streams_.reset(); }

 private:
  LaneSetup& setup_;
  BufferAllocator receive_buffers_;
  std::unique_ptr<KernelStreams> streams_;
};

}  // namespace penstock
