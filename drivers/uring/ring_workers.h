// The kernel's worker threads. What would block in io_uring_enter(), io_uring hands to a thread it makes for the
// submitter (io-wq, named iou-wrk-TID): a lane's commit must never need one, for that costs a switch of threads and
// whatever the thread displaces. Where they may run: Ring::keep_workers_on().
//
// Counted from /proc, so without privileges: the kernel has no counter for what it hands over. A worker sleeps when
// there is nothing to do, so each of its wake-ups stands for one operation or for several that came together.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace penstock {

struct RingWorkers {
  uint32_t threads = 0;     // now; idle ones end after some seconds
  uint64_t wakes_total = 0;  // as far as was seen: of a thread that came and went between two looks, nothing is known
};

class RingWorkerWatch {
 public:
  // By the name of the thread that submits ("lane-0"). From any thread.
  std::map<std::string, RingWorkers> look();

 private:
  std::mutex mutex_;
  std::map<pid_t, uint64_t> wakes_;  // of each worker, when last seen
  std::map<std::string, RingWorkers> workers_;
};

// Workers of a submitting thread of this process.
std::vector<pid_t> ring_workers_of(pid_t submitter);

}  // namespace penstock
