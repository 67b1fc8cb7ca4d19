#include "storage/crc/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace penstock {

namespace {

// crc32_iscsi counts in an int; longer runs are cut.
constexpr size_t run_bytes_max = size_t{1} << 30;

// The CRC brings a chunk of the source into the cache and the copy finds it there. The other order is slower: a copy
// by `rep movsb`, as the C library does from 2 KiB on, leaves its target further away than L1
// (bench/crc32c_bench.cc: 20 against 13 GB/s for 1 MiB on EPYC; 4 KiB was the best chunk for large and small batches).
constexpr size_t copy_chunk_bytes = 4096;

// ISA-L inverts neither its start value nor its result; Kafka's CRC is inverted at both ends.
uint32_t continue_crc(uint32_t crc, const std::byte* bytes, size_t count) {
  auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes));  // read only
  return ~crc32_iscsi(data, static_cast<int>(count), ~crc);
}

// ---- polynomials over GF(2) modulo Castagnoli's, bits reflected: the top bit is x^0 ----

constexpr uint32_t polynomial = 0x82F63B78;
constexpr uint32_t one = uint32_t{1} << 31;

constexpr uint32_t times_x(uint32_t a) { return (a >> 1) ^ ((a & 1) != 0 ? polynomial : 0); }

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = one; bit != 0; bit >>= 1, b = times_x(b)) {
    if ((a & bit) != 0) product ^= b;
  }
  return product;
}

// powers[k] is x to the power 8 * 2^k: what 2^k zero bytes do to a CRC.
constexpr auto powers = [] {
  std::array<uint32_t, 64> table{};
  table[0] = one >> 8;
  for (size_t k = 1; k < table.size(); ++k) table[k] = multiply(table[k - 1], table[k - 1]);
  return table;
}();

}  // namespace

uint32_t crc32c(uint32_t crc, const void* bytes, size_t count) {
  const auto* from = static_cast<const std::byte*>(bytes);
  while (count > 0) {
    const size_t run = std::min(count, run_bytes_max);
    crc = continue_crc(crc, from, run);
    from += run;
    count -= run;
  }
  return crc;
}

uint32_t copy_and_crc32c(uint32_t crc, void* to, const void* from, size_t count) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  while (count > 0) {
    const size_t run = std::min(count, copy_chunk_bytes);
    crc = continue_crc(crc, source, run);
    std::memcpy(target, source, run);
    target += run;
    source += run;
    count -= run;
  }
  return crc;
}

// CRC(A B) = CRC(A) * x^(8 |B|) + CRC(B): the inversions of the two cancel (Mark Adler, zlib's crc32_combine).
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  for (size_t k = 0; length_b != 0; ++k, length_b >>= 1) {
    if ((length_b & 1) != 0) crc_a = multiply(powers[k], crc_a);
  }
  return crc_a ^ crc_b;
}

}  // namespace penstock
