#include "tools/penstock/doctor/system_facts.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

#include "drivers/uring/ring.h"

namespace penstock::doctor {
namespace {

uint64_t hard_limit(__rlimit_resource resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
}

bool has_capability(unsigned number) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, sets) != 0) return false;
  return (sets[number / 32].effective >> number % 32 & 1) != 0;
}

void ask_ring(SystemFacts& facts) {
  const auto ring = Ring::create({}, {.register_arena = false});
  if (!ring) {
    facts.ring_error = ring.error();
    return;
  }
  const RingFeatures& has = (*ring)->features();
  const auto add = [&](bool present, const char* what) {
    facts.ring_features += (facts.ring_features.empty() ? "" : ", ") + std::string(present ? "" : "no ") + what;
  };
  add(has.defer_taskrun, "deferred completions");
  add(has.buffer_ring, "buffer rings");
  add(has.multishot_accept, "multishot accept");
  add(has.writev_fixed, "vectored writes from registered memory");
}

// Only a file tells: a directory has no direct I/O. It has no name, so it is gone when it is closed.
void ask_direct_io(const std::string& directory, SystemFacts& facts) {
  const int file = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return;
  struct statx told{};
  if (statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &told) == 0 && (told.stx_mask & STATX_DIOALIGN) != 0) {
    facts.direct_memory_align = told.stx_dio_mem_align;
    facts.direct_offset_align = told.stx_dio_offset_align;
  }
  close(file);
}

}  // namespace

SystemFacts ask_system(const std::string& existing) {
  SystemFacts facts;
  if (auto machine = read_machine()) facts.machine = std::move(*machine);
  ask_ring(facts);
  facts.locked_bytes_max = hard_limit(RLIMIT_MEMLOCK);
  facts.open_files_max = hard_limit(RLIMIT_NOFILE);
  facts.may_lock_any = has_capability(CAP_IPC_LOCK);
  facts.may_raise_limits = has_capability(CAP_SYS_RESOURCE);
  timex time{};
  facts.clock_synchronized = adjtimex(&time) >= 0 && (time.status & STA_UNSYNC) == 0;
  struct statvfs space{};
  if (statvfs(existing.c_str(), &space) == 0) facts.free_bytes = uint64_t{space.f_bavail} * space.f_frsize;
  ask_direct_io(existing, facts);
  return facts;
}

}  // namespace penstock::doctor
