#include "tools/penstock/resource_limits.h"

#include <sys/resource.h>

#include <algorithm>

namespace penstock {
namespace {

// The limit afterwards. With the right to (CAP_SYS_RESOURCE) beyond the hard one, else up to it.
uint64_t raise(__rlimit_resource resource, uint64_t wanted) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) return wanted;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted) return limit.rlim_cur;
  const rlimit beyond{.rlim_cur = wanted, .rlim_max = std::max<rlim_t>(limit.rlim_max, wanted)};
  if (setrlimit(resource, &beyond) == 0) return wanted;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, wanted);
  setrlimit(resource, &limit);
  getrlimit(resource, &limit);
  return limit.rlim_cur;
}

}  // namespace

ResourceNeeds resource_needs(uint32_t lane_count, uint64_t connections_max, uint64_t arena_bytes) {
  constexpr uint64_t files_of_the_process = 64, files_of_a_lane = 16, segments_of_a_lane = 1024;
  return {.open_files = files_of_the_process + lane_count * (files_of_a_lane + segments_of_a_lane + connections_max),
          .locked_bytes = lane_count * arena_bytes};
}

std::vector<std::string> raise_resource_limits(const ResourceNeeds& needs) {
  std::vector<std::string> missing;
  if (const uint64_t files = raise(RLIMIT_NOFILE, needs.open_files); files < needs.open_files)
    missing.push_back("only " + std::to_string(files) + " files may be open, " + std::to_string(needs.open_files) +
                      " may be needed for connections_max and segments: raise the limit (LimitNOFILE=, ulimit -n) or "
                      "lower connections_max");
  // The ring says what to do when the kernel refuses; most kernels do not count this memory for root.
  raise(RLIMIT_MEMLOCK, needs.locked_bytes);
  return missing;
}

}  // namespace penstock
