// CRC32C (Castagnoli, RFC 3720 appendix B.4), as Kafka and the log use it: bits reflected, inverted before and after.
// crc32c(0, "123456789", 9) is 0xE3069283.
//
// Every function takes the CRC of the bytes before (0: there are none), so a batch in pieces needs no joining:
// crc32c(crc32c(0, a, a_length), b, b_length) is the CRC of a followed by b.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock {

[[nodiscard]] uint32_t crc32c(uint32_t crc, const void* bytes, size_t count);

// Copies `count` bytes and continues the CRC over them, in one pass over memory. The two ranges must not overlap and
// nobody may write to the source meanwhile.
[[nodiscard]] uint32_t copy_and_crc32c(uint32_t crc, void* to, const void* from, size_t count);

// The CRC of A followed by B, from the CRC of each alone and B's length in bytes.
[[nodiscard]] uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

}  // namespace penstock
