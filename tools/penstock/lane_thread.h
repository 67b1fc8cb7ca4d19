// The body of a lane's thread: builds the lane out of its core's share of everything, says whether that went well,
// waits for the word to go, and turns until the lane has stopped.
//
//   main     LaneSetup -> thread -> wait_until_built() on every lane -> go() or give_up() -> join
//   lane     arena, ring, drive, log (recovery), streams -> built(...) -> wait_for_word() -> poll, wait, poll ...
//
// Lanes that share a port meet twice: it starts when all have built, and stops when all have turned for the last time
// (wait_until_done()), for only then does what it still holds come back (take_down()).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/metrics.h"
#include "dataplane/net/ip.h"
#include "dataplane/streams.h"
#include "drivers/uring/arena_memory.h"
#include "drivers/uring/ring.h"
#include "storage/drive.h"
#include "tools/penstock/control_thread.h"
#include "tools/penstock/memory_plan.h"
#include "tools/penstock/placement.h"

namespace penstock {

class Port;

std::string lane_thread_name(uint32_t lane);

class LaneSetup {
 public:
  LanePlace place;
  std::vector<uint32_t> worker_processors;  // where the kernel's worker threads may run; empty: anywhere
  std::string directory;
  Endpoint listen;  // of this lane
  MemoryPlan memory;
  HugePages huge_pages = HugePages::preferred;
  bool allow_writev_fixed = true;
  bool busy_poll = false;
  DriveUnits units;
  uint64_t segment_bytes = 0;
  uint32_t spare_segments = 0;
  uint32_t connections_max = 0;
  Nanoseconds idle_max_ns = 0;
  Nanoseconds stall_max_ns = 0;
  uint64_t random_seed = 0, random_seed_more = 0;
  LaneMailboxes* mailboxes = nullptr;
  LaneMetrics* metrics = nullptr;

  Port* port = nullptr;  // shared by all lanes; nullptr: the kernel's sockets
  std::vector<net::InterfaceAddress> addresses;
  std::function<void(uint32_t lane)> wake_lane;

  // Outlive the thread, for the control thread may wake the ring until it has ended itself.
  std::optional<ArenaMemory> arena;
  std::unique_ptr<Ring> ring;

  // ---- main's side ----
  // A report for the operator, or why the lane cannot run.
  std::expected<std::string, std::string> wait_until_built();
  void go() { give_word(Word::go); }
  void give_up() { give_word(Word::give_up); }
  void wait_until_done();
  void take_down() { give_word(Word::take_down); }

  // ---- the lane's side ----
  void built(std::expected<std::string, std::string> report);
  bool wait_for_word();  // true: go
  void done();           // returns at take_down() or give_up()

 private:
  enum class Word : uint8_t { none, go, give_up, take_down };
  void give_word(Word word);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::expected<std::string, std::string>> report_;
  Word word_ = Word::none;
  bool done_ = false;
};

void run_lane(LaneSetup& setup);

}  // namespace penstock
