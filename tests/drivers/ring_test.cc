#include "drivers/uring/ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "dataplane/base/mailbox.h"
#include "drivers/uring/ring_workers.h"
#include "tests/drivers/real_world.h"

namespace penstock::test {
namespace {

using ::testing::HasSubstr;

class RingTest : public ::testing::TestWithParam<bool> {
 protected:
  RingConfig config() const { return {.entries = 64, .allowed = {.defer_taskrun = GetParam()}}; }
  ArenaMemory memory = make_arena(2 * MiB);
  std::unique_ptr<Ring> ring = make_ring(memory.arena(), config());
};
INSTANTIATE_TEST_SUITE_P(TaskRun, RingTest, ::testing::Bool());

TEST_P(RingTest, SortsCompletionsByOwnerAndKeepsTags) {
  for (uint64_t tag = 0; tag < 200; ++tag) {  // more than the queue holds: it submits by itself
    ring->prepare(tag % 2 == 0 ? RingOwner::drive : RingOwner::streams, tag, io_uring_prep_nop);
    if (tag == 0) ring->bind_to_this_thread();
  }
  uint32_t drive = 0, streams = 0;
  const Nanoseconds until = clock_now() + second_ns;
  while (drive + streams < 200 && clock_now() < until) {
    ring->wait(clock_now(), until);
    drive += ring->drain(RingOwner::drive, 3, [](const RingCompletion& done) { EXPECT_EQ(done.tag % 2, 0u); });
    streams += ring->drain(RingOwner::streams, 1000, [](const RingCompletion& done) { EXPECT_EQ(done.tag % 2, 1u); });
  }
  EXPECT_EQ(drive, 100u);
  EXPECT_EQ(streams, 100u);
}

std::string allowed_processors(pid_t task) {
  std::ifstream file("/proc/self/task/" + std::to_string(task) + "/status");
  constexpr std::string_view key = "Cpus_allowed_list:\t";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return "";
}

// The kernel makes a worker for what it is told not to try at once; a read of an empty pipe keeps it busy.
void punt_and_look(Ring* ring) {
  pthread_setname_np(pthread_self(), "lane-7");
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  uint32_t last = 0;
  for (uint32_t processor = 0; processor < CPU_SETSIZE; ++processor) last = CPU_ISSET(processor, &mine) ? processor : last;
  if (CPU_COUNT(&mine) < 2) GTEST_SKIP() << "a single processor";
  ring->bind_to_this_thread();
  ASSERT_TRUE(ring->keep_workers_on({last}));
  RingWorkerWatch watch;

  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  char byte = 0;
  const auto punt = [&] {
    io_uring_sqe* entry =
        ring->prepare(RingOwner::drive, 1, [&](io_uring_sqe* read) { io_uring_prep_read(read, ends[0], &byte, 1, 0); });
    entry->flags |= IOSQE_ASYNC;
    ring->poll();
  };
  punt();
  std::vector<pid_t> workers;
  for (const Nanoseconds until = clock_now() + 5 * second_ns; workers.empty() && clock_now() < until;) {
    workers = ring_workers_of(gettid());
  }
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_EQ(allowed_processors(workers[0]), std::to_string(last));
  EXPECT_EQ(watch.look().at("lane-7").threads, 1u);

  const auto finish = [&] {
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    RingCompletion done;
    for (const Nanoseconds until = clock_now() + 5 * second_ns; !ring->next_completion(RingOwner::drive, done);) {
      ASSERT_LT(clock_now(), until);
      ring->wait(clock_now(), clock_now() + millisecond_ns);
    }
  };
  finish();
  const uint64_t before = watch.look().at("lane-7").wakes_total;
  for (int i = 0; i < 20; ++i) {
    punt();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    finish();
  }
  EXPECT_GE(watch.look().at("lane-7").wakes_total, before + 20);
  close(ends[0]);
  close(ends[1]);
}

TEST_P(RingTest, WorkersRunWhereTheyAreToldAndAreCounted) {
  std::thread(punt_and_look, ring.get()).join();  // the workers end with it
}

TEST_P(RingTest, SleepsUntilTheDeadline) {
  const Nanoseconds start = clock_now();
  ring->wait(start, start + 30 * millisecond_ns);
  EXPECT_GE(clock_now() - start, 29 * millisecond_ns);
  EXPECT_LT(clock_now() - start, 5 * second_ns);
}

TEST_P(RingTest, APassedDeadlineDoesNotSleep) {
  const Nanoseconds start = clock_now();
  for (int i = 0; i < 100; ++i) ring->wait(start, start);
  EXPECT_LT(clock_now() - start, second_ns);
}

TEST_P(RingTest, AWakeBeforeSleepingIsNotLost) {
  ring->poll();
  std::thread([&] { ring->wake(); }).join();
  const Nanoseconds start = clock_now();
  ring->wait(start, start + 10 * second_ns);
  EXPECT_LT(clock_now() - start, 5 * second_ns);
}

TEST_P(RingTest, AWakeFromAnotherThreadEndsSleep) {
  std::thread waker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ring->wake();
  });
  ring->wait(0, never_ns);
  waker.join();
}

// Each message is answered before the next is sent: a single lost wake-up would stop the exchange.
TEST_P(RingTest, NoWakeUpIsLostInAHundredThousandExchanges) {
  constexpr int rounds = 100'000;
  Mailbox<int> mailbox(8);
  mailbox.on_push([&] { ring->wake(); });
  std::atomic<int> answered = 0;
  std::thread sender([&] {
    for (int round = 1; round <= rounds; ++round) {
      ASSERT_TRUE(mailbox.push(int{round}));
      while (answered.load(std::memory_order_acquire) < round) std::this_thread::yield();
    }
  });
  int last = 0, slept_out = 0;
  while (last < rounds && slept_out < 3) {
    const Nanoseconds start = clock_now();
    ring->wait(start, start + 2 * second_ns);
    bool any = false;
    while (const auto message = mailbox.pop()) {
      last = *message;
      any = true;
      answered.store(last, std::memory_order_release);
    }
    if (!any && clock_now() - start > second_ns) ++slept_out;
  }
  answered = rounds;
  sender.join();
  EXPECT_EQ(last, rounds);
  EXPECT_EQ(slept_out, 0);
}

TEST_P(RingTest, DoesNotSleepOverCompletionsNotYetDrained) {
  ring->prepare(RingOwner::drive, 1, io_uring_prep_nop);
  ring->poll();
  while (ring->undrained(RingOwner::drive) == 0) ring->poll();
  ring->wait(0, never_ns);
  EXPECT_EQ(ring->drain(RingOwner::drive, 10, [](const RingCompletion&) {}), 1u);
}

TEST_P(RingTest, CancelsBySameTag) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  char byte = 0;
  ring->prepare(RingOwner::drive, 7,
                [&](io_uring_sqe* entry) { io_uring_prep_read(entry, pipe_ends[0], &byte, 1, 0); });
  ring->poll();
  EXPECT_EQ(ring->undrained(RingOwner::drive), 0u);
  ring->cancel(RingOwner::drive, 7);
  ring->wait(0, 5 * second_ns);
  while (ring->undrained(RingOwner::drive) == 0) ring->wait(0, 5 * second_ns);
  ring->drain(RingOwner::drive, 1, [](const RingCompletion& done) {
    EXPECT_EQ(done.tag, 7u);
    EXPECT_EQ(done.result, -ECANCELED);
  });
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST(Ring, RefusesAnArenaBeyondOneGibibyte) {
  const Arena arena{nullptr, GiB + 4096};
  const auto ring = Ring::create(arena);
  ASSERT_FALSE(ring.has_value());
  EXPECT_THAT(ring.error(), HasSubstr("1024 MiB"));
}

TEST(Ring, SaysWhatToDoWhenMemoryCannotBeRegistered) {
  const Arena nowhere{reinterpret_cast<std::byte*>(4096), 2 * MiB};
  const auto ring = Ring::create(nowhere);
  ASSERT_FALSE(ring.has_value());
  EXPECT_THAT(ring.error(), HasSubstr("cannot register 2 MiB"));
}

TEST(Ring, FeaturesCanBeSwitchedOff) {
  const auto memory = make_arena(2 * MiB);
  const auto ring = Ring::create(
      memory.arena(), {.entries = 8, .allowed = {false, false, false, false, false}, .register_arena = false});
  ASSERT_TRUE(ring.has_value()) << ring.error();
  const RingFeatures& features = (*ring)->features();
  EXPECT_FALSE(features.defer_taskrun || features.writev_fixed || features.buffer_ring || features.multishot_accept ||
               features.poll_first);
  EXPECT_FALSE((*ring)->arena_registered());
  EXPECT_THAT((*ring)->describe(), HasSubstr("not registered"));
}

TEST(Ring, BelongsToTheThreadThatPollsFirst) {
  const auto memory = make_arena(2 * MiB);
  const auto ring = make_ring(memory.arena());
  ring->prepare(RingOwner::drive, 1, io_uring_prep_nop);
  std::thread([&] {
    EXPECT_FALSE(ring->bound_to_this_thread());
    while (ring->undrained(RingOwner::drive) == 0) ring->wait(0, second_ns);
    EXPECT_TRUE(ring->bound_to_this_thread());
  }).join();
  EXPECT_FALSE(ring->bound_to_this_thread());
}

}  // namespace
}  // namespace penstock::test
