#include "tools/penstock/stop_signals.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Signals that are not ours, to the thread that waits.
class Interruptions {
 public:
  Interruptions() : waiting_(pthread_self()) {
    struct sigaction action{};
    action.sa_handler = [](int) { ++seen; };
    sigaction(SIGUSR1, &action, nullptr);
    seen = 0;
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        pthread_kill(waiting_, SIGUSR1);
        std::this_thread::sleep_for(milliseconds(2));
      }
    });
  }
  static inline std::atomic<int> seen = 0;

 private:
  pthread_t waiting_;
  std::jthread thread_;
};

TEST(StopSignals, OtherSignalsEndNoWait) {
  StopSignals signals;
  const Interruptions interruptions;
  const Clock::time_point began = Clock::now();
  EXPECT_EQ(signals.wait(200), StopSignals::Event::timeout);
  EXPECT_GE(Clock::now() - began, milliseconds(200));
  EXPECT_GT(Interruptions::seen, 5);
}

TEST(StopSignals, EndsWhenWokenOrSignalled) {
  StopSignals signals;
  const Interruptions interruptions;
  signals.wake();
  EXPECT_EQ(signals.wait(-1), StopSignals::Event::woken);
  raise(SIGTERM);
  EXPECT_EQ(signals.wait(-1), StopSignals::Event::signal);
  EXPECT_EQ(signals.wait(0), StopSignals::Event::timeout);
}

}  // namespace
}  // namespace penstock
