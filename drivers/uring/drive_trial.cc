#include "drivers/uring/drive_trial.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <vector>

#include "drivers/uring/arena_memory.h"
#include "drivers/uring/ring.h"

namespace penstock {

namespace {

constexpr uint64_t file_bytes = 16 * MiB;
constexpr uint64_t write_bytes_max = MiB;
// Payload comes from a different place each time, so that a copy reads it from memory as it would from a socket.
constexpr uint64_t source_bytes = 12 * MiB;
constexpr uint64_t packing_bytes = 2 * MiB;
constexpr uint8_t opcode_writev_fixed = 61;

constexpr std::array<uint32_t, 8> piece_sizes = {512, 1024, 2048, 4096, 8192, 16'384, 32'768, 65'536};
constexpr std::array<uint32_t, 6> commit_sizes = {16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20};
constexpr std::array<uint32_t, 4> depths = {1, 2, 4, 8};
constexpr uint64_t inflight_bytes_limit = 4 * MiB;
// A commit has a header of its own: below this size headers alone would take a few percent of the drive.
constexpr uint32_t commit_bytes_floor = 128 << 10;

constexpr double same_cpu = 1.03;  // a gather may cost this much more CPU than a copy and still be preferred
// More commands are what makes a gather slow on a drive; they are counted, since time on a busy machine proves little.
constexpr uint64_t same_commands = 2;  // it may become this many times the commands of a copy
constexpr double same_time = 1.25;     // and where nobody counts them, take this much longer
constexpr double busy_enough = 0.94;   // of the best rate seen
constexpr int rounds_min = 3;

Nanoseconds clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * second_ns + now.tv_nsec;
}
Nanoseconds wall_ns() { return clock_ns(CLOCK_MONOTONIC); }
Nanoseconds cpu_ns() { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

struct Cost {
  Nanoseconds wall = never_ns;  // the best of all rounds, per write
  Nanoseconds cpu = never_ns;
  uint64_t commands = UINT64_MAX;
};

class Trial {
 public:
  Trial(int file, Ring& ring, const Arena& arena, const DriveUnits& units, const BlockDevice* device)
      : file_(file), ring_(ring), arena_(arena), units_(units), device_(device) {
    vectors_.reserve(units.vectors_max);
  }

  std::expected<void, std::string> fill();
  void find_copybreak(TrialResult& result, Nanoseconds budget_ns);
  void find_commit_sizes(TrialResult& result, Nanoseconds budget_ns);
  int error() const { return error_; }

 private:
  struct PieceCosts {
    uint32_t size = 0;
    Cost gather, copy;
    bool gather_wins() const {
      if (static_cast<double>(gather.cpu) > same_cpu * static_cast<double>(copy.cpu)) return false;
      const bool counted = gather.commands != UINT64_MAX && copy.commands != UINT64_MAX;
      return counted ? gather.commands <= same_commands * copy.commands
                     : static_cast<double>(gather.wall) <= same_time * static_cast<double>(copy.wall);
    }
  };

  void scatter(uint32_t size);
  uint64_t pack();
  template <class Start>
  void measure(Cost& cost, Start&& start);
  uint64_t commands() const;
  bool usable(uint32_t size) const;

  void submit_write(const iovec* vectors, uint32_t count, uint64_t position, bool durable, uint64_t tag);
  void submit_flush(uint64_t tag);
  RingCompletion next_completion();
  void start_durable_write(const iovec* vectors, uint32_t count);
  double rate_alone(uint32_t size, Nanoseconds for_ns);
  double rate_shared(uint32_t size, uint32_t depth, Nanoseconds for_ns);
  uint64_t next_position(uint64_t bytes);

  int file_;
  Ring& ring_;
  const Arena arena_;
  const DriveUnits units_;
  const BlockDevice* device_;
  std::vector<iovec> vectors_;
  iovec packed_{};
  uint64_t source_at_ = 0;
  uint64_t position_ = 0;
  int error_ = 0;
};

std::expected<void, std::string> Trial::fill() {
  for (uint64_t at = 0; at < file_bytes; at += write_bytes_max) {
    if (::pwrite(file_, arena_.base, write_bytes_max, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(write_bytes_max)) {
      return std::unexpected(std::string("scratch file: ") + std::strerror(errno));
    }
  }
  if (::fsync(file_) != 0) return std::unexpected(std::string("scratch file: ") + std::strerror(errno));
  return {};
}

// ---- gather or copy ----

bool Trial::usable(uint32_t size) const {
  return size % units_.length_unit == 0 && size % units_.address_unit == 0 &&
         (units_.seam == 0 || size % units_.seam == 0);
}

// Pieces of this size with gaps between them, until a write of 1 MiB is full or has all its vectors.
void Trial::scatter(uint32_t size) {
  const uint64_t count = std::min<uint64_t>(write_bytes_max / size, units_.vectors_max);
  if (source_at_ + 2 * count * size > source_bytes) source_at_ = 0;
  vectors_.clear();
  for (uint64_t index = 0; index < count; ++index) {
    vectors_.push_back({arena_.base + source_at_ + 2 * index * size, size});
  }
  source_at_ += 2 * count * size;
}

uint64_t Trial::pack() {
  std::byte* to = arena_.base + source_bytes;
  for (const iovec& vector : vectors_) {
    std::memcpy(to, vector.iov_base, vector.iov_len);
    to += vector.iov_len;
  }
  return static_cast<uint64_t>(to - arena_.base) - source_bytes;
}

uint64_t Trial::commands() const {
  const auto counted = device_ == nullptr ? std::nullopt : device_->commands();
  return counted ? counted->writes : 0;
}

// `start` ends when the write has been handed to the kernel: waiting for it is not counted as work.
template <class Start>
void Trial::measure(Cost& cost, Start&& start) {
  const uint64_t commands_before = commands();
  const Nanoseconds wall_before = wall_ns(), cpu_before = cpu_ns();
  start();
  ring_.poll();
  cost.cpu = std::min(cost.cpu, cpu_ns() - cpu_before);
  next_completion();
  cost.wall = std::min(cost.wall, wall_ns() - wall_before);
  const uint64_t commands_after = commands();
  if (commands_after > commands_before) cost.commands = std::min(cost.commands, commands_after - commands_before);
}

void Trial::find_copybreak(TrialResult& result, Nanoseconds budget_ns) {
  std::vector<PieceCosts> costs;
  for (const uint32_t size : piece_sizes) {
    if (usable(size)) costs.push_back({size, {}, {}});
  }
  const Nanoseconds until = wall_ns() + budget_ns;
  for (int round = 0; (round < rounds_min || wall_ns() < until) && error_ == 0; ++round) {
    for (PieceCosts& cost : costs) {
      scatter(cost.size);
      measure(cost.gather, [&] { start_durable_write(vectors_.data(), static_cast<uint32_t>(vectors_.size())); });
      scatter(cost.size);
      measure(cost.copy, [&] {
        packed_ = {arena_.base + source_bytes, pack()};
        start_durable_write(&packed_, 1);
      });
    }
  }
  // Gathering wins everywhere from the shortest such size on, and surely a little below it, where the next one tried is
  // half as long. It matters: with 4096 itself the first page of every request, which a header of some 80 bytes begins,
  // would be copied.
  result.copybreak = UINT32_MAX;
  for (auto cost = costs.rbegin(); cost != costs.rend() && cost->gather_wins(); ++cost) {
    result.copybreak = cost->size / 4 * 3;
  }

  for (const PieceCosts& cost : costs) {
    char line[160];
    const auto us = [](Nanoseconds ns) { return static_cast<double>(ns) / 1e3; };
    const auto counted = [](uint64_t commands) {
      return commands == UINT64_MAX ? std::string("uncounted") : std::to_string(commands);
    };
    std::snprintf(
        line, sizeof line,
        "  pieces of %6u: gather %6.0f us (CPU %5.0f, commands %s), copy %6.0f us (CPU %5.0f, commands %s)%s\n",
        cost.size, us(cost.gather.wall), us(cost.gather.cpu), counted(cost.gather.commands).c_str(), us(cost.copy.wall),
        us(cost.copy.cpu), counted(cost.copy.commands).c_str(), cost.gather_wins() ? "" : "  -> copy");
    result.report += line;
  }
}

// ---- how much keeps it busy ----

void Trial::find_commit_sizes(TrialResult& result, Nanoseconds budget_ns) {
  struct Point {
    uint32_t size = 0, depth = 0;
    double rate = 0;  // bytes a nanosecond, the best of several short runs: others may have the cores meanwhile
    uint64_t inflight() const { return uint64_t{size} * depth; }
  };
  std::vector<Point> points;
  for (const uint32_t size : commit_sizes) {
    for (const uint32_t depth : depths) {
      if (uint64_t{size} * depth <= inflight_bytes_limit && size % units_.block == 0)
        points.push_back({size, depth, 0});
    }
  }
  constexpr int runs = 5;
  const Nanoseconds each_ns = budget_ns / runs / static_cast<Nanoseconds>(points.size());
  for (int run = 0; run < runs && error_ == 0; ++run) {
    for (Point& point : points) {
      const double rate =
          point.depth == 1 ? rate_alone(point.size, each_ns) : rate_shared(point.size, point.depth, each_ns);
      point.rate = std::max(point.rate, rate);
    }
  }

  const double best = std::ranges::max(points, {}, &Point::rate).rate;
  const Point* chosen = nullptr;
  for (const Point& point : points) {
    if (point.rate < busy_enough * best) continue;
    const bool less = chosen == nullptr || point.inflight() < chosen->inflight() ||
                      (point.inflight() == chosen->inflight() && point.depth < chosen->depth);
    if (less) chosen = &point;
  }
  result.commit_bytes_max = std::max(chosen->size, commit_bytes_floor);
  result.inflight_bytes_max = std::max(static_cast<uint32_t>(chosen->inflight()), result.commit_bytes_max);
  result.inflight_writes_max = chosen->depth;

  for (const uint32_t size : commit_sizes) {
    char text[64];
    std::snprintf(text, sizeof text, "  writes of %4llu KiB:", static_cast<unsigned long long>(size / KiB));
    result.report += text;
    for (const Point& point : points) {
      if (point.size != size) continue;
      std::snprintf(text, sizeof text, " %s%u %.0f MB/s%s", point.depth == 1 ? "O_DSYNC " : "x", point.depth,
                    point.rate * 1e3, &point == chosen ? " (chosen)" : "");
      result.report += text;
    }
    result.report += "\n";
  }
}

double Trial::rate_alone(uint32_t size, Nanoseconds for_ns) {
  const iovec whole{arena_.base, size};
  const Nanoseconds start = wall_ns();
  uint64_t bytes = 0;
  Nanoseconds now = start;
  do {
    start_durable_write(&whole, 1);
    next_completion();
    bytes += size;
    now = wall_ns();
  } while (now - start < for_ns && error_ == 0);
  return static_cast<double>(bytes) / static_cast<double>(now - start);
}

// As a log does it: `depth` writes in flight, and one flush after another for those that have completed.
double Trial::rate_shared(uint32_t size, uint32_t depth, Nanoseconds for_ns) {
  constexpr uint64_t write_tag = 0, flush_tag = 1;
  const iovec whole{arena_.base, size};
  const Nanoseconds start = wall_ns();
  uint32_t writing = 0, written = 0, flushing = 0;
  uint64_t durable = 0;
  bool flush_in_flight = false;
  Nanoseconds now = start, last_durable = start;
  while (error_ == 0) {
    const bool more = now - start < for_ns;
    while (more && writing + written + flushing < depth) {
      submit_write(&whole, 1, next_position(size), false, write_tag);
      ++writing;
    }
    if (!flush_in_flight && written > 0) {
      submit_flush(flush_tag);
      flush_in_flight = true;
      flushing = written;
      written = 0;
    }
    if (writing == 0 && !flush_in_flight) break;
    const RingCompletion done = next_completion();
    now = wall_ns();
    if (done.tag == write_tag) {
      --writing;
      ++written;
    } else {
      flush_in_flight = false;
      durable += uint64_t{flushing} * size;
      flushing = 0;
      last_durable = now;
    }
  }
  return durable == 0 ? 0 : static_cast<double>(durable) / static_cast<double>(last_durable - start);
}

// ---- the ring ----

uint64_t Trial::next_position(uint64_t bytes) {
  if (position_ + bytes > file_bytes) position_ = 0;
  const uint64_t at = position_;
  position_ += round_up(bytes, units_.block);
  return at;
}

void Trial::submit_write(const iovec* vectors, uint32_t count, uint64_t position, bool durable, uint64_t tag) {
  ring_.prepare(RingOwner::drive, tag, [&](io_uring_sqe* entry) {
    if (count == 1 && ring_.arena_registered()) {
      io_uring_prep_rw(IORING_OP_WRITE_FIXED, entry, file_, vectors->iov_base, static_cast<unsigned>(vectors->iov_len),
                       position);
    } else {
      const bool fixed = ring_.arena_registered() && ring_.features().writev_fixed;
      io_uring_prep_rw(fixed ? opcode_writev_fixed : static_cast<uint8_t>(IORING_OP_WRITEV), entry, file_, vectors,
                       count, position);
    }
    entry->rw_flags = durable ? RWF_DSYNC : 0;
  });
}

void Trial::submit_flush(uint64_t tag) {
  ring_.prepare(RingOwner::drive, tag,
                [&](io_uring_sqe* entry) { io_uring_prep_fsync(entry, file_, IORING_FSYNC_DATASYNC); });
}

// Sleeping, as a lane does: what ends an O_DSYNC write runs in a kernel worker of one core, and a thread that spins on
// that core holds it up by milliseconds.
RingCompletion Trial::next_completion() {
  RingCompletion done;
  while (!ring_.next_completion(RingOwner::drive, done)) ring_.wait(0, never_ns);
  if (done.result < 0) error_ = -done.result;
  return done;
}

void Trial::start_durable_write(const iovec* vectors, uint32_t count) {
  uint64_t bytes = 0;
  for (uint32_t index = 0; index < count; ++index) bytes += vectors[index].iov_len;
  submit_write(vectors, count, next_position(bytes), true, 0);
}

}  // namespace

std::expected<TrialResult, std::string> run_drive_trial(const std::string& directory, const DriveUnits& units,
                                                        const BlockDevice* device, Nanoseconds budget_ns) {
  auto memory = ArenaMemory::map({.bytes = source_bytes + packing_bytes});
  if (!memory) return std::unexpected(memory.error());
  auto ring = Ring::create(memory->arena(), {.entries = 64});
  if (!ring) ring = Ring::create(memory->arena(), {.entries = 64, .register_arena = false});
  if (!ring) return std::unexpected(ring.error());

  const std::string path = directory + "/.drive-trial";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0640);
  if (file < 0) return std::unexpected("cannot create " + path + ": " + std::strerror(errno));
  ::unlink(path.c_str());  // gone whatever happens; its blocks go with the descriptor

  Trial trial(file, **ring, memory->arena(), units, device);
  TrialResult result;
  auto filled = trial.fill();
  if (filled) {
    // Three fifths for the commit sizes: they have more points.
    trial.find_copybreak(result, budget_ns * 2 / 5);
    if (trial.error() == 0) trial.find_commit_sizes(result, budget_ns * 3 / 5);
  }
  ::close(file);
  if (!filled) return std::unexpected(filled.error());
  if (trial.error() != 0) return std::unexpected(std::string("trial write: ") + std::strerror(trial.error()));
  return result;
}

}  // namespace penstock
