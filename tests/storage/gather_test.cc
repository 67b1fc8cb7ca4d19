#include "storage/gather.h"

#include <gtest/gtest.h>

#include "tests/storage/log_world.h"

namespace penstock {
namespace {

DriveUnits nvme() {
  return DriveUnits{.address_unit = 4, .length_unit = 512, .block = 4096, .seam = 0, .copybreak = 1024};
}

class GatherTest : public ::testing::Test {
 protected:
  GatherTest() : memory_(arena_memory_) {}

  void use(const DriveUnits& units) { gather_.emplace(units, memory_.arena, &memory_.buffers, &memory_.allocator); }

  // A piece of a new batch, `at` bytes into `buffer`.
  void add_piece(BufferIndex buffer, size_t at, uint32_t length) {
    std::byte* data = memory_.arena.at(buffer) + at;
    for (uint32_t i = 0; i < length; ++i) data[i] = static_cast<std::byte>(random_.next());
    ASSERT_TRUE(pieces_.push_back(memory_.pool, Piece{data, length, buffer}));
  }
  uint32_t stage() {
    gather_->plan(pieces_.range());
    EXPECT_TRUE(gather_->reserve_packing());
    return gather_->read(pieces_.range());
  }
  Bytes batch() const {
    Bytes bytes(pieces_.size());
    pieces_.range().copy_out(0, bytes.data(), bytes.size());
    return bytes;
  }
  // The batch as the drive would have it, by its runs.
  Bytes stored() {
    Bytes packed, gathered, bytes;
    uint64_t left = gather_->packing_bytes();
    for (const PackingBuffer& packing : gather_->packing()) {
      const std::byte* data = memory_.arena.at(packing.buffer);
      const uint64_t here = std::min<uint64_t>(left, packing.bytes);
      packed.insert(packed.end(), data, data + here);
      left -= here;
    }
    for (const MemoryVector& vector : gather_->gathered()) {
      gathered.insert(gathered.end(), vector.data, vector.data + vector.length);
    }
    for (const PlannedRun& run : gather_->runs()) {
      const Bytes& from = run.packed ? packed : gathered;
      bytes.insert(bytes.end(), from.begin() + run.position, from.begin() + run.position + run.length);
    }
    return bytes;
  }
  void next_batch() {
    pieces_.clear(memory_.pool, [](BufferIndex) {});
  }

  void TearDown() override { next_batch(); }

  ArenaMemory arena_memory_{4 * MiB};
  Memory memory_;
  SimRandom random_{1};
  PieceList pieces_;
  std::optional<Gather> gather_;
};

TEST_F(GatherTest, LongRunGoesAsItLies) {
  use(nvme());
  const BufferIndex buffer = memory_.take(2);
  add_piece(buffer, 66, 3000);
  const uint32_t crc = stage();
  EXPECT_EQ(crc, crc32c(0, batch().data() + 21, 3000 - 21));
  ASSERT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(gather_->gathered()[0].data, memory_.arena.at(buffer) + 64) << "down to the address unit";
  EXPECT_EQ(gather_->gathered()[0].length, 3072u) << "up to the length unit";
  EXPECT_EQ(gather_->copied_bytes(), 0u);
  ASSERT_EQ(gather_->runs().size(), 1u);
  EXPECT_EQ(gather_->runs()[0].position, 2u);
  EXPECT_EQ(stored(), batch());
  gather_->keep();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 1u);
}

TEST_F(GatherTest, ShortRunIsCopied) {
  use(nvme());
  add_piece(memory_.take(0), 100, 1023);
  EXPECT_EQ(stage(), crc32c(0, batch().data() + 21, 1023 - 21));
  EXPECT_TRUE(gather_->gathered().empty());
  EXPECT_EQ(gather_->copied_bytes(), 1023u);
  EXPECT_EQ(stored(), batch());
  gather_->keep();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 1u) << "the packing buffer, not the one it came in";
}

TEST_F(GatherTest, AdjacentPiecesAreOneRun) {
  use(nvme());
  const BufferIndex buffer = memory_.take(2);
  for (uint32_t at = 500; at < 4500; at += 40) add_piece(buffer, at, 40);
  stage();
  EXPECT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(gather_->runs().size(), 1u);
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, RoundingStaysInsideTheBuffer) {
  use(nvme());
  const BufferIndex buffer = memory_.take(0);
  add_piece(buffer, 4096 - 1500, 1500);
  stage();
  ASSERT_EQ(gather_->gathered().size(), 1u);
  EXPECT_GE(gather_->gathered()[0].data, memory_.arena.at(buffer));
  EXPECT_LE(gather_->gathered()[0].data + gather_->gathered()[0].length, memory_.arena.at(buffer) + 4096);
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, EndsOnTheSeamWhereThereIsOne) {
  DriveUnits units = nvme();
  units.seam = 4096;
  use(units);
  const BufferIndex buffer = memory_.take(2);
  add_piece(buffer, 4096 + 66, 5000);
  stage();
  ASSERT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(gather_->gathered()[0].data, memory_.arena.at(buffer) + 4096);
  EXPECT_EQ(gather_->gathered()[0].length, 8192u);
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, NeighboursInMemoryShareAVector) {
  use(nvme());
  const BufferIndex buffer = memory_.take(4);
  add_piece(buffer, 66, 3000);
  stage();
  gather_->keep();
  next_batch();
  add_piece(buffer, 3066 + 20, 2000);  // begins within what the first was rounded to
  stage();
  EXPECT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(stored(), batch());
  gather_->keep();
  next_batch();
  add_piece(buffer, 5100, 20);  // short, but the bytes go along anyway
  stage();
  EXPECT_EQ(gather_->copied_bytes(), 0u);
  EXPECT_EQ(stored(), batch());
  gather_->keep();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 1u) << "one reference for neighbours in a buffer";
}

TEST_F(GatherTest, WholeBuffersSideBySideAreOneRun) {
  use(nvme());
  const BufferIndex first = memory_.take(4);
  BufferIndex second = memory_.take(4);
  ASSERT_EQ(second.value, first.value + 16);
  add_piece(first, 0, 64 * KiB);
  add_piece(second, 0, 10 * KiB);
  stage();
  EXPECT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(gather_->runs().size(), 1u);
  gather_->keep();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 2u);
}

TEST_F(GatherTest, ApartInMemoryTogetherOnTheDrive) {
  use(nvme());
  const BufferIndex first = memory_.take(4);
  memory_.take(0);
  const BufferIndex second = memory_.take(4);
  add_piece(first, 0, 64 * KiB);
  add_piece(second, 0, 10 * KiB);
  stage();
  EXPECT_EQ(gather_->gathered().size(), 2u);
  EXPECT_EQ(gather_->runs().size(), 1u) << "a vector that ends with its run leaves no gap: read back in one";
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, MemoryOutsideTheArenaIsCopied) {
  use(nvme());
  Bytes elsewhere(8192);
  ASSERT_TRUE(pieces_.push_back(memory_.pool, Piece{elsewhere.data(), 8192, no_buffer}));
  stage();
  EXPECT_EQ(gather_->copied_bytes(), 8192u);
  EXPECT_EQ(stored(), elsewhere);
}

TEST_F(GatherTest, StablePagesMeansCopies) {
  DriveUnits units = nvme();
  units.stable_pages = true;
  use(units);
  add_piece(memory_.take(4), 0, 64 * KiB);
  stage();
  EXPECT_EQ(gather_->copied_bytes(), 64 * KiB);
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, UndoLeavesNoTrace) {
  use(nvme());
  const BufferIndex buffer = memory_.take(4);
  add_piece(buffer, 66, 3000);
  stage();
  gather_->keep();
  next_batch();
  const uint32_t length = gather_->gathered()[0].length;
  add_piece(buffer, 3066, 9000);
  add_piece(memory_.take(0), 7, 100);
  stage();
  EXPECT_GT(gather_->gathered()[0].length, length);
  gather_->undo();
  ASSERT_EQ(gather_->gathered().size(), 1u);
  EXPECT_EQ(gather_->gathered()[0].length, length);
  EXPECT_EQ(gather_->gathered_bytes(), length);
  EXPECT_EQ(gather_->packing_bytes(), 0u);
  EXPECT_EQ(gather_->held_buffers().size(), 1u);
}

TEST_F(GatherTest, PatchesAHeaderInCrumbs) {
  for (const uint32_t copybreak : {1u, 1024u}) {
    DriveUnits units = nvme();
    units.copybreak = copybreak;
    use(units);
    const BufferIndex buffer = memory_.take(1);
    for (uint32_t at = 0; at < 200; at += 2) add_piece(buffer, at, 1);
    const uint32_t crc = stage();
    EXPECT_EQ(crc, crc32c(0, batch().data() + 21, 100 - 21));
    const Bytes before = batch();
    const uint64_t patch = 0x1122334455667788;
    gather_->patch(5, &patch, sizeof patch);
    Bytes expected = before;
    std::memcpy(expected.data() + 5, &patch, sizeof patch);
    EXPECT_EQ(stored(), expected) << "copybreak " << copybreak;
    gather_->keep();
    next_batch();
  }
}

TEST_F(GatherTest, VectorsRunOutTheRestIsCopied) {
  DriveUnits units = nvme();
  units.vectors_max = 16;
  use(units);
  for (int i = 0; i < 100; ++i) add_piece(memory_.take(0), 10, 1448);
  EXPECT_EQ(stage(), crc32c(0, batch().data() + 21, 144800 - 21));
  EXPECT_EQ(gather_->gathered().size(), 32u);
  EXPECT_EQ(gather_->copied_bytes(), 68u * 1448);
  EXPECT_EQ(stored(), batch());
}

TEST_F(GatherTest, AnyBatchInAnyPieces) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SimRandom random(seed);
    Memory memory(arena_memory_);
    DriveUnits units = nvme();
    units.block = 4096;
    units.seam = random.one_in(2) ? 4096 : 0;
    units.length_unit = random.one_in(2) ? 512 : 4096;
    units.address_unit = random.one_in(2) ? 4 : 512;
    units.copybreak = static_cast<uint32_t>(random.between(1, 3000));
    units.vectors_max = 64;
    Gather gather(units, memory.arena, &memory.buffers, &memory.allocator);
    for (int i = 0; i < 10; ++i) {
      const Bytes bytes = make_batch(random, random.between(61, 20'000), 1);
      PieceList pieces;
      ASSERT_TRUE(memory.lay_out(random, static_cast<Arrival>(random.below(5)), bytes, pieces));
      gather.plan(pieces.range());
      ASSERT_TRUE(gather.reserve_packing());
      ASSERT_EQ(gather.read(pieces.range()), load_big<uint32_t>(bytes.data() + 17)) << seed;
      uint64_t length = 0;
      for (const PlannedRun& run : gather.runs()) length += run.length;
      ASSERT_EQ(length, bytes.size());
      uint64_t gathered = 0;
      for (const MemoryVector& vector : gather.gathered()) {
        ASSERT_EQ(vector.length % units.length_unit, 0u) << seed;
        ASSERT_EQ(reinterpret_cast<uintptr_t>(vector.data) % units.address_unit, 0u) << seed;
        if (units.seam != 0) {
          ASSERT_EQ(reinterpret_cast<uintptr_t>(vector.data) % units.seam, 0u) << seed;
          ASSERT_EQ(vector.length % units.seam, 0u) << seed;
        }
        gathered += vector.length;
      }
      ASSERT_EQ(gathered, gather.gathered_bytes());
      if (random.one_in(4)) {
        gather.undo();
      } else {
        gather.keep();
      }
      pieces.clear(memory.pool, [](BufferIndex) {});
    }
  }
}

}  // namespace
}  // namespace penstock
