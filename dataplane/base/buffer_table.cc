#include "dataplane/base/buffer_table.h"

namespace penstock {

const char* to_string(Holder holder) {
  switch (holder) {
    case Holder::device:
      return "device";
    case Holder::reassembly:
      return "reassembly";
    case Holder::request:
      return "request";
    case Holder::commit:
      return "commit";
    case Holder::resident:
      return "resident";
    case Holder::read:
      return "read";
    case Holder::send:
      return "send";
    case Holder::count:
      break;
  }
  return "?";
}

BufferTable::BufferTable(uint32_t unit_count)
    : entries_(std::make_unique<Entry[]>(unit_count)),
      released_(std::make_unique<BufferIndex[]>(unit_count)),
      unit_count_(unit_count) {}

std::string BufferTable::leak_report() const {
  std::string report;
  for (size_t holder = 0; holder < holder_count; ++holder) {
    if (held_[holder] == 0) continue;
    report += std::string(to_string(static_cast<Holder>(holder))) + " holds " + std::to_string(held_[holder]) +
              " references; buffers";
    int shown = 0;
    for (uint32_t unit = 0; unit < unit_count_ && shown < 4; ++unit) {
      if (entries_[unit].held[holder] == 0) continue;
      report += " " + std::to_string(unit);
      ++shown;
    }
    report += "\n";
  }
  return report;
}

BufferAllocator::BufferAllocator(uint32_t first, uint32_t count)
    : first_(first), count_(count), nodes_(std::make_unique<Node[]>(count)) {
  heads_.fill(none);
  for (uint32_t unit = 0; unit < count;) {
    uint8_t order = order_max;
    while (unit % (1u << order) != 0 || unit + (1u << order) > count) --order;
    push(unit, order);
    free_units_ += 1u << order;
    unit += 1u << order;
  }
}

BufferIndex BufferAllocator::allocate(uint8_t order) {
  const BufferIndex buffer = find(order);
  if (buffer == no_buffer) refused(uint64_t{arena_unit_bytes} << order);
  return buffer;
}

BufferIndex BufferAllocator::find(uint8_t order) {
  uint8_t from = order;
  while (from <= order_max && heads_[from] == none) ++from;
  if (from > order_max) return no_buffer;
  const uint32_t unit = heads_[from];
  remove(unit);
  while (from > order) {
    --from;
    push(unit + (1u << from), from);  // the upper half stays free
  }
  free_units_ -= 1u << order;
  return BufferIndex(first_ + unit);
}

BufferIndex BufferAllocator::allocate_at_most(uint8_t order, uint8_t* got) {
  for (int smaller = order; smaller >= 0; --smaller) {
    const BufferIndex buffer = find(static_cast<uint8_t>(smaller));
    if (buffer != no_buffer) {
      *got = static_cast<uint8_t>(smaller);
      return buffer;
    }
  }
  refused(uint64_t{arena_unit_bytes} << order);
  return no_buffer;
}

void BufferAllocator::free(BufferIndex buffer, uint8_t order) {
  check(owns(buffer), "buffer freed to a stranger", buffer.value, first_);
  uint32_t unit = buffer.value - first_;
  check(nodes_[unit].free_order == 0xff, "buffer freed twice", buffer.value);
  free_units_ += 1u << order;
  for (; order < order_max; ++order) {
    const uint32_t buddy = unit ^ (1u << order);
    if (buddy >= count_ || nodes_[buddy].free_order != order) break;
    remove(buddy);
    unit &= ~(1u << order);
  }
  push(unit, order);
}

uint8_t BufferAllocator::order_for(uint64_t bytes) {
  uint8_t order = 0;
  while (order < order_max && (uint64_t{arena_unit_bytes} << order) < bytes) ++order;
  return order;
}

void BufferAllocator::push(uint32_t unit, uint8_t order) {
  Node& node = nodes_[unit];
  node.free_order = order;
  node.previous = none;
  node.next = heads_[order];
  if (node.next != none) nodes_[node.next].previous = unit;
  heads_[order] = unit;
}

void BufferAllocator::remove(uint32_t unit) {
  Node& node = nodes_[unit];
  if (node.previous != none) {
    nodes_[node.previous].next = node.next;
  } else {
    heads_[node.free_order] = node.next;
  }
  if (node.next != none) nodes_[node.next].previous = node.previous;
  node.free_order = 0xff;
}

}  // namespace penstock
