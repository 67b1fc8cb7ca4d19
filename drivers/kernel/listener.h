// The listening socket of a lane and its accepts. When descriptors or memory run out, accepting pauses for a moment and
// says so at most every ten seconds, instead of spinning.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include "dataplane/streams.h"
#include "drivers/uring/ring.h"

namespace penstock {

struct ListenerConfig {
  Endpoint address{};
  int backlog = 1024;
  int socket_send_bytes = 0;  // accepted sockets inherit these
  int socket_receive_bytes = 0;
  std::function<void(std::string_view)> warn;
};

class Listener {
 public:
  static constexpr Nanoseconds pause_ns = 100 * millisecond_ns;
  static constexpr Nanoseconds warn_every_ns = 10 * second_ns;

  static std::expected<Listener, std::string> open(const ListenerConfig& config);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  uint16_t port() const { return port_; }

  // Keeps an accept with this tag in flight, unless pausing or stopped.
  void arm(Ring& ring, uint64_t tag, Nanoseconds now);
  // What a completion of that accept brought: a descriptor, or -1.
  int accepted(const RingCompletion& done, Nanoseconds now);
  void stop(Ring& ring, uint64_t tag);

  bool armed() const { return armed_; }
  bool stopped() const { return stopped_; }
  uint64_t errors() const { return errors_; }
  Nanoseconds next_deadline() const { return resume_at_; }

 private:
  Listener() = default;
  void pause(int error, Nanoseconds now);

  int descriptor_ = -1;
  uint16_t port_ = 0;
  bool armed_ = false;
  bool stopped_ = false;
  uint64_t errors_ = 0;
  Nanoseconds resume_at_ = never_ns;
  Nanoseconds warned_at_ = -warn_every_ns;
  std::function<void(std::string_view)> warn_;
};

// "192.0.2.7:9092" or "[2001:db8::1]:9092".
std::string to_string(const Endpoint& endpoint);
// The local and the peer's address of a connected socket; false when it is gone already.
[[nodiscard]] bool endpoints_of(int descriptor, Endpoint& local, Endpoint& peer);

}  // namespace penstock
