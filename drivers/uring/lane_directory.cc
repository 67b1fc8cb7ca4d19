#include "drivers/uring/lane_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace penstock {

namespace {

constexpr std::string_view name_start = "segment-", name_end = ".log";
constexpr mode_t directory_mode = 0750, file_mode = 0640;

std::string error_text(const std::string& what, int error) { return what + ": " + std::strerror(error); }

std::optional<SegmentSlot> slot_of(std::string_view name) {
  if (!name.starts_with(name_start) || !name.ends_with(name_end)) return std::nullopt;
  name.remove_prefix(name_start.size());
  name.remove_suffix(name_end.size());
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const SegmentSlot slot(number);
  // Only the canonical name, so that two files never mean the same slot.
  if (error != std::errc() || LaneDirectory::file_name(slot) != std::string(name_start) + std::string(name) + ".log") {
    return std::nullopt;
  }
  return slot;
}

// Creates a file as segments are created and looks whether direct I/O works on it.
std::expected<void, std::string> try_direct_file(int directory, const std::string& path) {
  const char* name = ".direct-io-trial";
  const int file = ::openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC, file_mode);
  if (file < 0) {
    const int error = errno;
    return std::unexpected(error_text(path + " is not writable", error) +
                           (error == EACCES ? "; give the directory to the user that runs penstock" : ""));
  }
  struct statx facts{};
  const bool told =
      ::statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 && (facts.stx_mask & STATX_DIOALIGN) != 0;
  const int direct = ::openat(directory, name, O_RDWR | O_DIRECT | O_CLOEXEC);
  const int error = direct < 0 ? errno : 0;
  if (direct >= 0) ::close(direct);
  ::close(file);
  ::unlinkat(directory, name, 0);
  if (direct < 0 || (told && facts.stx_dio_offset_align == 0)) {
    return std::unexpected(path + " is on a file system without direct I/O" +
                           (error != 0 && error != EINVAL ? std::string(" (") + std::strerror(error) + ")" : "") +
                           "; put the data directory on ext4 or xfs on a local drive");
  }
  return {};
}

}  // namespace

std::expected<LaneDirectory, std::string> LaneDirectory::open(const std::string& path, DirectoryAccess access) {
  LaneDirectory directory;
  directory.path_ = path;
  directory.access_ = access;
  if (access == DirectoryAccess::own && ::mkdir(path.c_str(), directory_mode) != 0 && errno != EEXIST) {
    return std::unexpected(error_text("cannot create " + path, errno));
  }
  directory.descriptor_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory.descriptor_ < 0) return std::unexpected(error_text("cannot open the directory " + path, errno));
  if (access == DirectoryAccess::look) return directory;

  if (::flock(directory.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    return std::unexpected(path + " is in use by another process");
  }
  if (auto direct = try_direct_file(directory.descriptor_, path); !direct) return std::unexpected(direct.error());
  return directory;
}

LaneDirectory::LaneDirectory(LaneDirectory&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), access_(other.access_) {}

LaneDirectory::~LaneDirectory() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::expected<std::vector<SegmentSlot>, std::string> LaneDirectory::slots() const {
  DIR* stream = ::opendir(path_.c_str());
  if (stream == nullptr) return std::unexpected(error_text("cannot list " + path_, errno));
  std::vector<SegmentSlot> found;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    if (const auto slot = slot_of(entry->d_name)) found.push_back(*slot);
    errno = 0;
  }
  const int error = errno;
  ::closedir(stream);
  if (error != 0) return std::unexpected(error_text("cannot list " + path_, error));
  std::ranges::sort(found);
  return found;
}

std::string LaneDirectory::file_name(SegmentSlot slot) {
  char name[32];
  std::snprintf(name, sizeof name, "segment-%06u.log", slot.value);
  return name;
}

int LaneDirectory::open_slot(SegmentSlot slot) const {
  const int flags = access_ == DirectoryAccess::own ? O_RDWR | O_DIRECT : O_RDONLY;
  const int file = ::openat(descriptor_, file_name(slot).c_str(), flags | O_CLOEXEC);
  return file < 0 ? -errno : file;
}

int LaneDirectory::create_slot(SegmentSlot slot) const {
  const int file = ::openat(descriptor_, file_name(slot).c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, file_mode);
  return file < 0 ? -errno : file;
}

void LaneDirectory::remove_slot(SegmentSlot slot) const { ::unlinkat(descriptor_, file_name(slot).c_str(), 0); }

int LaneDirectory::sync() const { return ::fsync(descriptor_) == 0 ? 0 : -errno; }

}  // namespace penstock
