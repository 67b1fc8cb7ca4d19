#include "tools/penstock/placement.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};

uint32_t numa_node_of(hwloc_topology_t topology, hwloc_obj_t processor) {
  const int node = processor->nodeset == nullptr ? -1 : hwloc_bitmap_first(processor->nodeset);
  const hwloc_obj_t object =
      node < 0 ? nullptr : hwloc_get_numanode_obj_by_os_index(topology, static_cast<unsigned>(node));
  return object == nullptr ? 0 : object->os_index;
}

std::optional<uint32_t> number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value >= CPU_SETSIZE) return std::nullopt;
  return value;
}

// "8-11" -> 8 9 10 11.
std::expected<std::vector<uint32_t>, std::string> numbers_of(const std::vector<std::string>& cores) {
  std::vector<uint32_t> numbers;
  for (const std::string& item : cores) {
    const size_t dash = item.find('-');
    const std::optional<uint32_t> first = number(std::string_view(item).substr(0, dash));
    const std::optional<uint32_t> last =
        dash == std::string::npos ? first : number(std::string_view(item).substr(dash + 1));
    if (!first || !last || *first > *last)
      return std::unexpected("cores: '" + item + "' is neither \"auto\", nor a number, nor a range such as \"8-11\"");
    for (uint32_t each = *first; each <= *last; ++each) numbers.push_back(each);
  }
  return numbers;
}

std::vector<Processor> one_of_each_core(const Machine& machine) {
  std::vector<Processor> chosen;
  for (const Processor& processor : machine.processors) {
    if (chosen.empty() || chosen.back().core != processor.core) chosen.push_back(processor);
  }
  return chosen;
}

std::expected<std::vector<Processor>, std::string> named(const Machine& machine,
                                                         const std::vector<std::string>& cores) {
  const auto numbers = numbers_of(cores);
  if (!numbers) return std::unexpected(numbers.error());
  std::vector<Processor> chosen;
  for (const uint32_t each : *numbers) {
    const auto found = std::ranges::find(machine.processors, each, &Processor::number);
    if (found == machine.processors.end())
      return std::unexpected("cores: this process may not use core " + std::to_string(each) +
                             ", or the machine has no such core");
    if (std::ranges::find(chosen, *found) == chosen.end()) chosen.push_back(*found);
  }
  return chosen;
}

}  // namespace

uint32_t Machine::core_count() const { return static_cast<uint32_t>(one_of_each_core(*this).size()); }

std::expected<Machine, std::string> read_machine() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return std::unexpected("the machine's topology cannot be read");
  const std::unique_ptr<hwloc_topology, TopologyDeleter> topology(raw);
  if (hwloc_topology_load(raw) != 0) return std::unexpected("the machine's topology cannot be read");

  cpu_set_t allowed;
  const bool limited = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  Machine machine;
  for (hwloc_obj_t processor = nullptr;
       (processor = hwloc_get_next_obj_by_type(raw, HWLOC_OBJ_PU, processor)) != nullptr;) {
    if (limited && processor->os_index < CPU_SETSIZE && !CPU_ISSET(processor->os_index, &allowed)) continue;
    const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_CORE, processor);
    machine.processors.push_back({.number = processor->os_index,
                                  .core = core == nullptr ? processor->logical_index : core->logical_index,
                                  .numa_node = numa_node_of(raw, processor)});
  }
  if (machine.processors.empty()) return std::unexpected("this process may use no core at all");
  std::ranges::sort(machine.processors, {}, [](const Processor& p) { return std::pair(p.core, p.number); });
  return machine;
}

Machine of_node(const Machine& machine, uint32_t numa_node) {
  Machine part;
  std::ranges::copy_if(machine.processors, std::back_inserter(part.processors),
                       [&](const Processor& processor) { return processor.numa_node == numa_node; });
  return part.processors.empty() ? machine : part;
}

std::optional<uint32_t> numa_node_of_drive(const std::string& device) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical("/sys/class/block/" + device, error);
  // The nearest that says so: the disk, its controller, the controller's slot.
  for (; !error && path != path.root_path() && path != "/sys"; path = path.parent_path()) {
    std::ifstream file(path / "numa_node");
    if (int node = -1; file >> node) return node < 0 ? std::nullopt : std::optional<uint32_t>(node);
  }
  return std::nullopt;
}

std::expected<std::vector<LanePlace>, std::string> place_lanes(const Machine& machine, uint32_t lane_count,
                                                               const std::vector<std::string>& cores) {
  const bool automatic = cores.empty() || (cores.size() == 1 && cores[0] == "auto");
  std::expected<std::vector<Processor>, std::string> chosen = one_of_each_core(machine);
  if (!automatic) chosen = named(machine, cores);
  if (!chosen) return std::unexpected(chosen.error());

  std::vector<LanePlace> places;
  for (uint32_t lane = 0; lane < lane_count; ++lane) {
    const Processor& processor = (*chosen)[lane % chosen->size()];
    places.push_back({lane, processor.number, processor.numa_node});
  }
  return places;
}

std::vector<uint32_t> without_lanes(const Machine& machine, const std::vector<LanePlace>& places) {
  std::vector<uint32_t> others;
  for (const Processor& processor : machine.processors) {
    const auto on_its_core = [&](const LanePlace& place) {
      const auto its = std::ranges::find(machine.processors, place.processor, &Processor::number);
      return its != machine.processors.end() && its->core == processor.core;
    };
    if (std::ranges::none_of(places, on_its_core)) others.push_back(processor.number);
  }
  return others;
}

std::string placement_table(const std::vector<LanePlace>& places) {
  std::string table = "lane  core  NUMA node\n";
  for (const LanePlace& place : places) {
    const auto sharing = std::ranges::count(places, place.processor, &LanePlace::processor);
    fmt::format_to(std::back_inserter(table), "{:4}  {:4}  {:9}{}\n", place.lane, place.processor, place.numa_node,
                   sharing > 1 ? fmt::format("   shared by {} lanes", sharing) : "");
  }
  return table;
}

bool pin_this_thread(uint32_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

}  // namespace penstock
