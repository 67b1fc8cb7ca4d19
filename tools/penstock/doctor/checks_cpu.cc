// Instructions, and what keeps a core from answering at once: frequency, sleep states, other work, interrupts.
#include <fmt/format.h>

#include <algorithm>

#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

std::vector<std::string> flags_of(const RootFiles& files) {
  const std::string text = files.text("/proc/cpuinfo").value_or("");
  const size_t at = text.find("\nflags");
  if (at == std::string::npos) return {};
  const size_t colon = text.find(':', at), end = text.find('\n', at + 1);
  return colon == std::string::npos ? std::vector<std::string>{} : words(text.substr(colon + 1, end - colon - 1));
}

std::string cpu(uint32_t number, const char* rest) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(number) + "/" + rest;
}

// Whether somebody else than the idle task may be put on the lanes' processors.
bool whole_cores_wanted(const Situation& now) { return now.bypass || now.config.poll == "busy"; }

std::vector<uint32_t> missing(std::vector<uint32_t> wanted, const std::vector<uint32_t>& there) {
  std::erase_if(wanted, [&](uint32_t each) { return std::ranges::find(there, each) != there.end(); });
  return wanted;
}

}  // namespace

std::optional<Finding> cpu_instructions(const Situation& now) {
  const std::vector<std::string> flags = flags_of(now.files);
  std::string absent;
  for (const char* needed : {"avx2", "bmi2", "fma", "movbe", "pclmulqdq", "sse4_2"}) {
    if (std::ranges::find(flags, needed) == flags.end()) absent += (absent.empty() ? "" : ", ") + std::string(needed);
  }
  if (absent.empty()) return ok("x86-64-v3 with AVX2 and PCLMULQDQ");
  return fail("this CPU lacks " + absent + ", which the program is compiled for",
              "use a CPU from 2013 or later; in a virtual machine pass the host's CPU through");
}

std::optional<Finding> cpu_crc(const Situation& now) {
  const std::vector<std::string> flags = flags_of(now.files);
  const auto has = [&](const char* flag) { return std::ranges::find(flags, flag) != flags.end(); };
  if (has("avx512f") && has("avx512vl") && has("avx512bw") && has("vpclmulqdq"))
    return ok("ISA-L computes CRC32C with AVX-512 and VPCLMULQDQ");
  if (has("pclmulqdq")) return ok("ISA-L computes CRC32C with SSE4.2 and PCLMULQDQ: no AVX-512 here");
  return warn("ISA-L computes CRC32C without PCLMULQDQ, which is slow", "use a CPU with PCLMULQDQ");
}

std::optional<Finding> cpu_governor(const Situation& now) {
  std::vector<uint32_t> others;
  std::string other;
  bool known = false;
  for (const uint32_t each : now.lane_processors()) {
    const std::string governor = now.files.line(cpu(each, "cpufreq/scaling_governor"));
    known = known || !governor.empty();
    if (governor.empty() || governor == "performance") continue;
    others.push_back(each);
    other = governor;
  }
  if (!others.empty())
    return warn(fmt::format("processors {} follow the governor {}: the first commits after a pause are slow",
                            list_of_numbers(others), other),
                "cpupower frequency-set -g performance");
  return ok(known ? "the governor is performance" : "the kernel does not set frequencies here");
}

std::optional<Finding> cpu_idle(const Situation& now) {
  constexpr int64_t latency_max_us = 20;
  int64_t deepest_us = 0;
  std::string deepest;
  for (const uint32_t each : now.lane_processors()) {
    for (const std::string& state : now.files.names_in(cpu(each, "cpuidle"))) {
      const std::string path = cpu(each, "cpuidle/") + state;
      const int64_t latency_us = now.files.number(path + "/latency").value_or(0);
      if (now.files.number(path + "/disable").value_or(0) != 0 || latency_us <= deepest_us) continue;
      deepest_us = latency_us;
      deepest = now.files.line(path + "/name");
    }
  }
  if (deepest_us == 0) return ok("no sleep states are offered to the kernel");
  const std::string found =
      fmt::format("the deepest sleep state in use is {}, which takes {} us to leave", deepest, deepest_us);
  if (deepest_us <= latency_max_us) return ok(found);
  return warn(found, fmt::format("cpupower idle-set --disable-by-latency {}", latency_max_us));
}

std::optional<Finding> cpu_isolation(const Situation& now) {
  const std::vector<uint32_t> lanes = now.lane_processors();
  const auto shared = missing(lanes, numbers_of_list(now.files.line("/sys/devices/system/cpu/isolated")));
  const auto ticking = missing(lanes, numbers_of_list(now.files.line("/sys/devices/system/cpu/nohz_full")));
  if (shared.empty() && ticking.empty()) return ok("the lanes' processors are isolated and without a tick");
  if (!whole_cores_wanted(now)) return ok("lanes that wait share their processors well: isolation is not needed");
  const std::string list = list_of_numbers(lanes);
  return warn(shared.empty() ? "the lanes' processors have a timer tick: " + list_of_numbers(ticking)
                             : "other programs may run on the lanes' processors: " + list_of_numbers(shared),
              fmt::format("kernel command line: isolcpus={0} nohz_full={0} rcu_nocbs={0}", list));
}

std::optional<Finding> cpu_interrupts(const Situation& now) {
  for (const std::string& name : now.files.names_in("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (now.files.line("/proc/" + name + "/comm") != "irqbalance") continue;
    const std::string list = list_of_numbers(now.lane_processors());
    const std::string environment = now.files.text("/proc/" + name + "/environ").value_or("");
    if (environment.find("IRQBALANCE_BANNED_CPULIST=") != std::string::npos)
      return ok("irqbalance runs and leaves some processors alone");
    return warn("irqbalance runs and may move interrupts to the lanes' processors",
                fmt::format("systemctl disable --now irqbalance, or IRQBALANCE_BANNED_CPULIST={} in "
                            "/etc/default/irqbalance",
                            list));
  }
  return ok("irqbalance does not run");
}

}  // namespace penstock::doctor
