// Bytes that can be told from their place: what stands at position `at` of the stream with this seed. Whoever receives
// a stream compares it with this and needs no copy of what was sent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace penstock::netsim {

inline uint64_t content_word(uint64_t seed, uint64_t word) {
  uint64_t z = seed + (word + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return z ^ (z >> 27);
}

inline void fill_content(uint64_t seed, uint64_t at, std::span<std::byte> to) {
  for (size_t done = 0; done < to.size();) {
    const uint64_t word = content_word(seed, (at + done) / 8);
    const size_t skip = (at + done) % 8, count = std::min(8 - skip, to.size() - done);
    std::memcpy(to.data() + done, reinterpret_cast<const std::byte*>(&word) + skip, count);
    done += count;
  }
}

inline bool is_content(uint64_t seed, uint64_t at, std::span<const std::byte> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t word = content_word(seed, (at + done) / 8);
    const size_t skip = (at + done) % 8, count = std::min(8 - skip, bytes.size() - done);
    if (std::memcmp(bytes.data() + done, reinterpret_cast<const std::byte*>(&word) + skip, count) != 0) return false;
    done += count;
  }
  return true;
}

}  // namespace penstock::netsim
