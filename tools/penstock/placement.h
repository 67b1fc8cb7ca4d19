// Which core each lane runs on. A lane should have a core to itself, one hardware thread of it, and its memory on the
// same NUMA node; with more lanes than cores several share one, in turn.
//
// The choice is a pure function of what the machine looks like, so that tests can give it any machine.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

// A hardware thread that this process may use.
struct Processor {
  uint32_t number = 0;     // the operating system's
  uint32_t core = 0;       // logical index of the physical core it belongs to
  uint32_t numa_node = 0;  // the operating system's
  bool operator==(const Processor&) const = default;
};

struct Machine {
  std::vector<Processor> processors;  // by core, then number
  uint32_t core_count() const;
};

// As hwloc sees it, within this process's allowed processors (cgroups, taskset).
std::expected<Machine, std::string> read_machine();

struct LanePlace {
  uint32_t lane = 0;
  uint32_t processor = 0;
  uint32_t numa_node = 0;
  bool operator==(const LanePlace&) const = default;
};

// What of the machine is on this node; all of it when the node has no processor that may be used.
Machine of_node(const Machine& machine, uint32_t numa_node);

// The node a block device ("nvme0n1") hangs on; nothing when it does not say or has none.
std::optional<uint32_t> numa_node_of_drive(const std::string& device);

// `cores`: the configuration's list: "auto", or numbers and ranges ("3", "8-11"). The error is for the operator.
std::expected<std::vector<LanePlace>, std::string> place_lanes(const Machine& machine, uint32_t lane_count,
                                                               const std::vector<std::string>& cores);

// The processors without a lane, where whatever is not a lane's may run. Empty: there are none.
std::vector<uint32_t> without_lanes(const Machine& machine, const std::vector<LanePlace>& places);

// One line per lane, and a word where lanes share a processor.
std::string placement_table(const std::vector<LanePlace>& places);

// False when the system refuses; the lane then runs wherever it is put.
bool pin_this_thread(uint32_t processor);

}  // namespace penstock
