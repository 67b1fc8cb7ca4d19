// A random valid message: one more reading of the descriptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "dataplane/kafka/wire.h"

namespace penstock::kafka {

// Fills the fields a version has; the others keep their defaults. Owns what the messages it filled point to.
class Filler {
 public:
  Filler(uint64_t seed, Version version) : random_(seed), version_(version) {}

  template <class T>
  void field(T& value, When when = always) {
    if (when.includes(version_)) fill(value, when);
  }
  template <class... Known>
  void tags(const Known&... known) {
    (fill_tag(known), ...);
  }

  template <class T>
  void fill(T& value, When when = always) {
    if constexpr (requires { T::describe(*this, value); })
      T::describe(*this, value);
    else
      fill_value(value, when);
  }

 private:
  // Tags do not exist in classic versions, but then nothing writes them either.
  template <class T>
  void fill_tag(const Tag<T>& tag) {
    if (tag.when.includes(version_) && random_() % 2 == 0) fill(tag.value, tag.when);
  }
  void fill_value(bool& value, When) { value = random_() % 2 == 0; }
  template <std::integral T>
  void fill_value(T& value, When) {
    value = static_cast<T>(random_());
  }
  template <Enumeration T>
  void fill_value(T& value, When) {
    value = static_cast<T>(random_());
  }
  void fill_value(Uuid& value, When) {
    for (uint8_t& byte : value.bytes) byte = static_cast<uint8_t>(random_());
  }
  void fill_value(Text& value, When) { value = text(); }
  void fill_value(NullableText& value, When when) { value = null(when) ? NullableText() : NullableText(text()); }
  void fill_value(Records& value, When when) {
    if (null(when)) {
      value = Records();
      return;
    }
    const Text bytes = text();
    value = Records::in(pieces(bytes));
  }
  template <class T>
  void fill_value(Slice<T>& value, When) {
    value = slice<T>();
  }
  template <class T>
  void fill_value(NullableSlice<T>& value, When when) {
    value = null(when) ? NullableSlice<T>() : NullableSlice<T>(slice<T>());
  }

  bool null(When when) { return version_ >= when.null_first && random_() % 4 == 0; }
  // Mostly short; sometimes past the one-byte varint.
  Text text() {
    auto text = std::make_shared<std::string>(random_() % 16 == 0 ? random_() % 400 : random_() % 12, ' ');
    for (char& c : *text) c = static_cast<char>(random_());
    keep_.push_back(text);
    return Text(std::string_view(*text));
  }
  PieceRange pieces(Text bytes) {
    auto chunk = std::make_shared<PieceChunk>();
    chunk->count = 1;
    chunk->pieces[0].data = reinterpret_cast<std::byte*>(const_cast<char*>(bytes.data()));
    chunk->pieces[0].length = static_cast<uint32_t>(bytes.size());
    keep_.push_back(chunk);
    return PieceRange(chunk.get(), 0, 0, bytes.size());
  }
  template <class T>
  Slice<T> slice() {
    auto elements = std::make_shared<std::vector<T>>(random_() % 32 == 0 ? 130 / sizeof(T) : random_() % 4);
    for (T& element : *elements) fill(element);
    keep_.push_back(elements);
    return Slice<T>(std::span<T>(*elements));
  }

  std::mt19937_64 random_;
  Version version_;
  std::vector<std::shared_ptr<void>> keep_;
};

}  // namespace penstock::kafka
