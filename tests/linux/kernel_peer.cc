// The same bulk content over Linux's own sockets: the client of every measurement, and the server our TCP is compared
// with. See bulk.h.
//
//   kernel_peer serve PORT
//   kernel_peer send|receive|echo ADDRESS PORT --seconds S [--bytes N] [--connections N] [--rate BYTES_PER_S]
//   kernel_peer flood DEVICE LINK_ADDRESS ADDRESS PORT --count N --rate PER_S
//
// A client prints one line: bytes, seconds, connections that were right, connections. `--rate` is of all together.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/units.h"
#include "tests/linux/bulk.h"
#include "tests/netsim/content.h"
#include "tests/netsim/segment.h"

namespace penstock::bulk {
namespace {

constexpr size_t chunk_bytes = 64 * 1024;

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

// The same congestion control on both sides of the comparison, and as much waiting to be sent.
void configure(int socket) {
  if (setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0) std::perror("TCP_CONGESTION");
  const unsigned unsent = unsent_bytes_max;
  if (setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) != 0) std::perror("TCP_NOTSENT_LOWAT");
}

bool write_all(int socket, const void* bytes, size_t count) {
  const auto* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t done = send(socket, at, count, MSG_NOSIGNAL);
    if (done <= 0) return false;
    at += done;
    count -= static_cast<size_t>(done);
  }
  return true;
}

bool read_all(int socket, void* bytes, size_t count) {
  auto* at = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t done = recv(socket, at, count, 0);
    if (done <= 0) return false;
    at += done;
    count -= static_cast<size_t>(done);
  }
  return true;
}

// Receives content until the end of the stream.
struct Taken {
  uint64_t bytes = 0, wrong_at = nowhere;
  ContentHash hash;
  bool ended = false;
};
Taken take_content(int socket, uint64_t seed) {
  Taken taken;
  std::vector<std::byte> chunk(chunk_bytes);
  for (;;) {
    const ssize_t got = recv(socket, chunk.data(), chunk.size(), 0);
    if (got < 0) return taken;
    if (got == 0) break;
    const auto count = static_cast<size_t>(got);
    if (!netsim::is_content(seed, taken.bytes, {chunk.data(), count}))
      taken.wrong_at = std::min(taken.wrong_at, taken.bytes);
    taken.hash.add(chunk.data(), count);
    taken.bytes += count;
  }
  taken.ended = true;
  return taken;
}

// Sends content until `bytes` or `ends`, not faster than `rate` bytes a second (0: as fast as it goes).
uint64_t give_content(int socket, uint64_t seed, uint64_t bytes, Nanoseconds ends, uint64_t rate, ContentHash& hash) {
  std::vector<std::byte> chunk(rate > 0 ? std::min<size_t>(chunk_bytes, rate / 100 + 1) : chunk_bytes);
  const Nanoseconds begins = clock_now();
  uint64_t sent = 0;
  while (sent < bytes && clock_now() < ends) {
    const size_t count = std::min<uint64_t>(chunk.size(), bytes - sent);
    netsim::fill_content(seed, sent, {chunk.data(), count});
    if (!write_all(socket, chunk.data(), count)) return sent;
    hash.add(chunk.data(), count);
    sent += count;
    if (rate == 0) continue;
    const Nanoseconds ahead = begins + static_cast<Nanoseconds>(sent * second_ns / rate) - clock_now();
    if (ahead > 0) usleep(static_cast<useconds_t>(ahead / 1000));
  }
  return sent;
}

// ---- the server ----

void serve_one(int socket) {
  BulkHeader header;
  if (read_all(socket, &header, sizeof header)) {
    const Nanoseconds ends =
        header.duration_ns > 0 ? clock_now() + static_cast<Nanoseconds>(header.duration_ns.get()) : never_ns;
    switch (static_cast<Kind>(header.kind.get())) {
      case Kind::send: {
        const Taken taken = take_content(socket, header.seed);
        const BulkReport report{taken.bytes, taken.hash.value(), taken.wrong_at};
        write_all(socket, &report, sizeof report);
        break;
      }
      case Kind::receive: {
        ContentHash hash;
        give_content(socket, header.seed, header.bytes, ends, 0, hash);
        break;
      }
      case Kind::echo: {
        std::vector<std::byte> chunk(chunk_bytes);
        for (ssize_t got; (got = recv(socket, chunk.data(), chunk.size(), 0)) > 0;) {
          if (!write_all(socket, chunk.data(), static_cast<size_t>(got))) break;
        }
        break;
      }
    }
  }
  close(socket);
}

int serve(uint16_t port) {
  const int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  configure(listener);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener, 1024) != 0) {
    std::perror("kernel_peer serve");
    return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;) {
    const int socket = accept(listener, nullptr, nullptr);
    if (socket >= 0) std::thread(serve_one, socket).detach();
  }
}

// ---- the client ----

struct Job {
  Kind kind = Kind::send;
  std::string address;
  uint16_t port = 0;
  uint64_t bytes = UINT64_MAX;
  Nanoseconds duration = 2 * second_ns;
  uint64_t rate = 0;  // of one connection
};

struct Result {
  uint64_t bytes = 0;
  Nanoseconds took = 0;
  bool right = false;
};

int connect_to(const Job& job) {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  v6.sin6_family = AF_INET6, v4.sin_family = AF_INET;
  v6.sin6_port = v4.sin_port = htons(job.port);
  const bool is_v4 = inet_pton(AF_INET, job.address.c_str(), &v4.sin_addr) == 1;
  if (!is_v4 && inet_pton(AF_INET6, job.address.c_str(), &v6.sin6_addr) != 1) return -1;
  const int socket = ::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  configure(socket);
  // A cell that hangs ends here.
  const timeval patience{.tv_sec = 30, .tv_usec = 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const auto* address = is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  if (connect(socket, address, is_v4 ? sizeof v4 : sizeof v6) == 0) return socket;
  close(socket);
  return -1;
}

Result run(const Job& job, uint64_t seed) {
  Result result;
  const int socket = connect_to(job);
  if (socket < 0) return result;
  const Nanoseconds begins = clock_now();  // a lost SYN costs a second and says nothing of bulk
  const BulkHeader header{static_cast<uint64_t>(job.kind), seed, job.bytes, static_cast<uint64_t>(job.duration)};
  if (write_all(socket, &header, sizeof header)) {
    if (job.kind == Kind::receive) {
      const Taken taken = take_content(socket, seed);
      result.bytes = taken.bytes;
      result.right = taken.ended && taken.wrong_at == nowhere;
    } else {
      ContentHash hash;
      Taken back;
      std::thread reader;
      if (job.kind == Kind::echo) reader = std::thread([&] { back = take_content(socket, seed); });
      result.bytes = give_content(socket, seed, job.bytes, begins + job.duration, job.rate, hash);
      shutdown(socket, SHUT_WR);
      BulkReport report;
      if (job.kind == Kind::echo) {
        reader.join();
        result.right = back.ended && back.bytes == result.bytes && back.wrong_at == nowhere;
      } else if (read_all(socket, &report, sizeof report)) {
        result.right = report.bytes == result.bytes && report.hash == hash.value() && report.wrong_at == nowhere;
      }
    }
  }
  result.took = clock_now() - begins;
  close(socket);
  return result;
}

int run_all(const Job& job, uint32_t connections) {
  std::vector<Result> results(connections);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < connections; ++i) threads.emplace_back([&, i] { results[i] = run(job, 1000 + i); });
  for (std::thread& thread : threads) thread.join();
  uint64_t bytes = 0, right = 0;
  double rate = 0;
  for (const Result& result : results) {
    bytes += result.bytes;
    right += result.right;
    if (result.took > 0) rate += static_cast<double>(result.bytes) / (static_cast<double>(result.took) / 1e9);
  }
  std::printf("%llu bytes %.0f bytes/s %llu of %u right\n", static_cast<unsigned long long>(bytes), rate,
              static_cast<unsigned long long>(right), connections);
  return right == connections ? 0 : 1;
}

// ---- SYNs of nobody ----

int flood(const char* device, const char* link, const char* address, uint16_t port, uint64_t count, uint64_t rate) {
  const int socket = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(if_nametoindex(device));
  to.sll_protocol = htons(ETH_P_IP);
  if (socket < 0 || bind(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    std::perror("kernel_peer flood");
    return 1;
  }
  netsim::Segment syn;
  std::array<unsigned, 6> bytes{};
  std::sscanf(link, "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5]);
  for (size_t i = 0; i < 6; ++i) syn.link_to[i] = static_cast<uint8_t>(bytes[i]);
  syn.link_from = {2, 9, 0, 0, 0, 0x66};
  inet_pton(AF_INET, address, syn.to.address.bytes.data());
  syn.to.port = port;
  syn.syn = true;
  syn.window = 64240;
  syn.mss = uint16_t{1460};
  syn.sack_permitted = true;
  syn.window_scale = uint8_t{7};
  constexpr size_t batch = 32;
  std::array<netsim::Bytes, batch> frames;
  std::array<iovec, batch> vectors;
  std::array<mmsghdr, batch> messages{};
  const Nanoseconds begins = clock_now();
  uint64_t sent = 0;
  for (uint64_t number = 0; number < count;) {
    for (size_t i = 0; i < batch; ++i, ++number) {
      const uint64_t random = netsim::content_word(0xf100d, number);
      // Sources in 11.0.0.0/8: routed nowhere.
      syn.from.address.bytes = {11, static_cast<uint8_t>(random), static_cast<uint8_t>(random >> 8),
                                static_cast<uint8_t>(random >> 16)};
      syn.from.port = static_cast<uint16_t>(1024 + (random >> 24) % 60000);
      syn.sequence = static_cast<uint32_t>(random >> 32);
      syn.timestamps = {static_cast<uint32_t>(random), 0};
      frames[i] = netsim::encode(syn);
      vectors[i] = {frames[i].data(), frames[i].size()};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int done = sendmmsg(socket, messages.data(), batch, 0);
    if (done > 0) sent += static_cast<uint64_t>(done);
    const Nanoseconds ahead = begins + static_cast<Nanoseconds>(number * second_ns / rate) - clock_now();
    if (ahead > 100'000) usleep(static_cast<useconds_t>(ahead / 1000));
  }
  const double seconds = static_cast<double>(clock_now() - begins) / 1e9;
  std::printf("%llu SYNs in %.1f s\n", static_cast<unsigned long long>(sent), seconds);
  return 0;
}

}  // namespace
}  // namespace penstock::bulk

int main(int argc, char** argv) {
  using namespace penstock::bulk;
  signal(SIGPIPE, SIG_IGN);
  const std::string what = argc > 1 ? argv[1] : "";
  uint64_t connections = 1, rate = 0, count = 0;
  Job job;
  const auto options_from = [&](int first) {
    for (int i = first; i + 1 < argc; i += 2) {
      const std::string option = argv[i];
      const char* value = argv[i + 1];
      if (option == "--seconds") job.duration = static_cast<penstock::Nanoseconds>(std::atof(value) * 1e9);
      if (option == "--bytes") job.bytes = std::strtoull(value, nullptr, 10);
      if (option == "--connections") connections = std::strtoull(value, nullptr, 10);
      if (option == "--rate") rate = std::strtoull(value, nullptr, 10);
      if (option == "--count") count = std::strtoull(value, nullptr, 10);
    }
  };
  if (what == "serve" && argc == 3) return serve(static_cast<uint16_t>(std::atoi(argv[2])));
  if (what == "flood" && argc > 5) {
    options_from(6);
    return flood(argv[2], argv[3], argv[4], static_cast<uint16_t>(std::atoi(argv[5])), count,
                 std::max<uint64_t>(rate, 1));
  }
  if ((what == "send" || what == "receive" || what == "echo") && argc > 3) {
    options_from(4);
    job.kind = what == "send" ? Kind::send : what == "receive" ? Kind::receive : Kind::echo;
    job.address = argv[2];
    job.port = static_cast<uint16_t>(std::atoi(argv[3]));
    job.rate = rate / std::max<uint64_t>(connections, 1);
    return run_all(job, static_cast<uint32_t>(connections));
  }
  std::fprintf(stderr, "kernel_peer: see the head of its source\n");
  return 2;
}
