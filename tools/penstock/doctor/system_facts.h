// What the kernel tells by system calls and not by files. Asked once; a test writes down what it likes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tools/penstock/placement.h"

namespace penstock::doctor {

struct SystemFacts {
  Machine machine;

  std::string ring_error;     // why no io_uring can be made; empty: one can
  std::string ring_features;  // in a line

  uint64_t locked_bytes_max = 0;  // RLIMIT_MEMLOCK, the hard limit: the node raises the soft one itself
  uint64_t open_files_max = 0;    // RLIMIT_NOFILE, likewise
  bool may_lock_any = false;      // CAP_IPC_LOCK
  bool may_raise_limits = false;  // CAP_SYS_RESOURCE: the node goes beyond the hard limit

  bool clock_synchronized = false;  // adjtimex

  // Of the file system that holds, or will hold, the data directory.
  std::optional<uint64_t> free_bytes;
  uint32_t direct_memory_align = 0;  // statx DIOALIGN; 0: the kernel does not say
  uint32_t direct_offset_align = 0;
};

// `existing`: the data directory, or the directory above it that exists.
SystemFacts ask_system(const std::string& existing);

}  // namespace penstock::doctor
