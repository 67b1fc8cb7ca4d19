// What TCP receive costs for a frame: frames in memory, MTU 1500, in-order bulk, acknowledgements made and thrown away,
// the reader only counts and lets go. Ports verify checksums unless the name says "software".
//
//   hot      frames are the same few buffers over and over: headers in the first-level cache
//   cold     frames lie in 512 MiB, in a shuffled order: headers come from memory
//   flows    frames go round all connections
//
// A burst of 64 frames is one iteration; frames are laid out outside the time. cycles_per_frame is the median burst's,
// counted with rdtsc (reference cycles, at the nominal clock).
#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "bench/tcp_frame.h"
#include "dataplane/tcp/tcp_streams.h"

namespace penstock {
namespace {

constexpr uint32_t payload_bytes = bench::frame_payload_bytes;
constexpr uint32_t burst = 64;

// Frames that the benchmark has laid out; what is sent is read for its sequence numbers and dropped.
class BenchFrames {
 public:
  BenchFrames(BufferTable& buffers, bool verified) : buffers_(buffers), verified_(verified) {
    features_.address = bench::our_link;
  }
  const PortFeatures& features() const { return features_; }
  template <class Handler>
  uint32_t poll(Nanoseconds, Handler&& handler) {
    for (const Piece& piece : next) handler(ReceivedFrame{{&piece, 1}, verified_});
    const auto count = static_cast<uint32_t>(next.size());
    next.clear();
    return count;
  }
  bool transmit(const TransmitFrame& frame) {
    if (on_transmit != nullptr) last.assign(frame.pieces[0].data, frame.pieces[0].data + frame.pieces[0].length);
    for (const Piece& piece : frame.pieces) buffers_.release(piece.buffer, Holder::send);
    ++transmitted;
    return true;
  }
  void flush() {}
  void release(std::span<const BufferIndex>) {}
  uint64_t receive_free() const { return 0; }
  Nanoseconds next_deadline() const { return never_ns; }

  std::vector<Piece> next;
  std::vector<std::byte> last;
  void* on_transmit = nullptr;
  uint64_t transmitted = 0;

 private:
  PortFeatures features_;
  BufferTable& buffers_;
  bool verified_;
};

struct Flow {
  uint32_t seq = 1000;
  uint32_t ack = 0;
  StreamId stream;
};

class Bench {
 public:
  Bench(uint32_t flow_count, uint32_t buffer_count, bool verified)
      : arena_bytes_(uint64_t{buffer_count + send_units} * 4096),
        memory_(static_cast<std::byte*>(std::aligned_alloc(4096, arena_bytes_)), &std::free),
        arena_{memory_.get(), arena_bytes_},
        buffers_(arena_.unit_count()),
        headers_(0, send_units),
        frames_(buffers_, verified),
        verified_(verified),
        streams_(config(flow_count), arena_, buffers_, headers_, frames_),
        flows_(flow_count),
        order_(buffer_count) {
    std::memset(memory_.get(), 0x5a, arena_bytes_);
    for (uint32_t i = 0; i < buffer_count; ++i) order_[i] = BufferIndex(send_units + i);
    if (buffer_count > 1000) std::shuffle(order_.begin(), order_.end(), std::mt19937(7));
    for (uint32_t i = 0; i < flow_count; ++i) connect(i);
  }

  // One burst: laid out untimed, received timed.
  uint64_t burst_once(double& seconds) {
    for (uint32_t i = 0; i < burst; ++i) {
      if (next_buffer_ == order_.size()) next_buffer_ = 0;
      frames_.next.push_back(lay_out(order_[next_buffer_++], next_flow_, 0x10, payload_bytes));
      if (++next_flow_ == flows_.size()) next_flow_ = 0;
    }
    if (order_.size() > 1000) evict();
    const auto start = std::chrono::steady_clock::now();
    const uint64_t before = __rdtsc();
    now_ += 8000;
    streams_.poll(now_, [&](const StreamEvent& event) { on_event(event); });
    give_back();
    const uint64_t cycles = __rdtsc() - before;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return cycles;
  }
  uint64_t received() const { return received_; }
  const TcpCounters& counters() const { return streams_.stack().counters(); }
  uint64_t transmitted() const { return frames_.transmitted; }
  uint64_t memory_bytes() const { return streams_.stack().memory_bytes(); }

 private:
  static constexpr uint32_t send_units = 256;
  static TcpConfig config(uint32_t flow_count) {
    TcpConfig config;
    config.addresses = {{net::IpAddress::v4(10, 0, 0, 1), 8}};
    config.ports = {9092};
    config.connections_max = flow_count;
    config.receive_budget_bytes = uint64_t{1} << 40;
    config.times.duplicate_address_wait = 0;
    return config;
  }
  void on_event(const StreamEvent& event) {
    if (event.kind == StreamEventKind::data) {
      received_ += event.piece.length;
      buffers_.release(event.piece.buffer, Holder::request);
    } else if (event.kind == StreamEventKind::opened) {
      opened_ = event.stream;
      streams_.allow(event.stream, uint64_t{1} << 50);
    }
  }
  void give_back() {
    for (const BufferIndex buffer : buffers_.released()) {
      if (headers_.owns(buffer)) headers_.free(buffer, 0);
    }
    buffers_.forget_released();
  }
  void evict() {
    for (uint32_t i = 0; i < burst; ++i) {
      const Piece& piece = frames_.next[i];
      for (uint32_t at = 0; at < 192; at += 64) _mm_clflush(piece.data + at);
    }
    _mm_mfence();
  }

  Piece lay_out(BufferIndex buffer, uint32_t flow_index, uint8_t flags, uint32_t bytes) {
    Flow& flow = flows_[flow_index];
    std::byte* const begin = arena_.at(buffer) + 64;  // on a cache line's edge, as a card would put it
    const uint32_t headers = bench::write_tcp_frame(
        begin, {.remote = net::IpAddress::v4(10, 1, static_cast<uint8_t>(flow_index >> 8), static_cast<uint8_t>(flow_index)),
                .local = net::IpAddress::v4(10, 0, 0, 1),
                .remote_port = 40000,
                .local_port = 9092,
                .sequence = flow.seq,
                .acknowledgment = flow.ack,
                .flags = flags,
                .timestamp = static_cast<uint32_t>(now_ / millisecond_ns),
                .payload_bytes = bytes,
                .fill_checksum = !verified_});
    flow.seq += bytes + ((flags & net::flag_syn) != 0 ? 1 : 0);
    buffers_.open(buffer, 0, Holder::device);
    return {begin, headers + bytes, buffer};
  }

  void connect(uint32_t index) {
    frames_.on_transmit = this;
    frames_.next.push_back(lay_out(order_[0], index, net::flag_syn, 0));
    streams_.poll(now_, [&](const StreamEvent& event) { on_event(event); });
    give_back();
    flows_[index].ack = load_big<uint32_t>(frames_.last.data() + 14 + 20 + 4) + 1;
    frames_.next.push_back(lay_out(order_[0], index, net::flag_ack, 0));
    streams_.poll(now_, [&](const StreamEvent& event) { on_event(event); });
    give_back();
    flows_[index].stream = opened_;
    frames_.on_transmit = nullptr;
  }

  uint64_t arena_bytes_;
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  Arena arena_;
  BufferTable buffers_;
  BufferAllocator headers_;
  BenchFrames frames_;
  bool verified_;
  TcpStreams<BenchFrames> streams_;
  std::vector<Flow> flows_;
  std::vector<BufferIndex> order_;
  size_t next_buffer_ = 0;
  uint32_t next_flow_ = 0;
  Nanoseconds now_ = second_ns;
  StreamId opened_;
  uint64_t received_ = 0;
};

void receive(benchmark::State& state, uint32_t flow_count, uint32_t buffer_count, bool verified) {
  Bench bench(flow_count, buffer_count, verified);
  double seconds = 0;
  std::vector<uint64_t> cycles;
  for (int i = 0; i < 400; ++i) bench.burst_once(seconds);
  const uint64_t before = bench.received(), fast = bench.counters()[TcpCount::segments_fast_path];
  const uint64_t sent = bench.transmitted();
  uint64_t frames = 0;
  for (auto _ : state) {
    cycles.push_back(bench.burst_once(seconds));
    state.SetIterationTime(seconds);
    frames += burst;
  }
  if (bench.received() - before != frames * payload_bytes) state.SkipWithError("bytes are missing");
  const auto of = [&](uint64_t count) { return static_cast<double>(count) / static_cast<double>(frames); };
  // The median burst: what others do on a shared machine stays out of it.
  std::nth_element(cycles.begin(), cycles.begin() + static_cast<long>(cycles.size() / 2), cycles.end());
  state.counters["cycles_per_frame"] = static_cast<double>(cycles[cycles.size() / 2]) / burst;
  state.counters["fast_share"] = of(bench.counters()[TcpCount::segments_fast_path] - fast);
  state.counters["acks_per_frame"] = of(bench.transmitted() - sent);
  state.SetItemsProcessed(static_cast<int64_t>(frames));
}

BENCHMARK_CAPTURE(receive, hot_1_flow, 1, 64, true)->Iterations(20'000)->UseManualTime();
BENCHMARK_CAPTURE(receive, hot_10000_flows, 10'000, 64, true)->Iterations(20'000)->UseManualTime();
BENCHMARK_CAPTURE(receive, cold_1_flow, 1, 131'072, true)->Iterations(10'000)->UseManualTime();
BENCHMARK_CAPTURE(receive, cold_10000_flows, 10'000, 131'072, true)->Iterations(10'000)->UseManualTime();
BENCHMARK_CAPTURE(receive, software_checksum_hot_1_flow, 1, 64, false)->Iterations(20'000)->UseManualTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
