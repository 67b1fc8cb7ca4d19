#include "drivers/kernel/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

namespace penstock {

namespace {

constexpr uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};  // ::ffff:0:0/96

bool is_ipv4(const Endpoint& endpoint) {
  return std::equal(std::begin(mapped_prefix), std::end(mapped_prefix), endpoint.address);
}
bool is_any(const Endpoint& endpoint) {
  return std::ranges::all_of(endpoint.address, [](uint8_t byte) { return byte == 0; });
}

socklen_t to_ipv6(const Endpoint& endpoint, sockaddr_storage& storage) {
  auto& address = reinterpret_cast<sockaddr_in6&>(storage);
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(endpoint.port);
  std::memcpy(&address.sin6_addr, endpoint.address, sizeof endpoint.address);
  return sizeof address;
}
socklen_t to_ipv4(const Endpoint& endpoint, sockaddr_storage& storage) {
  auto& address = reinterpret_cast<sockaddr_in&>(storage);
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  std::memcpy(&address.sin_addr, endpoint.address + sizeof mapped_prefix, sizeof address.sin_addr);
  return sizeof address;
}

Endpoint from_socket(const sockaddr_storage& storage) {
  Endpoint endpoint;
  if (storage.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
    std::memcpy(endpoint.address, &address.sin6_addr, sizeof endpoint.address);
    endpoint.port = ntohs(address.sin6_port);
  } else {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
    std::ranges::copy(mapped_prefix, endpoint.address);
    std::memcpy(endpoint.address + sizeof mapped_prefix, &address.sin_addr, sizeof address.sin_addr);
    endpoint.port = ntohs(address.sin_port);
  }
  return endpoint;
}

bool set_option(int socket, int level, int name, int value) {
  return ::setsockopt(socket, level, name, &value, sizeof value) == 0;
}

bool set_options(int socket, const ListenerConfig& config) {
  return set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1) && set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1) &&
         (config.socket_send_bytes == 0 || set_option(socket, SOL_SOCKET, SO_SNDBUF, config.socket_send_bytes)) &&
         (config.socket_receive_bytes == 0 || set_option(socket, SOL_SOCKET, SO_RCVBUF, config.socket_receive_bytes));
}

}  // namespace

std::expected<Listener, std::string> Listener::open(const ListenerConfig& config) {
  Listener listener;
  listener.warn_ = config.warn;
  const auto failed = [&](const char* what) {
    return std::unexpected(std::string("cannot ") + what + " " + to_string(config.address) + ": " +
                           std::strerror(errno));
  };

  // One IPv6 socket serves both families; a machine with IPv6 switched off gets an IPv4 socket.
  const bool want_ipv4 = is_ipv4(config.address);
  sockaddr_storage address{};
  socklen_t length = 0;
  int family = want_ipv4 ? AF_INET : AF_INET6;
  listener.descriptor_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener.descriptor_ < 0 && errno == EAFNOSUPPORT && is_any(config.address)) {
    family = AF_INET;
    listener.descriptor_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  }
  if (listener.descriptor_ < 0) return failed("create a socket for");
  if (!set_options(listener.descriptor_, config)) return failed("set socket options for");
  if (family == AF_INET6) {
    if (!set_option(listener.descriptor_, IPPROTO_IPV6, IPV6_V6ONLY, 0)) return failed("serve IPv4 beside IPv6 on");
    length = to_ipv6(config.address, address);
  } else {
    length = to_ipv4(config.address, address);
  }
  if (::bind(listener.descriptor_, reinterpret_cast<sockaddr*>(&address), length) != 0) return failed("bind to");
  if (::listen(listener.descriptor_, config.backlog) != 0) return failed("listen on");
  length = sizeof address;
  if (::getsockname(listener.descriptor_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return failed("name");
  listener.port_ = from_socket(address).port;
  return listener;
}

Listener::Listener(Listener&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), port_(other.port_), warn_(std::move(other.warn_)) {}

Listener::~Listener() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Listener::arm(Ring& ring, uint64_t tag, Nanoseconds now) {
  if (armed_ || stopped_ || (resume_at_ != never_ns && now < resume_at_)) return;
  resume_at_ = never_ns;
  armed_ = true;
  ring.prepare(RingOwner::streams, tag, [&](io_uring_sqe* entry) {
    if (ring.features().multishot_accept) {
      io_uring_prep_multishot_accept(entry, descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    } else {
      io_uring_prep_accept(entry, descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    }
  });
}

int Listener::accepted(const RingCompletion& done, Nanoseconds now) {
  if ((done.flags & IORING_CQE_F_MORE) == 0) armed_ = false;
  if (stopped_ && !armed_ && descriptor_ >= 0) {
    ::close(descriptor_);
    descriptor_ = -1;
  }
  if (done.result >= 0) return done.result;
  switch (-done.result) {
    case ECANCELED:
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:  // gone before we looked: the next one
    case EPROTO:
      break;
    default:
      pause(-done.result, now);
  }
  return -1;
}

void Listener::stop(Ring& ring, uint64_t tag) {
  if (stopped_) return;
  stopped_ = true;
  resume_at_ = never_ns;
  if (armed_) {
    ring.cancel(RingOwner::streams, tag);
  } else if (descriptor_ >= 0) {
    ::close(descriptor_);
    descriptor_ = -1;
  }
}

void Listener::pause(int error, Nanoseconds now) {
  ++errors_;
  if (!stopped_) resume_at_ = now + pause_ns;
  if (now - warned_at_ < warn_every_ns) return;
  warned_at_ = now;
  std::string line = "accepting connections pauses: " + std::string(std::strerror(error));
  if (error == EMFILE || error == ENFILE) line += "; raise the limit of open files (LimitNOFILE in the service file)";
  if (warn_) {
    warn_(line);
  } else {
    std::fprintf(stderr, "penstock: %s\n", line.c_str());
  }
}

std::string to_string(const Endpoint& endpoint) {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_ipv4(endpoint)) {
    ::inet_ntop(AF_INET, endpoint.address + sizeof mapped_prefix, text, sizeof text);
    return std::string(text) + ":" + std::to_string(endpoint.port);
  }
  ::inet_ntop(AF_INET6, endpoint.address, text, sizeof text);
  return "[" + std::string(text) + "]:" + std::to_string(endpoint.port);
}

bool endpoints_of(int descriptor, Endpoint& local, Endpoint& peer) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  local = from_socket(address);
  length = sizeof address;
  if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  peer = from_socket(address);
  return true;
}

}  // namespace penstock
