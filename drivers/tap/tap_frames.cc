#include "drivers/tap/tap_frames.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace penstock {
namespace {

constexpr uint32_t link_bytes_max = 18;  // Ethernet header with a VLAN tag
constexpr uint32_t pieces_max = 16;

}  // namespace

std::expected<int, std::string> open_tap(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return std::unexpected("not a name for a device: " + name);
  const int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return std::unexpected(std::string("/dev/net/tun: ") + std::strerror(errno));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(file, TUNSETIFF, &request) != 0) {
    const std::string why = std::strerror(errno);
    close(file);
    return std::unexpected("tap device " + name + ": " + why);
  }
  return file;
}

TapFrames::TapFrames(int file, const TapFramesConfig& config, Arena arena, BufferTable& buffers,
                     BufferAllocator& allocator)
    : file_(file),
      config_(config),
      arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      frame_buffers_((config.shift_bytes + config.mtu_bytes + link_bytes_max + arena_unit_bytes - 1) /
                     arena_unit_bytes) {
  features_.address = config.address;
  features_.mtu_bytes = config.mtu_bytes;
  features_.pieces_max = pieces_max;
  check(config.shift_bytes < arena_unit_bytes, "shift beyond the first buffer", config.shift_bytes);
  check(frame_buffers_ <= pieces_max, "MTU beyond what a frame may have of buffers", config.mtu_bytes);
  spares_.reserve(frame_buffers_);
  pieces_.reserve(frame_buffers_);
}

TapFrames::~TapFrames() {
  for (const BufferIndex spare : spares_) allocator_.free(spare, 0);
}

bool TapFrames::take_spares() {
  while (spares_.size() < frame_buffers_) {
    const BufferIndex buffer = allocator_.allocate(0);
    if (buffer == no_buffer) return false;
    spares_.push_back(buffer);
  }
  return true;
}

bool TapFrames::receive() {
  pieces_.clear();
  std::array<iovec, pieces_max> vectors;
  std::array<std::byte, 1> nowhere;
  const bool room = take_spares();
  size_t count = 0;
  for (uint32_t shift = config_.shift_bytes; room && count < frame_buffers_; ++count, shift = 0) {
    vectors[count] = {arena_.at(spares_[count]) + shift, arena_unit_bytes - shift};
  }
  if (!room) vectors[count++] = {nowhere.data(), nowhere.size()};
  const ssize_t got = readv(file_, vectors.data(), static_cast<int>(count));
  if (got <= 0) return false;
  const auto length = static_cast<size_t>(got);
  const bool scarce = allocator_.free_bytes() < uint64_t{config_.reserve_buffers} * arena_unit_bytes;
  if (!room || (scarce && length > short_frame_bytes)) {
    ++statistics_.dropped_no_buffer;
    return true;
  }
  ++statistics_.received;
  size_t left = length;
  for (size_t i = 0; left > 0; ++i) {
    const size_t here = std::min(left, vectors[i].iov_len);
    buffers_.open(spares_[i], 0, Holder::device);
    pieces_.push_back({static_cast<std::byte*>(vectors[i].iov_base), static_cast<uint32_t>(here), spares_[i]});
    left -= here;
  }
  spares_.erase(spares_.begin(), spares_.begin() + static_cast<ptrdiff_t>(pieces_.size()));
  return true;
}

bool TapFrames::transmit(const TransmitFrame& frame) {
  check(frame.pieces.size() <= pieces_max, "pieces of a frame", static_cast<long long>(frame.pieces.size()),
        pieces_max);
  std::array<iovec, pieces_max> vectors;
  size_t count = 0;
  for (const Piece& piece : frame.pieces) vectors[count++] = {piece.data, piece.length};
  if (writev(file_, vectors.data(), static_cast<int>(count)) < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return false;
    ++statistics_.dropped_by_device;
  } else {
    ++statistics_.sent;
  }
  for (const Piece& piece : frame.pieces) buffers_.release(piece.buffer, Holder::send);
  return true;
}

void TapFrames::release(std::span<const BufferIndex> buffers) {
  for (const BufferIndex buffer : buffers) allocator_.free(buffer, buffers_.order(buffer));
}

uint64_t TapFrames::receive_free() const {
  const uint64_t reserve = uint64_t{config_.reserve_buffers} * arena_unit_bytes;
  const uint64_t free = allocator_.free_bytes();
  return free > reserve ? free - reserve : 0;
}

}  // namespace penstock
