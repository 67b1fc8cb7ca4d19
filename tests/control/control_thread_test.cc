#include "tools/penstock/control_thread.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "dataplane/control/memory_store.h"
#include "tests/control/test_support.h"

namespace penstock {
namespace {

// What a lane does with control messages, and nothing else.
class StubLane {
 public:
  StubLane(uint32_t lane, LaneMailboxes& mailboxes, uint32_t asks) : mailboxes_(mailboxes), lane_(lane), asks_(asks) {
    mailboxes.to_lane.on_push([this] {
      const std::lock_guard lock(mutex_);
      woken_ = true;
      changed_.notify_all();
    });
  }
  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void join() { thread_.join(); }
  std::vector<int64_t> blocks;
  uint64_t views = 0;

 private:
  void run() {
    ask();
    for (;;) {
      while (auto message = mailboxes_.to_lane.pop()) {
        switch (message->kind) {
          case ToLaneKind::view:
            ++views;
            say({.kind = ToControlKind::view_applied, .lane = lane_, .version = message->view->version});
            break;
          case ToLaneKind::producer_id_block:
            blocks.push_back(message->first_producer_id);
            ask();
            break;
          case ToLaneKind::stop:
            say({.kind = ToControlKind::lane_stopped, .lane = lane_});
            return;
          default:
            break;
        }
      }
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return woken_; });
      woken_ = false;
    }
  }
  void ask() {
    if (blocks.size() >= asks_) return;
    say({.kind = ToControlKind::producer_id_block, .lane = lane_});
    say({.kind = ToControlKind::ensure_topics, .lane = lane_, .topics = {"t" + std::to_string(blocks.size() % 20)}});
  }
  void say(ToControl message) {
    while (!mailboxes_.to_control.push(std::move(message))) std::this_thread::yield();
  }

  LaneMailboxes& mailboxes_;
  uint32_t lane_;
  uint32_t asks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  std::thread thread_;
};

TEST(ControlThread, ServesLanesUntilAllHaveStopped) {
  constexpr uint32_t lane_count = 3, asks = 200;
  MemoryStore store;
  auto catalog = Catalog::open(store, {.lane_count = lane_count}, seeded(1));
  ASSERT_TRUE(catalog.has_value());
  std::deque<LaneMailboxes> mailboxes(lane_count);
  std::deque<StubLane> lanes;
  std::vector<LaneMailboxes*> addresses;
  for (uint32_t lane = 0; lane < lane_count; ++lane) {
    addresses.push_back(&mailboxes[lane]);
    lanes.emplace_back(lane, mailboxes[lane], asks);
  }
  ControlThread control(
      Control({.advertised = std::vector<AdvertisedLane>(lane_count)}, std::move(*catalog), seeded(2)), addresses);

  std::mutex mutex;
  std::condition_variable changed;
  control.start([&] {
    const std::lock_guard lock(mutex);
    changed.notify_all();
  });
  for (StubLane& lane : lanes) lane.start();
  const auto wait_for = [&](auto&& condition) {
    std::unique_lock lock(mutex);
    while (!condition()) changed.wait_for(lock, std::chrono::milliseconds(50));
  };
  wait_for([&] { return control.settled() && store.image().node->next_producer_id >= 0; });
  // Every lane asks on until it has its share; then it is told to stop.
  while (store.commit_count() < 1 + lane_count * asks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  control.stop();
  wait_for([&] { return control.stopped(); });

  std::vector<int64_t> blocks;
  for (StubLane& lane : lanes) {
    lane.join();
    EXPECT_GE(lane.views, 1u);
    blocks.insert(blocks.end(), lane.blocks.begin(), lane.blocks.end());
  }
  std::ranges::sort(blocks);
  EXPECT_TRUE(std::ranges::adjacent_find(blocks) == blocks.end());
}

TEST(ControlThread, CanBeAbandonedBeforeAnyLaneRuns) {
  MemoryStore store;
  auto catalog = Catalog::open(store, {.lane_count = 1}, seeded(1));
  LaneMailboxes mailboxes;
  ControlThread never_started(Control({.advertised = {{}}}, std::move(*catalog), seeded(2)), {&mailboxes});
  auto again = Catalog::open(store, {.lane_count = 1}, seeded(1));
  LaneMailboxes other;
  ControlThread started(Control({.advertised = {{}}}, std::move(*again), seeded(2)), {&other});
  started.start([] {});
  started.abandon();
}

}  // namespace
}  // namespace penstock
