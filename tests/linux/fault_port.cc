// A link in user space between two ends: it loses, delays, reorders and repeats frames, the same for everybody who is
// measured through it.
//
//   fault_port --a NAMESPACE:TAP --b NAMESPACE:TAP [faults]
//   fault_port --a NAMESPACE:TAP [faults] -- PROGRAM ...   the other end is PROGRAM's file descriptor 3
//
//   --delay-us N   one way       --lose PPM    --repeat PPM
//   --reorder PPM  so many frames are held back by up to --reorder-us (default 1000)
//   --seed N
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "drivers/sim/random.h"
#include "drivers/tap/tap_frames.h"

namespace penstock {
namespace {

constexpr size_t frame_bytes_max = 65536;
constexpr size_t waiting_max = 200'000;  // frames in one direction: more than any delay times any rate here
constexpr int socket_buffer_bytes = 16 << 20;

volatile sig_atomic_t stopping = 0;

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

struct Faults {
  Nanoseconds delay_ns = 0, reorder_ns = millisecond_ns;
  uint64_t lose_ppm = 0, repeat_ppm = 0, reorder_ppm = 0;
  uint64_t seed = 1;
};

struct Waiting {
  Nanoseconds leaves;
  uint64_t number;
  std::vector<char> bytes;
  bool operator<(const Waiting& other) const {
    return leaves != other.leaves ? leaves > other.leaves : number > other.number;
  }
};

// Frames from one file to the other.
class Direction {
 public:
  Direction(int from, int to, const Faults& faults, uint64_t seed)
      : from_(from), to_(to), faults_(faults), random_(seed) {}

  bool take(Nanoseconds now) {
    static std::vector<char> frame(frame_bytes_max);
    uint32_t count = 0;
    for (; count < 64; ++count) {
      const ssize_t got = read(from_, frame.data(), frame.size());
      if (got <= 0) break;
      ++frames_;
      if (happens(faults_.lose_ppm) || waiting_.size() >= waiting_max) {
        ++lost_;
        continue;
      }
      put(now, {frame.begin(), frame.begin() + got});
      if (happens(faults_.repeat_ppm)) put(now, {frame.begin(), frame.begin() + got});
    }
    return count > 0;
  }

  bool give(Nanoseconds now) {
    uint32_t count = 0;
    while (!waiting_.empty() && waiting_.front().leaves <= now && count < 64) {
      if (write(to_, waiting_.front().bytes.data(), waiting_.front().bytes.size()) < 0 && errno == EAGAIN) {
        full_ = true;
        return count > 0;
      }
      std::pop_heap(waiting_.begin(), waiting_.end());
      waiting_.pop_back();
      ++count;
    }
    full_ = false;
    return count > 0;
  }

  bool full() const { return full_; }
  Nanoseconds next() const { return waiting_.empty() ? never_ns : waiting_.front().leaves; }
  void report(const char* name) const {
    std::printf("%s: %llu frames, %llu lost, %llu held back\n", name, static_cast<unsigned long long>(frames_),
                static_cast<unsigned long long>(lost_), static_cast<unsigned long long>(reordered_));
  }

 private:
  bool happens(uint64_t ppm) { return ppm != 0 && random_.below(1'000'000) < ppm; }
  void put(Nanoseconds now, std::vector<char> bytes) {
    Nanoseconds leaves = now + faults_.delay_ns;
    if (happens(faults_.reorder_ppm)) {
      leaves += static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(faults_.reorder_ns) + 1));
      ++reordered_;
    }
    waiting_.push_back({leaves, ++number_, std::move(bytes)});
    std::push_heap(waiting_.begin(), waiting_.end());
  }

  const int from_, to_;
  const Faults faults_;
  SimRandom random_;
  std::vector<Waiting> waiting_;  // a heap
  uint64_t number_ = 0, frames_ = 0, lost_ = 0, reordered_ = 0;
  bool full_ = false;
};

// Opens a tap in a network namespace by its name under /run/netns.
int open_end(const std::string& end) {
  const size_t colon = end.find(':');
  const int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  const int away = open(("/run/netns/" + end.substr(0, colon)).c_str(), O_RDONLY | O_CLOEXEC);
  if (colon == std::string::npos || away < 0 || setns(away, CLONE_NEWNET) != 0) {
    std::fprintf(stderr, "fault_port: no network namespace in %s\n", end.c_str());
    exit(77);
  }
  const auto tap = open_tap(end.substr(colon + 1));
  if (setns(home, CLONE_NEWNET) != 0 || !tap) {
    std::fprintf(stderr, "fault_port: %s\n", tap ? "no way home" : tap.error().c_str());
    exit(77);
  }
  close(away);
  close(home);
  return *tap;
}

// Starts the program with the far side of a socket pair as its file descriptor 3.
int start_program(char** command, pid_t& program) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    std::perror("fault_port: socketpair");
    exit(1);
  }
  for (const int end : ends) {
    if (setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &socket_buffer_bytes, sizeof socket_buffer_bytes) != 0) {
      std::perror("fault_port: SO_SNDBUFFORCE");
    }
  }
  program = fork();
  if (program == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (ends[1] == 3) {
      fcntl(3, F_SETFD, 0);
    } else {
      dup2(ends[1], 3);
    }
    execv(command[0], command);
    std::perror(command[0]);
    _exit(127);
  }
  close(ends[1]);
  return ends[0];
}

void carry(int a, int b, const Faults& faults) {
  Direction there(a, b, faults, faults.seed * 2), back(b, a, faults, faults.seed * 2 + 1);
  while (stopping == 0) {
    const Nanoseconds now = clock_now();
    bool busy = there.take(now);
    busy |= back.take(now);
    busy |= there.give(now);
    busy |= back.give(now);
    if (busy) continue;
    const Nanoseconds next = std::min(
        {there.full() ? never_ns : there.next(), back.full() ? never_ns : back.next(), now + 100 * millisecond_ns});
    if (next <= now) continue;
    const auto events = [](bool full) { return static_cast<short>(full ? POLLIN | POLLOUT : POLLIN); };
    pollfd files[2] = {{a, events(back.full()), 0}, {b, events(there.full()), 0}};
    const timespec timeout{.tv_sec = 0, .tv_nsec = next - now};
    ppoll(files, 2, &timeout, nullptr);
    if (files[1].revents & POLLHUP) break;
  }
  there.report("a to b");
  back.report("b to a");
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  using namespace penstock;
  Faults faults;
  int a = -1, b = -1;
  char** command = nullptr;
  pid_t program = 0;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--") {
      command = argv + i + 1;
      break;
    }
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    const uint64_t number = std::strtoull(value, nullptr, 10);
    if (option == "--a")
      a = open_end(value);
    else if (option == "--b")
      b = open_end(value);
    else if (option == "--delay-us")
      faults.delay_ns = static_cast<Nanoseconds>(number) * 1000;
    else if (option == "--reorder-us")
      faults.reorder_ns = static_cast<Nanoseconds>(number) * 1000;
    else if (option == "--lose")
      faults.lose_ppm = number;
    else if (option == "--repeat")
      faults.repeat_ppm = number;
    else if (option == "--reorder")
      faults.reorder_ppm = number;
    else if (option == "--seed")
      faults.seed = number;
    else {
      std::fprintf(stderr, "fault_port: what is %s? See the head of its source.\n", argv[i]);
      return 2;
    }
  }
  if (command != nullptr && command[0] != nullptr) b = start_program(command, program);
  if (a < 0 || b < 0) {
    std::fprintf(stderr, "fault_port: it needs two ends. See the head of its source.\n");
    return 2;
  }
  struct sigaction stop{};
  stop.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGTERM, &stop, nullptr);
  sigaction(SIGINT, &stop, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  std::printf("carrying\n");
  std::fflush(stdout);
  carry(a, b, faults);
  close(b);
  if (program > 0) {
    kill(program, SIGTERM);
    waitpid(program, nullptr, 0);
  }
  return 0;
}
