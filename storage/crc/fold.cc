// The bytes are a polynomial; modulo Castagnoli's, what lies d bits ahead of other bytes may be added to them after a
// multiplication by x^d. So 64 bytes, as four lanes of 128 bits, are folded into the 64 that lie 256 further on, four
// such accumulators side by side; at the end the accumulators into the last, its lanes into the last lane, and that
// and the bytes left over go through the CRC instruction.
//
// V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009.
#include "storage/crc/fold.h"

#include <immintrin.h>

#include <cstring>

#include "storage/crc/polynomial.h"

#define PENSTOCK_WIDE __attribute__((target("avx512f,avx512bw,avx512vl,pclmul,vpclmulqdq,sse4.2")))
#define PENSTOCK_WIDE_INLINE PENSTOCK_WIDE __attribute__((always_inline)) inline

namespace penstock::crc {

namespace {

constexpr size_t block = 64, accumulators = 4;

// For a lane's low half, which is ahead of its high half, and the high half: what moves both `bits` on. The product of
// reflected polynomials comes out one bit too low, and 64 bits by 33 leave it 32 too high.
consteval long long low_half(uint32_t bits) { return static_cast<long long>(uint64_t{power_of_x(bits + 32)} << 1); }
consteval long long high_half(uint32_t bits) { return static_cast<long long>(uint64_t{power_of_x(bits - 32)} << 1); }

template <uint32_t bits>
PENSTOCK_WIDE_INLINE __m512i moved(__m512i lanes) {
  constexpr long long low = low_half(bits), high = high_half(bits);
  const __m512i by = _mm512_set_epi64(high, low, high, low, high, low, high, low);
  return _mm512_xor_si512(_mm512_clmulepi64_epi128(lanes, by, 0x00), _mm512_clmulepi64_epi128(lanes, by, 0x11));
}

// What `lanes` is 64 * `blocks` bytes further on, added to the bytes there.
template <uint32_t blocks>
PENSTOCK_WIDE_INLINE __m512i folded(__m512i lanes, __m512i bytes) {
  constexpr long long low = low_half(blocks * block * 8), high = high_half(blocks * block * 8);
  const __m512i by = _mm512_set_epi64(high, low, high, low, high, low, high, low);
  constexpr int sum_of_three = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(lanes, by, 0x00),
                                   _mm512_clmulepi64_epi128(lanes, by, 0x11), bytes, sum_of_three);
}

// The four lanes as one CRC.
PENSTOCK_WIDE_INLINE uint64_t crc_of_lanes(__m512i lanes) {
  constexpr long long none = 0;
  const __m512i by = _mm512_set_epi64(none, none, high_half(128), low_half(128), high_half(256), low_half(256),
                                      high_half(384), low_half(384));
  const __m512i moved = _mm512_xor_si512(_mm512_clmulepi64_epi128(lanes, by, 0x00),
                                         _mm512_clmulepi64_epi128(lanes, by, 0x11));
  const __m512i sum = _mm512_mask_mov_epi64(moved, 0xc0, lanes);  // the last lane is where it belongs
  const __m256i two = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
  const __m128i last = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
  const uint64_t ahead = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(last)));
  return _mm_crc32_u64(ahead, static_cast<uint64_t>(_mm_extract_epi64(last, 1)));
}

template <class T>
PENSTOCK_WIDE_INLINE T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Fewer than a block.
PENSTOCK_WIDE_INLINE uint32_t crc_of_few(uint64_t crc, const std::byte* bytes, size_t count) {
  for (; count >= 8; count -= 8, bytes += 8) crc = _mm_crc32_u64(crc, load<uint64_t>(bytes));
  auto narrow = static_cast<uint32_t>(crc);
  if ((count & 4) != 0) {
    narrow = _mm_crc32_u32(narrow, load<uint32_t>(bytes));
    bytes += 4;
  }
  if ((count & 2) != 0) {
    narrow = _mm_crc32_u16(narrow, load<uint16_t>(bytes));
    bytes += 2;
  }
  if ((count & 1) != 0) narrow = _mm_crc32_u8(narrow, load<uint8_t>(bytes));
  return narrow;
}

template <bool copy>
PENSTOCK_WIDE_INLINE __m512i take(std::byte* to, const std::byte* from) {
  const __m512i bytes = _mm512_loadu_si512(from);
  if constexpr (copy) _mm512_storeu_si512(to, bytes);
  return bytes;
}

template <bool copy>
PENSTOCK_WIDE_INLINE uint32_t pass(uint32_t crc_before, std::byte* to, const std::byte* from, size_t count) {
  constexpr size_t stride = accumulators * block;
  uint64_t crc = uint32_t{~crc_before};
  size_t at = 0;
  if (count >= block) {
    __m512i last = _mm512_xor_si512(take<copy>(to, from), _mm512_zextsi128_si512(_mm_cvtsi64_si128(static_cast<int64_t>(crc))));
    at = block;
    if (count >= stride) {
      __m512i first = last;
      __m512i second = take<copy>(to + block, from + block);
      __m512i third = take<copy>(to + 2 * block, from + 2 * block);
      __m512i fourth = take<copy>(to + 3 * block, from + 3 * block);
      for (at = stride; count - at >= stride; at += stride) {
        first = folded<accumulators>(first, take<copy>(to + at, from + at));
        second = folded<accumulators>(second, take<copy>(to + at + block, from + at + block));
        third = folded<accumulators>(third, take<copy>(to + at + 2 * block, from + at + 2 * block));
        fourth = folded<accumulators>(fourth, take<copy>(to + at + 3 * block, from + at + 3 * block));
      }
      last = _mm512_xor_si512(_mm512_xor_si512(moved<3 * block * 8>(first), moved<2 * block * 8>(second)),
                              folded<1>(third, fourth));
    }
    for (; count - at >= block; at += block) last = folded<1>(last, take<copy>(to + at, from + at));
    crc = crc_of_lanes(last);
  }
  const size_t left = count - at;
  if constexpr (copy) {
    const auto some = static_cast<__mmask64>((uint64_t{1} << left) - 1);
    _mm512_mask_storeu_epi8(to + at, some, _mm512_maskz_loadu_epi8(some, from + at));
  }
  return ~crc_of_few(crc, from + at, left);
}

}  // namespace

bool can_fold() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
}

PENSTOCK_WIDE uint32_t fold(uint32_t crc, const std::byte* bytes, size_t count) {
  return pass<false>(crc, nullptr, bytes, count);
}

PENSTOCK_WIDE uint32_t copy_and_fold(uint32_t crc, std::byte* to, const std::byte* from, size_t count) {
  return pass<true>(crc, to, from, count);
}

}  // namespace penstock::crc
