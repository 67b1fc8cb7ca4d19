// Power cuts at every moment of a log's life: whenever something was written, flushed or acknowledged, each image that
// the drive may then be left with is recovered. Of what was not flushed any part may be there: every subset of the
// writes and of their sectors where they are few, every prefix with its last write torn at every sector, and a sample
// of the rest. In every image:
//
//   - what was acknowledged by then is there, byte for byte, and nothing that was never appended;
//   - of what was not, everything up to some commit, and nothing after it;
//   - logs start where it was acknowledged, or where somebody has asked for since;
//   - nothing is taken for damage, and a start from footers comes to the same as one from the commits.
//
// The lives are those of log_model_test on small segments: rolls, footers, released and recycled slots, notes of
// retention, write and flush errors; each begins on an image of the one before. PENSTOCK_SEEDS=from,count runs others.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/storage/footer_agreement.h"
#include "tests/storage/log_image.h"
#include "tests/storage/log_life.h"

namespace penstock::test {
namespace {

constexpr uint64_t sector_bytes = 512;
constexpr uint64_t segment_bytes = 96 * KiB;
constexpr size_t batch_bytes_max = 7'000;
constexpr uint64_t whole_subsets_max = 5;   // writes
constexpr uint64_t sector_subsets_max = 5;  // sectors of all of them
constexpr uint64_t torn_points_max = 8;     // sectors of a write; of longer ones so many
constexpr uint64_t samples = 4;

struct Counts {
  uint64_t moments = 0, images = 0, at_risk_most = 0, footers_read = 0;
  uint64_t footers = 0, recycled = 0, log_starts = 0, errors = 0;

  void add(const LogStatistics& of) {
    footers += of.footers;
    recycled += of.slots_recycled;
    log_starts += of.log_start_moves;
    errors += of.write_errors;
  }
};

// All images of one moment, one after the other in the same memory.
class Images {
 public:
  Images(const SimDrive& drive, uint32_t slots_max)
      : stable_(drive.stable()), risk_(drive.at_risk()), files_(stable_), slots_max_(slots_max) {
    for (const auto& write : risk_.writes) sectors_ += sectors_of(write);
  }

  // Calls visit(files) for each.
  template <class Visit>
  void each(SimRandom& random, Visit&& visit) {
    const auto& writes = risk_.writes;
    const uint64_t count = writes.size();
    const auto shown = [&] {
      visit(files_);
      restore();
    };
    if (count <= whole_subsets_max) {
      for (uint64_t mask = 0; mask < uint64_t{1} << count; ++mask) {
        for (uint64_t i = 0; i < count; ++i) {
          if (mask >> i & 1) put(writes[i], 0, sectors_of(writes[i]));
        }
        shown();
      }
    }
    if (sectors_ <= sector_subsets_max) {
      for (uint64_t mask = 0; mask < uint64_t{1} << sectors_; ++mask) {
        uint64_t bit = 0;
        for (const auto& write : writes) {
          for (uint64_t i = 0; i < sectors_of(write); ++i, ++bit) {
            if (mask >> bit & 1) put(write, i, i + 1);
          }
        }
        shown();
      }
    }
    for (uint64_t torn = 0; torn < count; ++torn) {
      const uint64_t sectors = sectors_of(writes[torn]);
      for (uint64_t point = 0; point < std::min(sectors, torn_points_max); ++point) {
        for (uint64_t i = 0; i < torn; ++i) put(writes[i], 0, sectors_of(writes[i]));
        put(writes[torn], 0, sectors <= torn_points_max ? point : random.below(sectors));
        shown();
      }
    }
    for (uint64_t i = 0; i < samples; ++i) {
      for (const auto& write : writes) {
        const uint64_t how = random.below(4);
        for (uint64_t at = 0; at < sectors_of(write); ++at) {
          if (how == 1 || (how > 1 && random.one_in(2))) put(write, at, at + 1);
        }
      }
      prepare(random);
      shown();
    }
  }

  uint64_t at_risk() const { return risk_.writes.size(); }

 private:
  using Write = SimDisk::Volatile;
  static uint64_t sectors_of(const Write& write) { return write.bytes.size() / sector_bytes; }

  void put(const Write& write, uint64_t from, uint64_t to) {
    std::copy(write.bytes.begin() + static_cast<ptrdiff_t>(from * sector_bytes),
              write.bytes.begin() + static_cast<ptrdiff_t>(to * sector_bytes),
              files_.slots[write.slot].begin() + static_cast<ptrdiff_t>(write.position + from * sector_bytes));
  }
  // A slot under preparation: not there, cut short, or with zeros over its former header.
  void prepare(SimRandom& random) {
    for (const uint32_t slot : risk_.preparing) {
      if (slot < files_.slots.size()) {
        if (random.one_in(2)) std::fill_n(files_.slots[slot].begin(), head_of(slot), std::byte{0});
      } else if (slot < slots_max_) {
        files_.slots.resize(slot + 1);
        files_.slots[slot].assign(random.one_in(2) ? segment_bytes : round_down(random.below(segment_bytes), 4096),
                                  std::byte{0});
      }
    }
  }
  // A slot may be shorter, when an earlier preparation was cut short.
  uint64_t head_of(uint32_t slot) const { return std::min<uint64_t>(4096, stable_.slots[slot].size()); }
  void restore() {
    files_.slots.resize(stable_.slots.size());
    for (const Write& write : risk_.writes) copy_back(write.slot, write.position, write.bytes.size());
    for (const uint32_t slot : risk_.preparing) {
      if (slot < files_.slots.size()) copy_back(slot, 0, head_of(slot));
    }
  }
  void copy_back(uint32_t slot, uint64_t position, uint64_t bytes) {
    std::copy_n(stable_.slots[slot].begin() + static_cast<ptrdiff_t>(position), bytes,
                files_.slots[slot].begin() + static_cast<ptrdiff_t>(position));
  }

  const SimFiles& stable_;
  SimDrive::AtRisk risk_;
  SimFiles files_;
  uint32_t slots_max_;
  uint64_t sectors_ = 0;
};

// One image against what the model allows.
void verify(SimFiles& files, const Model& model, Life& life, const DriveUnits& units, bool footers) {
  LogIndex index(256, 1, 16);
  ProducerTable producers(32);
  const RecoveryOptions options{.lane = 0, .block = units.block, .use_footers = footers};
  const RecoveredLog log = recover(files, options, index, producers);
  ASSERT_FALSE(log.read_only) << log.report();
  ASSERT_TRUE(log.lost.empty()) << log.report();
  const CommitSequence last = log.segments.empty() ? CommitSequence{} : log.segments.back().last_sequence;
  SealedLookup look_up(files, index, log, units.block);
  for (uint32_t i = 0; i < partition_count; ++i) {
    SCOPED_TRACE("partition " + std::to_string(i));
    const ModelPartition& expected = model.partitions[i];
    const Life::Promised promised = life.promised(i);
    const auto number = PartitionNumber(i + 10);
    const auto found = std::ranges::find(log.partitions, number, &RecoveredPartition::number);
    const RecoveredPartition here = found == log.partitions.end() ? RecoveredPartition{} : *found;
    ASSERT_FALSE(here.deleted);
    ASSERT_GE(here.log_start.value, promised.log_start.value) << log.report();
    ASSERT_TRUE(expected.allows(here.log_start, life.wall())) << here.log_start.value;

    const auto behind = [](const ModelBatch& batch, CommitSequence commit) { return batch.commit <= commit; };
    const auto survived =
        std::ranges::partition_point(expected.batches, [&](const ModelBatch& batch) { return behind(batch, last); });
    const auto count = static_cast<uint64_t>(survived - expected.batches.begin());
    ASSERT_GE(count, promised.batches) << "an acknowledged batch is lost\n" << log.report();
    const Offset next = count == 0 ? Offset(0) : expected.batches[count - 1].next_offset;
    ASSERT_EQ(here.next.value, next.value) << log.report();

    // All that is to be kept, and of the rest nothing that was not written so.
    auto entry = look_up.find(number, Offset(0));
    for (uint64_t k = 0; k < count; ++k) {
      const ModelBatch& batch = expected.batches[k];
      if (!entry || entry->base_offset != batch.base_offset) {
        ASSERT_LE(batch.next_offset.value, here.log_start.value)
            << "the batch at " << batch.base_offset.value << " is not there\n"
            << log.report();
        continue;
      }
      ASSERT_EQ((entry->base_offset + entry->last_offset_delta + 1).value, batch.next_offset.value);
      const auto segment = std::ranges::find(log.segments, entry->segment, &RecoveredSegment::number);
      ASSERT_NE(segment, log.segments.end());
      ASSERT_EQ(read_batch(files.slots[segment->slot.value], *entry), batch.bytes);
      entry = look_up.find(number, entry->next_offset());
    }
    ASSERT_EQ(look_up.damaged(), 0u);
    ASSERT_FALSE(entry) << "nobody has appended the batch at " << entry->base_offset.value;
  }
}

DriveUnits small_units(SimRandom& random) {
  DriveUnits units = random_units(random);
  units.vectors_max = 16;
  units.commit_bytes_max = 8 * KiB;
  units.inflight_bytes_max = static_cast<uint32_t>(8 * KiB << random.below(3));
  return units;
}

void run_seed(const ArenaMemory& arena, uint64_t seed, Counts& counts) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Model model(seed);
  const DriveUnits units = small_units(model.random);
  for (ModelPartition& partition : model.partitions) {
    if (model.random.one_in(2)) partition.retention.age_max = static_cast<Milliseconds>(model.random.below(20));
    if (model.random.one_in(2)) partition.retention.bytes_max = static_cast<int64_t>(model.random.below(20'000));
  }
  SimRandom random(seed);
  SimDisk disk;
  for (uint64_t number = 0; number < 3 && !::testing::Test::HasFatalFailure(); ++number) {
    SCOPED_TRACE("life " + std::to_string(number));
    Life life(arena, model, units, segment_bytes, std::move(disk), batch_bytes_max);
    uint64_t seen = UINT64_MAX;
    life.on_event([&] {
      if (life.drive().changes() == seen || ::testing::Test::HasFatalFailure()) return;
      seen = life.drive().changes();
      ++counts.moments;
      Images images(life.drive(), 64);
      counts.at_risk_most = std::max(counts.at_risk_most, images.at_risk());
      images.each(random, [&](SimFiles& files) {
        if (::testing::Test::HasFatalFailure()) return;
        verify(files, model, life, units, ++counts.images % 2 == 0);
        if (counts.images % 64 == 0) {
          const FooterAgreement agreement = compare_with_scan(files, {.lane = 0, .block = units.block});
          ASSERT_EQ(agreement.difference, "");
          ASSERT_EQ(agreement.damaged, 0u);
          counts.footers_read += agreement.footers_read;
        }
      });
    });
    life.verify_recovered();
    if (::testing::Test::HasFatalFailure()) return;
    life.live(100);
    if (::testing::Test::HasFatalFailure()) return;
    counts.add(life.statistics());
    disk = life.end();
  }
}

TEST(PowerCut, EveryMomentOfManyLives) {
  unsigned long from = 1, count = 8;
  if (const char* given = std::getenv("PENSTOCK_SEEDS")) std::sscanf(given, "%lu,%lu", &from, &count);
  const ArenaMemory arena(8 * MiB);
  Counts counts;
  for (uint64_t seed = from; seed < from + count && !HasFatalFailure(); ++seed) run_seed(arena, seed, counts);
  std::printf(
      "%lu seeds: %lu moments, %lu images, at most %lu writes at risk; %lu footers written, %lu slots recycled, "
      "%lu log starts moved, %lu write errors\n",
      count, counts.moments, counts.images, counts.at_risk_most, counts.footers, counts.recycled, counts.log_starts,
      counts.errors);
  // Else it tests less than it says.
  if (count < 8) return;
  for (const uint64_t seen : {counts.footers, counts.footers_read, counts.recycled, counts.log_starts, counts.errors}) {
    EXPECT_GT(seen, 0);
  }
}

}  // namespace
}  // namespace penstock::test
