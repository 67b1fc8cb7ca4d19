// Real memory, clock and directories for tests of the real devices.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "drivers/uring/arena_memory.h"
#include "drivers/uring/ring.h"

namespace penstock::test {

inline Nanoseconds clock_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A fresh directory on a real file system, removed with its contents afterwards.
class TestDirectory {
 public:
  TestDirectory() {
    const char* chosen = std::getenv("PENSTOCK_TEST_DIR");
    if (chosen == nullptr) chosen = std::getenv("PENSTOCK_BUILD_DIR");
    std::string path = std::string(chosen != nullptr ? chosen : ".") + "/penstock-test-XXXXXX";
    const char* made = ::mkdtemp(path.data());
    check(made != nullptr, "cannot make a test directory", errno);
    path_ = path;
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline ArenaMemory make_arena(uint64_t bytes) {
  auto memory = ArenaMemory::map({.bytes = bytes});
  check(memory.has_value(), "cannot map the test's arena");
  return std::move(*memory);
}

// Falls back to unregistered memory where locked memory is limited.
inline std::unique_ptr<Ring> make_ring(const Arena& arena, RingConfig config = {.entries = 256}) {
  auto ring = Ring::create(arena, config);
  if (!ring) {
    config.register_arena = false;
    ring = Ring::create(arena, config);
  }
  check(ring.has_value(), "cannot create the test's ring");
  return std::move(*ring);
}

}  // namespace penstock::test
