#include "drivers/dpdk/eal.h"

#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_version.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cctype>
#include <cstdio>
#include <optional>
#include <vector>

namespace penstock {
namespace {

std::function<void(DpdkLog, std::string_view)> log_line;
std::optional<std::string> started;
std::atomic<bool> ending{false};

// What sounds like trouble and is none. Net_tap says "error" of what it then does without: no failure that matters is
// told by its lines alone. Pages of 1 GiB are not wanted. Drivers close twice at the end.
bool of_no_consequence(std::string_view line) {
  const auto has = [&](std::string_view part) { return line.find(part) != line.npos; };
  return ending || has("tap_") || has("qdisc_") || has("kB hugepages reported on node");
}

// Ours -> DPDK's. Its information is a developer's.
uint32_t dpdk_level(DpdkLog level) {
  switch (level) {
    case DpdkLog::debug:
      return RTE_LOG_INFO;
    case DpdkLog::info:
    case DpdkLog::warn:
      return RTE_LOG_WARNING;
    case DpdkLog::error:
      break;
  }
  return RTE_LOG_ERR;
}

DpdkLog level_of(int dpdk) {
  if (dpdk <= static_cast<int>(RTE_LOG_ERR)) return DpdkLog::error;
  if (dpdk <= static_cast<int>(RTE_LOG_WARNING)) return DpdkLog::warn;
  return dpdk <= static_cast<int>(RTE_LOG_NOTICE) ? DpdkLog::info : DpdkLog::debug;
}

ssize_t take_line(void*, const char* text, size_t bytes) {
  std::string_view line(text, bytes);
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (!line.empty() && log_line)
    log_line(of_no_consequence(line) ? DpdkLog::debug : level_of(rte_log_cur_msg_loglevel()), line);
  return static_cast<ssize_t>(bytes);
}

std::vector<std::string> arguments_for(const EalConfig& config, int core) {
  std::vector<std::string> arguments = {"penstock", "--no-telemetry", "-l", std::to_string(core),
                                        "--log-level=*:" + std::to_string(dpdk_level(config.log_level))};
  if (config.huge_pages) {
    arguments.push_back("--in-memory");
  } else {
    constexpr uint32_t common_mib = 128, lane_mib = 96;
    arguments.insert(arguments.end(),
                     {"--no-huge", "--no-shconf", "-m", std::to_string(common_mib + config.lane_count * lane_mib)});
  }
  if (config.iova != "auto") arguments.push_back("--iova-mode=" + config.iova);
  if (is_pci_address(config.device)) {
    arguments.insert(arguments.end(), {"-a", config.device.substr(0, config.device.find(','))});
  } else {
    arguments.push_back("--no-pci");
  }
  return arguments;
}

}  // namespace

bool is_pci_address(std::string_view device) {
  device = device.substr(0, device.find(','));
  size_t colons = 0, dots = 0;
  for (const char c : device) {
    if (c == ':')
      ++colons;
    else if (c == '.')
      ++dots;
    else if (std::isxdigit(static_cast<unsigned char>(c)) == 0)
      return false;
  }
  return colons >= 1 && colons <= 2 && dots == 1;
}

std::expected<std::string, std::string> start_eal(const EalConfig& config) {
  if (started) return *started;
  log_line = config.log;
  static const cookie_io_functions_t functions{.read = nullptr, .write = take_line, .seek = nullptr, .close = nullptr};
  FILE* stream = fopencookie(nullptr, "w", functions);
  if (stream == nullptr) return std::unexpected("no memory for a log stream");
  setvbuf(stream, nullptr, _IOLBF, BUFSIZ);
  rte_openlog_stream(stream);

  cpu_set_t before;
  sched_getaffinity(0, sizeof before, &before);
  int core = 0;
  while (core < CPU_SETSIZE - 1 && !CPU_ISSET(core, &before)) ++core;
  std::vector<std::string> arguments = arguments_for(config, core);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  const int result = rte_eal_init(static_cast<int>(pointers.size()), pointers.data());
  sched_setaffinity(0, sizeof before, &before);
  if (result < 0) {
    return std::unexpected(std::string("DPDK cannot start: ") + rte_strerror(rte_errno) +
                           (config.huge_pages ? "; are huge pages reserved (sysctl vm.nr_hugepages)?" : ""));
  }
  signal(SIGIO, SIG_IGN);  // net_tap's, when its own real-time signal is queued too often
  started = std::string(rte_version()) + (config.huge_pages ? ", huge pages" : ", ordinary pages") +
            (rte_eal_iova_mode() == RTE_IOVA_PA ? ", physical addresses" : ", virtual addresses");
  return *started;
}

void end_eal() { ending = true; }

bool join_eal() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  return rte_thread_register() == 0;
}

void leave_eal() {
  if (rte_lcore_id() != LCORE_ID_ANY) rte_thread_unregister();
}

}  // namespace penstock
