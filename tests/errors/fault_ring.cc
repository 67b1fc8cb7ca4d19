// A ring with faults, put under the real node with LD_PRELOAD. What shall fail is said in a file of numbers that both
// sides map (PENSTOCK_FAULTS; faults.py is the other side).
//
// A drive request that shall fail is turned into a NOP that completes with the error, so the drive never sees it; one
// that shall be short is submitted for half its length. Only files opened with O_DIRECT are concerned: sockets and
// eventfds are left alone. The wall clock can be moved, and the ring's newer features hidden.
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

// Numbers count down to 0; negative ones never do. Sync with faults.py.
struct Faults {
  int64_t fail_writes, fail_flushes, fail_reads, shorten_writes;
  int64_t error;           // an errno, positive
  int64_t clock_ahead_ms;  // of CLOCK_REALTIME
  int64_t hide_features;   // the probe says that no operation is known
  int64_t kernel_too_old;  // a ring cannot be made: as if its flags were unknown
  int64_t failed_writes, failed_flushes, failed_reads, shortened_writes;
};

Faults no_faults{};

Faults& faults() {
  static Faults* const mapped = [] {
    const char* path = std::getenv("PENSTOCK_FAULTS");
    const int file = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return &no_faults;
    void* at = ::mmap(nullptr, sizeof(Faults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    return at == MAP_FAILED ? &no_faults : static_cast<Faults*>(at);
  }();
  return *mapped;
}

bool take(int64_t& left) {
  int64_t now = __atomic_load_n(&left, __ATOMIC_ACQUIRE);
  while (now > 0) {
    if (__atomic_compare_exchange_n(&left, &now, now - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return true;
  }
  return now < 0;
}

bool is_drive(int file) {
  const int flags = ::fcntl(file, F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) != 0;
}

constexpr int opcode_readv_fixed = 60, opcode_writev_fixed = 61;  // absent from liburing 2.3's header
constexpr unsigned nop_inject_result = 1;                         // IORING_NOP_INJECT_RESULT, kernel 6.10

bool writes(int opcode) {
  return opcode == IORING_OP_WRITE_FIXED || opcode == IORING_OP_WRITEV || opcode == opcode_writev_fixed;
}
bool reads(int opcode) {
  return opcode == IORING_OP_READ_FIXED || opcode == IORING_OP_READV || opcode == opcode_readv_fixed;
}

void fail(io_uring_sqe& entry, int64_t& count) {
  const uint64_t user_data = entry.user_data;
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_NOP;
  entry.fd = -1;
  entry.len = static_cast<unsigned>(-faults().error);
  entry.rw_flags = nop_inject_result;
  entry.user_data = user_data;
  __atomic_add_fetch(&count, 1, __ATOMIC_ACQ_REL);
}

// Half of it, in whole 4 KiB. Vectors are cut where they lie: the node makes them anew for what is left. False: too
// short for that.
bool shorten(io_uring_sqe& entry) {
  constexpr uint64_t page = 4096;
  if (entry.opcode == IORING_OP_WRITE_FIXED) {
    if (entry.len < 2 * page) return false;
    entry.len = static_cast<unsigned>(entry.len / 2 / page * page);
    return true;
  }
  auto* vectors = reinterpret_cast<iovec*>(entry.addr);
  uint64_t total = 0;
  for (unsigned i = 0; i < entry.len; ++i) total += vectors[i].iov_len;
  if (total < 2 * page) return false;
  uint64_t left = total / 2 / page * page;
  unsigned count = 0;
  for (; left > 0; ++count) {
    vectors[count].iov_len = std::min<uint64_t>(vectors[count].iov_len, left);
    left -= vectors[count].iov_len;
  }
  entry.len = count;
  return true;
}

void inject(io_uring* ring) {
  const io_uring_sq& queue = ring->sq;
  const unsigned mask = *queue.kring_mask;
  for (unsigned at = queue.sqe_head; at != queue.sqe_tail; ++at) {
    io_uring_sqe& entry = queue.sqes[at & mask];
    const bool write = writes(entry.opcode), read = reads(entry.opcode), flush = entry.opcode == IORING_OP_FSYNC;
    if ((!write && !read && !flush) || !is_drive(entry.fd)) continue;
    Faults& wanted = faults();
    if (write && take(wanted.fail_writes)) {
      fail(entry, wanted.failed_writes);
    } else if (flush && take(wanted.fail_flushes)) {
      fail(entry, wanted.failed_flushes);
    } else if (read && take(wanted.fail_reads)) {
      fail(entry, wanted.failed_reads);
    } else if (write && wanted.shorten_writes != 0 && shorten(entry) && take(wanted.shorten_writes)) {
      __atomic_add_fetch(&wanted.shortened_writes, 1, __ATOMIC_ACQ_REL);
    }
  }
}

template <class Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int io_uring_submit(io_uring* ring) {
  static const auto next = real<int (*)(io_uring*)>("io_uring_submit");
  inject(ring);
  return next(ring);
}

int io_uring_submit_and_wait(io_uring* ring, unsigned count) {
  static const auto next = real<int (*)(io_uring*, unsigned)>("io_uring_submit_and_wait");
  inject(ring);
  return next(ring, count);
}

int io_uring_submit_and_get_events(io_uring* ring) {
  static const auto next = real<int (*)(io_uring*)>("io_uring_submit_and_get_events");
  inject(ring);
  return next(ring);
}

int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned count, __kernel_timespec* timeout,
                                     sigset_t* signals) {
  using Function = int (*)(io_uring*, io_uring_cqe**, unsigned, __kernel_timespec*, sigset_t*);
  static const auto next = real<Function>("io_uring_submit_and_wait_timeout");
  inject(ring);
  return next(ring, first, count, timeout, signals);
}

int io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* parameters) {
  using Function = int (*)(unsigned, io_uring*, io_uring_params*);
  static const auto next = real<Function>("io_uring_queue_init_params");
  if (faults().kernel_too_old != 0) return -EINVAL;
  return next(entries, ring, parameters);
}

io_uring_probe* io_uring_get_probe_ring(io_uring* ring) {
  static const auto next = real<io_uring_probe* (*)(io_uring*)>("io_uring_get_probe_ring");
  return faults().hide_features != 0 ? nullptr : next(ring);
}

int clock_gettime(clockid_t clock, timespec* time) {
  static const auto next = real<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int result = next(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) {
    const int64_t ahead = __atomic_load_n(&faults().clock_ahead_ms, __ATOMIC_ACQUIRE);
    int64_t nanoseconds = time->tv_nsec + ahead % 1000 * 1'000'000;
    time->tv_sec += ahead / 1000 + (nanoseconds >= 1'000'000'000) - (nanoseconds < 0);
    time->tv_nsec = (nanoseconds + 1'000'000'000) % 1'000'000'000;
  }
  return result;
}

}  // extern "C"
