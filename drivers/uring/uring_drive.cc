#include "drivers/uring/uring_drive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "drivers/uring/segment_reader.h"

namespace penstock {

namespace {

constexpr uint8_t opcode_readv_fixed = 60, opcode_writev_fixed = 61;  // absent from liburing 2.3's header
constexpr uint32_t no_request = UINT32_MAX;
constexpr uint64_t write_flag_durable = RWF_DSYNC;

bool aligned(uint64_t value, uint64_t unit) { return value % unit == 0; }
bool is_commit(DriveOp op) { return op == DriveOp::write || op == DriveOp::flush; }

}  // namespace

std::expected<std::unique_ptr<UringDrive>, std::string> UringDrive::create(Ring& ring, const Arena& arena,
                                                                           LaneDirectory directory,
                                                                           const DriveUnits& units,
                                                                           const UringDriveConfig& config) {
  if (!aligned(config.segment_bytes, MiB) || config.segment_bytes == 0) {
    return std::unexpected("segment size must be a multiple of 1 MiB, not " + std::to_string(config.segment_bytes));
  }
  std::unique_ptr<UringDrive> drive(new UringDrive(ring, arena, std::move(directory), units, config));
  if (auto opened = drive->open_slots(); !opened) return std::unexpected(opened.error());
  return drive;
}

UringDrive::UringDrive(Ring& ring, const Arena& arena, LaneDirectory directory, const DriveUnits& units,
                       const UringDriveConfig& config)
    : ring_(ring),
      arena_(arena),
      directory_(std::move(directory)),
      units_(units),
      config_(config),
      descriptors_(std::make_unique<int[]>(config.slots_max)),
      requests_(std::make_unique<Request[]>(config.requests_max)),
      preparer_(directory_, config.segment_bytes, config.requests_max, [&ring] { ring.wake(); }) {
  std::fill_n(descriptors_.get(), config.slots_max, -1);
  for (uint32_t index = 0; index < config.requests_max; ++index) {
    requests_[index].next_free = index + 1 < config.requests_max ? index + 1 : no_request;
  }
}

UringDrive::~UringDrive() {
  for (uint32_t slot = 0; slot < slot_count_; ++slot) {
    if (descriptors_[slot] >= 0) ::close(descriptors_[slot]);
  }
}

std::expected<void, std::string> UringDrive::open_slots() {
  const auto slots = directory_.slots();
  if (!slots) return std::unexpected(slots.error());
  for (const SegmentSlot slot : *slots) {
    if (slot.value >= config_.slots_max) {
      return std::unexpected(directory_.path() + "/" + LaneDirectory::file_name(slot) + ": more than " +
                             std::to_string(config_.slots_max) + " segments");
    }
    const int file = directory_.open_slot(slot);
    if (file < 0) {
      return std::unexpected("cannot open " + directory_.path() + "/" + LaneDirectory::file_name(slot) + ": " +
                             std::strerror(-file));
    }
    descriptors_[slot.value] = file;
    slot_count_ = slot.value + 1;
  }
  return {};
}

bool UringDrive::submit(const DriveRequest& request) {
  if (free_request_ == no_request) return false;
  const uint32_t index = free_request_;
  check(request.slot.value < config_.slots_max, "slot beyond the drive", request.slot.value, config_.slots_max);
  switch (request.op) {
    case DriveOp::prepare:
      if (!preparer_.prepare(index, request.slot)) return false;
      ++statistics_.prepares;
      break;
    case DriveOp::flush:
      ring_.prepare(RingOwner::drive, index, [&](io_uring_sqe* entry) {
        io_uring_prep_fsync(entry, descriptor(request.slot), IORING_FSYNC_DATASYNC);
      });
      ++statistics_.flushes;
      break;
    case DriveOp::write:
    case DriveOp::read:
      check_shape(request);
      prepare_transfer(request, index);
      break;
  }
  free_request_ = requests_[index].next_free;
  requests_[index] = {request.tag, request.op, no_request};
  ++in_flight_;
  if (is_commit(request.op) && commits_in_flight_++ == 0) preparer_.set_busy(true);
  return true;
}

void UringDrive::check_shape(const DriveRequest& request) const {
  check(!request.vectors.empty() && request.vectors.size() <= units_.vectors_max, "drive: number of vectors",
        static_cast<long long>(request.vectors.size()), units_.vectors_max);
  check(aligned(request.position.value, units_.block), "drive: position misses the block",
        static_cast<long long>(request.position.value), units_.block);
  uint64_t total = 0;
  for (const iovec& vector : request.vectors) {
    const auto* start = static_cast<const std::byte*>(vector.iov_base);
    check(vector.iov_len > 0 && aligned(vector.iov_len, units_.length_unit), "drive: vector length misses the unit",
          static_cast<long long>(vector.iov_len), units_.length_unit);
    check(aligned(reinterpret_cast<uint64_t>(start), units_.address_unit), "drive: vector address misses the unit",
          static_cast<long long>(reinterpret_cast<uint64_t>(start)), units_.address_unit);
    check(arena_.contains(start) && arena_.contains(start + vector.iov_len - 1), "drive: vector outside the arena");
    total += vector.iov_len;
  }
  check(aligned(total, units_.block), "drive: transfer misses the block", static_cast<long long>(total), units_.block);
  check(request.position.value + total <= config_.segment_bytes, "drive: transfer beyond the segment",
        static_cast<long long>(request.position.value), static_cast<long long>(total));
}

void UringDrive::prepare_transfer(const DriveRequest& request, uint32_t index) {
  const bool writing = request.op == DriveOp::write;
  const bool single = request.vectors.size() == 1;
  const bool fixed = ring_.arena_registered() && (single || ring_.features().writev_fixed);
  uint8_t opcode = 0;
  if (fixed && single) {
    opcode = writing ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
  } else if (fixed) {
    opcode = writing ? opcode_writev_fixed : opcode_readv_fixed;
  } else {
    opcode = writing ? IORING_OP_WRITEV : IORING_OP_READV;
  }
  const bool takes_address = fixed && single;
  const void* address = takes_address ? request.vectors[0].iov_base : request.vectors.data();
  const auto length = static_cast<unsigned>(takes_address ? request.vectors[0].iov_len : request.vectors.size());
  ring_.prepare(RingOwner::drive, index, [&](io_uring_sqe* entry) {
    io_uring_prep_rw(opcode, entry, descriptor(request.slot), address, length, request.position.value);
    if (writing && request.durable) entry->rw_flags = static_cast<__kernel_rwf_t>(write_flag_durable);
  });
  if (!writing) {
    ++statistics_.reads;
  } else {
    ++(fixed ? statistics_.fixed_writes : statistics_.vector_writes);
  }
}

bool UringDrive::next_completion(DriveCompletion& completion) {
  uint32_t index = no_request;
  RingCompletion done;
  if (ring_.next_completion(RingOwner::drive, done)) {
    index = static_cast<uint32_t>(done.tag);
    completion.result = done.result;
  } else if (const auto prepared = preparer_.take()) {
    index = prepared->request;
    completion.result = prepared->result;
    finish_prepare(*prepared);
  } else {
    return false;
  }
  Request& request = requests_[index];
  completion.tag = request.tag;
  --in_flight_;
  if (is_commit(request.op) && --commits_in_flight_ == 0) preparer_.set_busy(false);
  request.next_free = free_request_;
  free_request_ = index;
  return true;
}

void UringDrive::finish_prepare(const PreparedSlot& prepared) {
  int& file = descriptors_[prepared.slot.value];
  if (file >= 0) ::close(file);  // a recycled slot: the same file again, or gone with an error
  file = prepared.descriptor;
  if (file >= 0) slot_count_ = std::max(slot_count_, prepared.slot.value + 1);
}

int UringDrive::descriptor(SegmentSlot slot) const {
  const int file = descriptors_[slot.value];
  check(file >= 0, "drive request for a slot that was not prepared", slot.value);
  return file;
}

uint64_t UringDrive::slot_bytes(SegmentSlot slot) const {
  struct stat facts{};
  if (slot.value >= slot_count_ || descriptors_[slot.value] < 0) return 0;
  return ::fstat(descriptors_[slot.value], &facts) == 0 ? static_cast<uint64_t>(facts.st_size) : 0;
}

std::expected<size_t, int> UringDrive::read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) {
  if (slot.value >= slot_count_ || descriptors_[slot.value] < 0) return std::unexpected(ENOENT);
  return read_segment(descriptors_[slot.value], position, to);
}

}  // namespace penstock
