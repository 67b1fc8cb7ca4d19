#include "drivers/uring/ring.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace penstock {

namespace {

constexpr unsigned opcode_readv_fixed = 60, opcode_writev_fixed = 61;  // absent from liburing 2.3's header
constexpr uint32_t completions_per_entry = 4;

std::string set_up_error(int error) {
  std::string line = std::string("cannot create an io_uring: ") + std::strerror(error);
  if (error == ENOSYS || error == EPERM) {
    line += "; the kernel or the container forbids it: see sysctl kernel.io_uring_disabled and the seccomp profile";
  } else if (error == EINVAL) {
    line += "; the kernel is too old, Linux 6.1 or newer is needed";
  }
  return line;
}

std::string memlock_error(uint64_t bytes, int error) {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  std::string line = "cannot register " + std::to_string(bytes / MiB) + " MiB with io_uring: " + std::strerror(error);
  if (error == ENOMEM || error == EPERM) {
    line += "; locked memory is limited to " +
            (limit.rlim_cur == RLIM_INFINITY ? std::string("nothing less") : std::to_string(limit.rlim_cur / KiB)) +
            " KiB (ulimit -l): raise it (LimitMEMLOCK=infinity in the service file), grant CAP_IPC_LOCK, or lower "
            "memory.arena_bytes";
  }
  return line;
}

}  // namespace

std::expected<std::unique_ptr<Ring>, std::string> Ring::create(const Arena& arena, const RingConfig& config) {
  std::unique_ptr<Ring> ring(new Ring);
  if (auto done = ring->set_up(config); !done) return std::unexpected(done.error());
  ring->probe(config.allowed);
  if (config.register_arena) {
    if (auto done = ring->register_arena(arena); !done) return std::unexpected(done.error());
  }
  ring->arm_wake();
  return ring;
}

Ring::~Ring() {
  if (set_up_) io_uring_queue_exit(&raw_);
  if (wake_event_ >= 0) ::close(wake_event_);
}

std::expected<void, std::string> Ring::set_up(const RingConfig& config) {
  // Best first. A ring with one issuer starts disabled: it belongs to the thread that enables it.
  constexpr unsigned deferred =
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
  constexpr unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int error = EINVAL;
  for (const unsigned flags : {deferred, cooperative, 0u}) {
    if (flags == deferred && !config.allowed.defer_taskrun) continue;
    io_uring_params parameters{};
    parameters.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
    parameters.cq_entries = config.entries * completions_per_entry;
    error = -io_uring_queue_init_params(config.entries, &raw_, &parameters);
    if (error == 0) {
      set_up_ = true;
      enabled_ = (flags & IORING_SETUP_R_DISABLED) == 0;
      features_.defer_taskrun = flags == deferred;
      break;
    }
    if (error != EINVAL) break;
  }
  if (!set_up_) return std::unexpected(set_up_error(error));

  const uint32_t capacity = std::bit_ceil(raw_.cq.ring_entries);
  queue_mask_ = capacity - 1;
  for (Queue& queue : queues_) queue.slots = std::make_unique<RingCompletion[]>(capacity);
  wake_event_ = ::eventfd(0, EFD_CLOEXEC);
  if (wake_event_ < 0) return std::unexpected(std::string("cannot create an eventfd: ") + std::strerror(errno));
  return {};
}

void Ring::probe(const RingFeatures& allowed) {
  io_uring_probe* found = io_uring_get_probe_ring(&raw_);
  const auto supported = [&](unsigned opcode) {
    return found != nullptr && io_uring_opcode_supported(found, static_cast<int>(opcode)) != 0;
  };
  // Buffer rings, multishot accept and poll-first have no probe of their own; they came with the socket opcode (5.19).
  const bool from_5_19 = supported(IORING_OP_SOCKET);
  features_.writev_fixed = allowed.writev_fixed && supported(opcode_writev_fixed) && supported(opcode_readv_fixed);
  features_.buffer_ring = allowed.buffer_ring && from_5_19;
  features_.multishot_accept = allowed.multishot_accept && from_5_19;
  features_.poll_first = allowed.poll_first && from_5_19;
  if (found != nullptr) io_uring_free_probe(found);
}

std::expected<void, std::string> Ring::register_arena(const Arena& arena) {
  if (arena.size > registered_bytes_max) {
    return std::unexpected("an arena of " + std::to_string(arena.size / MiB) +
                           " MiB is more than the 1024 MiB that io_uring takes as one buffer");
  }
  const iovec whole{arena.base, arena.size};
  const int result = io_uring_register_buffers(&raw_, &whole, 1);
  if (result < 0) return std::unexpected(memlock_error(arena.size, -result));
  arena_registered_ = true;
  return {};
}

std::string Ring::describe() const {
  std::string line = "io_uring: " + std::to_string(entries()) + " entries";
  line += features_.defer_taskrun ? ", completions on demand" : ", completions by interruption";
  line += !arena_registered_       ? ", memory not registered"
          : features_.writev_fixed ? ", gathers from registered memory"
                                   : ", registered memory for single vectors only (kernel before 6.15)";
  if (!features_.buffer_ring) line += ", no buffer rings";
  if (!features_.multishot_accept) line += ", single accepts";
  return line;
}

void Ring::bind_to_this_thread() {
  if (!enabled_) {
    // liburing 2.3 declares io_uring_enable_rings() but does not export it.
    const int result = io_uring_register(static_cast<unsigned>(raw_.ring_fd), IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    check(result == 0, "io_uring could not be enabled", result);
    enabled_ = true;
  }
  if (owner_thread_ == 0) owner_thread_ = ::gettid();
}

bool Ring::keep_workers_on(const std::vector<uint32_t>& processors) {
  check(bound_to_this_thread(), "workers are placed by the ring's thread");
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const uint32_t processor : processors) CPU_SET(processor, &set);
  poll();  // a thread has workers from its first submission on
  return io_uring_register(static_cast<unsigned>(raw_.ring_fd), IORING_REGISTER_IOWQ_AFF, &set, sizeof set) == 0;
}

bool Ring::bound_to_this_thread() const { return owner_thread_ == ::gettid(); }

io_uring_sqe* Ring::next_entry() {
  constexpr int attempts_max = 1000;
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    if (io_uring_sqe* entry = io_uring_get_sqe(&raw_)) return entry;
    check(enabled_, "submission queue full before the ring has a thread", entries());
    if (io_uring_submit(&raw_) < 0) {  // completions overflow, or the kernel is short of memory for a moment
      io_uring_get_events(&raw_);
      collect();
    }
  }
  check(false, "submission queue stays full", entries());
  return nullptr;
}

void Ring::cancel(RingOwner owner, uint64_t tag) {
  prepare(RingOwner::nobody, 0, [&](io_uring_sqe* entry) { io_uring_prep_cancel64(entry, user_data(owner, tag), 0); });
}

void Ring::arm_wake() {
  if (wake_armed_) return;
  wake_armed_ = true;
  prepare(RingOwner::wake, 0,
          [&](io_uring_sqe* entry) { io_uring_prep_read(entry, wake_event_, &wake_value_, sizeof wake_value_, 0); });
}

void Ring::watch(int file) {
  watch_armed_ = true;
  prepare(RingOwner::watch, 0, [&](io_uring_sqe* entry) { io_uring_prep_poll_add(entry, file, POLLIN); });
}

void Ring::poll() {
  bind_to_this_thread();
  arm_wake();
  if (io_uring_sq_ready(&raw_) > 0) {
    io_uring_submit_and_get_events(&raw_);  // a failure to submit is tried again with the next poll
  } else if ((__atomic_load_n(raw_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) {
    io_uring_get_events(&raw_);
  }
  collect();
}

void Ring::wait(Nanoseconds now, Nanoseconds deadline) {
  if (undrained_ > 0 || deadline <= now) return poll();
  bind_to_this_thread();
  arm_wake();
  int result = 0;
  if (deadline == never_ns) {
    result = io_uring_submit_and_wait(&raw_, 1);
  } else {
    __kernel_timespec timeout{(deadline - now) / second_ns, (deadline - now) % second_ns};
    io_uring_cqe* first = nullptr;
    result = io_uring_submit_and_wait_timeout(&raw_, &first, 1, &timeout, nullptr);
  }
  // EINTR and ETIME are ordinary; EBUSY and EAGAIN pass once completions are collected.
  check(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN,
        "io_uring_enter failed", result);
  collect();
}

void Ring::wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  const ssize_t written = ::write(wake_event_, &one, sizeof one);
  check(written == sizeof one, "eventfd write failed", written);
}

void Ring::collect() {
  // Cleared before the lane looks at its mailboxes: who pushes after this look writes the eventfd anew.
  if (wake_pending_.load(std::memory_order_relaxed)) wake_pending_.exchange(false, std::memory_order_acq_rel);
  unsigned head = 0, count = 0;
  io_uring_cqe* entry = nullptr;
  io_uring_for_each_cqe(&raw_, head, entry) {
    const auto owner = static_cast<RingOwner>(entry->user_data >> owner_shift);
    if (owner == RingOwner::wake) {
      wake_armed_ = false;
    } else if (owner == RingOwner::watch) {
      watch_armed_ = false;
    } else if (owner == RingOwner::drive || owner == RingOwner::streams) {
      Queue& queue = queues_[static_cast<size_t>(owner)];
      if (queue.tail - queue.head > queue_mask_) break;  // the owner has not drained: the kernel keeps the rest
      queue.slots[queue.tail++ & queue_mask_] = {entry->user_data & ((uint64_t{1} << owner_shift) - 1), entry->res,
                                                 entry->flags};
      ++undrained_;
    }
    ++count;
  }
  io_uring_cq_advance(&raw_, count);
}

bool Ring::register_buffer_ring(io_uring_buf_ring* ring, uint32_t entries, uint16_t group) {
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(ring);
  registration.ring_entries = entries;
  registration.bgid = group;
  return io_uring_register_buf_ring(&raw_, &registration, 0) == 0;
}

void Ring::unregister_buffer_ring(uint16_t group) { io_uring_unregister_buf_ring(&raw_, group); }

}  // namespace penstock
