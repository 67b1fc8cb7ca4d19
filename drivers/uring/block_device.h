// The block device below a directory: its queue limits and its command counters, from /sys. A file system may sit on a
// partition, on a stack of mapped devices, or on none (tmpfs, network): then there is nothing to report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace penstock {

struct DriveCommands {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t flushes = 0;
  uint64_t written_bytes = 0;
};

class BlockDevice {
 public:
  static std::optional<BlockDevice> of(const std::string& path);

  // The device whose queue limits hold for the file system: a partition's disk; the top of a stack of mapped devices,
  // whose limits the kernel has already combined.
  const std::string& name() const { return name_; }
  std::string identity() const;  // name, model and size: tells one drive from another across reboots
  std::optional<std::string> queue_text(const char* attribute) const;
  uint64_t queue_number(const char* attribute, uint64_t otherwise) const;

  // Commands since boot of the whole disk at the bottom of the stack, of whoever sent them. Absent when there are
  // several disks below or the kernel does not count.
  std::optional<DriveCommands> commands() const;
  const std::string& disk() const { return disk_; }  // empty: several

 private:
  std::string name_;
  std::string disk_;
};

}  // namespace penstock
