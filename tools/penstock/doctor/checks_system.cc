// Kernel, clock and the process's limits.
#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "dataplane/base/units.h"
#include "tools/penstock/doctor/checks.h"
#include "tools/penstock/resource_limits.h"

namespace penstock::doctor {
namespace {

std::pair<int, int> version_of(const std::string& release) {
  int major = 0, minor = 0;
  const char* end = release.data() + release.size();
  const auto [dot, error] = std::from_chars(release.data(), end, major);
  if (error == std::errc() && dot != end) std::from_chars(dot + 1, end, minor);
  return {major, minor};
}

ResourceNeeds needs_of(const Situation& now) {
  return resource_needs(static_cast<uint32_t>(now.lane_count()), static_cast<uint64_t>(now.config.connections_max),
                        static_cast<uint64_t>(now.config.memory_arena_bytes));
}

}  // namespace

std::optional<Finding> system_kernel(const Situation& now) {
  constexpr std::pair oldest{6, 1}, gathers{6, 15};
  const std::string release = now.files.line("/proc/sys/kernel/osrelease");
  const std::pair<int, int> version = version_of(release);
  if (version < oldest)
    return fail("kernel " + release + " is older than 6.1, the oldest that is tested", "apt install linux-image-amd64");
  if (version < gathers) return ok("kernel " + release + "; from 6.15 on gather writes cost less");
  return ok("kernel " + release);
}

std::optional<Finding> system_ring(const Situation& now) {
  const int64_t disabled = now.files.number("/proc/sys/kernel/io_uring_disabled").value_or(0);
  if (disabled != 0 && !now.facts.ring_error.empty())
    return fail(fmt::format("io_uring is switched off (kernel.io_uring_disabled is {})", disabled),
                "sysctl -w kernel.io_uring_disabled=0");
  if (!now.facts.ring_error.empty())
    return fail(now.facts.ring_error,
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's "
                "seccomp profile");
  return ok("io_uring works: " + now.facts.ring_features);
}

std::optional<Finding> system_clock(const Situation& now) {
  const std::string base = "/sys/devices/system/clocksource/clocksource0/";
  const std::string source = now.files.line(base + "current_clocksource");
  if (source == "tsc" || source == "kvm-clock" || source == "hyperv_clocksource_tsc_page")
    return ok("the clock is " + source + ", read without a system call");
  const bool offered = now.files.line(base + "available_clocksource").find("tsc") != std::string::npos;
  return warn("the clock is " + (source.empty() ? "unknown" : source) + ", each look at it is a system call",
              offered ? "echo tsc > " + base + "current_clocksource" : "kernel command line: tsc=reliable");
}

std::optional<Finding> system_time(const Situation& now) {
  if (now.facts.clock_synchronized) return ok("the time is synchronised");
  return warn("nothing keeps the time right: retention and look-up by time go by it",
              "apt install chrony && systemctl enable --now chrony");
}

std::optional<Finding> limit_files(const Situation& now) {
  const uint64_t needed = needs_of(now).open_files, allowed = now.facts.open_files_max;
  if (allowed >= needed || now.facts.may_raise_limits)
    return ok(fmt::format("{} files may be needed and may be open", needed));
  return warn(fmt::format("{} files may be needed for connections and segments, {} may be open", needed, allowed),
              fmt::format("LimitNOFILE={0} in the service file (ulimit -n {0})", needed));
}

std::optional<Finding> limit_locked(const Situation& now) {
  const uint64_t needed = needs_of(now).locked_bytes, allowed = now.facts.locked_bytes_max;
  if (now.facts.may_lock_any) return ok(fmt::format("{} MiB of locked memory needed, not limited", needed / MiB));
  if (allowed >= needed) return ok(fmt::format("{} MiB of locked memory needed and allowed", needed / MiB));
  return fail(fmt::format("{} MiB of locked memory needed, {} MiB allowed", needed / MiB, allowed / MiB),
              "LimitMEMLOCK=infinity in the service file (ulimit -l unlimited)");
}

}  // namespace penstock::doctor
