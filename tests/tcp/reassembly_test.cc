// Against a model: a map of bytes.
#include "dataplane/tcp/reassembly.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace penstock::tcp {
namespace {

TEST(Reassembly, AgreesWithAModel) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    constexpr uint32_t units = 4096;
    std::vector<std::byte> memory(uint64_t{units} * 4096);
    const Arena arena{memory.data(), memory.size()};
    BufferTable buffers(units);
    BufferAllocator allocator(0, units);
    const ReassemblyPool::Bounds bounds{200, 100, 12};
    ReassemblyPool pool(bounds, buffers);
    Reassembly list;
    const uint32_t base = seed % 2 == 0 ? 0xfffff000u : 1000u;
    const auto byte_at = [](uint32_t offset) { return static_cast<std::byte>(offset * 7 + offset / 256); };
    uint32_t delivered = 0;
    std::map<uint32_t, bool> model;  // offsets that wait
    const auto give_back = [&] {
      for (const BufferIndex buffer : buffers.released()) allocator.free(buffer, 0);
      buffers.forget_released();
    };
    for (int step = 0; step < 400; ++step) {
      const uint32_t offset = delivered + static_cast<uint32_t>(random() % 6000);
      const uint32_t length = 1 + static_cast<uint32_t>(random() % 1400);
      const BufferIndex buffer = allocator.allocate(0);
      ASSERT_NE(buffer, no_buffer);
      buffers.open(buffer, 0, Holder::reassembly);
      std::byte* at = arena.at(buffer);
      for (uint32_t i = 0; i < length; ++i) at[i] = byte_at(offset + i);
      net::SackBlock duplicate;
      const auto verdict = pool.insert(list, SeqNumber(base + offset), {at, length, buffer}, duplicate);
      uint32_t first_known = length;
      for (uint32_t i = 0; i < length && first_known == length; ++i) {
        if (model.contains(offset + i)) first_known = i;
      }
      if (verdict != ReassemblyPool::Verdict::full) {
        EXPECT_EQ(duplicate.first != duplicate.end, first_known < length);
        if (first_known < length) {
          EXPECT_EQ(duplicate.first, SeqNumber(base + offset + first_known));
        }
        for (uint32_t i = 0; i < length; ++i) model[offset + i] = true;
      } else {
        // What fitted is there; the model is told by what comes out.
        for (uint32_t i = 0; i < length; ++i) {
          const net::SackBlock around = pool.range_at(list, SeqNumber(base + offset + i));
          if (around.first != around.end) model[offset + i] = true;
        }
      }
      pool.check_invariants(list);
      ASSERT_EQ(list.bytes, model.size());
      ASSERT_LE(list.range_count, 12);
      ASSERT_LE(list.piece_count, 100);
      if (random() % 3 == 0) {
        const SeqNumber end = pool.contiguous_end(list, SeqNumber(base + delivered));
        uint32_t expected = delivered;
        while (model.contains(expected)) ++expected;
        ASSERT_EQ(end, SeqNumber(base + expected));
        Piece piece;
        while (pool.take_front(list, SeqNumber(base + delivered), 1 + random() % 900, piece)) {
          for (uint32_t i = 0; i < piece.length; ++i) {
            ASSERT_EQ(piece.data[i], byte_at(delivered + i));
            ASSERT_EQ(model.erase(delivered + i), 1u);
          }
          delivered += piece.length;
          buffers.release(piece.buffer, Holder::reassembly);
        }
        if (random() % 2 == 0 && !model.contains(delivered)) {
          // A segment fills the hole by another way.
          delivered = model.empty() ? delivered + 100 : model.begin()->first;
        }
      }
      give_back();
    }
    pool.clear(list);
    give_back();
    EXPECT_EQ(buffers.leak_report(), "");
    EXPECT_EQ(pool.taken_pieces(), 0u);
  }
}

}  // namespace
}  // namespace penstock::tcp
