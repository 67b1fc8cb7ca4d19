#include "tools/penstock/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "dataplane/base/check.h"

namespace penstock {

StopSignals::StopSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  signals_ = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
  woken_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  check(signals_ >= 0 && woken_ >= 0, "stop signals: no descriptor");
}

StopSignals::~StopSignals() {
  close(signals_);
  close(woken_);
}

StopSignals::Event StopSignals::wait(int timeout_ms) {
  using Clock = std::chrono::steady_clock;
  pollfd sources[] = {{.fd = signals_, .events = POLLIN, .revents = 0}, {.fd = woken_, .events = POLLIN, .revents = 0}};
  const Clock::time_point ends = Clock::now() + std::chrono::milliseconds(timeout_ms);
  // Signals of others end a poll too: a tap device driven by DPDK sends one with each frame.
  while (poll(sources, 2, timeout_ms) < 0 && errno == EINTR) {
    if (timeout_ms < 0) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(ends - Clock::now());
    timeout_ms = static_cast<int>(std::max<int64_t>(0, left.count()));
  }
  signalfd_siginfo received;
  if (read(signals_, &received, sizeof received) == sizeof received) return Event::signal;
  uint64_t count;
  if (read(woken_, &count, sizeof count) == sizeof count) return Event::woken;
  return Event::timeout;
}

void StopSignals::wake() {
  const uint64_t one = 1;
  (void)!write(woken_, &one, sizeof one);
}

}  // namespace penstock
