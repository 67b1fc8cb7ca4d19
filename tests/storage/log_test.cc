// The log's promises one by one; log_model_test.cc has them all at once.
#include "storage/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "storage/limits.h"
#include "tests/storage/footer_agreement.h"
#include "tests/storage/log_world.h"

namespace {
bool counting_allocations = false;
uint64_t allocations = 0;
}  // namespace

[[gnu::noinline]] void* operator new(size_t size) {
  if (counting_allocations) ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace penstock {
namespace {

constexpr PartitionSlot p0{0};
constexpr PartitionSlot p1{1};

class LogTest : public ::testing::Test {
 protected:
  LogTest() {
    drive_config_.units = DriveUnits{.address_unit = 4,
                                     .length_unit = 512,
                                     .block = 4096,
                                     .vectors_max = 64,
                                     .copybreak = 1024,
                                     .commit_bytes_max = 64 * KiB,
                                     .inflight_bytes_max = 1 * MiB,
                                     .inflight_writes_max = 4};
    drive_config_.segment_bytes = 512 * KiB;
    config_ = LogConfig{.segment_bytes = 512 * KiB,
                        .resident_bytes_max = 1 * MiB,
                        .read_bytes_max = 1 * MiB,
                        .partitions_max = 4,
                        .producers_max = 16,
                        .random_seed = 5};
  }

  LogWorld& start(SimFiles files = {}) {
    config_.segment_bytes = drive_config_.segment_bytes;
    world_.reset();
    world_.emplace(arena_, config_, drive_config_, std::move(files));
    world_->log.open_partition(p0, PartitionNumber(10), 0);
    world_->log.open_partition(p1, PartitionNumber(11), 0);
    EXPECT_TRUE(world_->start());
    // Spare segments are ready.
    const auto waits = [&] {
      return world_->log.next_deadline() > world_->now && world_->log.next_deadline() != never_ns;
    };
    while (!waits() && world_->step()) {
    }
    return *world_;
  }
  LogWorld& restart() {
    SimFiles files = world_->drive.crash(1);
    return start(std::move(files));
  }

  std::optional<Appended> append(size_t length, PartitionSlot slot = p0, Arrival arrival = Arrival::together,
                                 Milliseconds timestamp = 1000) {
    const Bytes bytes = make_batch(random_, length, 1);
    PieceList pieces;
    EXPECT_TRUE(world_->memory.lay_out(random_, arrival, bytes, pieces));
    BatchInfo info = info_of(bytes, 1);
    info.max_timestamp = timestamp;
    const std::optional<Appended> appended = world_->append(slot, info, pieces);
    world_->memory.let_go(pieces);
    if (appended && appended->verdict == AppendVerdict::appended) {
      batches_[slot.value].push_back(patched(bytes, appended->base_offset, 0));
    }
    return appended;
  }
  void append_durably(size_t length, PartitionSlot slot = p0, Arrival arrival = Arrival::together,
                      Milliseconds timestamp = 1000) {
    std::optional<Appended> appended;
    ASSERT_TRUE(world_->run([&] { return (appended = append(length, slot, arrival, timestamp)).has_value(); }));
    ASSERT_TRUE(world_->run([&] { return world_->log.durable_commit() >= appended->commit; }));
  }
  void expect_all(PartitionSlot slot = p0) {
    for (size_t i = 0; i < batches_[slot.value].size(); ++i) {
      const auto found = world_->find(slot, Offset(static_cast<int64_t>(i)));
      ASSERT_TRUE(found) << i;
      const auto bytes = world_->fetch(slot, *found);
      ASSERT_TRUE(bytes && *bytes == batches_[slot.value][i]) << i;
    }
  }
  void stop() {
    ASSERT_TRUE(world_->run([&] { return world_->log.drained(); }));
    world_->log.release_all();
    world_->memory.let_go_shared();
    EXPECT_EQ(world_->memory.buffers.leak_report(), "");
  }

  ArenaMemory arena_{64 * MiB};
  SimDriveConfig drive_config_;
  LogConfig config_;
  SimRandom random_{3};
  std::optional<LogWorld> world_;
  std::vector<Bytes> batches_[4];
};

// ---- pacing and durability ----

TEST_F(LogTest, AppendedIsNotDurableUntilWritten) {
  LogWorld& world = start();
  const auto appended = append(500);
  ASSERT_TRUE(appended);
  EXPECT_EQ(world.log.partition(p0)->appended, Offset(1));
  EXPECT_EQ(world.log.partition(p0)->durable, Offset(0));
  EXPECT_FALSE(world.find(p0, Offset(0)));
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= appended->commit; }));
  EXPECT_EQ(world.log.partition(p0)->durable, Offset(1));
  ASSERT_EQ(world.log.advanced().size(), 1u);
  EXPECT_EQ(world.log.advanced()[0], p0);
  world.log.forget_advanced();
  EXPECT_TRUE(world.log.advanced().empty());
  expect_all();
  stop();
}

TEST_F(LogTest, AloneWithODsyncTogetherWithAFlush) {
  LogWorld& world = start();
  const auto next = [&] {
    const DriveRequest* request = world.log.next_request(world.now);
    EXPECT_NE(request, nullptr);
    const DriveRequest copy = *request;
    EXPECT_TRUE(world.drive.submit(copy));
    world.log.submitted();
    return copy;
  };
  append(500);
  EXPECT_TRUE(next().durable) << "nothing else in flight";
  append(500);
  append(500);
  const DriveRequest second = next();
  EXPECT_FALSE(second.durable);
  EXPECT_EQ(world.log.next_request(world.now), nullptr) << "two batches, one commit";
  append(500);
  EXPECT_FALSE(next().durable);
  EXPECT_EQ(world.log.statistics().flushes, 0u);
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  EXPECT_GE(world.log.statistics().flushes, 1u);
  expect_all();
  stop();
}

TEST_F(LogTest, FillsWhileTheDriveIsBusy) {
  drive_config_.units.inflight_writes_max = 1;
  LogWorld& world = start();
  const auto first = append(500);
  world.send();
  const auto second = append(500);
  world.send();
  const auto third = append(500);
  EXPECT_EQ(second->commit, first->commit + 1);
  EXPECT_EQ(third->commit, second->commit) << "no second write: it joins the open commit";
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= third->commit; }));
  EXPECT_EQ(world.log.statistics().commits, 2u);
  EXPECT_EQ(world.log.statistics().flushes, 0u);
  expect_all();
  stop();
}

TEST_F(LogTest, BusyWhenFullAndTheDriveHasNoRoom) {
  drive_config_.units.inflight_writes_max = 1;
  LogWorld& world = start();
  append(500);
  world.send();
  int appended = 0;
  while (append(10'000)) ++appended;
  EXPECT_GE(appended, 10) << "one commit waits, one is open";
  EXPECT_LE(appended, 14);
  world.step();
  world.send();
  EXPECT_TRUE(append(10'000));
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  expect_all();
  stop();
}

TEST_F(LogTest, UnstagedLeavesNothing) {
  LogWorld& world = start();
  const Bytes bytes = make_batch(random_, 5000, 1);
  PieceList pieces;
  ASSERT_TRUE(world.memory.lay_out(random_, Arrival::together, bytes, pieces));
  ASSERT_TRUE(world.log.stage(pieces.range()));
  world.log.unstage();
  world.memory.let_go(pieces);
  EXPECT_EQ(world.log.partition(p0)->appended, Offset(0));
  append_durably(300);
  expect_all();
  stop();
}

TEST_F(LogTest, PatchesReachTheDriveAlsoOfACopiedBatch) {
  for (const size_t length : {200u, 5000u}) {
    LogWorld& world = start();
    Bytes bytes = make_batch(random_, length, 1);
    PieceList pieces;
    ASSERT_TRUE(world.memory.lay_out(random_, Arrival::crumbs, bytes, pieces));
    BatchInfo info = info_of(bytes, 1);
    ASSERT_TRUE(world.log.stage(pieces.range()));
    // As for LogAppendTime: a timestamp at byte 35, and the CRC anew.
    store_big<int64_t>(bytes.data() + 35, 123456789);
    info.crc = crc32c(0, bytes.data() + 21, bytes.size() - 21);
    store_big<uint32_t>(bytes.data() + disk::batch_crc_at, info.crc);
    world.log.patch_staged(17, std::span(bytes).subspan(17, 26));
    ASSERT_EQ(world.log.append(p0, info, world.now).verdict, AppendVerdict::appended);
    world.memory.let_go(pieces);
    ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
    batches_[0] = {patched(bytes, Offset(0), 0)};
    expect_all();
    restart();
    expect_all();
    stop();
  }
}

TEST_F(LogTest, NothingIsAllocatedInSteadyState) {
  drive_config_.segment_bytes = 16 * MiB;  // one is enough: the next one's index may be the first of its kind
  LogWorld& world = start();
  const Bytes bytes = make_batch(random_, 3000, 1);
  const BatchInfo info = info_of(bytes, 1);
  uint64_t in_steady_state = 0;
  for (int i = 0; i < 2000; ++i) {
    PieceList pieces;
    ASSERT_TRUE(world.memory.lay_out(random_, i % 2 == 0 ? Arrival::together : Arrival::frames, bytes, pieces));
    const uint64_t before = allocations;
    counting_allocations = true;
    if (world.log.stage(pieces.range())) world.log.append(p0, info, world.now);
    const DriveRequest* request = world.log.next_request(world.now);
    counting_allocations = false;
    if (request != nullptr && world.drive.submit(*request)) world.log.submitted();
    world.now = std::max(world.now, std::min(world.drive.next_deadline(), world.now + 1'000'000));
    world.drive.poll(world.now, [&](const DriveCompletion& done) {
      counting_allocations = true;
      world.log.completed(done, world.now);
      world.log.forget_advanced();
      counting_allocations = false;
    });
    world.memory.let_go(pieces);
    if (i > 100) in_steady_state += allocations - before;
  }
  EXPECT_EQ(in_steady_state, 0u);
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  stop();
}

// ---- sizes ----

TEST_F(LogTest, LargestBatch) {
  drive_config_.segment_bytes = 4 * MiB;
  start();
  const uint64_t largest = world_->log.batch_bytes_max();
  EXPECT_GT(largest, 4 * MiB - 64 * KiB);
  append_durably(largest, p0, Arrival::aligned);
  append_durably(largest, p0, Arrival::frames);
  append_durably(1'500'000, p0, Arrival::frames);
  config_.resident_bytes_max = 0;
  restart();
  expect_all();
  EXPECT_GT(world_->log.statistics().reads, 0u);
  stop();
}

TEST_F(LogTest, SegmentsFollowEachOther) {
  LogWorld& world = start();
  for (int i = 0; i < 60; ++i) append_durably(40'000, i % 3 == 0 ? p1 : p0);
  EXPECT_GE(world.drive.files().slot_count(), 5u);
  expect_all(p0);
  expect_all(p1);
  restart();
  expect_all(p0);
  expect_all(p1);
  stop();
}

TEST_F(LogTest, FullIndexSealsTheSegmentEarly) {
  LogWorld& world = start();
  const uint64_t entries = limits::index_entries_max(config_.segment_bytes);
  for (uint64_t i = 0; i < 3 * entries; ++i) {
    ASSERT_TRUE(world.run([&] { return append(61).has_value(); }));
  }
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  EXPECT_GE(world.drive.files().slot_count(), 4u) << "three full ones and a spare";
  expect_all();
  stop();
}

// ---- footers ----

TEST_F(LogTest, SealedSegmentsGetFooters) {
  start();
  for (int i = 0; i < 100; ++i) append_durably(i % 5 == 0 ? 30'000 : 700, i % 3 == 0 ? p1 : p0);
  EXPECT_GT(world_->log.statistics().footers, 0u);
  ASSERT_TRUE(world_->run([&] { return world_->log.drained(); }));
  restart();
  append_durably(300);  // what was the newest segment gets one too
  ASSERT_TRUE(world_->run([&] { return world_->log.statistics().footers > 0 && world_->log.drained(); }));
  const auto agreement = test::compare_with_scan(world_->drive.files(), {.lane = 0});
  EXPECT_EQ(agreement.difference, "");
  EXPECT_EQ(agreement.footers_read + 1, world_->log.statistics().segments);
  restart();
  expect_all(p0);
  expect_all(p1);
  stop();
}

// Else it would stay in memory: nothing waits for the drive here but for room.
TEST_F(LogTest, EverySegmentGetsAFooterHoweverFastTheyFill) {
  drive_config_.segment_bytes = 256 * KiB;
  LogWorld& world = start();
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(world.run([&] { return append(3000, i % 2 == 0 ? p0 : p1).has_value(); }));
  }
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  EXPECT_GT(world.log.statistics().segments, 20u);
  EXPECT_EQ(world.log.statistics().footers + 1, world.log.statistics().segments);
  stop();
}

TEST_F(LogTest, AFooterThatCannotBeWrittenIsDoneWithout) {
  LogWorld& world = start();
  const auto fill = [&] {
    const uint64_t segments = world.log.statistics().segments;
    while (world.log.statistics().segments == segments) append_durably(30'000);
    ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  };
  fill();
  fill();
  const uint64_t footers = world.log.statistics().footers;
  ASSERT_GT(footers, 0u);
  world.drive.fail_next(DriveOp::flush, 1);  // commits that go alone need none
  fill();
  EXPECT_EQ(world.log.state(), LogState::writable);
  EXPECT_EQ(world.log.statistics().footers, footers);
  EXPECT_EQ(world.log.statistics().write_errors, 1u);
  fill();
  EXPECT_EQ(world.log.statistics().footers, footers + 1) << "the next segment gets one again";
  restart();
  EXPECT_EQ(world_->log.state(), LogState::writable) << world_->log.recovery_report();
  expect_all();
  stop();
}

// ---- the drive fails ----

TEST_F(LogTest, WriteErrorRewritesOnAFreshSegment) {
  LogWorld& world = start();
  append_durably(500);
  world.drive.fail_next(DriveOp::write, 1);
  std::optional<Appended> last;
  for (int i = 0; i < 6; ++i) {
    last = append(3000);
    world.send();
  }
  ASSERT_TRUE(world.run([&] { return world.log.state() == LogState::recovering; }));
  EXPECT_FALSE(append(100)) << "busy meanwhile";
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= last->commit; }));
  EXPECT_EQ(world.log.state(), LogState::writable);
  EXPECT_EQ(world.log.lost_up_to(), CommitSequence(0));
  EXPECT_EQ(world.log.statistics().write_errors, 1u);
  append_durably(500);
  expect_all();
  restart();
  EXPECT_EQ(world_->log.state(), LogState::writable) << world_->log.recovery_report();
  expect_all();
  stop();
}

TEST_F(LogTest, FlushErrorRewritesToo) {
  LogWorld& world = start();
  world.drive.fail_next(DriveOp::flush, 1);
  std::optional<Appended> last;
  for (int i = 0; i < 6; ++i) {
    last = append(3000);
    world.send();
  }
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= last->commit; }));
  EXPECT_EQ(world.log.statistics().write_errors, 1u);
  expect_all();
  restart();
  expect_all();
  stop();
}

TEST_F(LogTest, SecondFailureUndoesWhatWasNotDurable) {
  LogWorld& world = start();
  append_durably(500);
  world.drive.fail_next(DriveOp::write, 1000);
  std::optional<Appended> last;
  for (int i = 0; i < 6; ++i) last = append(3000);
  ASSERT_TRUE(world.run([&] { return world.log.state() == LogState::read_only; }));
  EXPECT_EQ(world.log.lost_up_to(), last->commit);
  EXPECT_EQ(world.log.durable_commit(), CommitSequence(1));
  EXPECT_EQ(world.log.partition(p0)->appended, Offset(1));
  EXPECT_EQ(world.memory.buffers.held(Holder::request), 0u);
  EXPECT_FALSE(append(100));
  batches_[0].resize(1);
  expect_all();
  stop();
}

TEST_F(LogTest, ProducersFallBackToo) {
  LogWorld& world = start();
  BatchInfo info;
  const auto append_sequence = [&](int32_t sequence) {
    const Bytes bytes = make_batch(random_, 100, 1);
    PieceList pieces;
    EXPECT_TRUE(world.memory.lay_out(random_, Arrival::together, bytes, pieces));
    info = info_of(bytes, 1);
    info.producer_id = 7;
    info.producer_epoch = 0;
    info.base_sequence = sequence;
    const auto appended = world.append(p0, info, pieces);
    world.memory.let_go(pieces);
    return appended;
  };
  const auto first = append_sequence(0);
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= first->commit; }));
  const SequenceCheck again = world.log.check_sequence(p0, info);
  EXPECT_EQ(again.verdict, SequenceVerdict::duplicate);
  EXPECT_EQ(again.base_offset, Offset(0));
  world.drive.fail_next(DriveOp::write, 1000);
  append_sequence(1);
  EXPECT_EQ(world.log.check_sequence(p0, info).verdict, SequenceVerdict::duplicate);
  ASSERT_TRUE(world.run([&] { return world.log.state() == LogState::read_only; }));
  EXPECT_EQ(world.log.check_sequence(p0, info).verdict, SequenceVerdict::next) << "it never was";
  info.base_sequence = 0;
  EXPECT_EQ(world.log.check_sequence(p0, info).verdict, SequenceVerdict::duplicate);
  stop();
}

TEST_F(LogTest, FullDriveRefusesAndComesBackByItself) {
  drive_config_.slots_max = 3;
  LogWorld& world = start();
  int appended = 0;
  while (world.log.state() != LogState::read_only && appended < 200) {
    if (append(30'000)) {
      ++appended;
    } else if (!world.step()) {
      break;
    }
  }
  EXPECT_EQ(world.log.state(), LogState::read_only);
  EXPECT_GT(appended, 25) << "two segments are used";
  EXPECT_LT(appended, 40) << "the third is kept back";
  ASSERT_TRUE(world.run([&] { return world.log.drained(); })) << "what was appended is written";
  expect_all();
  world.drive.config().slots_max = 10;
  ASSERT_TRUE(world.run([&] { return world.log.state() == LogState::writable; }));
  append_durably(30'000);
  expect_all();
  stop();
}

TEST_F(LogTest, WriteErrorOnAFullDriveUsesTheReserve) {
  drive_config_.slots_max = 2;
  LogWorld& world = start();
  append_durably(500);
  world.drive.fail_next(DriveOp::write, 1);
  const auto appended = append(3000);
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= appended->commit; }));
  expect_all();
  stop();
}

// ---- reading ----

// The directory moved to a drive with larger blocks: commits begin within one of its blocks.
TEST_F(LogTest, ReadsWhatASmallerBlockWrote) {
  config_.resident_bytes_max = 0;
  for (const uint32_t block : {512u, 4096u, 512u}) {
    drive_config_.units.block = drive_config_.units.length_unit = block;
    if (world_) {
      restart();
    } else {
      start();
    }
    for (const size_t length : {300u, 700u, 5000u, 30'000u, 61u}) append_durably(length);
    expect_all();
  }
  EXPECT_EQ(world_->log.state(), LogState::writable);
  stop();
}

TEST_F(LogTest, ResidentFromMemoryOthersFromTheDrive) {
  config_.resident_bytes_max = 256 * KiB;
  LogWorld& world = start();
  for (int i = 0; i < 40; ++i) append_durably(20'000, p0, static_cast<Arrival>(i % 5));
  expect_all();
  EXPECT_GT(world.log.statistics().resident_hits, 2u);
  EXPECT_GT(world.log.statistics().reads, 20u);
  EXPECT_LE(world.log.statistics().resident_bytes, 256 * KiB);
  const uint64_t held = world.memory.buffers.held(Holder::resident);
  world.log.shed_resident(UINT64_MAX);
  EXPECT_GT(held, 0u);
  EXPECT_EQ(world.memory.buffers.held(Holder::resident), 0u);
  expect_all();
  stop();
}

TEST_F(LogTest, DamageIsToldAndNeighboursAreNot) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  for (int i = 0; i < 3; ++i) append_durably(2000, p0, Arrival::aligned);
  // One byte of the second batch's records.
  std::vector<std::byte>& file = world.drive.files().slots[0];
  const auto at = std::search(file.begin(), file.end(), batches_[0][1].begin() + 100, batches_[0][1].end());
  ASSERT_NE(at, file.end());
  *at ^= std::byte{1};
  EXPECT_TRUE(world.fetch(p0, *world.find(p0, Offset(0))));
  EXPECT_FALSE(world.fetch(p0, *world.find(p0, Offset(1))));
  EXPECT_TRUE(world.fetch(p0, *world.find(p0, Offset(2))));
  stop();
}

TEST_F(LogTest, HeaderBytesWithoutChecksumAreMendedFromTheEntry) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(2000, p0, Arrival::aligned);
  std::vector<std::byte>& file = world.drive.files().slots[0];
  const auto at = std::search(file.begin(), file.end(), batches_[0][0].begin() + 21, batches_[0][0].end()) - 21;
  std::fill_n(at, 21, std::byte{0xff});
  expect_all();
  stop();
}

TEST_F(LogTest, CancelledReadsLetGo) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(20'000);
  PieceList pieces;
  const auto batch = world.find(p0, Offset(0));
  for (const bool in_flight : {false, true}) {
    EXPECT_EQ(world.log.fetch(p0, *batch, 5, world.memory.pool, pieces), Log::FetchVerdict::reading);
    if (in_flight) world.send();
    world.log.cancel_read(5);
    world.run([&] { return world.drive.in_flight() == 0; });
    EXPECT_TRUE(world.log.reads_done().empty());
    EXPECT_EQ(world.memory.buffers.held(Holder::read), 0u);
  }
  stop();
}

TEST_F(LogTest, ABatchIsReadOnceForAllWhoWaitForIt) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(20'000);
  PieceList pieces;
  const auto fetch = [&](uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(0)), token, world.memory.pool, pieces);
  };
  EXPECT_EQ(fetch(1), Log::FetchVerdict::reading);
  EXPECT_EQ(fetch(2), Log::FetchVerdict::reading);
  EXPECT_EQ(fetch(1), Log::FetchVerdict::reading);
  world.send();
  EXPECT_EQ(fetch(3), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return !world.log.reads_done().empty(); }));
  const std::span<const uint64_t> done = world.log.reads_done();
  EXPECT_EQ(std::vector<uint64_t>(done.begin(), done.end()), (std::vector<uint64_t>{1, 2, 3}));
  world.log.forget_reads_done();
  EXPECT_EQ(world.log.statistics().reads, 1u);
  for (const uint64_t token : {2, 4, 1, 3}) {
    EXPECT_EQ(fetch(token), Log::FetchVerdict::ready);
    world.memory.let_go(pieces, Holder::send);
    world.log.shed_resident(UINT64_MAX);
    EXPECT_EQ(world.memory.buffers.held(Holder::read) == 0, token == 3) << "it stays until all three have come";
  }
  stop();
}

TEST_F(LogTest, OneOfThoseWhoWaitForABatchMayLeave) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(20'000);
  PieceList pieces;
  const auto fetch = [&](uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(0)), token, world.memory.pool, pieces);
  };
  enum class When : uint8_t { waiting, in_flight, finished };
  for (const When when : {When::waiting, When::in_flight, When::finished}) {
    for (const bool all_leave : {false, true}) {
      const auto finished = [&] { return world.drive.in_flight() == 0; };
      for (const uint64_t token : {1, 2}) EXPECT_EQ(fetch(token), Log::FetchVerdict::reading);
      if (when != When::waiting) world.send();
      if (when == When::finished) world.run(finished);
      world.log.cancel_read(1);
      if (all_leave) {
        world.log.cancel_read(2);
        if (when == When::in_flight) {
          EXPECT_EQ(fetch(3), Log::FetchVerdict::reading);  // takes over what the drive does anyway
          world.log.cancel_read(3);
        }
      }
      world.send();
      world.run(finished);
      EXPECT_EQ(world.log.reads_done().size(), all_leave ? 0u : 1u);
      world.log.forget_reads_done();
      if (!all_leave) {
        EXPECT_EQ(fetch(2), Log::FetchVerdict::ready);
        world.memory.let_go(pieces, Holder::send);
      }
      world.log.shed_resident(UINT64_MAX);
      EXPECT_EQ(world.memory.buffers.held(Holder::read), 0u);
    }
  }
  stop();
}

TEST_F(LogTest, WhoAsksForAnotherBatchLetsGoOfTheOneBefore) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  for (int i = 0; i < 2; ++i) append_durably(20'000);
  PieceList pieces;
  const auto fetch = [&](int64_t offset, uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(offset)), token, world.memory.pool, pieces);
  };
  EXPECT_EQ(fetch(0, 1), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == 1; }));
  EXPECT_EQ(fetch(1, 1), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == 2; }));
  EXPECT_EQ(fetch(1, 1), Log::FetchVerdict::ready);
  world.memory.let_go(pieces, Holder::send);
  world.log.shed_resident(UINT64_MAX);
  EXPECT_EQ(world.memory.buffers.held(Holder::read), 0u);
  stop();
}

TEST_F(LogTest, AReadErrorIsToldToAllWhoWaitAndTheNextReadsAgain) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(20'000);
  PieceList pieces;
  const auto fetch = [&](uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(0)), token, world.memory.pool, pieces);
  };
  world.drive.fail_next(DriveOp::read, 1);
  for (const uint64_t token : {1, 2}) EXPECT_EQ(fetch(token), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == 2; }));
  for (const uint64_t token : {1, 2}) EXPECT_EQ(fetch(token), Log::FetchVerdict::unreadable);
  EXPECT_EQ(world.log.statistics().read_errors, 1u);
  EXPECT_EQ(world.memory.buffers.held(Holder::read), 0u);
  world.log.forget_reads_done();
  expect_all();
  stop();
}

TEST_F(LogTest, MoreThanMayWaitForReadsComeAgain) {
  config_.resident_bytes_max = 0;
  LogWorld& world = start();
  append_durably(20'000);
  PieceList pieces;
  const auto fetch = [&](uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(0)), token, world.memory.pool, pieces);
  };
  for (uint64_t token = 0; token < limits::read_wants_max; ++token) {
    ASSERT_EQ(fetch(token), Log::FetchVerdict::reading);
  }
  EXPECT_EQ(fetch(limits::read_wants_max), Log::FetchVerdict::busy);
  EXPECT_EQ(fetch(0), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == limits::read_wants_max; }));
  for (uint64_t token = 0; token <= limits::read_wants_max; ++token) {
    ASSERT_EQ(fetch(token), Log::FetchVerdict::ready);
    world.memory.let_go(pieces, Holder::send);
  }
  world.log.forget_reads_done();
  stop();
}

TEST_F(LogTest, ReadBudgetMakesOthersWait) {
  config_.resident_bytes_max = 0;
  config_.read_bytes_max = 64 * KiB;
  LogWorld& world = start();
  for (int i = 0; i < 4; ++i) append_durably(25'000);
  PieceList pieces;
  int reading = 0;
  for (uint64_t token = 0; token < 4; ++token) {
    const auto batch = world.find(p0, Offset(static_cast<int64_t>(token)));
    const auto verdict = world.log.fetch(p0, *batch, token, world.memory.pool, pieces);
    reading += verdict == Log::FetchVerdict::reading;
    EXPECT_TRUE(verdict == Log::FetchVerdict::reading || verdict == Log::FetchVerdict::busy);
  }
  EXPECT_GE(reading, 1);
  EXPECT_LE(reading, 2);
  for (uint64_t token = 0; token < 4; ++token) world.log.cancel_read(token);
  expect_all();
  stop();
}

// Before, each read took its header and found then that the rest did not fit: again and again, while all waited.
TEST_F(LogTest, AReadBeginsWhenItsWholeBatchFits) {
  config_.resident_bytes_max = 0;
  drive_config_.segment_bytes = 4 * MiB;
  LogWorld& world = start();
  for (int i = 0; i < 3; ++i) append_durably(400'000, p0, Arrival::aligned);
  PieceList pieces;
  const auto fetch = [&](uint64_t token) {
    const auto batch = world.find(p0, Offset(static_cast<int64_t>(token)));
    return world.log.fetch(p0, *batch, token, world.memory.pool, pieces);
  };
  EXPECT_EQ(fetch(0), Log::FetchVerdict::reading);
  EXPECT_EQ(fetch(1), Log::FetchVerdict::reading);
  EXPECT_EQ(fetch(2), Log::FetchVerdict::busy);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == 2; }));
  EXPECT_EQ(world.log.statistics().reads, 4u);  // header and batch of two
  EXPECT_EQ(fetch(2), Log::FetchVerdict::busy);
  for (const uint64_t token : {0, 1}) EXPECT_EQ(fetch(token), Log::FetchVerdict::ready);
  EXPECT_EQ(fetch(2), Log::FetchVerdict::busy);  // somebody sends from them
  world.memory.let_go(pieces, Holder::send);
  EXPECT_EQ(fetch(2), Log::FetchVerdict::reading);
  world.log.forget_reads_done();
  world.log.cancel_read(2);
  expect_all();
  stop();
}

TEST_F(LogTest, ABatchThatAnotherTakesStaysForWhoHadItRead) {
  config_.resident_bytes_max = 0;
  config_.read_bytes_max = 48 * KiB;
  LogWorld& world = start();
  for (int i = 0; i < 2; ++i) append_durably(25'000);
  PieceList pieces;
  const auto fetch = [&](int64_t offset, uint64_t token) {
    return world.log.fetch(p0, *world.find(p0, Offset(offset)), token, world.memory.pool, pieces);
  };
  EXPECT_EQ(fetch(0, 7), Log::FetchVerdict::reading);
  ASSERT_TRUE(world.run([&] { return world.log.reads_done().size() == 1; }));
  world.log.forget_reads_done();
  EXPECT_EQ(fetch(0, 8), Log::FetchVerdict::ready);
  world.memory.let_go(pieces, Holder::send);
  EXPECT_EQ(fetch(1, 8), Log::FetchVerdict::busy);
  EXPECT_EQ(fetch(0, 7), Log::FetchVerdict::ready);
  world.memory.let_go(pieces, Holder::send);
  EXPECT_EQ(fetch(1, 8), Log::FetchVerdict::reading);
  world.log.cancel_read(8);
  expect_all();
  stop();
}

TEST_F(LogTest, FindsByTime) {
  start();
  for (int i = 0; i < 5; ++i) append_durably(300, p0, Arrival::together, 1000 + 100 * i);
  EXPECT_EQ(world_->find_time(p0, 1150)->base_offset, Offset(2));
  EXPECT_EQ(world_->find_time(p0, 0)->base_offset, Offset(0));
  EXPECT_FALSE(world_->find_time(p0, 2000));
  EXPECT_EQ(world_->find_max_timestamp(p0)->base_offset, Offset(4));
  stop();
}

// Small batches of two partitions, read from the first to the last from the drive by who fell behind.
TEST_F(LogTest, WhoReadsOnReadsInLargePiecesThatAllShare) {
  config_.read_bytes_max = 4 * MiB;
  LogWorld& world = start();
  for (int i = 0; i < 600; ++i) append_durably(900, i % 2 == 0 ? p0 : p1);
  world.log.shed_resident(UINT64_MAX);
  expect_all(p0);
  expect_all(p1);
  const LogStatistics& statistics = world.log.statistics();
  const double amplification =
      static_cast<double>(statistics.read_bytes - statistics.footer_read_bytes) / (600.0 * 900.0);
  std::printf("bytes read for each that was served: %.1f, in %llu reads\n", amplification,
              static_cast<unsigned long long>(statistics.reads));
  // A commit of one batch is two blocks here, and everything is read again for the second partition.
  EXPECT_LT(amplification, 2.5 * 8192 / 900);
  EXPECT_LT(statistics.reads, 150u);
  stop();
}

// Many partitions, of which each batch lies among all the others', read one after the other: what is read stays until the
// next one comes by, also of batches that were written in several pieces.
TEST_F(LogTest, WhoReadsOnePartitionAfterTheOtherSharesToo) {
  constexpr uint32_t partitions = 30;
  config_.partitions_max = partitions;
  config_.read_bytes_max = 4 * MiB;
  drive_config_.segment_bytes = 16 * MiB;
  LogWorld& world = start();
  for (uint32_t i = 2; i < partitions; ++i) world.log.open_partition(PartitionSlot(i), PartitionNumber(10 + i), 0);
  std::vector<std::vector<Bytes>> batches(partitions);
  for (uint32_t i = 0; i < 15 * partitions; ++i) {
    const Bytes bytes = make_batch(random_, 20'000, 1);
    PieceList pieces;
    ASSERT_TRUE(world.memory.lay_out(random_, i % 2 == 0 ? Arrival::together : Arrival::frames, bytes, pieces));
    std::optional<Appended> appended;
    const PartitionSlot slot(i % partitions);
    ASSERT_TRUE(world.run([&] { return (appended = world.append(slot, info_of(bytes, 1), pieces)).has_value(); }));
    world.memory.let_go(pieces);
    batches[slot.value].push_back(patched(bytes, appended->base_offset, 0));
  }
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  world.log.shed_resident(UINT64_MAX);
  for (uint32_t slot = 0; slot < partitions; ++slot) {
    for (size_t i = 0; i < batches[slot].size(); ++i) {
      const auto found = world.find(PartitionSlot(slot), Offset(static_cast<int64_t>(i)));
      ASSERT_TRUE(found);
      const auto bytes = world.fetch(PartitionSlot(slot), *found);
      ASSERT_TRUE(bytes && *bytes == batches[slot][i]) << slot << ", " << i;
    }
  }
  const double amplification = static_cast<double>(world.log.statistics().read_bytes) / (15.0 * partitions * 20'000);
  std::printf("bytes read for each that was served: %.1f\n", amplification);
  EXPECT_LT(amplification, 2);
  stop();
}

// Blocks of a footer that a start does not look at change on the drive: what needs them is refused, the rest is served,
// and after the next start all.
TEST_F(LogTest, ADamagedFooterIsNotTakenForWhatItIsNot) {
  start();
  for (int i = 0; i < 100; ++i) append_durably(i % 5 == 0 ? 30'000 : 700);
  ASSERT_TRUE(world_->run([&] { return world_->log.drained(); }));
  SimFiles files = world_->drive.crash(1);
  auto& slot = files.slots[0];
  uint64_t blocks = 0;
  for (size_t at = 0; at + 512 <= slot.size(); at += 512) {
    if (std::memcmp(slot.data() + at, "PNSTKFBL", 8) != 0) continue;
    slot[at + 40] ^= std::byte{1};
    ++blocks;
  }
  ASSERT_GE(blocks, 3u);
  start(std::move(files));
  ASSERT_EQ(world_->log.state(), LogState::writable) << world_->log.recovery_report();
  EXPECT_FALSE(world_->find(p0, Offset(0)));
  EXPECT_EQ(world_->damaged_look_ups, 1u);
  EXPECT_GT(world_->log.statistics().footer_blocks_damaged, 0u);
  EXPECT_TRUE(world_->find(p0, world_->log.partition(p0)->durable - 1));
  EXPECT_EQ(world_->damaged_look_ups, 1u);
  append_durably(300);
  ASSERT_TRUE(world_->run([&] { return world_->log.drained(); }));
  restart();  // it was taken away, so the segment is read
  expect_all();
  EXPECT_EQ(world_->damaged_look_ups, 0u);
  stop();
}

// ---- partitions, starts ----

TEST_F(LogTest, DeletedPartitionIsGoneAndStaysGone) {
  LogWorld& world = start();
  append_durably(300);
  append_durably(300, p1);
  append(300);
  world.log.delete_partition(p0);
  EXPECT_EQ(world.log.partition(p0), nullptr);
  EXPECT_FALSE(world.find(p0, Offset(0)));
  ASSERT_TRUE(world.run([&] { return world.log.drained(); }));
  expect_all(p1);
  restart();
  EXPECT_FALSE(world_->find(p0, Offset(0)));
  expect_all(p1);
  stop();
}

TEST_F(LogTest, TheSlotOfADeletedPartitionIsAnothersAtOnce) {
  LogWorld& world = start();
  append_durably(300);
  append_durably(300);
  world.log.forget_advanced();
  const auto in_flight = append(300);
  world.log.delete_partition(p0);
  world.log.open_partition(p0, PartitionNumber(20), 3);
  ASSERT_TRUE(world.run([&] { return world.log.durable_commit() >= in_flight->commit; }));
  // Nothing of the other one is its own, not what became durable since either.
  const PartitionState& state = *world.log.partition(p0);
  EXPECT_EQ(state.number, PartitionNumber(20));
  EXPECT_EQ(std::tuple(state.log_start, state.durable, state.appended), std::tuple(Offset(0), Offset(0), Offset(0)));
  EXPECT_FALSE(world.find(p0, Offset(0)));
  EXPECT_TRUE(world.log.advanced().empty());
  batches_[0].clear();
  world.log.open_partition(p0, PartitionNumber(20), 0);
  append_durably(400);
  append_durably(400);
  EXPECT_EQ(world.log.partition(p0)->durable, Offset(2));
  expect_all();

  world_->log.delete_partition(p0);
  world_->log.open_partition(p0, PartitionNumber(10), 0);
  EXPECT_FALSE(world_->find(p0, Offset(0))) << "a number that was deleted stays empty";
  world_->log.delete_partition(p0);
  stop();
}

TEST_F(LogTest, EveryStartBeginsAFreshSegment) {
  start();
  append_durably(300);
  const uint32_t before = world_->drive.files().slot_count();
  for (int i = 0; i < 3; ++i) {
    restart();
    ASSERT_EQ(world_->log.state(), LogState::writable) << world_->log.recovery_report();
    append_durably(300);
  }
  EXPECT_GE(world_->drive.files().slot_count(), before + 3);
  expect_all();
  stop();
}

TEST_F(LogTest, DamagedLogIsReadOnlyAndWritesNothing) {
  start();
  for (int i = 0; i < 5; ++i) append_durably(3000);
  SimFiles files = world_->drive.crash(1);
  // The second commit's header, claimed durable by those after it.
  const auto& first = *reinterpret_cast<const disk::CommitHeader*>(files.slots[0].data() + 4096);
  files.slots[0][4096 + first.commit_bytes + 20] ^= std::byte{1};
  start(std::move(files));
  EXPECT_EQ(world_->log.state(), LogState::read_only);
  EXPECT_NE(world_->log.recovery_report(), "");
  EXPECT_EQ(world_->log.next_request(world_->now), nullptr);
  EXPECT_FALSE(append(100));
  EXPECT_TRUE(world_->fetch(p0, *world_->find(p0, Offset(0))));
  stop();
}

}  // namespace
}  // namespace penstock
