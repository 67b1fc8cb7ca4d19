// Look-ups in footers whose rows are a formula, so that a log of any size needs no memory here: segment s has, of every
// partition, `batches` batches of one record, and the timestamp of a record is ten times its offset.
#include "storage/sealed_index.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "storage/crc/crc32c.h"

namespace penstock {
namespace {

using disk::FooterSection;
using Verdict = SealedIndex::Verdict;

struct Formula {
  uint64_t partitions = 10;
  uint32_t batches = 3;
};

class World {
 public:
  World(const Formula& formula, uint64_t cache_bytes) : formula_(formula), sealed_(units_, memory(), cache_bytes, &statistics_) {}
  ~World() { sealed_.cache().release_all(); }

  SealedSegment segment(uint64_t number, uint32_t slot) const {
    const auto rows = static_cast<uint32_t>(formula_.partitions * formula_.batches);
    const auto partitions = static_cast<uint32_t>(formula_.partitions);
    SealedSegment segment{.number = SegmentNumber(number), .id = number * 77, .slot = SegmentSlot(slot), .block_bytes = 16 * KiB};
    segment.end_sector = 1u << 21;
    segment.partitions = {0, partitions};
    segment.batches = {batches_at, rows};
    const uint64_t keys = footer_blocks(FooterSection::partitions, partitions, segment.block_bytes) +
                          footer_blocks(FooterSection::batches, rows, segment.block_bytes);
    segment.keys = {keys_at, static_cast<uint32_t>(keys)};
    return segment;
  }
  void add(uint64_t number, uint32_t slot) {
    if (slots_.size() <= slot) slots_.resize(slot + 1);
    slots_[slot] = number;
    sealed_.add(segment(number, slot));
  }

  // One read of those that wait. False: none does.
  bool serve() {
    const DriveRequest* request = sealed_.cache().next_request();
    if (request == nullptr) return false;
    const DriveRequest sent = *request;
    sealed_.cache().submitted();
    const iovec to = sent.vectors[0];
    write_block(segment(slots_[sent.slot.value], sent.slot.value), sent.position, static_cast<std::byte*>(to.iov_base));
    int64_t result = static_cast<int64_t>(to.iov_len);
    if (errors > 0) --errors, result = -EIO;
    if (flips > 0) --flips, static_cast<std::byte*>(to.iov_base)[100] ^= std::byte{1};
    sealed_.cache().completed(RequestTag::unpack(sent.tag).index, result);
    return true;
  }
  Verdict find(uint64_t partition, int64_t offset, IndexEntry& entry) {
    return until([&] { return sealed_.find(PartitionNumber(partition), Offset(offset), 1, entry); });
  }
  template <class Ask>
  Verdict until(Ask&& ask) {
    Verdict verdict;
    while ((verdict = ask()) == Verdict::reading) {
      while (serve()) continue;
      sealed_.cache().forget_done();
    }
    return verdict;
  }
  SealedIndex& sealed() { return sealed_; }
  const LogStatistics& statistics() const { return statistics_; }
  uint32_t errors = 0, flips = 0;

 private:
  static constexpr uint32_t batches_at = 1u << 17, keys_at = 1u << 19;  // sectors
  static constexpr uint64_t arena_bytes = 32 * MiB;
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  LogMemory memory() { return {arena_, &buffers_, &allocator_}; }

  disk::FooterPartition partition_row(uint64_t number, uint64_t i) const {
    const auto end = static_cast<int64_t>(number * formula_.batches);
    return {.partition = i + 1,
            .next = end,
            .log_start = 0,
            .max_timestamp = 10 * (end - 1),
            .newest_segment = number,
            .bytes_up_to = static_cast<uint64_t>(end) * 100,
            .max_timestamp_here = 10 * (end - 1),
            .first_batch = static_cast<uint32_t>(i * formula_.batches),
            .batch_count = formula_.batches,
            .leader_epoch = 0,
            .deleted = 0};
  }
  disk::FooterBatch batch_row(uint64_t number, uint64_t i) const {
    const auto offset = static_cast<int64_t>((number - 1) * formula_.batches + i % formula_.batches);
    return {.partition = i / formula_.batches + 1,
            .base_offset = offset,
            .max_timestamp = 10 * offset,
            .commit = 4096,
            .last_offset_delta = 0,
            .first_position = 500,
            .batch_bytes = 100,
            .ordinal = static_cast<uint32_t>(i)};
  }
  disk::FooterKey key_row(const SealedSegment& segment, uint64_t i) const {
    const uint64_t partition_blocks = segment.partition_blocks();
    if (i < partition_blocks) {
      const uint64_t first = i * footer_rows_per_block(FooterSection::partitions, segment.block_bytes);
      return {.partition = first + 1, .base_offset = 0, .max_timestamp = -1};
    }
    const uint64_t first = (i - partition_blocks) * footer_rows_per_block(FooterSection::batches, segment.block_bytes);
    const disk::FooterBatch row = batch_row(segment.number.value, first);
    return {.partition = row.partition,
            .base_offset = row.base_offset,
            .max_timestamp = first % formula_.batches == 0 ? -1 : row.max_timestamp - 10};
  }
  void write_block(const SealedSegment& segment, FilePosition position, std::byte* to) const {
    const uint64_t sector = position.value / SealedSegment::sector_bytes;
    const FooterSection section = sector >= keys_at      ? FooterSection::keys
                                  : sector >= batches_at ? FooterSection::batches
                                                         : FooterSection::partitions;
    const auto number = static_cast<uint32_t>((position - segment.position(section, 0)) / segment.block_bytes);
    const uint32_t rows = segment.rows_in(section, number);
    const uint64_t first = uint64_t{number} * footer_rows_per_block(section, segment.block_bytes);
    auto& block = *new (to) disk::FooterBlock{};
    block.magic = disk::footer_block_magic;
    block.section = static_cast<uint8_t>(section);
    block.number = number;
    block.row_count = rows;
    block.segment_id = segment.id;
    std::byte* at = to + sizeof block;
    for (uint64_t i = first; i < first + rows; ++i) {
      const auto put = [&](const auto& row) {
        std::memcpy(at, &row, sizeof row);
        at += sizeof row;
      };
      if (section == FooterSection::partitions) put(partition_row(segment.number.value, i));
      if (section == FooterSection::batches) put(batch_row(segment.number.value, i));
      if (section == FooterSection::keys) put(key_row(segment, i));
    }
    block.crc = crc32c(0, to + disk::crc_from, static_cast<size_t>(at - to) - disk::crc_from);
  }

  Formula formula_;
  DriveUnits units_;
  std::unique_ptr<std::byte, Free> bytes_{static_cast<std::byte*>(std::aligned_alloc(4096, arena_bytes))};
  Arena arena_{bytes_.get(), arena_bytes};
  BufferTable buffers_{arena_.unit_count()};
  BufferAllocator allocator_{0, arena_.unit_count()};
  LogStatistics statistics_;
  std::vector<uint64_t> slots_;  // segment numbers
  SealedIndex sealed_;
};

// Several look-ups at a time through two blocks: each ends, and with the right answer.
TEST(SealedIndex, LookUpsEndHoweverSmallTheCacheIs) {
  constexpr Formula formula{.partitions = 700, .batches = 5};
  World world(formula, 0);
  constexpr uint64_t segments = 40;
  for (uint64_t number = 1; number <= segments; ++number) world.add(number, static_cast<uint32_t>(number));
  constexpr auto end = static_cast<int64_t>(segments * formula.batches);
  std::mt19937_64 random(1);
  struct Asked {
    uint64_t kind, partition;
    int64_t value;
    int64_t begin;
  };
  std::vector<Asked> asked(6);
  const auto ask_anew = [&](Asked& each) {
    each = {random() % 4, random() % (formula.partitions + 1) + 1, static_cast<int64_t>(random() % (end + 3)),
            static_cast<int64_t>(random() % end)};
  };
  for (Asked& each : asked) ask_anew(each);
  uint64_t answered = 0;
  for (int turns = 0; answered < 3000; ++turns) {
    ASSERT_LT(turns, 1'000'000);
    const uint64_t token = random() % asked.size();
    Asked& each = asked[token];
    const PartitionNumber partition(each.partition);
    const bool there = each.partition <= formula.partitions;
    IndexEntry entry;
    LogIndex::Stretch stretch;
    Verdict verdict{};
    int64_t expected = -1;
    switch (each.kind) {
      case 0:
        verdict = world.sealed().find(partition, Offset(each.value), token, entry);
        expected = there && each.value < end ? each.value : -1;
        break;
      case 1: {
        verdict = world.sealed().find_time(partition, 10 * each.value - 3, Offset(each.begin), token, entry);
        const int64_t first = std::max(each.value, each.begin);
        expected = there && first < end ? first : -1;
        break;
      }
      case 2:  // the largest is there, or was elsewhere
        verdict = world.sealed().find_max_timestamp(partition, 10 * (end - 1) + each.value % 2, Offset(each.begin), token,
                                                    entry);
        expected = there ? end - 1 : -1;
        break;
      case 3:
        verdict = world.sealed().oldest_stretch(partition, Offset(each.value), token, stretch);
        expected = there && each.value < end ? each.value : -1;
        break;
    }
    if (verdict == Verdict::reading || verdict == Verdict::busy) {
      if (random() % 2 == 0) world.serve();
      world.sealed().cache().forget_done();
      continue;
    }
    ASSERT_EQ(verdict, expected < 0 ? Verdict::none : Verdict::found) << each.kind << " " << each.value;
    if (expected >= 0 && each.kind < 3) {
      ASSERT_EQ(entry.base_offset, Offset(expected)) << each.kind << " " << each.value << " " << each.begin;
      ASSERT_EQ(entry.partition, partition);
      ASSERT_EQ(entry.segment.value, static_cast<uint64_t>(expected) / formula.batches + 1);
    }
    if (expected >= 0 && each.kind == 3) {
      ASSERT_EQ(stretch.segment.value, static_cast<uint64_t>(expected) / formula.batches + 1);
      ASSERT_EQ(stretch.end, Offset(static_cast<int64_t>(stretch.segment.value * formula.batches)));
      ASSERT_EQ(stretch.bytes_up_to, stretch.segment.value * formula.batches * 100);
    }
    ++answered;
    ask_anew(each);
  }
}

TEST(SealedIndex, ASlotThatIsUsedAgainServesNothingOfItsFormerSegment) {
  World world({.partitions = 10, .batches = 3}, 1 * MiB);
  for (uint64_t number = 1; number <= 3; ++number) world.add(number, static_cast<uint32_t>(number));
  IndexEntry entry;
  ASSERT_EQ(world.find(4, 1, entry), Verdict::found);
  EXPECT_EQ(entry.segment, SegmentNumber(1));
  world.sealed().remove(SegmentNumber(1));
  ASSERT_EQ(world.find(4, 1, entry), Verdict::found);
  EXPECT_EQ(entry.base_offset, Offset(3)) << "the first that is left";
  world.add(4, 1);
  ASSERT_EQ(world.find(4, 10, entry), Verdict::found);
  EXPECT_EQ(entry.segment, SegmentNumber(4));
  EXPECT_EQ(entry.base_offset, Offset(10));
}

// Released while a block of it is being read: whoever waits is told, and the block is of no use to the next one.
TEST(SealedIndex, ASegmentIsReleasedUnderALookUp) {
  World world({.partitions = 10, .batches = 3}, 0);
  for (uint64_t number = 1; number <= 3; ++number) world.add(number, static_cast<uint32_t>(number));
  IndexEntry entry;
  ASSERT_EQ(world.sealed().find(PartitionNumber(2), Offset(4), 9, entry), Verdict::reading);
  const DriveRequest sent = *world.sealed().cache().next_request();
  world.sealed().cache().submitted();
  world.sealed().remove(SegmentNumber(2));
  EXPECT_EQ(world.sealed().cache().done().size(), 1u);
  EXPECT_TRUE(world.sealed().cache().uses(sent.slot)) << "not used again before the drive is done with it";
  world.sealed().cache().completed(RequestTag::unpack(sent.tag).index, 4096);
  EXPECT_FALSE(world.sealed().cache().uses(sent.slot));
  ASSERT_EQ(world.find(2, 4, entry), Verdict::found);
  EXPECT_EQ(entry.base_offset, Offset(6));
}

TEST(SealedIndex, ADamagedBlockIsToldAndReadAgainLater) {
  World world({.partitions = 10, .batches = 3}, 0);
  for (uint64_t number = 1; number <= 3; ++number) world.add(number, static_cast<uint32_t>(number));
  IndexEntry entry;
  world.flips = 1;
  EXPECT_EQ(world.find(2, 4, entry), Verdict::damaged);
  EXPECT_EQ(world.find(2, 4, entry), Verdict::found);
  EXPECT_EQ(world.statistics().footer_blocks_damaged, 1u);
  world.errors = 1;
  EXPECT_EQ(world.find(2, 7, entry), Verdict::damaged);
  EXPECT_EQ(world.find(2, 7, entry), Verdict::found);
}

// A log a thousand times the memory for it. What it costs is printed; the bounds catch what grew linear.
TEST(SealedIndex, ALogOfAHundredMillionBatches) {
  constexpr Formula formula{.partitions = 100'000, .batches = 1};
  constexpr uint64_t segments = 1000, cache_bytes = 10 * MiB;
  World world(formula, cache_bytes);
  for (uint64_t number = 1; number <= segments; ++number) world.add(number, static_cast<uint32_t>(number));
  std::printf("%.0f million batches of %llu partitions in %llu segments: %llu bytes of memory, and %llu of cache\n",
              static_cast<double>(formula.partitions * segments) / 1e6, static_cast<unsigned long long>(formula.partitions),
              static_cast<unsigned long long>(segments), static_cast<unsigned long long>(world.sealed().bytes()),
              static_cast<unsigned long long>(world.statistics().footer_cache_bytes));
  EXPECT_LE(world.sealed().bytes() + world.statistics().footer_cache_bytes, cache_bytes + 64 * segments);

  std::mt19937_64 random(1);
  IndexEntry entry;
  constexpr uint64_t rounds = 300;
  for (uint64_t i = 0; i < rounds; ++i) {
    const auto offset = static_cast<int64_t>(random() % segments);
    ASSERT_EQ(world.find(random() % formula.partitions + 1, offset, entry), Verdict::found);
    ASSERT_EQ(entry.base_offset, Offset(offset));
  }
  const double blocks = static_cast<double>(world.statistics().footer_cache_misses) / rounds;
  std::printf("a look-up anywhere: %.1f blocks read\n", blocks);
  EXPECT_LT(blocks, 25);

  // 10,000 consumers from the same point on, a batch each in turn, as they would catch up together.
  constexpr uint64_t readers = 10'000;
  constexpr int64_t from = 500, steps = 8;
  const uint64_t before = world.statistics().footer_read_bytes;
  for (int64_t offset = from; offset < from + steps; ++offset) {
    for (uint64_t partition = 1; partition <= readers; ++partition) {
      ASSERT_EQ(world.find(partition, offset, entry), Verdict::found);
      ASSERT_EQ(entry.base_offset, Offset(offset));
    }
  }
  const double bytes = static_cast<double>(world.statistics().footer_read_bytes - before) / (readers * steps);
  std::printf("catching up in %llu partitions, one batch of each a segment: %.0f bytes of footers read a batch\n",
              static_cast<unsigned long long>(readers), bytes);
  EXPECT_LT(bytes, 1000);

  const auto begin = std::chrono::steady_clock::now();
  constexpr int again = 20'000;
  for (int i = 0; i < again; ++i) ASSERT_EQ(world.find(1 + static_cast<uint64_t>(i) % 100, from + steps - 1, entry), Verdict::found);
  const auto each = (std::chrono::steady_clock::now() - begin) / again;
  std::printf("a look-up in memory: %lld ns\n",
              static_cast<long long>(std::chrono::duration_cast<std::chrono::nanoseconds>(each).count()));
}

}  // namespace
}  // namespace penstock
