// A lane's streams over our own TCP and one queue pair of a port. What a world is: see lane_thread.cc.
#pragma once

#include <optional>

#include "dataplane/lane.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/dpdk/dpdk_frames.h"
#include "drivers/dpdk/frame_wait.h"
#include "tools/penstock/lane_thread.h"

namespace penstock {

class DpdkWorld {
 public:
  using Streams = TcpStreams<DpdkFrames>;

  explicit DpdkWorld(LaneSetup& setup);
  ~DpdkWorld();

  std::expected<void, std::string> create(BufferTable& buffers, BufferAllocator& send_buffers);
  Streams& streams() { return *streams_; }
  void limit(BrokerConfig& config) const;
  std::string report() const;

  void count();
  void rest(Nanoseconds now, const Polled& polled);

  // After the port has stopped.
  void take_back() { frames_->take_back(); }
  void close() { streams_.reset(); }

 private:
  void publish();

  LaneSetup& setup_;
  const FramePlan plan_;
  const bool joined_;
  BufferAllocator headers_;
  std::unique_ptr<DpdkFrames> frames_;
  std::unique_ptr<Streams> streams_;
  std::optional<FrameWait<DpdkFrames>> wait_;
  uint64_t last_cycles_ = 0;
  uint64_t last_received_ = 0;
  Nanoseconds published_at_ = 0;
};

}  // namespace penstock
