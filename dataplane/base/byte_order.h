// Integers with a fixed byte order and no alignment, so that wire and disk layouts are plain structs.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>

namespace penstock {

template <std::integral T, std::endian Order>
class FixedEndian {
 public:
  constexpr FixedEndian() = default;
  constexpr FixedEndian(T value) { set(value); }
  constexpr operator T() const { return get(); }
  constexpr FixedEndian& operator=(T value) {
    set(value);
    return *this;
  }
  constexpr T get() const {
    const T raw = std::bit_cast<T>(bytes_);
    return Order == std::endian::native ? raw : std::byteswap(raw);
  }
  constexpr void set(T value) {
    const T raw = Order == std::endian::native ? value : std::byteswap(value);
    bytes_ = std::bit_cast<Bytes>(raw);
  }

 private:
  struct Bytes {
    unsigned char at[sizeof(T)];
  };
  Bytes bytes_{};
};

template <std::integral T>
using Big = FixedEndian<T, std::endian::big>;
template <std::integral T>
using Little = FixedEndian<T, std::endian::little>;

static_assert(sizeof(Big<uint16_t>) == 2 && alignof(Big<uint64_t>) == 1 && sizeof(Little<int64_t>) == 8);

// Reads or writes an integer at an arbitrary address.
template <std::integral T>
inline T load_big(const void* from) {
  Big<T> value;
  std::memcpy(static_cast<void*>(&value), from, sizeof value);
  return value;
}
template <std::integral T>
inline void store_big(void* to, T value) {
  const Big<T> big(value);
  std::memcpy(to, static_cast<const void*>(&big), sizeof big);
}

}  // namespace penstock
