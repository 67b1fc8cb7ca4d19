#include "dataplane/net/checksum.h"

#include <immintrin.h>

#include <bit>
#include <cstring>

namespace penstock::net {

namespace {

// The sum may be taken in any byte order as long as the result is stored in the same (RFC 1071 2.B), and in words of
// any size: 32-bit words are added into 64-bit lanes, which cannot overflow for anything that fits into memory here.
uint64_t sum_words(const std::byte* at, size_t count) {
  uint64_t sum = 0;
  if (count >= 64) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = zero, high = zero;
    do {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
      low = _mm256_add_epi64(low, _mm256_unpacklo_epi32(words, zero));
      high = _mm256_add_epi64(high, _mm256_unpackhi_epi32(words, zero));
      at += 32;
      count -= 32;
    } while (count >= 32);
    alignas(32) uint64_t lanes[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(low, high));
    sum = lanes[0] + lanes[1] + lanes[2] + lanes[3];
  }
  for (; count >= 4; at += 4, count -= 4) {
    uint32_t word;
    std::memcpy(&word, at, 4);
    sum += word;
  }
  uint32_t rest = 0;  // the missing bytes of the last word count as zero
  std::memcpy(&rest, at, count);
  return sum + rest;
}

uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

}  // namespace

void Checksum::add(const void* bytes, size_t count) {
  uint64_t sum = sum_words(static_cast<const std::byte*>(bytes), count);
  if (odd_) sum = std::byteswap(fold(sum));  // its first byte is the second of a word
  sum_ += sum;
  odd_ ^= (count & 1) != 0;
}

void Checksum::add_pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                                 uint32_t bytes) {
  if (source.is_v4()) {
    Ipv4PseudoHeader header;
    std::memcpy(header.source, source.v4_bytes(), 4);
    std::memcpy(header.destination, destination.v4_bytes(), 4);
    header.protocol = protocol;
    header.message_bytes = static_cast<uint16_t>(bytes);
    add(&header, sizeof header);
  } else {
    Ipv6PseudoHeader header;
    std::memcpy(header.source, source.bytes(), 16);
    std::memcpy(header.destination, destination.bytes(), 16);
    header.message_bytes = bytes;
    header.next_header = protocol;
    add(&header, sizeof header);
  }
}

uint16_t Checksum::sum() const {
  const uint16_t folded = fold(sum_);
  return std::endian::native == std::endian::little ? std::byteswap(folded) : folded;
}

uint16_t checksum_of(const void* bytes, size_t count) {
  Checksum checksum;
  checksum.add(bytes, count);
  return checksum.finish();
}

}  // namespace penstock::net
