// A TCP sequence number: a position modulo 2^32. Lengths are plain uint32_t; adding two positions does not compile.
// a < b means that b is reached from a by going forward less than 2^31 (RFC 9293 3.4).
#pragma once

#include <cstdint>

namespace penstock {

struct SeqNumber {
  uint32_t value = 0;
  constexpr SeqNumber() = default;
  constexpr explicit SeqNumber(uint32_t v) : value(v) {}

  constexpr SeqNumber& operator+=(uint32_t length) {
    value += length;
    return *this;
  }
  friend constexpr SeqNumber operator+(SeqNumber a, uint32_t length) { return SeqNumber(a.value + length); }
  friend constexpr SeqNumber operator-(SeqNumber a, uint32_t length) { return SeqNumber(a.value - length); }
  // The distance from b forward to a; a >= b is the caller's to know.
  friend constexpr uint32_t operator-(SeqNumber a, SeqNumber b) { return a.value - b.value; }

  friend constexpr bool operator==(SeqNumber a, SeqNumber b) = default;
  friend constexpr bool operator<(SeqNumber a, SeqNumber b) { return static_cast<int32_t>(a.value - b.value) < 0; }
  friend constexpr bool operator>(SeqNumber a, SeqNumber b) { return b < a; }
  friend constexpr bool operator<=(SeqNumber a, SeqNumber b) { return !(b < a); }
  friend constexpr bool operator>=(SeqNumber a, SeqNumber b) { return !(a < b); }
};

constexpr SeqNumber earlier(SeqNumber a, SeqNumber b) { return a < b ? a : b; }
constexpr SeqNumber later(SeqNumber a, SeqNumber b) { return a < b ? b : a; }
// first <= s < end
constexpr bool within(SeqNumber s, SeqNumber first, SeqNumber end) { return s - first < end - first; }

}  // namespace penstock
