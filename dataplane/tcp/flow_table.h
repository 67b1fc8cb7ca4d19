// Where a flow is: open addressing with linear probing. A slot holds the flow's hash and a name for what has the flow
// (kind and index); whoever asks compares the flow itself. Sized at start to at most half full.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

#include "dataplane/base/check.h"

namespace penstock::tcp {

enum class FlowKind : uint8_t { none, connection, syn_received, time_wait };

struct FlowPlace {
  FlowKind kind = FlowKind::none;
  uint32_t index = 0;
  bool operator==(const FlowPlace&) const = default;
};

class FlowTable {
 public:
  explicit FlowTable(uint32_t flows_max)
      : mask_(std::bit_ceil(flows_max * 2 + 2) - 1), slots_(std::make_unique<Slot[]>(mask_ + 1)) {}

  // same(FlowPlace): whether that place has the flow looked for.
  template <class Same>
  FlowPlace find(uint32_t hash, Same&& same) const {
    for (uint32_t at = hash & mask_; slots_[at].place != 0; at = (at + 1) & mask_) {
      if (slots_[at].hash == hash && same(unpack(slots_[at].place))) return unpack(slots_[at].place);
    }
    return {};
  }
  void insert(uint32_t hash, FlowPlace place) {
    ++count_;
    check(count_ <= mask_ / 2 + 1, "flow table overfull", count_, mask_);
    uint32_t at = hash & mask_;
    while (slots_[at].place != 0) at = (at + 1) & mask_;
    slots_[at] = {hash, pack(place)};
  }
  // The flow goes from one place to another.
  void move(uint32_t hash, FlowPlace from, FlowPlace to) { slots_[slot_of(hash, from)].place = pack(to); }
  void erase(uint32_t hash, FlowPlace place) {
    uint32_t hole = slot_of(hash, place);
    // Whatever probed past the hole moves back into it.
    for (uint32_t at = (hole + 1) & mask_; slots_[at].place != 0; at = (at + 1) & mask_) {
      const uint32_t home = slots_[at].hash & mask_;
      if (((at - home) & mask_) >= ((at - hole) & mask_)) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole] = {};
    --count_;
  }
  void prefetch(uint32_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
  uint32_t count() const { return count_; }
  uint64_t memory_bytes() const { return (uint64_t{mask_} + 1) * sizeof(Slot); }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t place = 0;  // 0: empty
  };
  static constexpr uint32_t kind_shift = 30;
  static uint32_t pack(FlowPlace place) { return static_cast<uint32_t>(place.kind) << kind_shift | place.index; }
  static FlowPlace unpack(uint32_t place) {
    return {static_cast<FlowKind>(place >> kind_shift), place & ((1u << kind_shift) - 1)};
  }
  uint32_t slot_of(uint32_t hash, FlowPlace place) const {
    uint32_t at = hash & mask_;
    while (slots_[at].place != pack(place)) {
      check(slots_[at].place != 0, "flow not in the table", hash, place.index);
      at = (at + 1) & mask_;
    }
    return at;
  }

  uint32_t mask_;
  uint32_t count_ = 0;
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace penstock::tcp
