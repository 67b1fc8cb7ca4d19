// Open files and locked memory: raised as far as allowed, with a warning when that is not enough.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

struct ResourceNeeds {
  uint64_t open_files = 0;
  uint64_t locked_bytes = 0;
};

// Each connection is a file, each segment is one, and each lane has a few of its own.
ResourceNeeds resource_needs(uint32_t lane_count, uint64_t connections_max, uint64_t arena_bytes);

// What is missing afterwards, a sentence with its remedy each.
std::vector<std::string> raise_resource_limits(const ResourceNeeds& needs);

}  // namespace penstock
