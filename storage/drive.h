// The drive seam: what a log asks of a device, and what a device says of itself. drivers/uring answers with a real
// file system, drivers/sim with a seeded one. Nothing here does I/O.
//
// A drive is a fixed-size array of slots; a slot is one segment file. Requests complete in any order. A slot is recycled by
// a durable write of zeros over its header: no request of its own.
#pragma once

#include <sys/uio.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "dataplane/base/units.h"

namespace penstock {

// What the drive joins without a copy (units in bytes; see docs/DURABILITY.md for where each comes from), and the
// measured policy. The file system's and queue's limits decide; a timed trial may only tighten.
struct DriveUnits {
  uint32_t address_unit = 512;  // of a vector's memory address
  uint32_t length_unit = 512;   // of each vector's length
  uint32_t block = 4096;        // of file position and whole write
  uint32_t seam = 0;            // where one vector may end and the next begin in one command; 0: anywhere
  uint32_t vectors_max = 1024;  // per write
  uint32_t copybreak = 2048;    // a run of payload shorter than this is copied; UINT32_MAX: copy all
  uint32_t commit_bytes_max = 1 << 20;    // a commit is closed when it has grown to this
  uint32_t inflight_bytes_max = 1 << 20;  // bytes that keep the drive busy; more only adds latency
  uint32_t inflight_writes_max = 4;       // 1: every commit is alone and goes with O_DSYNC
  bool stable_pages = false;  // pages are checksummed in flight: nothing may be patched in place, copy all
};

enum class DriveOp : uint8_t {
  prepare,  // make slot `slot` a segment file: allocated and written whole with zeros, durable, ready for commits
  write,    // vectors -> file; `durable`: as with O_DSYNC
  flush,    // all writes to the slot that completed before this was submitted become durable
  read,     // file -> vectors
};

struct DriveRequest {
  DriveOp op = DriveOp::write;
  bool durable = false;
  SegmentSlot slot{};
  FilePosition position{};
  std::span<const iovec> vectors{};  // in the lane's arena; stays valid and unchanged until completion
  uint64_t tag = 0;                  // comes back with the completion
};

struct DriveCompletion {
  uint64_t tag = 0;
  int64_t result = 0;  // bytes moved (may be short), 0 for prepare and flush, or -errno
};

// Reading at start (recovery) and by tools: blocking and off every hot path, so an interface with virtual calls.
class SegmentFiles {
 public:
  virtual ~SegmentFiles() = default;
  virtual uint32_t slot_count() const = 0;  // slots that exist, 0 .. slot_count - 1
  virtual uint64_t slot_bytes(SegmentSlot slot) const = 0;
  // Reads up to to.size() bytes; position and size need not be aligned. Short only at the end of the file.
  virtual std::expected<size_t, int> read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) = 0;
};

// What Lane<Streams, Drive> needs of a drive.
template <class D>
concept Drive = requires(D drive, const DriveRequest& request, Nanoseconds now) {
  { drive.units() } -> std::convertible_to<const DriveUnits&>;
  { drive.submit(request) } -> std::same_as<bool>;  // false: queue full, submit again after the next poll
  // Calls back with every completion there is: drive.poll(now, [](DriveCompletion) {...}); returns their number.
  { drive.poll(now, [](DriveCompletion) {}) } -> std::convertible_to<uint32_t>;
  { drive.next_deadline() } -> std::same_as<Nanoseconds>;  // virtual time only; never_ns for real drives
};

}  // namespace penstock
