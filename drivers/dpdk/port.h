// One port of a card, or a virtual one: what it offers, what of that is used, and which queue gets which frame.
//
//   open()         probes the device and negotiates; nothing flows yet
//   place()        says where payload shall lie, when the drive is known, and fits the rings to the memory
//   lanes          make their pools with receive_shape() and give them in with set_pool()
//   start()        queues, MTU, link, steering
//   stop()         every frame that is still in the port's hands comes back; before the pools go
//
// A lane's own work with its queue pair is DpdkFrames.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/frames.h"
#include "drivers/dpdk/hand_over.h"
#include "drivers/dpdk/lane_of_frame.h"

struct rte_device;
struct rte_mempool;

namespace penstock {

enum class Steering : uint8_t {
  none,       // one lane: there is nothing to choose
  rules,      // one flow rule for each lane's port and family
  hash,       // an RSS key and table for which the queue depends on the port alone
  program,    // a small program in the kernel, of tap devices
  hand_over,  // the port does as it likes; lanes copy frames to each other
};
const char* to_string(Steering steering);

struct PortConfig {
  std::string device;
  LanePorts lanes;
  uint32_t mtu_bytes = 1500;
  uint32_t header_bytes = 66;        // in front of the payload of most frames: Ethernet, IPv4, TCP with timestamps
  uint32_t receive_descriptors = 0;  // of a queue; 0: as suits the port
  uint32_t transmit_descriptors = 0;
  bool interrupts = true;
  bool steer = true;              // false: hand-over whatever the port could do
  bool ipv4 = true, ipv6 = true;  // families to steer
  std::function<void(std::string_view)> log, warn;
};

// How a receive buffer lies in the arena.
//
//   |        shift        | DPDK's headroom | headers | payload ...            |
//   ^ first unit of `units`                           ^ on alignment_bytes
struct ReceiveShape {
  uint32_t units = 1;
  uint32_t shift_bytes = 0;
  uint32_t room_bytes = 0;   // headroom and frame
  uint32_t frame_bytes = 0;  // the longest that fits
  uint32_t alignment_bytes = 0;
};
ReceiveShape receive_shape(uint32_t mtu_bytes, uint32_t header_bytes, uint32_t alignment_bytes);

// Of a lane. A quarter of them may wait in the port; the rest is with requests, other lanes, and a reserve.
constexpr uint32_t receive_buffers_min = 256;
uint16_t receive_descriptors_max(uint32_t buffers);

struct PortStatistics {
  uint64_t missed = 0;     // the ring was full
  uint64_t no_buffer = 0;  // the pool was empty
  uint64_t receive_errors = 0;
  uint64_t transmit_errors = 0;
  bool link_up = false;
};

class Port {
 public:
  static std::expected<std::unique_ptr<Port>, std::string> open(const PortConfig& config);
  ~Port();
  Port(const Port&) = delete;

  // `alignment_bytes`: where the payload of most frames shall begin: a power of two, at most 4096. `receive_units`: of
  // each lane's arena, for buffers; a small one gets fewer descriptors.
  std::expected<void, std::string> place(uint32_t alignment_bytes, uint32_t receive_units);

  const PortFeatures& features() const { return features_; }
  const ReceiveShape& receive_shape() const { return shape_; }
  const PortConfig& config() const { return config_; }
  std::optional<unsigned> numa_node() const { return numa_node_; }
  uint16_t number() const { return number_; }
  uint32_t receive_descriptors() const { return receive_descriptors_; }
  uint32_t transmit_descriptors() const { return transmit_descriptors_; }
  bool multi_segment() const { return multi_segment_; }
  bool synchronous() const { return is_tap_; }  // frames given to it have left when the call returns
  HandOver& hand_over() { return hand_over_; }

  // From the lane's thread. The memory stays the caller's and is made known to the device.
  std::expected<void, std::string> map_memory(std::byte* base, uint64_t bytes);
  void unmap_memory(std::byte* base, uint64_t bytes);
  void set_pool(uint32_t lane, rte_mempool* pool) { pools_[lane] = pool; }

  std::expected<void, std::string> start();
  void stop();  // for good
  bool interrupts() const { return interrupts_; }
  Steering steering() const { return steering_; }
  std::string table() const;  // what was negotiated, for the start report

  // From any thread.
  PortStatistics statistics();
  // Logs a change since the last call.
  void watch_link();

 private:
  Port(const PortConfig& config, uint16_t number);
  std::expected<void, std::string> negotiate();
  std::expected<void, std::string> bring_up();
  std::expected<void, std::string> set_up(bool spread);
  std::expected<void, std::string> set_tap_mtu();
  // Drivers that did not start keep their interrupts, and DPDK aborts when those lose their file: such a port is left
  // to the end of the process.
  bool half_way() const { return configured_ && !running_; }
  void steer();
  bool steer_by_rules();
  bool steer_by_hash();

  const PortConfig config_;
  const uint16_t number_;
  HandOver hand_over_;
  PortFeatures features_;
  ReceiveShape shape_;
  std::optional<unsigned> numa_node_;
  rte_device* device_ = nullptr;
  std::string driver_;
  std::string interface_;  // of a tap device
  bool is_tap_ = false;
  bool multi_segment_ = false;
  bool open_ = true;
  bool configured_ = false, running_ = false;
  bool interrupts_ = false;
  uint32_t port_mtu_ = 1500;
  uint16_t receive_descriptors_ = 0, transmit_descriptors_ = 0;
  uint64_t receive_offloads_ = 0, transmit_offloads_ = 0;
  uint64_t receive_offered_ = 0, transmit_offered_ = 0;
  uint16_t table_size_ = 0;  // of RSS
  uint8_t key_bytes_ = 0;
  uint64_t hash_fields_ = 0;
  Steering steering_ = Steering::none;
  std::vector<rte_mempool*> pools_;
  std::mutex control_;  // statistics and link: control calls are not for two threads at once
  std::optional<bool> link_up_;
};

}  // namespace penstock
