// The thread that runs Control: takes what lanes ask from their mailboxes, and brings them what Control answers. It
// sleeps on an eventfd that every push wakes.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "dataplane/base/mailbox.h"
#include "dataplane/control/control.h"

namespace penstock {

// Both directions of one lane.
struct LaneMailboxes {
  static constexpr size_t capacity = 1024;
  Mailbox<ToControl> to_control{capacity};
  Mailbox<ToLane> to_lane{capacity};
};

class ControlThread {
 public:
  // `mailboxes` by lane; they outlive this. Sets their to_control's on_push, so no lane runs yet.
  ControlThread(Control control, std::vector<LaneMailboxes*> mailboxes);
  ~ControlThread();  // joins; stop() was called, or nothing was started

  // `changed` is called on this thread whenever settled() or stopped() may have become true.
  void start(std::function<void()> changed);
  // Tells all lanes to drain; stopped() becomes true when they have. Any thread.
  void stop();
  // The thread ends at the next chance, whatever lanes do: when they never ran.
  void abandon();

  bool settled() const { return settled_.load(std::memory_order_acquire); }  // every lane knows the newest view
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }

 private:
  void run();
  bool take_messages();
  void deliver();
  void wake();
  void sleep(bool briefly);

  Control control_;
  std::vector<LaneMailboxes*> mailboxes_;
  std::vector<std::deque<ToLane>> backlog_;  // by lane: what a full mailbox did not take
  std::function<void()> changed_;
  int wake_event_ = -1;
  std::atomic<bool> stop_wanted_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> settled_{false};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

}  // namespace penstock
