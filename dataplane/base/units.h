// Small types for numbers that must not be confused. A Position counts from a fixed origin, a length is a plain
// integer: position + length is a position, position - position is a length, position + position does not compile.
#pragma once

#include <compare>
#include <cstdint>

namespace penstock {

using Nanoseconds = int64_t;   // monotonic time; `now` is always an argument
using Milliseconds = int64_t;  // wall-clock time as Kafka counts it: since 1970-01-01 UTC

inline constexpr Nanoseconds second_ns = 1'000'000'000;
inline constexpr Nanoseconds millisecond_ns = 1'000'000;
inline constexpr Nanoseconds never_ns = INT64_MAX;  // "no deadline"

inline constexpr uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

template <class Tag, class T = uint64_t>
struct Position {
  T value = 0;
  constexpr Position() = default;
  constexpr explicit Position(T v) : value(v) {}
  constexpr auto operator<=>(const Position&) const = default;
  constexpr Position& operator+=(T length) {
    value += length;
    return *this;
  }
  friend constexpr Position operator+(Position p, T length) { return Position(p.value + length); }
  friend constexpr Position operator-(Position p, T length) { return Position(p.value - length); }
  friend constexpr T operator-(Position a, Position b) { return a.value - b.value; }
};

// A name that is a number but never calculated with.
template <class Tag, class T>
struct Id {
  T value{};
  constexpr Id() = default;
  constexpr explicit Id(T v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
};

using FilePosition = Position<struct FilePositionTag>;            // byte of a segment file
using Offset = Position<struct OffsetTag, int64_t>;               // Kafka's record offset within a partition
using CommitSequence = Position<struct CommitSequenceTag>;        // commits of a lane, from 1; 0 is "none"
using PartitionNumber = Id<struct PartitionNumberTag, uint64_t>;  // from the catalog, never reused
using SegmentNumber = Position<struct SegmentNumberTag>;          // segments of a lane in order, from 1
using SegmentSlot = Id<struct SegmentSlotTag, uint32_t>;          // which file of the lane's directory
using BufferIndex = Id<struct BufferIndexTag, uint32_t>;          // first unit of a buffer in the lane's arena

inline constexpr BufferIndex no_buffer{UINT32_MAX};

constexpr uint64_t round_down(uint64_t value, uint64_t unit) { return value - value % unit; }
constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return round_down(value + unit - 1, unit); }

}  // namespace penstock
