// Polynomials over GF(2) modulo Castagnoli's, bits reflected: the top bit is x^0.
#pragma once

#include <cstdint>

namespace penstock::crc {

inline constexpr uint32_t polynomial = 0x82F63B78;
inline constexpr uint32_t one = uint32_t{1} << 31;

constexpr uint32_t times_x(uint32_t a) { return (a >> 1) ^ ((a & 1) != 0 ? polynomial : 0); }

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = one; bit != 0; bit >>= 1, b = times_x(b)) {
    if ((a & bit) != 0) product ^= b;
  }
  return product;
}

constexpr uint32_t power_of_x(uint32_t exponent) {
  uint32_t power = one;
  for (; exponent > 0; --exponent) power = times_x(power);
  return power;
}

}  // namespace penstock::crc
