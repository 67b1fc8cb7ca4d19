#include "tools/penstock/placement.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// Two sockets of two cores with two threads each, numbered as Linux does: siblings are 4 apart.
Machine two_sockets() {
  return {{{0, 0, 0}, {4, 0, 0}, {1, 1, 0}, {5, 1, 0}, {2, 2, 1}, {6, 2, 1}, {3, 3, 1}, {7, 3, 1}}};
}

std::vector<uint32_t> processors(const std::expected<std::vector<LanePlace>, std::string>& places) {
  std::vector<uint32_t> numbers;
  EXPECT_TRUE(places.has_value()) << places.error();
  if (places) {
    for (const LanePlace& place : *places) numbers.push_back(place.processor);
  }
  return numbers;
}

TEST(Placement, TakesOneThreadOfEachCore) {
  EXPECT_EQ(two_sockets().core_count(), 4u);
  const auto places = place_lanes(two_sockets(), 4, {"auto"});
  EXPECT_EQ(processors(places), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ((*places)[1].numa_node, 0u);
  EXPECT_EQ((*places)[2].numa_node, 1u);
}

TEST(Placement, LanesShareWhenThereAreMoreOfThem) {
  EXPECT_EQ(processors(place_lanes(two_sockets(), 6, {"auto"})), (std::vector<uint32_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(processors(place_lanes(two_sockets(), 4, {"7"})), (std::vector<uint32_t>{7, 7, 7, 7}));
  EXPECT_EQ(processors(place_lanes(two_sockets(), 1, {})), (std::vector<uint32_t>{0}));
}

TEST(Placement, NamedCoresAreTakenInTheirOrder) {
  EXPECT_EQ(processors(place_lanes(two_sockets(), 4, {"6", "1-3", "2"})), (std::vector<uint32_t>{6, 1, 2, 3}));
}

TEST(Placement, WhereNoLaneIsNeitherThreadOfACoreIsTaken) {
  const Machine machine = two_sockets();
  EXPECT_EQ(without_lanes(machine, *place_lanes(machine, 2, {"1", "6"})), (std::vector<uint32_t>{0, 4, 3, 7}));
  EXPECT_TRUE(without_lanes(machine, *place_lanes(machine, 4, {"auto"})).empty());
}

TEST(Placement, ErrorsSayWhichCore) {
  EXPECT_EQ(place_lanes(two_sockets(), 1, {"8"}).error(),
            "cores: this process may not use core 8, or the machine has no such core");
  for (const char* bad : {"x", "1-", "-1", "3-1", "1-2-3", "", "99999999999", "0-4000000000"})
    EXPECT_NE(place_lanes(two_sockets(), 1, {bad}).error().find("neither \"auto\", nor a number"), std::string::npos);
}

TEST(Placement, TheTableShowsSharing) {
  const std::string table = placement_table(*place_lanes(two_sockets(), 5, {"auto"}));
  EXPECT_EQ(table,
            "lane  core  NUMA node\n"
            "   0     0          0   shared by 2 lanes\n"
            "   1     1          0\n"
            "   2     2          1\n"
            "   3     3          1\n"
            "   4     0          0   shared by 2 lanes\n");
}

TEST(Placement, ThisMachineHasACoreForUs) {
  const auto machine = read_machine();
  ASSERT_TRUE(machine.has_value()) << machine.error();
  ASSERT_GE(machine->core_count(), 1u);
  const auto places = place_lanes(*machine, 2, {"auto"});
  ASSERT_TRUE(places.has_value());
  EXPECT_TRUE(pin_this_thread((*places)[0].processor));
  EXPECT_FALSE(pin_this_thread(1023));
}

}  // namespace
}  // namespace penstock
