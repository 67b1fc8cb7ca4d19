// Huge pages for the lanes' arenas, on the node of each, and for DPDK.
#include <fmt/format.h>

#include <map>

#include "dataplane/base/units.h"
#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

constexpr uint64_t huge_page_bytes = 2 * MiB;

std::string pages_of_node(uint32_t node) {
  return fmt::format("/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/", node);
}

int64_t pages_of(uint64_t bytes) { return static_cast<int64_t>((bytes + huge_page_bytes - 1) / huge_page_bytes); }

// DPDK's own, on the card's node: something for each receive buffer, of which there are most when frames are small, and
// what hangs on the rings. As measured, rounded up.
constexpr uint64_t tables_per_arena = 16;  // a sixteenth
constexpr uint64_t tables_of_rings_bytes = 8 * MiB;

std::map<uint32_t, int64_t> pages_needed(const Situation& now) {
  std::map<uint32_t, int64_t> needed;
  const auto arena = static_cast<uint64_t>(now.config.memory_arena_bytes);
  const bool on_card_node = now.card && now.card->numa_node >= 0;
  for (const LanePlace& place : now.places) {
    needed[place.numa_node] += pages_of(arena);
    if (now.config.network == "dpdk")
      needed[on_card_node ? static_cast<uint32_t>(now.card->numa_node) : place.numa_node] +=
          pages_of(arena / tables_per_arena + tables_of_rings_bytes);
  }
  return needed;
}

}  // namespace

std::optional<Finding> memory_huge_pages(const Situation& now) {
  if (now.config.hugepages == "off") return ok("not used, by configuration");
  std::string good, lacking, remedy;
  for (const auto& [node, needed] : pages_needed(now)) {
    const std::string directory = pages_of_node(node);
    const int64_t there = now.files.number(directory + "nr_hugepages").value_or(0);
    const int64_t free = now.files.number(directory + "free_hugepages").value_or(0);
    good += fmt::format("{}node {}: {} of 2 MiB needed, {} free", good.empty() ? "" : "; ", node, needed, free);
    if (free >= needed) continue;
    lacking += fmt::format("{}node {} has {} free huge pages of 2 MiB, the lanes there need {}",
                           lacking.empty() ? "" : "; ", node, free, needed);
    remedy += fmt::format("{}echo {} > {}nr_hugepages", remedy.empty() ? "" : " && ", there + needed - free, directory);
  }
  if (lacking.empty()) return ok(good);
  return now.config.hugepages == "on" ? fail(lacking, remedy) : warn(lacking, remedy);
}

std::optional<Finding> memory_transparent(const Situation& now) {
  const std::string path = "/sys/kernel/mm/transparent_hugepage/enabled";
  const std::string chosen = chosen_of(now.files.line(path));
  if (chosen == "madvise" || chosen == "always") return ok("transparent huge pages: " + chosen);
  if (now.config.hugepages != "auto") return ok("transparent huge pages: never, and none are wanted");
  return warn("transparent huge pages: never; an arena without reserved pages has small ones",
              "echo madvise > " + path);
}

}  // namespace penstock::doctor
