// One lane of the simulated node, with its drive and the clients' side of its streams.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "dataplane/lane.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/sim/random.h"
#include "drivers/sim/sim_drive.h"
#include "drivers/sim/sim_frames.h"
#include "drivers/sim/sim_streams.h"
#include "tests/simulator/faults.h"
#include "tests/simulator/network.h"
#include "tests/simulator/tcp_network.h"

namespace penstock::sim {

inline constexpr uint64_t arena_bytes = 16 * MiB;
inline constexpr uint64_t log_region_bytes = 6 * MiB, send_region_bytes = 2 * MiB;

// Everything of one lane while the node is up, but for what carries its streams. Destroyed in reverse order.
struct SimLane {
  SimLane(const DriveUnits& units, const SimDriveConfig& drive_config, SimDisk image, const LogConfig& log_config)
      : memory(static_cast<std::byte*>(std::aligned_alloc(arena_unit_bytes, arena_bytes))),
        arena{memory.get(), arena_bytes},
        buffers(arena.unit_count()),
        log_buffers(0, log_region_bytes / arena_unit_bytes),
        send_buffers(log_region_bytes / arena_unit_bytes, send_region_bytes / arena_unit_bytes),
        pieces(4096),
        drive(drive_config, arena, std::move(image)),
        log(log_config, units, {arena, &buffers, &log_buffers}, drive.files()),
        limits(log_config),
        inbox(64),
        outbox(64) {}
  virtual ~SimLane() = default;

  virtual Polled poll(Nanoseconds now, Milliseconds wall_ms) = 0;
  virtual Broker& broker() = 0;
  virtual void release_all() = 0;  // after the last poll; what carries the streams goes too
  virtual Network& network() = 0;
  virtual Nanoseconds next_stream_deadline() const = 0;

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> memory;
  Arena arena;
  BufferTable buffers;
  BufferAllocator log_buffers, send_buffers;
  PiecePool pieces;
  SimDrive drive;
  Log log;
  const LogConfig limits;
  Mailbox<ToLane> inbox;
  Mailbox<ToControl> outbox;
  LaneMetrics metrics;
  bool has_started = false;     // looked at in the last life only
  bool was_given_room = false;
};

inline constexpr uint32_t connections_max = 48;
inline constexpr uint64_t receive_budget_bytes = 4 * MiB;
inline constexpr uint32_t receive_region_at = (log_region_bytes + send_region_bytes) / arena_unit_bytes;
inline constexpr uint32_t receive_region_units = arena_bytes / arena_unit_bytes - receive_region_at;

// What carries a lane's streams to the clients, and the memory it receives into.
struct StreamsCarrier {
  using Streams = SimStreams;
  StreamsCarrier(uint64_t seed, const Arena& arena, BufferTable& buffers)
      : receive_buffers(receive_region_at, receive_region_units),
        streams({.seed = seed ^ 0x5eed, .streams_max = connections_max}, arena, buffers, receive_buffers),
        network(streams) {}
  BufferAllocator receive_buffers;
  SimStreams streams;
  StreamsNetwork network;
};

struct TcpCarrier {
  using Streams = TcpStreams<SimFrames>;
  static constexpr uint32_t header_units = 256;
  TcpCarrier(uint64_t seed, const Arena& arena, BufferTable& buffers)
      : header_buffers(receive_region_at, header_units),
        receive_buffers(receive_region_at + header_units, receive_region_units - header_units),
        frames(port(seed), arena, buffers, receive_buffers),
        streams(tcp(seed), arena, buffers, header_buffers, frames),
        network(seed, frames) {}

  static SimFramesConfig port(uint64_t seed) {
    SimRandom random(seed ^ 0xf7a3e5);
    SimFramesConfig config{.seed = random.next()};
    std::ranges::copy(TcpNetwork::link_node, config.features.address.begin());
    config.features.mtu_bytes = random.one_in(3) ? 9000 : 1500;
    config.features.receive_checksums = random.one_in(2);
    config.features.transmit_checksums = random.one_in(2);
    config.features.segmentation = config.features.transmit_checksums && random.one_in(2);
    config.features.segmentation_bytes_max = config.features.segmentation ? 60'000 : 0;
    config.ring_frames = static_cast<uint32_t>(random.one_in(4) ? random.between(4, 16) : 256);
    config.refuse_one_in = random.one_in(4) ? random.between(5, 50) : 0;
    config.header_split_one_in = random.one_in(3) ? 2 : 0;
    return config;
  }
  static TcpConfig tcp(uint64_t seed) {
    TcpConfig config;
    const netsim::Address v6 = netsim::address_v6(0, 1);
    config.addresses = {{net::IpAddress::v4(10, 0, 0, 1), 24}, {net::IpAddress::from_v6(v6.bytes.data()), 64}};
    config.ports = {9092};
    config.connections_max = connections_max;
    config.syn_backlog = 32;
    config.time_wait_max = 64;
    config.receive_budget_bytes = 4 * MiB;
    config.reassembly_pieces = 1024;
    config.send_chunks = 1024;
    config.send_records = 4096;
    config.secret = {seed, ~seed};
    config.times.keepalive_idle = 10 * second_ns;
    config.times.keepalive_interval = second_ns;
    config.times.duplicate_address_wait = 0;
    return config;
  }

  BufferAllocator header_buffers, receive_buffers;
  SimFrames frames;
  TcpStreams<SimFrames> streams;
  TcpNetwork network;
};

template <class Carrier>
struct LaneOver final : SimLane {
  LaneOver(uint32_t index, uint64_t seed, const DriveUnits& units, const SimDriveConfig& drive_config, SimDisk image,
           const LogConfig& log_config)
      : SimLane(units, drive_config, std::move(image), log_config),
        carrier(std::make_unique<Carrier>(seed, arena, buffers)),
        lane({.lane = index,
              .connections_max = connections_max,
              .receive_bytes = receive_budget_bytes,
              .request_bytes_max = 128 * KiB,
              .send_bytes = 256 * KiB,
              .extra_responses = 1024,
              .fetch_parts_max = 1024,
              .fetch_waiters_max = 1024},
             {arena, &buffers, &log_buffers, &send_buffers, &pieces}, carrier->streams, drive, log, inbox, outbox,
             metrics) {}

  Polled poll(Nanoseconds now, Milliseconds wall_ms) override { return lane.poll(now, wall_ms); }
  Broker& broker() override { return lane.broker(); }
  void release_all() override {
    lane.release_all();
    carrier.reset();
  }
  Network& network() override { return carrier->network; }
  Nanoseconds next_stream_deadline() const override { return carrier->streams.next_deadline(); }

  std::unique_ptr<Carrier> carrier;
  Lane<typename Carrier::Streams, SimDrive> lane;
};

}  // namespace penstock::sim
