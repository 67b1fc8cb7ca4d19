// The values Kafka messages are made of, and the memory a request's values live in.
//
// Nullability belongs to the type: a Text is never null, a NullableText may be. None of these owns its bytes: they
// point into the request's pieces, into the request's Scratch, or, for a message about to be encoded, wherever the
// caller keeps them.
#pragma once

#include <array>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>

#include "dataplane/base/check.h"
#include "dataplane/base/piece.h"

namespace penstock::kafka {

// A string, at most text_bytes_max long. UTF-8 by Kafka's word; nobody checks that.
class Text : public std::string_view {
 public:
  constexpr Text() = default;
  constexpr Text(const char* text) : std::string_view(text) {}
  constexpr Text(std::string_view text) : std::string_view(text) {}
};

// Kafka's limit for a string in both dialects: the classic length is an int16.
inline constexpr uint32_t text_bytes_max = 32767;

class NullableText {
 public:
  constexpr NullableText() = default;  // null
  constexpr NullableText(std::nullptr_t) {}
  constexpr NullableText(const char* text) : text_(text), null_(false) {}
  constexpr NullableText(std::string_view text) : text_(text), null_(false) {}
  constexpr NullableText(Text text) : text_(text), null_(false) {}
  constexpr bool is_null() const { return null_; }
  constexpr Text text() const { return text_; }  // empty when null
  friend constexpr bool operator==(const NullableText& a, const NullableText& b) {
    return a.null_ == b.null_ && std::string_view(a.text_) == std::string_view(b.text_);
  }

 private:
  Text text_;
  bool null_ = true;
};

// A topic id and the like, in wire order. All zero is Kafka's "none".
struct Uuid {
  std::array<uint8_t, 16> bytes{};
  constexpr auto operator<=>(const Uuid&) const = default;
  constexpr bool is_zero() const { return *this == Uuid{}; }
};

// A small blob, contiguous. Record batches are Records, never this.
class Bytes : public std::span<const std::byte> {
 public:
  constexpr Bytes() = default;
  constexpr Bytes(std::span<const std::byte> bytes) : std::span<const std::byte>(bytes) {}
};

class NullableBytes {
 public:
  constexpr NullableBytes() = default;  // null
  constexpr NullableBytes(std::span<const std::byte> bytes) : bytes_(bytes), null_(false) {}
  constexpr bool is_null() const { return null_; }
  constexpr Bytes bytes() const { return bytes_; }  // empty when null

 private:
  Bytes bytes_;
  bool null_ = true;
};

// An array of a message: `size()` elements somewhere in memory that outlives the message.
template <class T>
class Slice {
 public:
  constexpr Slice() = default;
  constexpr Slice(T* data, uint32_t size) : data_(data), size_(size) {}
  constexpr Slice(std::span<T> elements) : data_(elements.data()), size_(static_cast<uint32_t>(elements.size())) {}
  constexpr uint32_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }
  constexpr T& operator[](uint32_t index) const {
    check(index < size_, "slice index beyond end", index, size_);
    return data_[index];
  }
  // The first `count` elements; for lists that were reserved larger than they became.
  constexpr Slice first(uint32_t count) const {
    check(count <= size_, "slice shortened beyond its end", count, size_);
    return Slice(data_, count);
  }

 private:
  T* data_ = nullptr;
  uint32_t size_ = 0;
};

template <class T>
class NullableSlice {
 public:
  constexpr NullableSlice() = default;  // null
  constexpr NullableSlice(Slice<T> slice) : slice_(slice), null_(false) {}
  constexpr NullableSlice(std::span<T> elements) : slice_(elements), null_(false) {}
  constexpr bool is_null() const { return null_; }
  constexpr Slice<T> slice() const { return slice_; }  // empty when null
  constexpr uint32_t size() const { return slice_.size(); }
  constexpr bool empty() const { return slice_.empty(); }
  constexpr T* begin() const { return slice_.begin(); }
  constexpr T* end() const { return slice_.end(); }
  constexpr T& operator[](uint32_t index) const { return slice_[index]; }

 private:
  Slice<T> slice_;
  bool null_ = true;
};

// A blob of record batches. Decoded, it is the pieces of the request that hold it, never a copy. To be encoded it is
// only a length: the encoder notes a Splice where the bytes belong and the sender puts them there.
class Records {
 public:
  Records() = default;  // null
  static Records in(PieceRange range) { return Records(range, range.size()); }
  static Records external(uint64_t size) { return Records(PieceRange(), size); }  // bytes; at most INT32_MAX
  bool is_null() const { return null_; }
  uint64_t size() const { return size_; }             // bytes, 0 when null
  const PieceRange& range() const { return range_; }  // empty when null or external

 private:
  Records(PieceRange range, uint64_t size) : range_(range), size_(size), null_(false) {}
  PieceRange range_;
  uint64_t size_ = 0;
  bool null_ = true;
};

// Memory for the arrays and straddling strings of one request or response: bumped, refusing when full, emptied by
// reset(). Nothing in it is ever destroyed, so only trivially destructible types go in.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(std::span<std::byte> memory) : memory_(memory) {}

  void reset() { used_ = 0; }
  size_t used() const { return used_; }
  size_t capacity() const { return memory_.size(); }

  // Uninitialised memory, or nullptr when it does not fit. `alignment` is a power of two.
  [[nodiscard]] std::byte* take(uint64_t size, size_t alignment) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data()) + used_;
    const size_t padding = static_cast<size_t>(-address & (alignment - 1));
    const size_t left = memory_.size() - used_;
    if (padding > left || size > left - padding) return nullptr;
    std::byte* start = memory_.data() + used_ + padding;
    used_ += padding + static_cast<size_t>(size);
    return start;
  }

  // `count` default-constructed elements; false, and `out` untouched, when they do not fit.
  template <class T>
  [[nodiscard]] bool make(uint32_t count, Slice<T>& out) {
    static_assert(std::is_trivially_destructible_v<T>);
    std::byte* start = take(uint64_t{count} * sizeof(T), alignof(T));
    if (start == nullptr) return false;
    T* elements = reinterpret_cast<T*>(start);
    for (uint32_t i = 0; i < count; ++i) new (elements + i) T();
    out = Slice<T>(elements, count);
    return true;
  }

  // A copy of `text`; false when it does not fit.
  [[nodiscard]] bool copy(std::string_view text, Text& out) {
    std::byte* start = take(text.size(), 1);
    if (start == nullptr) return false;
    if (!text.empty()) std::memcpy(start, text.data(), text.size());
    out = Text(std::string_view(reinterpret_cast<const char*>(start), text.size()));
    return true;
  }

 private:
  std::span<std::byte> memory_;
  size_t used_ = 0;
};

// Contiguous bytes seen as a PieceRange: for clients of the simulator, tools and tests. The range is valid while this
// object and the bytes live. The codec reads through it; only the patching functions of record_batch.h write.
class ContiguousPieces {
 public:
  explicit ContiguousPieces(std::span<const std::byte> bytes) : size_(bytes.size()) {
    check(bytes.size() <= UINT32_MAX, "contiguous pieces: too long for a piece", static_cast<long long>(bytes.size()));
    chunk_.count = 1;
    chunk_.pieces[0].data = const_cast<std::byte*>(bytes.data());
    chunk_.pieces[0].length = static_cast<uint32_t>(bytes.size());
  }
  ContiguousPieces(const ContiguousPieces&) = delete;
  ContiguousPieces& operator=(const ContiguousPieces&) = delete;
  PieceRange range() const { return PieceRange(&chunk_, 0, 0, size_); }

 private:
  PieceChunk chunk_;
  uint64_t size_;
};

}  // namespace penstock::kafka

template <>
struct std::hash<penstock::kafka::Uuid> {
  size_t operator()(const penstock::kafka::Uuid& id) const noexcept {
    // Topic ids are random already; folding the halves is enough. A client cannot choose them.
    uint64_t halves[2];
    std::memcpy(halves, id.bytes.data(), sizeof halves);
    return static_cast<size_t>(halves[0] ^ (halves[1] * 0x9e3779b97f4a7c15ull));
  }
};
