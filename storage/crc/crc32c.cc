#include "storage/crc/crc32c.h"

#include <array>

#include "storage/crc/fold.h"
#include "storage/crc/isal.h"
#include "storage/crc/polynomial.h"

namespace penstock {

namespace {

const bool folds = crc::can_fold();

// powers[k] is x to the power 8 * 2^k: what 2^k zero bytes do to a CRC.
constexpr auto powers = [] {
  std::array<uint32_t, 64> table{};
  table[0] = crc::one >> 8;
  for (size_t k = 1; k < table.size(); ++k) table[k] = crc::multiply(table[k - 1], table[k - 1]);
  return table;
}();

}  // namespace

uint32_t crc32c(uint32_t crc, const void* bytes, size_t count) {
  const auto* from = static_cast<const std::byte*>(bytes);
  return folds ? crc::fold(crc, from, count) : crc::isal(crc, from, count);
}

uint32_t copy_and_crc32c(uint32_t crc, void* to, const void* from, size_t count) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  return folds ? crc::copy_and_fold(crc, target, source, count) : crc::copy_and_isal(crc, target, source, count);
}

// CRC(A B) = CRC(A) * x^(8 |B|) + CRC(B): the inversions of the two cancel (Mark Adler, zlib's crc32_combine).
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  for (size_t k = 0; length_b != 0; ++k, length_b >>= 1) {
    if ((length_b & 1) != 0) crc_a = crc::multiply(powers[k], crc_a);
  }
  return crc_a ^ crc_b;
}

}  // namespace penstock
