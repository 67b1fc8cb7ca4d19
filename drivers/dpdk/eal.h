// DPDK's environment, started once a process: memory, devices and drivers as the node's configuration says.
//
// Nothing of it outlives the caller's expectations: the calling thread keeps its affinity, nothing is written to the
// file system, no telemetry socket is opened, and lines go to the node's own log.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

namespace penstock {

enum class DpdkLog : uint8_t { debug, info, warn, error };

struct EalConfig {
  std::string device;         // a PCI address, or a virtual device as DPDK writes it: "net_tap0,iface=tap0"
  bool huge_pages = true;     // false: DPDK's own tables in ordinary memory
  std::string iova = "auto";  // what devices take for addresses: auto, va or pa
  uint32_t lane_count = 1;    // sizes DPDK's own tables
  DpdkLog log_level = DpdkLog::info;
  std::function<void(DpdkLog, std::string_view)> log;
};

bool is_pci_address(std::string_view device);

// Later calls in the same process only say what the first one said.
std::expected<std::string, std::string> start_eal(const EalConfig& config);

// Before the last port stops: what DPDK says from now on is for a developer.
void end_eal();

// What a lane's thread does before it uses a port: DPDK gives it caches of its own, and signals that virtual devices
// use among themselves go to other threads. False: DPDK has no room for another thread.
bool join_eal();
void leave_eal();

}  // namespace penstock
