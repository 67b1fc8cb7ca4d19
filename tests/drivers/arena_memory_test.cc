#include "drivers/uring/arena_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "dataplane/base/units.h"

namespace penstock::test {
namespace {

using ::testing::HasSubstr;

bool machine_has_reserved_pages() {
  std::ifstream file("/proc/sys/vm/nr_hugepages");
  int count = 0;
  return file >> count && count > 0;
}

TEST(ArenaMemory, IsAlignedZeroedAndWritable) {
  for (const HugePages pages : {HugePages::preferred, HugePages::never}) {
    const auto memory = ArenaMemory::map({.bytes = 5 * MiB, .huge_pages = pages});
    ASSERT_TRUE(memory.has_value()) << memory.error();
    const Arena& arena = memory->arena();
    EXPECT_EQ(arena.size, 6 * MiB);  // whole 2 MiB pages
    EXPECT_EQ(reinterpret_cast<uint64_t>(arena.base) % (2 * MiB), 0u);
    EXPECT_EQ(arena.base[arena.size - 1], std::byte{0});
    std::memset(arena.base, 1, arena.size);
    EXPECT_THAT(memory->describe(), HasSubstr("6 MiB"));
  }
}

TEST(ArenaMemory, SaysHowToReservePagesWhenTheyAreRequired) {
  if (machine_has_reserved_pages()) GTEST_SKIP() << "this machine has reserved 2 MiB pages";
  const auto memory = ArenaMemory::map({.bytes = 64 * MiB, .huge_pages = HugePages::required});
  ASSERT_FALSE(memory.has_value());
  EXPECT_THAT(memory.error(), HasSubstr("vm.nr_hugepages=32"));
}

TEST(ArenaMemory, BindsToANode) {
  const auto memory = ArenaMemory::map({.bytes = 2 * MiB, .numa_node = 0});
  if (!memory && memory.error().find("cannot bind") != std::string::npos) GTEST_SKIP() << memory.error();
  ASSERT_TRUE(memory.has_value()) << memory.error();
  EXPECT_THAT(memory->describe(), HasSubstr("node 0"));
  const auto elsewhere = ArenaMemory::map({.bytes = 2 * MiB, .numa_node = 500});
  ASSERT_FALSE(elsewhere.has_value());
  EXPECT_THAT(elsewhere.error(), HasSubstr("no NUMA node 500"));
}

}  // namespace
}  // namespace penstock::test
