#include "drivers/uring/drive_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>

#include "drivers/uring/block_device.h"
#include "tests/drivers/real_world.h"

namespace penstock::test {
namespace {

using ::testing::HasSubstr;

DriveFacts nvme() {
  return {.device = "nvme0n1",
          .file_system = "xfs",
          .statx_memory_align = 4,
          .statx_offset_align = 512,
          .logical_block = 512,
          .physical_block = 512,
          .dma_mask = 3,
          .seam_mask = 4095,
          .segments_max = 127,
          .command_bytes_max = 1 << 20};
}

struct UnitsCase {
  const char* name;
  DriveFacts facts;
  DriveUnits units;
};

DriveFacts changed(DriveFacts facts, auto change) {
  change(facts);
  return facts;
}

TEST(DriveUnitsFrom, FollowsStatxAndTheQueue) {
  const UnitsCase cases[] = {
      {"NVMe before 6.18 joins vectors only at page edges",
       nvme(),
       {.address_unit = 4, .length_unit = 512, .block = 512, .seam = 4096}},
      {"vectors shorter than a block, where a trial write worked",
       changed(nvme(),
               [](DriveFacts& f) {
                 f.fine_vectors_work = true;
                 f.seam_mask = 0;
               }),
       {.address_unit = 4, .length_unit = 4, .block = 512, .seam = 0}},
      {"blocks of 4096 behind emulated 512",
       changed(nvme(), [](DriveFacts& f) { f.physical_block = 4096; }),
       {.address_unit = 4, .length_unit = 512, .block = 4096, .seam = 4096}},
      {"a stripe is not a block",
       changed(nvme(), [](DriveFacts& f) { f.physical_block = 1 << 20; }),
       {.address_unit = 4, .length_unit = 512, .block = 512, .seam = 4096}},
      {"virtio-blk joins anywhere",
       {.device = "vda",
        .statx_memory_align = 512,
        .statx_offset_align = 512,
        .logical_block = 512,
        .physical_block = 4096,
        .dma_mask = 511},
       {.address_unit = 512, .length_unit = 512, .block = 4096, .seam = 0}},
      {"a queue stricter than statx wins",
       changed(nvme(),
               [](DriveFacts& f) {
                 f.logical_block = 4096;
                 f.dma_mask = 511;
               }),
       {.address_unit = 512, .length_unit = 4096, .block = 4096, .seam = 4096}},
      {"nothing known: pages", {}, {.address_unit = 4096, .length_unit = 4096, .block = 4096, .seam = 4096}},
      {"checksummed pages: copy all",
       changed(nvme(), [](DriveFacts& f) { f.stable_writes = true; }),
       {.address_unit = 4,
        .length_unit = 512,
        .block = 512,
        .seam = 4096,
        .copybreak = UINT32_MAX,
        .stable_pages = true}},
  };
  for (const UnitsCase& expected : cases) {
    SCOPED_TRACE(expected.name);
    const DriveUnits units = units_from(expected.facts);
    EXPECT_EQ(units.address_unit, expected.units.address_unit);
    EXPECT_EQ(units.length_unit, expected.units.length_unit);
    EXPECT_EQ(units.block, expected.units.block);
    EXPECT_EQ(units.seam, expected.units.seam);
    EXPECT_EQ(units.vectors_max, 1024u);
    EXPECT_EQ(units.copybreak, expected.units.copybreak);
    EXPECT_EQ(units.stable_pages, expected.units.stable_pages);
  }
}

TEST(DriveUnits, MeasuresOnceAndRemembers) {
  const TestDirectory directory;
  const DriveUnitsConfig config{.cache_file = directory.path() + "/drive-units.txt"};
  Nanoseconds start = clock_now();
  const auto first = find_drive_units(directory.path(), config);
  const Nanoseconds trial_ns = clock_now() - start;
  ASSERT_TRUE(first.has_value()) << first.error();
  std::cout << first->report;
  EXPECT_THAT(first->report, HasSubstr("chosen: "));
  EXPECT_GE(first->units.commit_bytes_max, 128 * KiB);
  EXPECT_GE(first->units.inflight_bytes_max, first->units.commit_bytes_max);
  EXPECT_GE(first->units.inflight_writes_max, 1u);

  start = clock_now();
  const auto second = find_drive_units(directory.path(), config);
  ASSERT_TRUE(second.has_value());
  EXPECT_LT(clock_now() - start, trial_ns);
  EXPECT_THAT(second->report, HasSubstr("measured at an earlier start"));
  EXPECT_EQ(second->units.copybreak, first->units.copybreak);
  EXPECT_EQ(second->units.commit_bytes_max, first->units.commit_bytes_max);
  EXPECT_EQ(second->units.inflight_bytes_max, first->units.inflight_bytes_max);
  EXPECT_EQ(second->units.inflight_writes_max, first->units.inflight_writes_max);

  // Nothing but the cache stays behind.
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory.path())) ++files;
  EXPECT_EQ(files, 1);
}

TEST(DriveUnits, AnotherDriveOrADamagedCacheIsMeasuredAgain) {
  const TestDirectory directory;
  DriveUnitsConfig config{.cache_file = directory.path() + "/drive-units.txt", .trial_ns = 20 * millisecond_ns};
  ASSERT_TRUE(find_drive_units(directory.path(), config).has_value());
  std::string key;
  std::getline(std::ifstream(config.cache_file).seekg(0), key);
  for (const std::string& content :
       {std::string("v1 | another drive\ncopybreak 1\n"), std::string(), key + "\ncopybreak 0\n"}) {
    std::ofstream(config.cache_file) << content;
    const auto found = find_drive_units(directory.path(), config);
    ASSERT_TRUE(found.has_value());
    EXPECT_THAT(found->report, ::testing::Not(HasSubstr("earlier start")));
  }
  EXPECT_THAT(find_drive_units(directory.path(), config)->report, HasSubstr("earlier start"));
  config.measure_again = true;
  EXPECT_THAT(find_drive_units(directory.path(), config)->report, ::testing::Not(HasSubstr("earlier start")));
}

TEST(DriveUnits, SaysWhyADirectoryIsUnfit) {
  const auto found = find_drive_units("/nowhere", {});
  ASSERT_FALSE(found.has_value());
  EXPECT_THAT(found.error(), HasSubstr("/nowhere"));
}

TEST(BlockDevice, CountsCommandsOrSaysItCannot) {
  const TestDirectory directory;
  const auto device = BlockDevice::of(directory.path());
  if (!device) GTEST_SKIP() << "no block device below " << directory.path();
  EXPECT_FALSE(device->name().empty());
  EXPECT_GT(device->queue_number("logical_block_size", 0), 0u);
  EXPECT_EQ(device->queue_number("no_such_attribute", 7), 7u);
  EXPECT_FALSE(BlockDevice::of("/proc").has_value());
  EXPECT_FALSE(BlockDevice::of("/nowhere").has_value());
  if (device->disk().empty()) GTEST_SKIP() << "several disks below";
  EXPECT_TRUE(device->commands().has_value());
}

}  // namespace
}  // namespace penstock::test
