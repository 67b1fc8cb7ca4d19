#include "drivers/uring/block_device.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace penstock {

namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string sys_of(dev_t device) {
  return "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

// File systems with several devices (btrfs) show a device number that /sys does not know; the mount table names one.
std::optional<dev_t> device_of_mount(dev_t anonymous) {
  const std::string wanted = std::to_string(major(anonymous)) + ":" + std::to_string(minor(anonymous));
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string mount_id, parent, numbers, word, kind, source;
    words >> mount_id >> parent >> numbers;
    if (numbers != wanted) continue;
    while (words >> word && word != "-") continue;
    words >> kind >> source;
    struct stat facts{};
    if (::stat(source.c_str(), &facts) == 0 && S_ISBLK(facts.st_mode)) return facts.st_rdev;
  }
  return std::nullopt;
}

// The whole disk that a name in /sys stands for: a partition's parent, else itself.
std::string whole_disk(const fs::path& device) {
  std::error_code error;
  const fs::path real = fs::canonical(device, error);
  if (error) return {};
  return fs::exists(real / "partition", error) ? real.parent_path().filename() : real.filename();
}

// Follows a stack of mapped devices down as long as each has exactly one below.
std::string bottom_of(std::string name) {
  constexpr int depth_max = 16;
  for (int depth = 0; depth < depth_max; ++depth) {
    std::error_code error;
    std::vector<fs::path> below;
    for (const auto& entry : fs::directory_iterator("/sys/block/" + name + "/slaves", error)) {
      below.push_back(entry.path());
    }
    if (below.empty()) return name;
    if (below.size() > 1) return {};
    name = whole_disk(below.front());
    if (name.empty()) return {};
  }
  return {};
}

}  // namespace

std::optional<BlockDevice> BlockDevice::of(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return std::nullopt;
  std::error_code error;
  dev_t device = facts.st_dev;
  if (!fs::exists(sys_of(device), error)) {
    const auto mounted = device_of_mount(device);
    if (!mounted) return std::nullopt;
    device = *mounted;
  }
  BlockDevice found;
  found.name_ = whole_disk(sys_of(device));
  if (found.name_.empty()) return std::nullopt;
  found.disk_ = bottom_of(found.name_);
  return found;
}

std::string BlockDevice::identity() const {
  const std::string base = "/sys/block/" + name_;
  return name_ + " " + first_line(base + "/device/model") + " " + first_line(base + "/size");
}

std::optional<std::string> BlockDevice::queue_text(const char* attribute) const {
  std::string line = first_line("/sys/block/" + name_ + "/queue/" + attribute);
  if (line.empty()) return std::nullopt;
  return line;
}

uint64_t BlockDevice::queue_number(const char* attribute, uint64_t otherwise) const {
  const auto text = queue_text(attribute);
  uint64_t number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc()) return otherwise;
  return number;
}

std::optional<DriveCommands> BlockDevice::commands() const {
  // Fields of /sys/block/<disk>/stat, see the kernel's Documentation/block/stat.rst. A sector is 512 bytes here.
  constexpr size_t reads = 0, writes = 4, write_sectors = 6, flushes = 15, fields_max = 17;
  constexpr uint64_t sector_bytes = 512;
  if (disk_.empty()) return std::nullopt;
  std::istringstream words(first_line("/sys/block/" + disk_ + "/stat"));
  uint64_t fields[fields_max] = {};
  size_t count = 0;
  while (count < fields_max && words >> fields[count]) ++count;
  if (count <= write_sectors) return std::nullopt;
  return DriveCommands{fields[reads], fields[writes], fields[flushes], fields[write_sectors] * sector_bytes};
}

}  // namespace penstock
