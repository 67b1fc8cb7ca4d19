// A model of the log, and lives of the log that it is compared with: random batches in random pieces, random drives and
// faults, each life ended by a power loss, a killed process or a clean stop.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <span>

#include "tests/storage/log_world.h"

namespace penstock::test {

inline constexpr uint32_t partition_count = 4;

struct ModelBatch {
  Offset base_offset{};
  Offset next_offset{};
  CommitSequence commit{};
  Bytes bytes;  // as stored
  Milliseconds timestamp = -1;
};

struct ModelPartition {
  std::vector<ModelBatch> batches;
  uint64_t durable = 0;  // of batches: known to be
  RetentionPolicy retention;
  Offset deleted{};    // somebody asked for it
  Offset log_start{};  // the last that was seen, durable

  // May the log start there, at this time?
  bool allows(Offset start, Milliseconds wall) const {
    uint64_t behind = 0;
    for (auto batch = batches.rbegin(); batch != batches.rend(); ++batch) {
      const bool gone = batch->next_offset <= start || (batch->base_offset < start && start > deleted);
      // A batch without a time goes with its neighbours.
      const Milliseconds timestamp = batch->timestamp < 0 ? 0 : batch->timestamp;
      if (gone && batch->next_offset > deleted && !has_expired(retention, wall, timestamp, behind)) return false;
      behind += batch->bytes.size();
    }
    return true;
  }
};

struct Model {
  explicit Model(uint64_t model_seed) : seed(model_seed), random(model_seed) {}
  uint64_t seed;
  SimRandom random;
  ModelPartition partitions[partition_count];
  Milliseconds wall = 1'000'000;  // when the life under way began
};

inline DriveUnits random_units(SimRandom& random) {
  DriveUnits units;
  units.block = random.one_in(2) ? 512 : 4096;
  units.length_unit = units.block == 512 || random.one_in(2) ? 512 : 4096;
  units.address_unit = random.one_in(3) ? units.length_unit : random.one_in(2) ? 4 : 512;
  units.seam = random.one_in(2) ? 4096 : 0;
  constexpr uint32_t copybreaks[] = {1, 100, 512, 1400, 2048, 4096, UINT32_MAX};
  units.copybreak = copybreaks[random.below(std::size(copybreaks))];
  units.vectors_max = static_cast<uint32_t>(random.between(16, 80));
  units.commit_bytes_max = static_cast<uint32_t>(16 * KiB << random.below(3));
  units.inflight_writes_max = static_cast<uint32_t>(random.between(1, 5));
  units.inflight_bytes_max = static_cast<uint32_t>(16 * KiB << random.below(4));
  units.stable_pages = random.one_in(8);
  return units;
}

inline SimDriveConfig random_drive(SimRandom& random, const DriveUnits& units, uint64_t segment_bytes) {
  SimDriveConfig config{.seed = random.next(), .units = units, .segment_bytes = segment_bytes};
  config.queue_depth = random.one_in(3) ? static_cast<uint32_t>(random.between(1, 6)) : 64;
  if (random.one_in(4)) config.slow_one_in = 20;
  if (random.one_in(3)) config.short_one_in = random.between(4, 12);
  if (random.one_in(3)) config.interrupted_one_in = random.between(4, 12);
  if (random.one_in(4)) config.write_error_one_in = random.between(10, 60);
  if (random.one_in(6)) config.flush_error_one_in = random.between(5, 30);
  if (random.one_in(6)) config.prepare_error_one_in = random.between(2, 4);
  if (random.one_in(8)) config.slots_max = static_cast<uint32_t>(random.between(4, 12));
  return config;
}

// One life of the log, from start to a power loss or a clean stop.
class Life {
 public:
  Life(const ArenaMemory& arena, Model& model, const DriveUnits& units, uint64_t segment_bytes, SimDisk disk,
       size_t batch_bytes_max = 70'000)
      : model_(model),
        batch_bytes_max_(batch_bytes_max),
        random_(model.random.next()),
        faults_(random_drive(random_, units, segment_bytes)),
        world_(arena, config(segment_bytes), faults_, std::move(disk)) {
    for (uint32_t i = 0; i < partition_count; ++i) {
      world_.log.open_partition(PartitionSlot(i), PartitionNumber(i + 10), 3);
      world_.log.set_retention(PartitionSlot(i), model.partitions[i].retention);
    }
    world_.log.catalog_known();
  }

  // What survived is what the model allows; from here on the model is what survived.
  void verify_recovered() {
    ASSERT_NE(world_.log.state(), LogState::read_only) << world_.log.recovery_report();
    const CommitSequence last = world_.log.durable_commit();
    for (uint32_t i = 0; i < partition_count; ++i) {
      ModelPartition& partition = model_.partitions[i];
      size_t survived = 0;
      while (survived < partition.batches.size() && partition.batches[survived].commit <= last) ++survived;
      ASSERT_GE(survived, partition.durable) << "a durable batch is lost\n" << world_.log.recovery_report();
      for (size_t k = survived; k < partition.batches.size(); ++k) ASSERT_GT(partition.batches[k].commit, last);
      partition.batches.resize(survived);
      const PartitionState* state = world_.log.partition(PartitionSlot(i));
      const Offset next = survived == 0 ? Offset(0) : partition.batches.back().next_offset;
      ASSERT_EQ(state->durable.value, next.value) << world_.log.recovery_report();
      ASSERT_EQ(state->appended.value, next.value);
      ASSERT_GE(state->log_start.value, partition.log_start.value) << world_.log.recovery_report();
      ASSERT_TRUE(partition.allows(state->log_start, wall())) << state->log_start.value;
    }
    verify_contents();
  }

  void live(uint32_t actions) {
    if (random_.one_in(10)) return;  // a crash before anything happened
    if (!random_.one_in(10)) world_.start();
    for (uint32_t i = 0; i < actions && !::testing::Test::HasFatalFailure(); ++i) {
      const uint64_t action = random_.below(22);
      if (action == 20) {
        retain();
      } else if (action == 21) {
        delete_records();
      } else if (action < 14) {
        append();
      } else if (action < 18) {
        step();
      } else if (action == 18) {
        read_one();
      } else {
        world_.log.shed_resident(random_.below(256 * KiB));
      }
    }
  }

  // Everything goes to the drive, everything is let go.
  void stop() {
    world_.drive.config().slots_max = 1000;
    ASSERT_TRUE(world_.start());
    ASSERT_TRUE(world_.run([&] { return world_.log.drained(); }))
        << "state " << static_cast<int>(world_.log.state()) << ", in flight " << world_.drive.in_flight();
    learn_durable();
    if (started_ && world_.log.lost_up_to() == CommitSequence{}) {
      for (const ModelPartition& partition : model_.partitions) ASSERT_EQ(partition.durable, partition.batches.size());
    }
    verify_contents();
    ASSERT_TRUE(world_.run([&] { return world_.log.drained(); }));
    world_.log.release_all();
    world_.memory.let_go_shared();
    ASSERT_EQ(world_.memory.buffers.leak_report(), "");
    ASSERT_EQ(world_.memory.allocator.free_bytes(), world_.memory.arena.size);
    ASSERT_EQ(world_.memory.pool.free_count(), world_.memory.pool.chunk_count());
  }

  // Called at every moment at which what is on the drive, or what the log says of it, may have changed.
  void on_event(std::function<void()> call) { world_.on_event = std::move(call); }
  const SimDrive& drive() const { return world_.drive; }
  const LogStatistics& statistics() const { return world_.log.statistics(); }
  Milliseconds wall() const { return model_.wall + world_.now / millisecond_ns; }

  // What has been acknowledged to somebody by now: batches, by partition, and where their logs start.
  struct Promised {
    uint64_t batches = 0;
    Offset log_start{};
  };
  Promised promised(uint32_t slot) {
    const ModelPartition& partition = model_.partitions[slot];
    const LogState state = world_.log.state();
    const bool started = started_ || state == LogState::writable || state == LogState::recovering;
    if (!started) return Promised{partition.durable, partition.log_start};
    return Promised{readable(partition), world_.log.partition(PartitionSlot(slot))->log_start};
  }

  // The power goes, or only the process.
  SimDisk end() {
    model_.wall = wall();
    if (random_.one_in(3)) return world_.drive.kill(random_.next());
    return world_.drive.crash(random_.next());
  }

 private:
  LogConfig config(uint64_t segment_bytes) {
    return LogConfig{.lane = 0,
                     .segment_bytes = segment_bytes,
                     .spare_segments = static_cast<uint32_t>(random_.between(1, 2)),
                     .resident_bytes_max = random_.one_in(3) ? 0 : random_.below(1 * MiB),
                     .read_bytes_max = 256 * KiB,
                     .footer_cache_bytes = random_.below(8) * 16 * KiB,
                     .partitions_max = partition_count,
                     .producers_max = 16,
                     .retention_interval_ns =
                         std::max<Nanoseconds>(200'000, static_cast<Nanoseconds>(random_.below(2 * millisecond_ns))),
                     .random_seed = random_.next()};
  }

  // Sometimes by a clock that is an hour ahead. (In an empty log nothing says what time it is.)
  void retain() {
    const bool wrong = retained_ && random_.one_in(10);
    world_.log.retain(world_.now, wall() + (wrong ? 3'600'000 : 0));
    retained_ = true;
    world_.wall_start = model_.wall;
    world_.send();
    learn_durable();
  }
  void delete_records() {
    const auto slot = static_cast<uint32_t>(random_.below(partition_count));
    ModelPartition& partition = model_.partitions[slot];
    const PartitionState* state = world_.log.partition(PartitionSlot(slot));
    const auto range = static_cast<uint64_t>(state->durable - state->log_start);
    if (!started_ || range == 0) return;
    const Offset before = state->log_start + static_cast<int64_t>(random_.below(range + 1));
    if (world_.log.delete_records(PartitionSlot(slot), before).verdict != AppendVerdict::appended) return;
    partition.deleted = std::max(partition.deleted, before);
    learn_durable();
  }

  void step() {
    if (random_.one_in(2)) retain();
    world_.step();
    learn_durable();
  }

  void learn_durable() {
    // What was found may lie only in the drive's cache, until the log has started.
    const LogState state = world_.log.state();
    started_ = started_ || state == LogState::writable || state == LogState::recovering;
    if (!started_) return;
    const CommitSequence durable = world_.log.durable_commit();
    for (uint32_t i = 0; i < partition_count; ++i) {
      ModelPartition& partition = model_.partitions[i];
      while (partition.durable < partition.batches.size() && partition.batches[partition.durable].commit <= durable) {
        ++partition.durable;
      }
      const Offset next = partition.durable == 0 ? Offset(0) : partition.batches[partition.durable - 1].next_offset;
      const PartitionState& found = *world_.log.partition(PartitionSlot(i));
      ASSERT_EQ(found.durable.value, next.value);
      ASSERT_GE(found.log_start.value, partition.log_start.value);
      ASSERT_TRUE(partition.allows(found.log_start, wall())) << found.log_start.value;
      partition.log_start = found.log_start;
    }
    world_.log.forget_advanced();
  }

  void append() {
    const auto slot = PartitionSlot(static_cast<uint32_t>(random_.below(partition_count)));
    const auto record_count = static_cast<int32_t>(random_.between(1, 20));
    const size_t length = random_.one_in(12)  ? random_.between(batch_bytes_max_ / 7, batch_bytes_max_)
                          : random_.one_in(3) ? random_.between(batch_bytes_max_ / 70, batch_bytes_max_ / 7)
                                              : random_.between(disk::batch_header_bytes, 400);
    const Bytes bytes = make_batch(random_, length, record_count);
    const auto arrival = static_cast<Arrival>(random_.below(static_cast<uint64_t>(Arrival::count)));
    PieceList pieces;
    if (!world_.memory.lay_out(random_, arrival, bytes, pieces)) {
      world_.log.shed_resident(1 * MiB);
      return step();
    }
    BatchInfo info = info_of(bytes, record_count);
    info.max_timestamp = random_.one_in(8) ? -1 : wall() + static_cast<int64_t>(random_.below(4)) - 2;
    if (length % 2 == 0) {  // no more than the table remembers
      info.producer_id = 1 + static_cast<int64_t>(length / 2 % 3);
      info.producer_epoch = static_cast<int16_t>(length / 8 % 2);
      info.base_sequence = static_cast<int32_t>(length % 1000);
    }
    if (random_.one_in(10) && world_.log.stage(pieces.range())) world_.log.unstage();
    std::optional<Appended> appended;
    for (int tries = 0; tries < 200 && !appended; ++tries) {
      appended = world_.append(slot, info, pieces);
      if (appended || world_.log.state() == LogState::read_only) break;
      step();
    }
    world_.memory.let_go(pieces);
    if (!appended || appended->verdict != AppendVerdict::appended) return;
    ModelPartition& partition = model_.partitions[slot.value];
    const Offset expected = partition.batches.empty() ? Offset(0) : partition.batches.back().next_offset;
    ASSERT_EQ(appended->base_offset.value, expected.value) << "offsets are dense";
    partition.batches.push_back(ModelBatch{.base_offset = expected,
                                           .next_offset = expected + record_count,
                                           .commit = appended->commit,
                                           .bytes = patched(bytes, expected, 3),
                                           .timestamp = info.max_timestamp});
  }

  void read_one() {
    const auto slot = static_cast<uint32_t>(random_.below(partition_count));
    const ModelPartition& partition = model_.partitions[slot];
    if (readable(partition) == 0) return;
    verify_batch(slot, random_.below(readable(partition)));
    learn_durable();
  }

  // Batches that consumers see: what was found at the start, before it is known durable, too.
  uint64_t readable(const ModelPartition& partition) const {
    uint64_t count = partition.durable;
    const CommitSequence durable = world_.log.durable_commit();
    while (count < partition.batches.size() && partition.batches[count].commit <= durable) ++count;
    return count;
  }

  void verify_batch(uint32_t slot, uint64_t index) {
    const ModelBatch& expected = model_.partitions[slot].batches[index];
    const Offset begin = std::max(expected.base_offset, world_.log.partition(PartitionSlot(slot))->log_start);
    if (begin >= expected.next_offset) return;
    const auto within = static_cast<int64_t>(random_.below(static_cast<uint64_t>(expected.next_offset - begin)));
    const auto found = world_.find(PartitionSlot(slot), begin + within);
    ASSERT_EQ(world_.damaged_look_ups, 0u);
    if (world_.log.partition(PartitionSlot(slot))->log_start > begin + within) return;  // expired meanwhile
    ASSERT_TRUE(found);
    ASSERT_EQ(found->base_offset.value, expected.base_offset.value);
    ASSERT_EQ(found->next_offset.value, expected.next_offset.value);
    const std::optional<Bytes> bytes = world_.fetch(PartitionSlot(slot), *found);
    if (world_.log.partition(PartitionSlot(slot))->log_start >= found->next_offset) return;  // expired meanwhile
    ASSERT_TRUE(bytes) << "damaged";
    const auto [here, there] =
        std::mismatch(bytes->begin(), bytes->end(), expected.bytes.begin(), expected.bytes.end());
    ASSERT_TRUE(*bytes == expected.bytes)
        << "other bytes than were appended: from " << here - bytes->begin() << " of " << bytes->size() << ", "
        << there - expected.bytes.begin() << " of " << expected.bytes.size() << "; resident hits "
        << world_.log.statistics().resident_hits << ", reads " << world_.log.statistics().reads << ", partition "
        << slot << " offset " << expected.base_offset.value << " commit " << expected.commit.value;
  }

  // Look-ups by time; what they say is compared with what is there when they say it.
  void verify_times(uint32_t slot) {
    const ModelPartition& partition = model_.partitions[slot];
    const PartitionState& state = *world_.log.partition(PartitionSlot(slot));
    const auto visible = [&] {
      std::span<const ModelBatch> batches(partition.batches.data(), readable(partition));
      while (!batches.empty() && batches.front().next_offset <= state.log_start) batches = batches.subspan(1);
      return batches;
    };
    if (visible().empty()) return;
    const Milliseconds near = visible()[random_.below(visible().size())].timestamp;
    const Milliseconds time = std::max<Milliseconds>(0, near + static_cast<int64_t>(random_.below(3)) - 1);
    const auto found = world_.find_time(PartitionSlot(slot), time);
    const auto first = std::ranges::find_if(visible(), [&](const ModelBatch& each) { return each.timestamp >= time; });
    ASSERT_EQ(found.has_value(), first != visible().end()) << time;
    if (found) {
      ASSERT_EQ(found->base_offset.value, first->base_offset.value) << time;
    }
    const auto newest = world_.find_max_timestamp(PartitionSlot(slot));
    const auto largest = std::ranges::max_element(visible(), {}, &ModelBatch::timestamp);
    ASSERT_EQ(newest.has_value(), largest != visible().end());
    if (newest) {
      ASSERT_EQ(newest->base_offset.value, largest->base_offset.value);
    }
    ASSERT_EQ(world_.damaged_look_ups, 0u);
  }

  void verify_contents() {
    for (uint32_t i = 0; i < partition_count; ++i) {
      const ModelPartition& partition = model_.partitions[i];
      for (uint64_t k = 0; k < readable(partition) && !::testing::Test::HasFatalFailure(); ++k) {
        // All of a short log, some of a long one.
        if (readable(partition) < 20 || random_.one_in(4)) verify_batch(i, k);
      }
      for (int round = 0; round < 3 && !::testing::Test::HasFatalFailure(); ++round) verify_times(i);
      const PartitionState* state = world_.log.partition(PartitionSlot(i));
      ASSERT_FALSE(world_.find(PartitionSlot(i), state->durable));
    }
  }

  Model& model_;
  size_t batch_bytes_max_;
  SimRandom random_;
  SimDriveConfig faults_;
  LogWorld world_;
  bool started_ = false;
  bool retained_ = false;
};

}  // namespace penstock::test
