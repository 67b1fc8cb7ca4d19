#include "drivers/uring/arena_memory.h"

#include <hwloc.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "dataplane/base/units.h"

namespace penstock {

namespace {

constexpr uint64_t huge_page_bytes = 2 * MiB;
constexpr uint64_t small_page_bytes = 4 * KiB;

struct Mapping {
  void* start = nullptr;
  uint64_t bytes = 0;
  std::byte* aligned = nullptr;
};

std::string error_text(const std::string& what) { return what + ": " + std::strerror(errno); }

std::expected<Mapping, std::string> map_memory(uint64_t bytes, bool huge) {
  // Without hugepages map a little more, so that the arena can begin on a 2 MiB edge, as transparent hugepages need.
  const uint64_t mapped = huge ? bytes : bytes + huge_page_bytes;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (huge ? MAP_HUGETLB | (21 << MAP_HUGE_SHIFT) : 0);
  void* start = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (start == MAP_FAILED) return std::unexpected(error_text("cannot map " + std::to_string(bytes / MiB) + " MiB"));
  auto address = reinterpret_cast<uint64_t>(start);
  if (!huge) address = round_up(address, huge_page_bytes);
  return Mapping{start, mapped, reinterpret_cast<std::byte*>(address)};
}

std::expected<void, std::string> bind_to_node(std::byte* base, uint64_t bytes, unsigned node) {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0 || hwloc_topology_load(topology) != 0) {
    return std::unexpected(error_text("hwloc cannot read this machine's topology"));
  }
  hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
  hwloc_bitmap_only(nodes, node);
  const bool exists = hwloc_bitmap_isincluded(nodes, hwloc_topology_get_topology_nodeset(topology)) != 0;
  const int bound = exists ? hwloc_set_area_membind(topology, base, bytes, nodes, HWLOC_MEMBIND_BIND,
                                                    HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_STRICT)
                           : -1;
  const int error = errno;
  hwloc_bitmap_free(nodes);
  hwloc_topology_destroy(topology);
  if (!exists) return std::unexpected("this machine has no NUMA node " + std::to_string(node));
  if (bound != 0) {
    errno = error;
    return std::unexpected(error_text("cannot bind memory to NUMA node " + std::to_string(node)));
  }
  return {};
}

std::expected<void, std::string> touch(std::byte* base, uint64_t bytes) {
  // Reports a lack of memory as an error instead of a signal (kernel 5.14).
  if (::madvise(base, bytes, MADV_POPULATE_WRITE) == 0) return {};
  if (errno != EINVAL) return std::unexpected(error_text("not enough memory for the arena"));
  for (uint64_t at = 0; at < bytes; at += small_page_bytes) {
    static_cast<volatile std::byte*>(base)[at] = std::byte{0};
  }
  return {};
}

}  // namespace

std::expected<ArenaMemory, std::string> ArenaMemory::map(const ArenaMemoryConfig& config) {
  const uint64_t bytes = round_up(config.bytes, huge_page_bytes);
  std::string why_not_reserved;
  for (const bool huge : {true, false}) {
    if (huge && config.huge_pages == HugePages::never) continue;
    if (!huge && config.huge_pages == HugePages::required) {
      return std::unexpected(why_not_reserved + "; reserve 2 MiB pages with sysctl vm.nr_hugepages=" +
                             std::to_string(bytes / huge_page_bytes) + " or more");
    }
    auto mapping = map_memory(bytes, huge);
    if (!mapping) {
      if (!huge) return std::unexpected(mapping.error());
      why_not_reserved = mapping.error() + " of reserved hugepages";
      continue;
    }
    ArenaMemory memory;
    memory.mapping_ = mapping->start;
    memory.mapping_bytes_ = mapping->bytes;
    memory.arena_ = {mapping->aligned, bytes};
    if (!huge && config.huge_pages != HugePages::never) ::madvise(mapping->aligned, bytes, MADV_HUGEPAGE);
    if (config.numa_node) {
      if (auto bound = bind_to_node(mapping->aligned, bytes, *config.numa_node); !bound) {
        return std::unexpected(bound.error());
      }
    }
    if (auto touched = touch(mapping->aligned, bytes); !touched) {
      if (!huge) return std::unexpected(touched.error());
      why_not_reserved = touched.error();  // reserved pages exist, but not on this node
      continue;
    }
    memory.description_ = std::to_string(bytes / MiB) + " MiB, " +
                          (huge                                    ? "reserved 2 MiB pages"
                           : config.huge_pages == HugePages::never ? "ordinary pages"
                                                                   : "transparent hugepages") +
                          (config.numa_node ? ", node " + std::to_string(*config.numa_node) : "");
    return memory;
  }
  return std::unexpected(why_not_reserved);
}

ArenaMemory::ArenaMemory(ArenaMemory&& other) noexcept
    : arena_(std::exchange(other.arena_, {})),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_bytes_(std::exchange(other.mapping_bytes_, 0)),
      description_(std::move(other.description_)) {}

ArenaMemory::~ArenaMemory() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapping_bytes_);
}

}  // namespace penstock
