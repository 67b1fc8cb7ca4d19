#include "drivers/sim/sim_drive.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/storage/log_world.h"

namespace penstock {
namespace {

class SimDriveTest : public ::testing::Test {
 protected:
  SimDriveTest() {
    config_.units.block = 512;
    config_.segment_bytes = 64 * KiB;
    drive_.emplace(config_, memory_.arena);
    run(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(0)});
  }

  void submit(DriveRequest request) {
    request.tag = ++tag_;
    ASSERT_TRUE(drive_->submit(request));
  }
  void finish() {
    while (drive_->next_deadline() != never_ns) {
      now_ = drive_->next_deadline();
      drive_->poll(now_, [&](const DriveCompletion& done) { results_[done.tag] = done.result; });
    }
  }
  int64_t run(const DriveRequest& request) {
    submit(request);
    finish();
    return results_[tag_];
  }
  // 4 KiB of `value` at `position`.
  DriveRequest write(uint8_t value, uint64_t position, bool durable) {
    std::byte* data = memory_.arena.base + position;
    std::memset(data, value, 4096);
    vectors_.push_back(std::make_unique<iovec>(iovec{data, 4096}));
    return DriveRequest{.op = DriveOp::write,
                        .durable = durable,
                        .slot = SegmentSlot(0),
                        .position = FilePosition(position),
                        .vectors = {vectors_.back().get(), 1}};
  }
  // How many of the 8 sectors at `position` are `value`.
  static int sectors(const SimFiles& files, uint8_t value, uint64_t position) {
    int count = 0;
    for (uint64_t at = position; at < position + 4096; at += 512) count += files.slots[0][at] == std::byte{value};
    return count;
  }

  ArenaMemory memory_{1 * MiB};
  SimDriveConfig config_;
  std::optional<SimDrive> drive_;
  std::vector<std::unique_ptr<iovec>> vectors_;
  std::map<uint64_t, int64_t> results_;
  uint64_t tag_ = 0;
  Nanoseconds now_ = 0;
};

TEST_F(SimDriveTest, DurableSurvivesEveryCrash) {
  EXPECT_EQ(run(write(1, 0, true)), 4096);
  EXPECT_EQ(run(write(2, 4096, false)), 4096);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)}), 0);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const SimFiles left = drive_->crash(seed);
    EXPECT_EQ(sectors(left, 1, 0), 8);
    EXPECT_EQ(sectors(left, 2, 4096), 8);
  }
}

TEST_F(SimDriveTest, WhatNoFlushCoveredMayVanishOrTear) {
  EXPECT_EQ(run(write(1, 0, false)), 4096);
  bool none = false, all = false, some = false;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const int survived = sectors(drive_->crash(seed), 1, 0);
    none |= survived == 0;
    all |= survived == 8;
    some |= survived > 0 && survived < 8;
  }
  EXPECT_TRUE(none && all && some);
  EXPECT_EQ(sectors(drive_->files(), 1, 0), 8) << "but readers see it";
}

TEST_F(SimDriveTest, FlushDoesNotCoverWritesThatCompleteLater) {
  config_.flush_ns = 1;
  submit(write(1, 0, false));
  submit(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)});
  finish();
  bool vanished = false;
  for (uint64_t seed = 0; seed < 20; ++seed) vanished |= sectors(drive_->crash(seed), 1, 0) == 0;
  EXPECT_TRUE(vanished);
}

TEST_F(SimDriveTest, WhatAFailedFlushShouldHaveCoveredIsNotCoveredByTheNext) {
  EXPECT_EQ(run(write(1, 0, false)), 4096);
  drive_->fail_next(DriveOp::flush, 1);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)}), -EIO);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)}), 0);
  bool vanished = false;
  for (uint64_t seed = 0; seed < 20; ++seed) vanished |= sectors(drive_->crash(seed), 1, 0) == 0;
  EXPECT_TRUE(vanished);
}

TEST_F(SimDriveTest, FailedWriteLeavesAnySectors) {
  bool none = false, some = false;
  for (int i = 0; i < 30; ++i) {
    drive_->fail_next(DriveOp::write, 1);
    EXPECT_EQ(run(write(static_cast<uint8_t>(i + 1), 0, true)), -EIO);
    const int written = sectors(drive_->files(), static_cast<uint8_t>(i + 1), 0);
    none |= written == 0;
    some |= written > 0;
  }
  EXPECT_TRUE(none && some);
}

// As in a slot that is used again: what an older write left in the cache never comes back over a newer one.
TEST_F(SimDriveTest, WhatIsWrittenLaterSupersedesTheCache) {
  drive_->fail_next(DriveOp::write, 1);
  run(write(1, 0, false));
  EXPECT_EQ(run(write(2, 4096, false)), 4096);
  EXPECT_EQ(run(write(3, 2048, true)), 4096);  // half of each
  for (uint64_t seed = 0; seed < 50; ++seed) EXPECT_EQ(sectors(drive_->crash(seed), 3, 2048), 8);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)}), 0);
  const SimFiles left = drive_->crash(1);
  EXPECT_EQ(sectors(left, 3, 2048), 8);
  EXPECT_EQ(sectors(left, 2, 6144), 4);
}

TEST_F(SimDriveTest, TheDiskThatACrashLeavesNeedsNoCopy) {
  config_.interrupted_one_in = 10;
  config_.write_error_one_in = 10;
  config_.flush_error_one_in = 10;
  config_.short_one_in = 5;
  config_.prepare_error_one_in = 5;
  for (uint64_t life = 0; life < 200; ++life) {
    config_.seed = life;
    drive_.emplace(config_, memory_.arena);
    while (run(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(0)}) < 0) continue;
    SimRandom random(life);
    for (uint64_t requests = random.below(40); requests > 0; --requests) {
      if (random.one_in(4)) finish();
      const uint64_t at = drive_->in_flight() == 0 ? random.below(8) * 2048 : 0;
      if (drive_->in_flight() == 0 && !random.one_in(4)) {
        submit(write(static_cast<uint8_t>(random.next()), at, random.one_in(3)));
      } else if (random.one_in(2)) {
        submit(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)});
      } else {
        finish();
        submit(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(static_cast<uint32_t>(random.below(3)))});
      }
    }
    const SimFiles left = drive_->crash(life);
    const SimDisk disk = std::move(*drive_).end_by_crash(life);
    EXPECT_EQ(disk.current.slots, left.slots) << life;
    EXPECT_EQ(disk.stable.slots, left.slots) << life;
    EXPECT_TRUE(disk.cached.empty());
  }
}

TEST_F(SimDriveTest, AtRiskIsWhatIsNotDurable) {
  EXPECT_EQ(run(write(1, 0, true)), 4096);
  EXPECT_EQ(run(write(2, 4096, false)), 4096);
  const uint64_t before = drive_->changes();
  submit(write(3, 8192, true));
  submit(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(1)});
  EXPECT_GT(drive_->changes(), before);
  const SimDrive::AtRisk risk = drive_->at_risk();
  ASSERT_EQ(risk.writes.size(), 2u);
  EXPECT_EQ(risk.writes[0].position, 4096u);
  EXPECT_EQ(risk.writes[1].position, 8192u);
  EXPECT_EQ(risk.writes[1].bytes[0], std::byte{3}) << "in flight";
  EXPECT_EQ(risk.preparing, std::vector<uint32_t>{1});
  EXPECT_EQ(sectors(drive_->stable(), 1, 0), 8);
  EXPECT_EQ(sectors(drive_->stable(), 2, 4096), 0);
  finish();
  EXPECT_EQ(drive_->at_risk().writes.size(), 1u);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::flush, .slot = SegmentSlot(0)}), 0);
  EXPECT_TRUE(drive_->at_risk().writes.empty());
}

TEST_F(SimDriveTest, FullDriveRefusesNewSlotsOnly) {
  drive_->set_full(true);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(1)}), -ENOSPC);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(0)}), 0);
  drive_->set_full(false);
  EXPECT_EQ(run(DriveRequest{.op = DriveOp::prepare, .slot = SegmentSlot(1)}), 0);
}

TEST_F(SimDriveTest, SameSeedSameCompletions) {
  std::vector<uint64_t> orders[2];
  for (auto& order : orders) {
    SimDrive drive(config_, memory_.arena, drive_->files());
    for (uint64_t i = 0; i < 8; ++i) {
      DriveRequest request = write(static_cast<uint8_t>(i), i * 4096, false);
      request.tag = i;
      ASSERT_TRUE(drive.submit(request));
    }
    drive.poll(never_ns - 1, [&](const DriveCompletion& done) { order.push_back(done.tag); });
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_FALSE(std::is_sorted(orders[0].begin(), orders[0].end())) << "in any order";
}

}  // namespace
}  // namespace penstock
