// A lane's receive side over real loopback sockets: streams, a stand-in for the lane that records what arrives and
// keeps or releases the pieces, and blocking client sockets.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "drivers/kernel/kernel_streams.h"
#include "tests/drivers/real_world.h"

namespace penstock::test {

// Bytes in which every position looks different from its neighbours.
inline std::string pattern(size_t size, uint32_t seed = 1) {
  std::string text(size, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& byte : text) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return text;
}

class Client {
 public:
  explicit Client(uint16_t port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_bytes > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const timeval patience{10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }
  Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)), connected_(other.connected_) {}
  Client& operator=(Client&&) = delete;
  ~Client() { close(); }

  bool connected() const { return connected_; }
  int socket() const { return socket_; }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  bool send(const std::string& text) {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<size_t>(count);
    }
    return true;
  }
  // Everything up to `size` bytes or the end; `error` gets the errno of a failed receive.
  std::string receive(size_t size, int* error = nullptr) {
    std::string text(size, '\0');
    size_t got = 0;
    while (got < size) {
      const ssize_t count = ::recv(socket_, text.data() + got, size - got, 0);
      if (count < 0 && error != nullptr) *error = errno;
      if (count <= 0) break;
      got += static_cast<size_t>(count);
    }
    text.resize(got);
    return text;
  }

 private:
  int socket_;
  bool connected_ = false;
};

struct Received {
  StreamId id;
  Endpoint local, peer;
  std::string bytes;
  std::vector<Piece> pieces;  // those not released
  uint32_t piece_count = 0;
  uint64_t sent = 0;
  bool peer_finished = false;
  bool closed = false;
};

struct KernelWorld {
  explicit KernelWorld(KernelStreamsConfig config = small_config(), RingConfig ring_config = {.entries = 256},
                       uint64_t region_bytes = 32 * MiB)
      : memory(make_arena(region_bytes + 2 * MiB)),
        ring(make_ring(memory.arena(), ring_config)),
        buffers(memory.arena().unit_count()),
        allocator(0, static_cast<uint32_t>(region_bytes / arena_unit_bytes)) {
    auto made = KernelStreams::create(*ring, memory.arena(), buffers, allocator, config);
    check(made.has_value(), "cannot listen");
    streams = std::move(*made);
    turn(0);
  }
  ~KernelWorld() {
    for (auto& [index, stream] : received) release_pieces(stream);
    streams.reset();
    EXPECT_EQ(buffers.leak_report(), "");
  }

  static KernelStreamsConfig small_config() { return {.streams_max = 64, .small_buffers = 64}; }

  // One turn of a lane; sleeps at most until `until`.
  void turn(Nanoseconds until) {
    give_back();  // what the test released
    ring->wait(clock_now(), std::min(until, streams->next_deadline()));
    streams->poll(clock_now(), [&](const StreamEvent& event) { handle(event); });
    give_back();
  }
  void give_back() {
    streams->release(buffers.released());
    buffers.forget_released();
  }
  // Turns until the condition holds; false after ten seconds.
  bool run_until(const std::function<bool()>& condition) {
    const Nanoseconds until = clock_now() + 10 * second_ns;
    while (!condition()) {
      if (clock_now() > until) return false;
      turn(until);
    }
    return true;
  }
  void run_for(Nanoseconds duration) {
    const Nanoseconds until = clock_now() + duration;
    while (clock_now() < until) turn(until);
  }

  void handle(const StreamEvent& event) {
    if (event.kind == StreamEventKind::opened) {
      order.push_back(event.stream.index);
      received[event.stream.index] = {.id = event.stream, .local = event.local, .peer = event.peer};
      if (first_credit > 0) streams->allow(event.stream, first_credit);
      return;
    }
    Received& stream = received.at(event.stream.index);
    check(stream.id == event.stream && !stream.closed, "event for a stream that is gone", event.stream.index);
    switch (event.kind) {
      case StreamEventKind::data:
        stream.bytes.append(reinterpret_cast<const char*>(event.piece.data), event.piece.length);
        stream.pieces.push_back(event.piece);
        ++stream.piece_count;
        break;
      case StreamEventKind::sent:
        stream.sent += event.bytes;
        break;
      case StreamEventKind::peer_finished:
        stream.peer_finished = true;
        break;
      case StreamEventKind::closed:
        stream.closed = true;
        break;
      case StreamEventKind::opened:
        break;
    }
    if (on_event) on_event(stream, event);
  }
  void release_pieces(Received& stream) {
    for (const Piece& piece : stream.pieces) buffers.release(piece.buffer, Holder::request);
    stream.pieces.clear();
  }

  Client connect() {
    Client client(streams->port());
    EXPECT_TRUE(client.connected());
    const size_t before = order.size();
    EXPECT_TRUE(run_until([&] { return order.size() > before; }));
    return client;
  }
  Received& last() { return received.at(order.back()); }

  ArenaMemory memory;
  std::unique_ptr<Ring> ring;
  BufferTable buffers;
  BufferAllocator allocator;
  std::unique_ptr<KernelStreams> streams;
  std::map<uint32_t, Received> received;  // by index
  std::vector<uint32_t> order;            // indexes as opened
  uint64_t first_credit = 4096;
  std::function<void(Received&, const StreamEvent&)> on_event;
};

// The same tests with what this kernel offers and with the ways around it.
enum class Kernel { newest, without_buffer_ring, oldest };
inline RingConfig ring_like(Kernel kernel) {
  RingConfig config{.entries = 256};
  if (kernel != Kernel::newest) config.allowed.buffer_ring = false;
  if (kernel == Kernel::oldest) config.allowed = {false, false, false, false, false};
  return config;
}

}  // namespace penstock::test
