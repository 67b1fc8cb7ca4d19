// CRC32C by carry-less multiplication of 64 bytes at a time, for processors with VPCLMULQDQ and AVX-512. ISA-L has the
// same, but takes some 30 ns for a call besides: as much again as the bytes of one segment of 1448 take. And here the
// bytes can be copied on their way: the multiplications are what counts, loads and stores are free beside them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock::crc {

bool can_fold();

// As crc32c() and copy_and_crc32c(). Only where can_fold().
uint32_t fold(uint32_t crc, const std::byte* bytes, size_t count);
uint32_t copy_and_fold(uint32_t crc, std::byte* to, const std::byte* from, size_t count);

}  // namespace penstock::crc
