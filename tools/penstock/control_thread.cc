#include "tools/penstock/control_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace penstock {
namespace {

constexpr int retry_ms = 1;                   // while a mailbox is full
constexpr uint32_t messages_per_round = 256;  // of one lane, before its answers go out

}  // namespace

ControlThread::ControlThread(Control control, std::vector<LaneMailboxes*> mailboxes)
    : control_(std::move(control)), mailboxes_(std::move(mailboxes)), backlog_(mailboxes_.size()) {
  wake_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  check(wake_event_ >= 0, "control thread: no eventfd");
  for (LaneMailboxes* each : mailboxes_) each->to_control.on_push([this] { wake(); });
}

ControlThread::~ControlThread() {
  if (thread_.joinable()) thread_.join();
  close(wake_event_);
}

void ControlThread::start(std::function<void()> changed) {
  changed_ = std::move(changed);
  // The first view waits in the mailboxes before any lane looks.
  control_.start();
  deliver();
  thread_ = std::thread([this] { run(); });
}

void ControlThread::stop() {
  stop_wanted_.store(true, std::memory_order_release);
  wake();
}

void ControlThread::abandon() {
  abandoned_.store(true, std::memory_order_release);
  wake();
}

void ControlThread::run() {
  pthread_setname_np(pthread_self(), "control");
  bool stop_sent = false;
  while (!abandoned_.load(std::memory_order_acquire)) {
    const bool busy = take_messages();
    if (!stop_sent && stop_wanted_.load(std::memory_order_acquire)) {
      control_.stop();
      stop_sent = true;
    }
    deliver();
    const bool settled = control_.settled(), stopped = control_.all_stopped();
    const bool settled_before = settled_.exchange(settled, std::memory_order_acq_rel);
    const bool stopped_before = stopped_.exchange(stopped, std::memory_order_acq_rel);
    if (settled != settled_before || stopped != stopped_before) changed_();
    if (stopped) return;
    if (!busy) sleep(std::ranges::any_of(backlog_, [](const auto& left) { return !left.empty(); }));
  }
}

bool ControlThread::take_messages() {
  bool any = false;
  for (LaneMailboxes* each : mailboxes_) {
    for (uint32_t count = 0; count < messages_per_round; ++count) {
      std::optional<ToControl> message = each->to_control.pop();
      if (!message) break;
      control_.handle(std::move(*message));
      any = true;
    }
  }
  return any;
}

void ControlThread::deliver() {
  for (Outgoing& out : control_.take_outbox()) backlog_[out.lane].push_back(std::move(out.message));
  for (size_t lane = 0; lane < mailboxes_.size(); ++lane) {
    std::deque<ToLane>& left = backlog_[lane];
    while (!left.empty() && mailboxes_[lane]->to_lane.push(std::move(left.front()))) left.pop_front();
  }
}

void ControlThread::wake() {
  const uint64_t one = 1;
  // A full counter is awake already.
  (void)!write(wake_event_, &one, sizeof one);
}

void ControlThread::sleep(bool briefly) {
  pollfd waiting{.fd = wake_event_, .events = POLLIN, .revents = 0};
  poll(&waiting, 1, briefly ? retry_ms : -1);
  uint64_t count;
  (void)!read(wake_event_, &count, sizeof count);
}

}  // namespace penstock
