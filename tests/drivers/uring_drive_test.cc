#include "drivers/uring/uring_drive.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "drivers/uring/drive_units.h"
#include "tests/drivers/real_world.h"

namespace penstock::test {
namespace {

static_assert(Drive<UringDrive>);

constexpr uint64_t segment_bytes = 4 * MiB;

struct DriveWorld {
  explicit DriveWorld(const std::string& path, RingConfig ring_config = {.entries = 64},
                      uint64_t bytes = segment_bytes) {
    auto directory = LaneDirectory::open(path, DirectoryAccess::own);
    check(directory.has_value(), "no lane directory");
    const auto facts = facts_of(path);
    check(facts.has_value(), "no drive facts");
    ring = make_ring(memory.arena(), ring_config);
    auto made = UringDrive::create(*ring, memory.arena(), std::move(*directory), units_from(*facts),
                                   {.segment_bytes = bytes, .slots_max = 64, .requests_max = 16});
    check(made.has_value(), "no drive");
    drive = std::move(*made);
  }

  int64_t finish(uint64_t tag) {
    const Nanoseconds until = clock_now() + 20 * second_ns;
    while (!results.contains(tag) && clock_now() < until) {
      drive->poll(0, [&](DriveCompletion done) { results[done.tag] = done.result; });
      if (!results.contains(tag)) ring->wait(clock_now(), until);
    }
    check(results.contains(tag), "a drive request did not complete", static_cast<long long>(tag));
    const int64_t result = results[tag];
    results.erase(tag);
    return result;
  }
  int64_t run(DriveRequest request) {
    request.tag = next_tag++;
    check(drive->submit(request), "drive queue full");
    return finish(request.tag);
  }
  int64_t prepare(uint32_t slot) { return run({.op = DriveOp::prepare, .slot = SegmentSlot(slot)}); }

  ArenaMemory memory = make_arena(4 * MiB);
  std::unique_ptr<Ring> ring;
  std::unique_ptr<UringDrive> drive;
  std::map<uint64_t, int64_t> results;
  uint64_t next_tag = 1;
};

std::string file_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// From registered memory, by WRITEV for want of WRITEV_FIXED (kernel 6.1), and without registered memory at all.
enum class Way { fixed, kernel_6_1, unregistered };
class UringDriveTest : public ::testing::TestWithParam<Way> {
 protected:
  RingConfig config() const {
    RingConfig ring{.entries = 64};
    ring.allowed.writev_fixed = GetParam() == Way::fixed;
    ring.register_arena = GetParam() != Way::unregistered;
    return ring;
  }
  TestDirectory directory;
};
INSTANTIATE_TEST_SUITE_P(Ways, UringDriveTest, ::testing::Values(Way::fixed, Way::kernel_6_1, Way::unregistered));

TEST_P(UringDriveTest, GathersWritesAndReadsBack) {
  DriveWorld world(directory.path(), config());
  ASSERT_EQ(world.prepare(0), 0);
  std::byte* base = world.memory.arena().base;
  const uint32_t unit = world.drive->units().length_unit;
  for (uint64_t at = 0; at < 2 * MiB; ++at) base[at] = static_cast<std::byte>(at * 131 >> 7);

  // Twenty vectors of one to three units with gaps between them, filled up to a whole block.
  std::vector<iovec> vectors;
  std::string expected;
  for (uint32_t i = 0; i < 20; ++i) {
    vectors.push_back({base + uint64_t{i} * 16 * unit, uint64_t{1 + i % 3} * unit});
    expected.append(static_cast<const char*>(vectors.back().iov_base), vectors.back().iov_len);
  }
  const uint64_t fill = round_up(expected.size(), world.drive->units().block) - expected.size();
  if (fill > 0) {
    vectors.push_back({base + MiB, fill});
    expected.append(static_cast<const char*>(vectors.back().iov_base), fill);
  }
  const auto size = static_cast<int64_t>(expected.size());
  const FilePosition position(2 * uint64_t{world.drive->units().block});
  for (const bool durable : {true, false}) {
    EXPECT_EQ(world.run({.op = DriveOp::write, .durable = durable, .position = position, .vectors = vectors}), size);
  }
  EXPECT_EQ(world.run({.op = DriveOp::flush}), 0);
  const UringDriveStatistics& statistics = world.drive->statistics();
  const bool fixed = world.ring->arena_registered() && world.ring->features().writev_fixed;
  EXPECT_EQ(statistics.fixed_writes, fixed ? 2u : 0u);
  EXPECT_EQ(statistics.vector_writes, fixed ? 0u : 2u);

  const iovec halves[] = {{base + 3 * MiB, world.drive->units().block},
                          {base + 3 * MiB + 512 * KiB, expected.size() - world.drive->units().block}};
  EXPECT_EQ(world.run({.op = DriveOp::read, .position = position, .vectors = halves}), size);
  std::string back(static_cast<const char*>(halves[0].iov_base), halves[0].iov_len);
  back.append(static_cast<const char*>(halves[1].iov_base), halves[1].iov_len);
  EXPECT_TRUE(back == expected);
  EXPECT_TRUE(file_content(directory.path() + "/segment-000000.log").substr(position.value, expected.size()) ==
              expected);
}

TEST_P(UringDriveTest, ASingleVectorIsWrittenFromRegisteredMemoryOnAnyKernel) {
  DriveWorld world(directory.path(), config());
  ASSERT_EQ(world.prepare(0), 0);
  const iovec whole{world.memory.arena().base, MiB};
  EXPECT_EQ(world.run({.op = DriveOp::write, .durable = true, .vectors = std::span(&whole, 1)}), int64_t{MiB});
  EXPECT_EQ(world.drive->statistics().fixed_writes, world.ring->arena_registered() ? 1u : 0u);
}

TEST_P(UringDriveTest, ManyWritesInFlightAndAFullQueue) {
  DriveWorld world(directory.path(), config());
  ASSERT_EQ(world.prepare(0), 0);
  const uint32_t block = world.drive->units().block;
  std::vector<iovec> vectors(17);
  uint64_t taken = 0;
  for (uint64_t i = 0; i < 17; ++i) {
    std::byte* at = world.memory.arena().base + i * block;
    std::memset(at, static_cast<int>('a' + i), block);
    vectors[i] = {at, block};
    taken += world.drive->submit({.op = DriveOp::write,
                                  .position = FilePosition(i * block),
                                  .vectors = std::span(&vectors[i], 1),
                                  .tag = 100 + i});
  }
  EXPECT_EQ(taken, 16u);  // requests_max
  for (uint64_t i = 0; i < taken; ++i) EXPECT_EQ(world.finish(100 + i), int64_t{block});
  EXPECT_EQ(world.drive->in_flight(), 0u);
  const std::string content = file_content(directory.path() + "/segment-000000.log");
  for (uint64_t i = 0; i < taken; ++i) EXPECT_EQ(content[i * block], static_cast<char>('a' + i));
}

TEST(UringDrive, PreparesZeroedFilesAlsoOverOldOnes) {
  const TestDirectory directory;
  DriveWorld world(directory.path());
  EXPECT_EQ(world.drive->slot_count(), 0u);
  ASSERT_EQ(world.prepare(3), 0);
  EXPECT_EQ(world.drive->slot_count(), 4u);
  EXPECT_EQ(world.drive->slot_bytes(SegmentSlot(3)), segment_bytes);
  EXPECT_EQ(world.drive->slot_bytes(SegmentSlot(0)), 0u);
  std::memset(world.memory.arena().base, 'x', MiB);
  const iovec whole{world.memory.arena().base, MiB};
  ASSERT_EQ(world.run({.slot = SegmentSlot(3), .vectors = std::span(&whole, 1)}), int64_t{MiB});
  ASSERT_EQ(world.prepare(3), 0);  // recycled
  const std::string content = file_content(directory.path() + "/segment-000003.log");
  EXPECT_EQ(content.size(), segment_bytes);
  EXPECT_EQ(content.find_first_not_of('\0'), std::string::npos);
  struct stat facts{};
  ASSERT_EQ(::stat((directory.path() + "/segment-000003.log").c_str(), &facts), 0);
  EXPECT_GE(static_cast<uint64_t>(facts.st_blocks) * 512, segment_bytes);  // allocated, not sparse
}

TEST(UringDrive, OpensTheSlotsThereAreAndReadsThemForRecovery) {
  const TestDirectory directory;
  {
    DriveWorld world(directory.path());
    ASSERT_EQ(world.prepare(0), 0);
    ASSERT_EQ(world.prepare(2), 0);
    std::memset(world.memory.arena().base, 'y', MiB);
    const iovec whole{world.memory.arena().base, MiB};
    ASSERT_EQ(world.run({.durable = true, .slot = SegmentSlot(2), .vectors = std::span(&whole, 1)}), int64_t{MiB});
  }
  DriveWorld world(directory.path());
  EXPECT_EQ(world.drive->slot_count(), 3u);
  SegmentFiles& files = *world.drive;
  std::string back(100, '?');
  const auto got = files.read(SegmentSlot(2), FilePosition(MiB - 50), std::as_writable_bytes(std::span(back)));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(back, std::string(50, 'y') + std::string(50, '\0'));
  EXPECT_FALSE(files.read(SegmentSlot(1), FilePosition(0), std::as_writable_bytes(std::span(back))).has_value());
}

TEST(UringDrive, PreparingGivesWayButFinishesWhileCommitsRun) {
  const TestDirectory directory;
  DriveWorld world(directory.path());
  ASSERT_EQ(world.prepare(0), 0);
  ASSERT_TRUE(world.drive->submit({.op = DriveOp::prepare, .slot = SegmentSlot(1), .tag = 999}));
  const iovec whole{world.memory.arena().base, MiB};
  int writes = 0;
  while (!world.results.contains(999) && writes < 10'000) {
    ASSERT_EQ(world.run({.durable = true, .vectors = std::span(&whole, 1)}), int64_t{MiB});
    ++writes;
  }
  EXPECT_EQ(world.finish(999), 0);
  EXPECT_GT(writes, 0);
}

TEST(UringDrive, ClosesWhilePreparing) {
  const TestDirectory directory;
  {
    DriveWorld world(directory.path(), {.entries = 64}, 512 * MiB);
    ASSERT_TRUE(world.drive->submit({.op = DriveOp::prepare, .slot = SegmentSlot(0), .tag = 1}));
    world.ring->wait(clock_now(), clock_now() + 5 * millisecond_ns);
  }
  EXPECT_FALSE(std::filesystem::exists(directory.path() + "/segment-000000.log"));  // half-made files do not stay
}

TEST(UringDriveDeathTest, RefusesWhatTheUnitsForbid) {
  GTEST_FLAG_SET(death_test_style, "fast");
  const TestDirectory directory;
  DriveWorld world(directory.path());
  ASSERT_EQ(world.prepare(0), 0);
  std::byte* base = world.memory.arena().base;
  const DriveUnits& units = world.drive->units();
  const uint32_t block = units.block;
  const auto submit = [&](iovec vector, uint64_t position) {
    world.drive->submit({.position = FilePosition(position), .vectors = std::span(&vector, 1)});
  };
  EXPECT_DEATH(submit({base + 1, block}, 0), "address misses the unit");
  EXPECT_DEATH(submit({base, block + 1}, 0), "length misses the unit");
  EXPECT_DEATH(submit({base, block}, 1), "position misses the block");
  EXPECT_DEATH(submit({base, 0}, 0), "length misses the unit");
  EXPECT_DEATH(submit({base, 2 * block}, segment_bytes - block), "beyond the segment");
  EXPECT_DEATH(submit({base + world.memory.arena().size, block}, 0), "outside the arena");
  if (units.length_unit < block) {
    EXPECT_DEATH(submit({base, units.length_unit}, 0), "transfer misses the block");
  }
  const std::vector<iovec> many(units.vectors_max + 1, iovec{base, block});
  EXPECT_DEATH(world.drive->submit({.vectors = many}), "number of vectors");
  const iovec one{base, block};
  EXPECT_DEATH(world.drive->submit({.slot = SegmentSlot(5), .vectors = std::span(&one, 1)}), "not prepared");
}

// A 24 MiB ext4 in a file, for what a full drive does.
TEST(UringDrive, ReportsAFullDriveAndLeavesNoHalfMadeFile) {
  const TestDirectory directory;
  const std::string image = directory.path() + "/image", mount_point = directory.path() + "/mount";
  std::filesystem::create_directory(mount_point);
  const std::string make = "truncate -s 24M " + image + " && mkfs.ext4 -q " + image + " && mount -o loop " + image +
                           " " + mount_point + " 2>/dev/null";
  if (::geteuid() != 0 || std::system(make.c_str()) != 0) GTEST_SKIP() << "no loop device to mount a small drive on";
  {
    DriveWorld world(mount_point, {.entries = 64}, 8 * MiB);
    int64_t result = 0;
    uint32_t prepared = 0;
    while (prepared < 10 && (result = world.prepare(prepared)) == 0) ++prepared;
    EXPECT_GE(prepared, 1u);
    EXPECT_LT(prepared, 4u);
    EXPECT_EQ(result, -ENOSPC);
    EXPECT_FALSE(std::filesystem::exists(mount_point + "/" + LaneDirectory::file_name(SegmentSlot(prepared))));
    EXPECT_EQ(world.drive->slot_count(), prepared);
    // Those prepared before still work.
    const iovec one{world.memory.arena().base, MiB};
    EXPECT_EQ(world.run({.durable = true, .vectors = std::span(&one, 1)}), int64_t{MiB});
  }
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
}

}  // namespace
}  // namespace penstock::test
