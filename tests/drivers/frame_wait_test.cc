// A lane's sleep over a port of the test's own, whose interrupts work or do not.
#include "drivers/dpdk/frame_wait.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

namespace penstock {
namespace {

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

struct MadeFrames {
  MadeFrames() : file(eventfd(0, EFD_NONBLOCK)) {}
  ~MadeFrames() { close(file); }
  MadeFrames(const MadeFrames&) = delete;

  int interrupt_file() const { return given_up ? -1 : file; }
  void begin_interrupts() {}
  void end_interrupts() {
    eventfd_t count = 0;
    eventfd_read(file, &count);
  }
  void give_up_interrupts(const char*) { given_up = true; }

  int file;
  bool given_up = false;
};

class FrameWaitTest : public testing::Test {
 protected:
  // A frame that comes while the lane is asleep; the deadline or the interrupt ends that.
  void frame_comes(bool with_interrupt) {
    for (int looks = 0; looks < 3 && !wait_.idle(clock_now(), clock_now() + millisecond_ns); ++looks) {
    }
    if (with_interrupt) eventfd_write(frames_.file, 1);
    wait_.idle(clock_now(), clock_now() + millisecond_ns);
    wait_.worked(true);
  }

  MadeFrames frames_;
  std::unique_ptr<Ring> ring_ = Ring::create({}, {.register_arena = false}).value();
  FrameWait<MadeFrames> wait_{frames_, *ring_};
};

TEST_F(FrameWaitTest, InterruptsThatComeAreTrusted) {
  for (int i = 0; i < 100; ++i) frame_comes(true);
  EXPECT_FALSE(frames_.given_up);
}

TEST_F(FrameWaitTest, InterruptsThatDoNotComeAreGivenUp) {
  for (uint32_t i = 1; i < FrameWait<MadeFrames>::missed_max; ++i) frame_comes(false);
  EXPECT_FALSE(frames_.given_up);
  frame_comes(false);
  EXPECT_TRUE(frames_.given_up);
  // From now on a sleep is brief.
  const Nanoseconds before = clock_now();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(wait_.idle(clock_now(), never_ns));
  EXPECT_LT(clock_now() - before, second_ns);
}

TEST_F(FrameWaitTest, AFewMissedInBetweenAreChance) {
  for (int i = 0; i < 20; ++i) {
    for (uint32_t missed = 1; missed < FrameWait<MadeFrames>::missed_max; ++missed) frame_comes(false);
    frame_comes(true);
  }
  EXPECT_FALSE(frames_.given_up);
}

TEST_F(FrameWaitTest, AnInterruptIsSeenWithoutADeadline) {
  EXPECT_FALSE(wait_.idle(clock_now(), never_ns));
  eventfd_write(frames_.file, 1);
  EXPECT_TRUE(wait_.idle(clock_now(), never_ns));
  wait_.worked(true);
  EXPECT_FALSE(frames_.given_up);
}

}  // namespace
}  // namespace penstock
