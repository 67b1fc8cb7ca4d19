// SipHash-2-4 (Aumasson and Bernstein) over a few 64-bit words: a keyed hash nobody can predict without the key.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace penstock::tcp {

using HashKey = std::array<uint64_t, 2>;

constexpr uint64_t siphash(const HashKey& key, std::span<const uint64_t> words) {
  uint64_t v0 = key[0] ^ 0x736f6d6570736575, v1 = key[1] ^ 0x646f72616e646f6d;
  uint64_t v2 = key[0] ^ 0x6c7967656e657261, v3 = key[1] ^ 0x7465646279746573;
  const auto rounds = [&](int count) {
    for (; count > 0; --count) {
      v0 += v1, v1 = std::rotl(v1, 13), v1 ^= v0, v0 = std::rotl(v0, 32);
      v2 += v3, v3 = std::rotl(v3, 16), v3 ^= v2;
      v0 += v3, v3 = std::rotl(v3, 21), v3 ^= v0;
      v2 += v1, v1 = std::rotl(v1, 17), v1 ^= v2, v2 = std::rotl(v2, 32);
    }
  };
  const auto absorb = [&](uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  };
  for (const uint64_t word : words) absorb(word);
  absorb(uint64_t{words.size() * 8 & 0xff} << 56);  // the last block: no bytes left, the length
  v2 ^= 0xff;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace penstock::tcp
