// Who holds which buffer of a lane's arena.
//
// The arena is an array of equal units (4096 bytes, page-aligned). A buffer is a run of units (2^order of them where an
// allocator gave it out) and is named by its first unit. Every holder of a buffer is counted here, by what it holds the buffer for, so that a leak report
// can name the holder. At zero the buffer goes on the released list; the lane hands that list to whoever gave the
// buffer out (BufferAllocator in the kernel world, the card's pool under DPDK), in bursts.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "dataplane/base/check.h"
#include "dataplane/base/units.h"

namespace penstock {

enum class Holder : uint8_t { device, reassembly, request, commit, resident, read, send, count };
const char* to_string(Holder holder);

inline constexpr uint32_t arena_unit_bytes = 4096;

// Memory of one lane: mapped first, registered with io_uring as one fixed buffer, at most 1 GiB.
struct Arena {
  std::byte* base = nullptr;
  uint64_t size = 0;  // bytes, a multiple of arena_unit_bytes
  uint32_t unit_count() const { return static_cast<uint32_t>(size / arena_unit_bytes); }
  std::byte* at(BufferIndex buffer) const { return base + uint64_t{buffer.value} * arena_unit_bytes; }
  BufferIndex buffer_of(const std::byte* address) const {
    return BufferIndex(static_cast<uint32_t>(static_cast<uint64_t>(address - base) / arena_unit_bytes));
  }
  bool contains(const std::byte* address) const { return address >= base && address < base + size; }
};

class BufferTable {
 public:
  explicit BufferTable(uint32_t unit_count);

  // A buffer comes into use with one holder. `order`: the buffer is 2^order units long.
  void open(BufferIndex buffer, uint8_t order, Holder holder) {
    open_units(buffer, static_cast<uint16_t>(1u << order), holder);
  }
  void open_units(BufferIndex buffer, uint16_t units, Holder holder) {
    Entry& entry = entries_[buffer.value];
    check(entry.total == 0, "buffer opened while held", buffer.value, entry.total);
    entry.units = units;
    entry.total = 1;
    ++entry.held[index(holder)];
    ++held_[index(holder)];
  }
  void hold(BufferIndex buffer, Holder holder) {
    Entry& entry = entries_[buffer.value];
    check(entry.total > 0, "buffer held after release", buffer.value);
    ++entry.total;
    ++entry.held[index(holder)];
    ++held_[index(holder)];
  }
  void release(BufferIndex buffer, Holder holder) {
    Entry& entry = entries_[buffer.value];
    check(entry.held[index(holder)] > 0, "buffer released by one who does not hold it", buffer.value, index(holder));
    --entry.held[index(holder)];
    --held_[index(holder)];
    if (--entry.total == 0) released_[released_count_++] = buffer;
  }
  // One holder passes its reference on to another.
  void pass(BufferIndex buffer, Holder from, Holder to) {
    Entry& entry = entries_[buffer.value];
    check(entry.held[index(from)] > 0, "buffer passed on by one who does not hold it", buffer.value, index(from));
    --entry.held[index(from)];
    --held_[index(from)];
    ++entry.held[index(to)];
    ++held_[index(to)];
  }

  // Of a buffer of 2^order units.
  uint8_t order(BufferIndex buffer) const {
    return static_cast<uint8_t>(std::countr_zero(entries_[buffer.value].units));
  }
  uint64_t bytes(BufferIndex buffer) const { return uint64_t{arena_unit_bytes} * entries_[buffer.value].units; }
  uint32_t holders(BufferIndex buffer) const { return entries_[buffer.value].total; }
  uint64_t held(Holder holder) const { return held_[index(holder)]; }  // references, over all buffers

  // Buffers whose last holder let go since the last call to forget_released().
  std::span<const BufferIndex> released() const { return {released_.get(), released_count_}; }
  void forget_released() { released_count_ = 0; }

  // One line per kind of holder with references left and the first few buffers: empty when nothing is held.
  std::string leak_report() const;

 private:
  static constexpr size_t holder_count = static_cast<size_t>(Holder::count);
  static constexpr size_t index(Holder holder) { return static_cast<size_t>(holder); }
  struct Entry {
    uint32_t total = 0;
    std::array<uint16_t, holder_count> held{};
    uint16_t units = 1;
  };
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<BufferIndex[]> released_;  // a buffer is on it at most once, so unit_count suffices
  size_t released_count_ = 0;
  std::array<uint64_t, holder_count> held_{};
  uint32_t unit_count_;
};

// Gives out and takes back buffers of 2^order units from a range of the arena: a buddy system. First fit within an
// order, lowest address first is not promised. No allocation after construction.
class BufferAllocator {
 public:
  static constexpr uint8_t order_max = 8;  // 1 MiB

  // Manages units [first, first + count) of the arena.
  BufferAllocator(uint32_t first, uint32_t count);

  // A buffer of exactly this order, or no_buffer.
  BufferIndex allocate(uint8_t order);
  // The largest buffer available whose order is at most `order`, or no_buffer when nothing is left.
  BufferIndex allocate_at_most(uint8_t order, uint8_t* got);
  void free(BufferIndex buffer, uint8_t order);
  bool owns(BufferIndex buffer) const { return buffer.value >= first_ && buffer.value < first_ + count_; }

  // Whether so much is free, though not necessarily in one buffer.
  bool has(uint64_t bytes) {
    if (free_bytes() >= bytes) return true;
    refused(bytes - free_bytes());
    return false;
  }
  // The most that somebody asked for in vain since take_refused() was called.
  uint64_t refused_bytes() const { return refused_bytes_; }
  uint64_t take_refused() { return std::exchange(refused_bytes_, 0); }
  void refused(uint64_t bytes) { refused_bytes_ = std::max(refused_bytes_, bytes); }

  uint64_t free_bytes() const { return uint64_t{free_units_} * arena_unit_bytes; }
  uint64_t bytes() const { return uint64_t{count_} * arena_unit_bytes; }

  // The smallest order whose buffer holds `bytes`; order_max when none does.
  static uint8_t order_for(uint64_t bytes);

 private:
  static constexpr uint32_t none = UINT32_MAX;
  struct Node {
    uint32_t next = none;
    uint32_t previous = none;
    uint8_t free_order = 0xff;  // order of the free block that begins here; 0xff: none begins here
  };
  BufferIndex find(uint8_t order);
  void push(uint32_t unit, uint8_t order);
  void remove(uint32_t unit);

  uint32_t first_;
  uint32_t count_;
  uint32_t free_units_ = 0;
  uint64_t refused_bytes_ = 0;
  std::array<uint32_t, order_max + 1> heads_;
  std::unique_ptr<Node[]> nodes_;
};

}  // namespace penstock
