#include "drivers/uring/segment_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace penstock {

namespace {

constexpr uint64_t page_bytes = 4096;  // satisfies every drive's direct I/O units
constexpr uint64_t bounce_bytes_max = MiB;

struct FreeAligned {
  void operator()(std::byte* memory) const { std::free(memory); }
};

}  // namespace

std::expected<size_t, int> read_segment(int descriptor, FilePosition position, std::span<std::byte> to) {
  const uint64_t bounce_bytes = std::min(bounce_bytes_max, round_up(to.size() + 2 * page_bytes, page_bytes));
  const std::unique_ptr<std::byte, FreeAligned> bounce(
      static_cast<std::byte*>(std::aligned_alloc(page_bytes, bounce_bytes)));
  if (bounce == nullptr) return std::unexpected(ENOMEM);

  size_t copied = 0;
  while (copied < to.size()) {
    const uint64_t from = position.value + copied;
    const uint64_t aligned_from = round_down(from, page_bytes);
    const uint64_t skip = from - aligned_from;
    const uint64_t wanted = std::min(bounce_bytes, round_up(skip + to.size() - copied, page_bytes));
    const ssize_t got = ::pread(descriptor, bounce.get(), wanted, static_cast<off_t>(aligned_from));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno);
    if (static_cast<uint64_t>(got) <= skip) break;  // the end of the file
    const size_t length = std::min(static_cast<size_t>(got) - skip, to.size() - copied);
    std::memcpy(to.data() + copied, bounce.get() + skip, length);
    copied += length;
  }
  return copied;
}

std::expected<std::unique_ptr<DirectoryFiles>, std::string> DirectoryFiles::open(const LaneDirectory& directory) {
  std::unique_ptr<DirectoryFiles> files(new DirectoryFiles);
  const auto slots = directory.slots();
  if (!slots) return std::unexpected(slots.error());
  for (const SegmentSlot slot : *slots) {
    const int file = directory.open_slot(slot);
    if (file < 0) {
      return std::unexpected("cannot open " + directory.path() + "/" + LaneDirectory::file_name(slot) + ": " +
                             std::strerror(-file));
    }
    files->descriptors_.resize(slot.value + 1, -1);
    files->descriptors_[slot.value] = file;
  }
  return files;
}

DirectoryFiles::~DirectoryFiles() {
  for (const int file : descriptors_) {
    if (file >= 0) ::close(file);
  }
}

uint64_t DirectoryFiles::slot_bytes(SegmentSlot slot) const {
  struct stat facts{};
  if (slot.value >= descriptors_.size() || descriptors_[slot.value] < 0) return 0;
  return ::fstat(descriptors_[slot.value], &facts) == 0 ? static_cast<uint64_t>(facts.st_size) : 0;
}

std::expected<size_t, int> DirectoryFiles::read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) {
  if (slot.value >= descriptors_.size() || descriptors_[slot.value] < 0) return std::unexpected(ENOENT);
  return read_segment(descriptors_[slot.value], position, to);
}

}  // namespace penstock
