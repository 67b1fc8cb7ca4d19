// The memory of one lane's arena: 2 MiB hugepages if the machine has them reserved, else ordinary memory that is asked
// to become transparent hugepages; on a NUMA node if one is named; touched before use, so that no page fault and no
// lack of memory waits for the first batch.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "dataplane/base/buffer_table.h"

namespace penstock {

enum class HugePages : uint8_t {
  preferred,  // reserved 2 MiB pages, else transparent ones
  required,   // an error without reserved pages
  never,      // ordinary pages, for tests and small machines
};

struct ArenaMemoryConfig {
  uint64_t bytes = 256ull << 20;  // rounded up to 2 MiB
  HugePages huge_pages = HugePages::preferred;
  std::optional<unsigned> numa_node;  // the operating system's number
};

class ArenaMemory {
 public:
  static std::expected<ArenaMemory, std::string> map(const ArenaMemoryConfig& config);
  ArenaMemory(ArenaMemory&& other) noexcept;
  ArenaMemory& operator=(ArenaMemory&&) = delete;
  ~ArenaMemory();

  const Arena& arena() const { return arena_; }
  std::string describe() const { return description_; }  // "256 MiB, transparent hugepages, node 0"

 private:
  ArenaMemory() = default;

  Arena arena_;
  void* mapping_ = nullptr;
  uint64_t mapping_bytes_ = 0;
  std::string description_;
};

}  // namespace penstock
