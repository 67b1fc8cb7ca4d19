#include "drivers/sim/sim_drive.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace penstock {
namespace {

constexpr uint64_t sector_bytes = 512;

uint64_t total(std::span<const iovec> vectors) {
  uint64_t bytes = 0;
  for (const iovec& vector : vectors) bytes += vector.iov_len;
  return bytes;
}

}  // namespace

std::expected<size_t, int> SimFiles::read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) {
  const std::vector<std::byte>& file = slots[slot.value];
  if (position.value >= file.size()) return size_t{0};
  const size_t count = std::min<size_t>(to.size(), file.size() - position.value);
  std::memcpy(to.data(), file.data() + position.value, count);
  return count;
}

SimDrive::SimDrive(const SimDriveConfig& config, const Arena& arena, SimDisk disk)
    : config_(config), arena_(arena), random_(config.seed), disk_(std::move(disk)) {}

// ---- the log's side of the contract ----

bool SimDrive::submit(const DriveRequest& request) {
  if (requests_.size() >= config_.queue_depth) return false;
  if (!event()) return true;
  Request each{.request = request, .number = ++request_count_};
  each.vectors.assign(request.vectors.begin(), request.vectors.end());
  const uint64_t bytes = total(request.vectors);
  Nanoseconds mean = config_.prepare_ns;
  switch (request.op) {
    case DriveOp::prepare:
      for (const Request& other : requests_) {
        check(other.request.slot != request.slot, "slot prepared while in use", request.slot.value);
      }
      break;
    case DriveOp::write:
      mean = config_.write_ns;
      check_write(request, bytes);
      each.bytes.reserve(bytes);
      for (const iovec& vector : request.vectors) {
        const auto* from = static_cast<const std::byte*>(vector.iov_base);
        each.bytes.insert(each.bytes.end(), from, from + vector.iov_len);
      }
      break;
    case DriveOp::flush:
      mean = config_.flush_ns;
      for (Volatile& written : disk_.cached) {
        if (written.slot == request.slot.value && !written.orphan && written.flush == 0) written.flush = each.number;
      }
      break;
    case DriveOp::read:
      mean = config_.read_ns;
      check(request.position.value % config_.units.block == 0 && bytes % config_.units.block == 0 && bytes > 0,
            "read of part of a block", static_cast<long long>(request.position.value), static_cast<long long>(bytes));
      break;
  }
  each.due = now_ + latency(mean);
  if (request.op == DriveOp::write || request.op == DriveOp::prepare) ++changes_;
  requests_.push_back(std::move(each));
  return true;
}

void SimDrive::check_write(const DriveRequest& request, uint64_t bytes) const {
  const DriveUnits& units = config_.units;
  const auto number = [](uint64_t value) { return static_cast<long long>(value); };
  check(!request.vectors.empty() && request.vectors.size() <= units.vectors_max, "vectors of a write",
        number(request.vectors.size()), units.vectors_max);
  for (const iovec& vector : request.vectors) {
    const auto* data = static_cast<const std::byte*>(vector.iov_base);
    check(vector.iov_len > 0 && vector.iov_len % units.length_unit == 0, "length of a vector", number(vector.iov_len));
    check(reinterpret_cast<uintptr_t>(data) % units.address_unit == 0, "address of a vector");
    check(arena_.contains(data) && arena_.contains(data + vector.iov_len - 1), "vector outside the arena");
  }
  check(request.position.value % units.block == 0 && bytes % units.block == 0, "write of part of a block",
        number(request.position.value), number(bytes));
  const bool exists = request.slot.value < disk_.current.slots.size();
  check(exists && disk_.current.slots[request.slot.value].size() == config_.segment_bytes,
        "write to an unprepared slot", request.slot.value);
  check(request.position.value + bytes <= config_.segment_bytes, "write beyond the segment",
        number(request.position.value), number(bytes));
  for (const Request& other : requests_) {
    if (other.request.op != DriveOp::write || other.request.slot != request.slot) continue;
    const uint64_t begin = other.request.position.value, end = begin + other.bytes.size();
    check(request.position.value >= end || request.position.value + bytes <= begin, "writes in flight overlap",
          number(request.position.value), number(begin));
  }
}

// ---- completions ----

Nanoseconds SimDrive::next_deadline() const {
  Nanoseconds next = never_ns;
  if (is_cut()) return next;
  for (const Request& request : requests_) next = std::min(next, request.due);
  return next;
}

bool SimDrive::next_completion(DriveCompletion& completion) {
  size_t first = requests_.size();
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i].due <= now_ && (first == requests_.size() || requests_[i].due < requests_[first].due)) first = i;
  }
  if (first == requests_.size() || !event()) return false;
  statistics_.out_of_order += first > 0 ? 1 : 0;
  Request request = std::move(requests_[first]);
  requests_.erase(requests_.begin() + static_cast<ptrdiff_t>(first));
  completion.tag = request.request.tag;
  if (request.request.op != DriveOp::read) ++changes_;
  switch (request.request.op) {
    case DriveOp::prepare:
      completion.result = finish_prepare(request);
      break;
    case DriveOp::write:
      completion.result = finish_write(request);
      break;
    case DriveOp::flush:
      completion.result = finish_flush(request);
      break;
    case DriveOp::read:
      completion.result = finish_read(request);
      break;
  }
  return true;
}

int64_t SimDrive::finish_write(Request& request) {
  if (interrupted()) return random_.one_in(2) ? -EINTR : -EAGAIN;
  uint64_t at = 0;
  for (const iovec& vector : request.vectors) {
    if (random_.one_in(2)) std::memcpy(request.bytes.data() + at, vector.iov_base, vector.iov_len);
    at += vector.iov_len;
  }
  const uint32_t slot = request.request.slot.value;
  const uint64_t position = request.request.position.value;
  if (fails(DriveOp::write, config_.write_error_one_in)) {
    ++statistics_.write_errors;
    put_some_sectors(disk_.current.slots, slot, position, request.bytes, random_);
    disk_.cached.push_back(
        Volatile{.slot = slot, .position = position, .bytes = std::move(request.bytes), .orphan = true});
    return -EIO;
  }
  if (happens(config_.short_one_in)) {
    ++statistics_.short_transfers;
    request.bytes.resize(sector_bytes * random_.below(request.bytes.size() / sector_bytes));
  }
  const auto result = static_cast<int64_t>(request.bytes.size());
  put(disk_.current.slots, slot, position, request.bytes);
  supersede(slot, position, position + request.bytes.size());
  if (request.request.durable) {
    put(disk_.stable.slots, slot, position, request.bytes);
  } else {
    disk_.cached.push_back(Volatile{.slot = slot, .position = position, .bytes = std::move(request.bytes)});
  }
  ++writes_;
  return result;
}

// What was written before to [begin, end) never reaches stable storage any more.
void SimDrive::supersede(uint32_t slot, uint64_t begin, uint64_t end) {
  for (size_t i = 0; i < disk_.cached.size(); ++i) {
    Volatile& older = disk_.cached[i];
    const uint64_t from = older.position, to = from + older.bytes.size();
    if (older.slot != slot || to <= begin || from >= end) continue;
    if (to > end) {
      Volatile behind = older;
      behind.position = end;
      behind.bytes.erase(behind.bytes.begin(), behind.bytes.begin() + static_cast<ptrdiff_t>(end - from));
      disk_.cached.push_back(std::move(behind));
    }
    disk_.cached[i].bytes.resize(from < begin ? begin - from : 0);
  }
}

int64_t SimDrive::finish_flush(const Request& request) {
  if (interrupted()) {
    for (Volatile& written : disk_.cached) {
      if (written.flush == request.number) written.flush = 0;
    }
    return -EINTR;
  }
  const bool failed = fails(DriveOp::flush, config_.flush_error_one_in);
  for (Volatile& written : disk_.cached) {
    if (written.flush != request.number) continue;
    if (failed) {
      written.orphan = true;
    } else {
      put(disk_.stable.slots, written.slot, written.position, written.bytes);
    }
  }
  if (failed) {
    ++statistics_.flush_errors;
    return -EIO;
  }
  std::erase_if(disk_.cached, [&](const Volatile& written) { return written.flush == request.number; });
  return 0;
}

int64_t SimDrive::finish_prepare(const Request& request) {
  const uint32_t slot = request.request.slot.value;
  const bool exists = slot < disk_.current.slots.size();
  const bool no_room = !exists && (full_ || slot >= config_.slots_max);
  if (fails(DriveOp::prepare, config_.prepare_error_one_in) || no_room) {
    ++statistics_.prepare_errors;
    return -ENOSPC;
  }
  for (SimFiles* files : {&disk_.current, &disk_.stable}) {
    if (files->slots.size() <= slot) files->slots.resize(slot + 1);
    files->slots[slot].assign(config_.segment_bytes, std::byte{0});
  }
  std::erase_if(disk_.cached, [&](const Volatile& written) { return written.slot == slot; });
  return 0;
}

int64_t SimDrive::finish_read(const Request& request) {
  if (interrupted()) return -EINTR;
  if (fails(DriveOp::read, config_.read_error_one_in)) {
    ++statistics_.read_errors;
    return -EIO;
  }
  uint64_t left = total(request.vectors);
  if (happens(config_.short_one_in)) {
    ++statistics_.short_transfers;
    left = sector_bytes * random_.below(left / sector_bytes);
  }
  const auto result = static_cast<int64_t>(left);
  FilePosition position = request.request.position;
  for (const iovec& vector : request.vectors) {
    const uint64_t here = std::min<uint64_t>(left, vector.iov_len);
    const auto got =
        disk_.current.read(request.request.slot, position, {static_cast<std::byte*>(vector.iov_base), here});
    check(got && *got == here, "read beyond the file", static_cast<long long>(position.value));
    position += here;
    left -= here;
  }
  if (result > 0 && happens(config_.read_flip_one_in)) {
    const iovec& vector = request.vectors.front();
    const uint64_t at = random_.below(std::min<uint64_t>(vector.iov_len, static_cast<uint64_t>(result)));
    static_cast<std::byte*>(vector.iov_base)[at] ^= static_cast<std::byte>(1 << random_.below(8));
    ++statistics_.reads_flipped;
  }
  return result;
}

// ---- power loss ----

SimFiles SimDrive::crash(uint64_t seed) {
  SimFiles left = disk_.stable;
  lose_power(left, seed);
  return left;
}

SimDisk SimDrive::end_by_crash(uint64_t seed) && {
  lose_power(disk_.stable, seed);
  // What could be read is what is left, but for what was not durable.
  disk_.current.slots.resize(disk_.stable.slots.size());
  for (const Volatile& written : disk_.cached) copy_back(written.slot, written.position, written.bytes.size());
  for (const Request& request : requests_) {
    const DriveRequest& of = request.request;
    if (of.op == DriveOp::write) copy_back(of.slot.value, of.position.value, request.bytes.size());
    if (of.op == DriveOp::prepare && of.slot.value < disk_.stable.slots.size()) {
      disk_.current.slots[of.slot.value] = disk_.stable.slots[of.slot.value];
    }
  }
  disk_.cached.clear();
  return std::move(disk_);
}

void SimDrive::copy_back(uint32_t slot, uint64_t position, uint64_t bytes) {
  put(disk_.current.slots, slot, position, std::span(disk_.stable.slots[slot]).subspan(position, bytes));
}

// `left`: what is durable.
void SimDrive::lose_power(SimFiles& left, uint64_t seed) {
  SimRandom random(seed);
  for (const Volatile& written : disk_.cached) {
    lose_some_sectors(left, written.slot, written.position, written.bytes, random);
  }
  for (const Request& request : requests_) {
    const uint32_t slot = request.request.slot.value;
    if (request.request.op == DriveOp::write) {
      lose_some_sectors(left, slot, request.request.position.value, request.bytes, random);
    } else if (request.request.op == DriveOp::prepare) {
      // Header first, as released slots are; the rest is old, or not there yet.
      if (slot < left.slots.size()) {
        std::fill_n(left.slots[slot].begin(), std::min<size_t>(left.slots[slot].size(), 4096), std::byte{0});
      } else if (random.one_in(2) && slot < config_.slots_max && !full_) {
        left.slots.resize(slot + 1);
        left.slots[slot].assign(round_down(random.below(config_.segment_bytes), 4096), std::byte{0});
      }
    }
  }
}

void SimDrive::lose_some_sectors(SimFiles& left, uint32_t slot, uint64_t position, std::span<const std::byte> bytes,
                                 SimRandom& random) {
  const uint64_t sectors = bytes.size() / sector_bytes;
  const uint64_t there = put_some_sectors(left.slots, slot, position, bytes, random);
  statistics_.lost_writes += sectors > 0 && there == 0 ? 1 : 0;
  statistics_.torn_writes += there > 0 && there < sectors ? 1 : 0;
}

SimDrive::AtRisk SimDrive::at_risk() const {
  AtRisk result{.writes = disk_.cached, .preparing = {}};
  std::erase_if(result.writes, [](const Volatile& written) { return written.bytes.empty(); });
  for (const Request& request : requests_) {
    const DriveRequest& of = request.request;
    if (of.op == DriveOp::prepare) result.preparing.push_back(of.slot.value);
    if (of.op == DriveOp::write) {
      result.writes.push_back(Volatile{.slot = of.slot.value, .position = of.position.value, .bytes = request.bytes});
    }
  }
  return result;
}

SimDisk SimDrive::kill(uint64_t seed) const {
  SimDisk left = disk_;
  lose_process(left, seed);
  return left;
}

SimDisk SimDrive::end_by_kill(uint64_t seed) && {
  lose_process(disk_, seed);
  return std::move(disk_);
}

// `left`: the disk as it is.
void SimDrive::lose_process(SimDisk& left, uint64_t seed) const {
  SimRandom random(seed);
  // What a new process can read, a flush of its own makes durable, also what failed for the old one: there is no page
  // cache in between, and a drive that gives bytes, then flushes and loses them is beyond our promises.
  for (SimDisk::Volatile& written : left.cached) {
    const auto from = left.current.slots[written.slot].begin() + static_cast<ptrdiff_t>(written.position);
    std::copy_n(from, written.bytes.size(), written.bytes.begin());
    written.flush = 0;
    written.orphan = false;
  }
  for (const Request& request : requests_) {
    const uint32_t slot = request.request.slot.value;
    if (request.request.op == DriveOp::write) {
      const uint64_t begin = request.request.position.value;
      put_some_sectors(left.current.slots, slot, begin, request.bytes, random);
      const auto from = left.current.slots[slot].begin() + static_cast<ptrdiff_t>(begin);
      left.cached.push_back(
          Volatile{.slot = slot,
                   .position = begin,
                   .bytes = std::vector<std::byte>(from, from + static_cast<ptrdiff_t>(request.bytes.size()))});
    } else if (request.request.op == DriveOp::prepare && slot < left.current.slots.size()) {
      for (SimFiles* files : {&left.current, &left.stable}) {
        std::fill_n(files->slots[slot].begin(), std::min<size_t>(files->slots[slot].size(), 4096), std::byte{0});
      }
      std::erase_if(left.cached, [&](const Volatile& written) { return written.slot == slot; });
    }
  }
}

void SimDrive::put(std::vector<std::vector<std::byte>>& slots, uint32_t slot, uint64_t position,
                   std::span<const std::byte> bytes) {
  std::copy(bytes.begin(), bytes.end(), slots[slot].begin() + static_cast<ptrdiff_t>(position));
}

// None of them, all of them, the first ones, or each by itself.
uint64_t SimDrive::put_some_sectors(std::vector<std::vector<std::byte>>& slots, uint32_t slot, uint64_t position,
                                    std::span<const std::byte> bytes, SimRandom& random) {
  const uint64_t sectors = bytes.size() / sector_bytes;
  uint64_t there = 0;
  const uint64_t how = random.below(4);
  const uint64_t first_lost = random.below(sectors + 1);
  for (uint64_t i = 0; i < sectors; ++i) {
    const bool survives = how == 0 ? false : how == 1 ? true : how == 2 ? i < first_lost : random.one_in(2);
    if (!survives) continue;
    put(slots, slot, position + i * sector_bytes, bytes.subspan(i * sector_bytes, sector_bytes));
    ++there;
  }
  return there;
}

bool SimDrive::interrupted() {
  const bool now = happens(config_.interrupted_one_in);
  statistics_.interrupted += now ? 1 : 0;
  return now;
}

bool SimDrive::event() {
  if (events_left_ == 0) return false;
  if (events_left_ != UINT64_MAX) --events_left_;
  return true;
}

bool SimDrive::fails(DriveOp op, uint64_t one_in) {
  uint32_t& next = fail_next_[static_cast<size_t>(op)];
  if (next > 0) {
    --next;
    return true;
  }
  return happens(one_in);
}

// Half the mean or more, twice as long half as often; sometimes, very slow.
Nanoseconds SimDrive::latency(Nanoseconds mean) {
  const int doublings = std::min(std::countr_zero(random_.next()), 4);
  Nanoseconds time = mean / 2 + static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(mean / 2) + 1));
  time += mean / 2 * doublings;
  statistics_.slowed += slowness_ > 1 ? 1 : 0;
  if (happens(config_.stall_one_in)) {
    ++statistics_.stalled;
    return 1000 * time;  // however slow the others: no drive takes minutes
  }
  time *= slowness_;
  if (!happens(config_.slow_one_in)) return time;
  ++statistics_.slow;
  return 100 * time;
}

}  // namespace penstock
