// Kafka's wire format: one description of each message, several readings of it.
//
//   struct Example {
//     Text name;  int32_t epoch = -1;
//     static void describe(auto& wire, auto& m) {
//       wire.field(m.name);
//       wire.field(m.epoch, since(7));
//       wire.tags();
//     }
//   };
//
//   Decoder   bytes in pieces -> message; fails stickily and is judged once, by finish()
//   Encoder   message -> contiguous bytes and the splices where record bytes belong
//   Sizer     message -> how many bytes the Encoder would give, record bytes included
//   Printer   message -> one line of text (printer.h)
//
// The dialect is chosen once per message: flexible versions (KIP-482) have compact lengths and tagged fields.
// Source of the formats: Apache Kafka 4.1, protocol guide and message schemas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "dataplane/base/byte_order.h"
#include "dataplane/base/piece.h"
#include "dataplane/kafka/types.h"

namespace penstock::kafka {

using Version = int16_t;
inline constexpr Version version_max = std::numeric_limits<Version>::max();

enum class Dialect : uint8_t { classic, flexible };
constexpr Dialect dialect_of(Version version, Version first_flexible) {
  return version >= first_flexible ? Dialect::flexible : Dialect::classic;
}

// In which versions a field is on the wire, and from which on it may be null there.
struct When {
  Version first = 0;
  Version last = version_max;
  Version null_first = 0;
  bool classic_always = false;
  constexpr bool includes(Version version) const { return version >= first && version <= last; }
  // A null in an earlier version is malformed when decoded, and written as empty when encoded.
  constexpr When null_since(Version version) const {
    When when = *this;
    when.null_first = version;
    return when;
  }
  // The field keeps its classic form in flexible messages too: the request header's client id (KIP-511).
  constexpr When in_classic_form() const {
    When when = *this;
    when.classic_always = true;
    return when;
  }
};
inline constexpr When always{};
constexpr When since(Version first) { return {.first = first}; }
constexpr When until(Version last) { return {.last = last}; }  // inclusive
constexpr When between(Version first, Version last) { return {.first = first, .last = last}; }
constexpr When null_since(Version version) { return always.null_since(version); }

// A tagged field: written only when it differs from `absent`, which is also what it stays when the peer left it out.
template <class T>
struct Tag {
  uint32_t number;
  T& value;
  When when;
  std::remove_const_t<T> absent;
};
template <class T>
constexpr Tag<T> tag(uint32_t number, T& value, When when = always, std::remove_const_t<T> absent = {}) {
  return {number, value, when, absent};
}

// Whether a tagged field goes on the wire.
template <class T>
constexpr bool is_present(const Tag<T>& tag, Version version) {
  if (!tag.when.includes(version)) return false;
  if constexpr (requires { tag.value.slice(); })
    return !tag.value.is_null();
  else if constexpr (requires { tag.value.first(0u); })
    return !tag.value.empty();
  else
    return !(tag.value == tag.absent);
}

template <class T>
concept Enumeration = std::is_enum_v<T>;

enum class DecodeStatus : uint8_t {
  ok,
  malformed,       // lengths, counts or tags that contradict the bytes; also bytes that end too soon
  scratch_full,    // well-formed so far, but larger than the memory set aside for one request
  trailing_bytes,  // a complete message and then more. Kafka ignores the rest; the caller decides.
};
const char* to_string(DecodeStatus status);

// Where record bytes belong in encoded output: `size` bytes go in before output byte `position` (counted without any
// spliced bytes). `ordinal` counts the message's Records fields from 0, null and empty ones too.
struct Splice {
  uint32_t position = 0;
  uint32_t ordinal = 0;
  uint64_t size = 0;
};

// ---------------------------------------------------------------------------------------------------------- writing

// Writes one message into a sink. The two sinks share every decision about the format, so size and bytes agree.
template <class Sink>
class Writer {
 public:
  Writer(Sink sink, Version version, Dialect dialect) : sink_(sink), version_(version), dialect_(dialect) {}

  template <class T>
  void field(const T& value, When when = always) {
    if (when.includes(version_)) write(value, when);
  }

  template <class... Known>
  void tags(const Known&... known) {
    if (dialect_ == Dialect::classic) return;
    varint((0u + ... + (is_present(known, version_) ? 1u : 0u)));
    (write_tag(known), ...);
  }

  // The next message of the same frame, which may have another version: a body after its header.
  void turn_to(Version version, Dialect dialect) {
    version_ = version;
    dialect_ = dialect;
  }

  const Sink& sink() const { return sink_; }
  Sink& sink() { return sink_; }

  template <class T>
  void write(const T& value, When when = always) {
    if constexpr (requires(T& m) { T::describe(*this, m); })
      T::describe(*this, value);
    else
      write_value(value, when);
  }

 private:
  bool compact(When when) const { return dialect_ == Dialect::flexible && !when.classic_always; }

  void write_value(bool value, When) { number<int8_t>(value ? 1 : 0); }
  template <std::integral T>
  void write_value(T value, When) {
    number(value);
  }
  template <Enumeration T>
  void write_value(T value, When) {
    number(static_cast<std::underlying_type_t<T>>(value));
  }
  void write_value(const Uuid& value, When) { sink_.bytes(value.bytes.data(), value.bytes.size()); }
  void write_value(const Text& value, When when) { write_text(value, false, when); }
  void write_value(const NullableText& value, When when) { write_text(value.text(), value.is_null(), when); }
  void write_value(const Bytes& value, When when) { write_bytes(value, false, when); }
  void write_value(const NullableBytes& value, When when) { write_bytes(value.bytes(), value.is_null(), when); }
  template <class T>
  void write_value(const Slice<T>& value, When when) {
    write_array(value, false, when);
  }
  template <class T>
  void write_value(const NullableSlice<T>& value, When when) {
    write_array(value.slice(), value.is_null(), when);
  }
  void write_value(const Records& value, When when) {
    length<int32_t>(value.size(), value.is_null(), when);
    sink_.external(value.size());
  }

  void write_text(std::string_view text, bool null, When when) {
    if (text.size() > text_bytes_max) sink_.fail();
    length<int16_t>(text.size(), null, when);
    sink_.bytes(text.data(), text.size());
  }
  void write_bytes(std::span<const std::byte> bytes, bool null, When when) {
    length<int32_t>(bytes.size(), null, when);
    sink_.bytes(bytes.data(), bytes.size());
  }
  template <class T>
  void write_array(const Slice<T>& elements, bool null, When when) {
    length<int32_t>(elements.size(), null, when);
    for (const T& element : elements) write(element);
  }

  // A length or count: Classic (int16 or int32), or one more as a varint; null is -1, in compact form 0.
  template <class Classic>
  void length(uint64_t count, bool null, When when) {
    if (count > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()) - 1) sink_.fail();
    if (null && version_ < when.null_first) null = false;
    if (compact(when))
      varint(null ? 0 : static_cast<uint32_t>(count) + 1);
    else
      number(null ? static_cast<Classic>(-1) : static_cast<Classic>(count));
  }
  template <std::integral T>
  void number(T value) {
    const Big<T> big(value);
    sink_.bytes(&big, sizeof big);
  }
  void varint(uint32_t value) {
    for (; value >= 0x80; value >>= 7) number(static_cast<uint8_t>(value | 0x80));
    number(static_cast<uint8_t>(value));
  }

  template <class T>
  void write_tag(const Tag<T>& tag);

  Sink sink_;
  Version version_;
  Dialect dialect_;
};

struct CountingSink {
  uint64_t size = 0;
  void bytes(const void*, size_t count) { size += count; }
  void external(uint64_t count) { size += count; }
  void fail() {}
};

// Writes while there is room; the first byte without room, the first splice without a slot, or a value that has no wire
// form fails the whole message.
struct SpanSink {
  std::span<std::byte> out;
  std::span<Splice> splices;
  size_t position = 0;
  uint32_t splice_count = 0;
  uint32_t record_sets = 0;
  uint64_t external_bytes = 0;
  bool failed = false;

  void bytes(const void* from, size_t count) {
    if (count > out.size() - position) return fail();
    if (count > 0) std::memcpy(out.data() + position, from, count);
    position += count;
  }
  void external(uint64_t count) {
    const uint32_t ordinal = record_sets++;
    if (count == 0) return;
    if (splice_count == splices.size()) return fail();
    splices[splice_count++] = {static_cast<uint32_t>(position), ordinal, count};
    external_bytes += count;
  }
  void fail() {
    failed = true;
    out = {};
    position = 0;
  }
};

using Sizer = Writer<CountingSink>;
using Encoder = Writer<SpanSink>;

template <class Sink>
template <class T>
void Writer<Sink>::write_tag(const Tag<T>& tag) {
  if (!is_present(tag, version_)) return;
  Sizer sizer({}, version_, dialect_);
  sizer.write(tag.value, tag.when);
  varint(tag.number);
  varint(static_cast<uint32_t>(sizer.sink().size));
  write(tag.value, tag.when);
}

// The fewest bytes a T takes on the wire: a default one, whose strings and arrays are empty and whose tags are absent.
// Bounds the count of an array before memory is taken for it.
template <class T>
uint64_t size_min(Version version, Dialect dialect) {
  Sizer sizer({}, version, dialect);
  sizer.write(T{});
  return sizer.sink().size > 0 ? sizer.sink().size : 1;
}

// ---------------------------------------------------------------------------------------------------------- reading

// Reads one message after another from a list of pieces, however small they are. Strings that lie in one piece are
// seen there, others are assembled in the scratch; record bytes stay where they are. After a failure every further
// read gives zero or empty, so descriptions need no branches.
class Decoder {
 public:
  Decoder(PieceRange input, Version version, Dialect dialect, Scratch& scratch)
      : rest_(input), scratch_(scratch), version_(version), dialect_(dialect) {
    open_run();
  }

  template <class T>
  void field(T& value, When when = always) {
    if (when.includes(version_)) read(value, when);
  }

  template <class... Known>
  void tags(const Known&... known) {
    if (dialect_ == Dialect::classic) return;
    int64_t previous = -1;
    for (uint32_t count = varint(); count > 0 && ok(); --count) {
      const uint32_t number = varint();
      const uint32_t size = varint();
      // KIP-482: tags ascend, so none comes twice.
      if (number <= previous || size > remaining()) return fail(DecodeStatus::malformed);
      previous = number;
      const uint64_t remaining_after = remaining() - size;
      if (!(false || ... || read_tag(known, number))) skip(size);
      if (remaining() != remaining_after) return fail(DecodeStatus::malformed);
    }
  }

  void turn_to(Version version, Dialect dialect) {
    version_ = version;
    dialect_ = dialect;
  }

  bool ok() const { return status_ == DecodeStatus::ok; }
  uint64_t remaining() const { return rest_.size() - static_cast<uint64_t>(at_ - run_); }
  PieceRange rest() const { return rest_.slice(static_cast<uint64_t>(at_ - run_), remaining()); }
  DecodeStatus status() const { return status_; }
  // The verdict over everything read, when nothing more should follow.
  [[nodiscard]] DecodeStatus finish() const { return ok() && remaining() > 0 ? DecodeStatus::trailing_bytes : status_; }

  template <class T>
  void read(T& value, When when = always) {
    if constexpr (requires { T::describe(*this, value); })
      T::describe(*this, value);
    else
      read_value(value, when);
  }

 private:
  struct Length {
    uint32_t count = 0;
    bool null = false;
  };

  bool compact(When when) const { return dialect_ == Dialect::flexible && !when.classic_always; }

  void read_value(bool& value, When) { value = number<int8_t>() != 0; }
  template <std::integral T>
  void read_value(T& value, When) {
    value = number<T>();
  }
  template <Enumeration T>
  void read_value(T& value, When) {
    value = static_cast<T>(number<std::underlying_type_t<T>>());
  }
  void read_value(Uuid& value, When) { take(value.bytes.data(), value.bytes.size()); }
  void read_value(Text& value, When when) {
    const Length size = length<int16_t>(when, 1, text_bytes_max);
    if (size.null) return fail(DecodeStatus::malformed);
    value = text(size.count);
  }
  void read_value(NullableText& value, When when) {
    const Length size = length<int16_t>(when, 1, text_bytes_max);
    value = size.null ? NullableText() : NullableText(text(size.count));
  }
  void read_value(Bytes& value, When when) {
    const Length size = length<int32_t>(when, 1);
    if (size.null) return fail(DecodeStatus::malformed);
    value = blob(size.count);
  }
  void read_value(NullableBytes& value, When when) {
    const Length size = length<int32_t>(when, 1);
    value = size.null ? NullableBytes() : NullableBytes(blob(size.count));
  }
  template <class T>
  void read_value(Slice<T>& value, When when) {
    const Length count = length<int32_t>(when, size_min<T>(version_, dialect_));
    if (count.null) return fail(DecodeStatus::malformed);
    value = elements<T>(count.count);
  }
  template <class T>
  void read_value(NullableSlice<T>& value, When when) {
    const Length count = length<int32_t>(when, size_min<T>(version_, dialect_));
    value = count.null ? NullableSlice<T>() : NullableSlice<T>(elements<T>(count.count));
  }
  void read_value(Records& value, When when);

  template <class T>
  Slice<T> elements(uint32_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    if (count == 0) return {};
    std::byte* memory = scratch_.take(uint64_t{count} * sizeof(T), alignof(T));
    if (memory == nullptr) {
      fail(DecodeStatus::scratch_full);
      return {};
    }
    T* first = reinterpret_cast<T*>(memory);
    for (uint32_t i = 0; i < count; ++i) {
      read(*new (first + i) T());
      if (!ok()) return {};  // the rest was never constructed
    }
    return Slice<T>(first, count);
  }

  // A length or count, at most `max`, of things that take at least `unit` bytes each: more than the remaining bytes can
  // hold is refused here, before anybody takes memory for it.
  template <class Classic>
  Length length(When when, uint64_t unit, uint64_t max = UINT32_MAX) {
    const int64_t count = compact(when) ? int64_t{varint()} - 1 : int64_t{number<Classic>()};
    if (!ok()) return {};
    const bool null = count == -1;
    const uint64_t fit = remaining() / unit;
    if (null ? version_ < when.null_first : count < 0 || static_cast<uint64_t>(count) > (fit < max ? fit : max)) {
      fail(DecodeStatus::malformed);
      return {};
    }
    return {null ? 0 : static_cast<uint32_t>(count), null};
  }

  template <std::integral T>
  T number() {
    if (static_cast<size_t>(end_ - at_) >= sizeof(T)) [[likely]] {
      const T value = load_big<T>(at_);
      at_ += sizeof(T);
      return value;
    }
    Big<T> straddling;
    take(&straddling, sizeof straddling);
    return straddling;
  }
  uint32_t varint() {
    const uint8_t first = number<uint8_t>();
    return first < 0x80 ? first : long_varint(first);
  }

  template <class T>
  bool read_tag(const Tag<T>& tag, uint32_t tag_number) {
    if (tag.number != tag_number || !tag.when.includes(version_)) return false;
    read(tag.value, tag.when);
    return true;
  }

  Text text(uint32_t size);
  Bytes blob(uint32_t size);
  uint32_t long_varint(uint32_t first);
  const std::byte* contiguous(uint32_t size);  // nullptr after a failure
  void take(void* to, size_t size);            // zeroes when it fails
  void skip(uint64_t size);
  void open_run();
  void fail(DecodeStatus status);

  //   rest_:  |<- run ........ at .... end ->|  further pieces  |
  PieceRange rest_;                 // begins at run_
  const std::byte* run_ = nullptr;  // the piece being read
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  Scratch& scratch_;
  Version version_;
  Dialect dialect_;
  DecodeStatus status_ = DecodeStatus::ok;
};

}  // namespace penstock::kafka
