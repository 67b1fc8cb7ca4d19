// Writes a message as one line of text, for logs of a single request and for tests. Values stand in wire order without
// names: the description has none. Tagged fields show as #number=value, record blobs by their size.
#pragma once

#include <charconv>
#include <span>
#include <string_view>

#include "dataplane/kafka/wire.h"

namespace penstock::kafka {

class Printer {
 public:
  // What does not fit `out` is cut off.
  Printer(std::span<char> out, Version version, Dialect dialect) : out_(out), version_(version), dialect_(dialect) {}

  template <class T>
  void field(const T& value, When when = always) {
    if (!when.includes(version_)) return;
    separate();
    print(value);
  }

  template <class... Known>
  void tags(const Known&... known) {
    if (dialect_ == Dialect::flexible) (print_tag(known), ...);
  }

  template <class T>
  void print(const T& value) {
    if constexpr (requires(T& m) { T::describe(*this, m); }) {
      put("{");
      first_ = true;
      T::describe(*this, value);
      first_ = false;
      put("}");
    } else {
      print_value(value);
    }
  }

  std::string_view text() const { return {out_.data(), size_}; }

 private:
  void print_value(bool value) { put(value ? "true" : "false"); }
  template <std::integral T>
  void print_value(T value) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<int64_t>(value)).ptr;
    put({digits, static_cast<size_t>(end - digits)});
  }
  template <Enumeration T>
  void print_value(T value) {
    print_value(static_cast<std::underlying_type_t<T>>(value));
  }
  void print_value(const Text& value) {
    put("\"");
    for (const char c : value) {
      if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
        put({&c, 1});
      else
        put("\\x"), put_hex(static_cast<uint8_t>(c));
    }
    put("\"");
  }
  void print_value(const NullableText& value) { value.is_null() ? put("null") : print_value(value.text()); }
  void print_value(const Uuid& value) {
    for (const uint8_t byte : value.bytes) put_hex(byte);
  }
  void print_value(const Bytes& value) {
    put("bytes ");
    print_value(value.size());
  }
  void print_value(const NullableBytes& value) { value.is_null() ? put("null") : print_value(value.bytes()); }
  void print_value(const Records& value) {
    if (value.is_null()) return put("null");
    put("records ");
    print_value(value.size());
  }
  template <class T>
  void print_value(const Slice<T>& value) {
    put("[");
    first_ = true;
    for (const T& element : value) {
      separate();
      print(element);
    }
    first_ = false;
    put("]");
  }
  template <class T>
  void print_value(const NullableSlice<T>& value) {
    value.is_null() ? put("null") : print_value(value.slice());
  }
  template <class T>
  void print_tag(const Tag<T>& tag) {
    if (!is_present(tag, version_)) return;
    separate();
    put("#");
    print_value(tag.number);
    put("=");
    print(tag.value);
  }

  void separate() {
    if (!first_) put(", ");
    first_ = false;
  }
  void put(std::string_view text) {
    const size_t count = text.size() < out_.size() - size_ ? text.size() : out_.size() - size_;
    if (count > 0) std::memcpy(out_.data() + size_, text.data(), count);
    size_ += count;
  }
  void put_hex(uint8_t byte) {
    constexpr char digits[] = "0123456789abcdef";
    const char hex[] = {digits[byte >> 4], digits[byte & 15]};
    put({hex, 2});
  }

  std::span<char> out_;
  size_t size_ = 0;
  Version version_;
  Dialect dialect_;
  bool first_ = true;
};

// The message as text, cut off where `out` ends.
template <class Message>
std::string_view print(const Message& message, Version version, std::span<char> out) {
  Printer printer(out, version, dialect_of(version, Message::flexible));
  printer.print(message);
  return printer.text();
}

}  // namespace penstock::kafka
