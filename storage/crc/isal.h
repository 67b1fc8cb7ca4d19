// CRC32C by ISA-L, for every processor.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock::crc {

// As crc32c() and copy_and_crc32c().
uint32_t isal(uint32_t crc, const std::byte* bytes, size_t count);
uint32_t copy_and_isal(uint32_t crc, std::byte* to, const std::byte* from, size_t count);

}  // namespace penstock::crc
