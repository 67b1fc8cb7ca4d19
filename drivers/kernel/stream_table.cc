#include "drivers/kernel/stream_table.h"

namespace penstock {

StreamTable::StreamTable(uint32_t capacity)
    : capacity_(capacity),
      streams_(std::make_unique<Stream[]>(capacity)),
      free_(std::make_unique<uint32_t[]>(capacity)) {
  for (uint32_t index = 0; index < capacity; ++index) free_[index] = capacity - 1 - index;  // the lowest first
}

Stream* StreamTable::open(int descriptor) {
  if (open_count_ == capacity_) return nullptr;
  const uint32_t index = free_[capacity_ - ++open_count_];
  Stream& stream = streams_[index];
  stream.descriptor = descriptor;
  return &stream;
}

void StreamTable::close(Stream& stream) {
  check(stream.plan.empty() && stream.send_queue.empty(), "stream closed with buffers", index_of(stream));
  for (const StreamLink& link : stream.links) check(!link.linked(), "stream closed in a list", index_of(stream));
  const uint32_t generation = stream.generation + 1;
  stream = Stream{};
  stream.generation = generation;
  free_[capacity_ - open_count_--] = index_of(stream);
}

void StreamTable::List::add(StreamTable& table, Stream& stream) {
  StreamLink& link = stream.links[kind_];
  if (link.linked()) return;
  link = {StreamLink::end, tail_};
  const uint32_t index = table.index_of(stream);
  if (tail_ == StreamLink::end) {
    head_ = index;
  } else {
    table.at(tail_).links[kind_].next = index;
  }
  tail_ = index;
}

void StreamTable::List::remove(StreamTable& table, Stream& stream) {
  StreamLink& link = stream.links[kind_];
  if (!link.linked()) return;
  (link.previous == StreamLink::end ? head_ : table.at(link.previous).links[kind_].next) = link.next;
  (link.next == StreamLink::end ? tail_ : table.at(link.next).links[kind_].previous) = link.previous;
  link = {};
}

Stream* StreamTable::List::take_front(StreamTable& table) {
  Stream* stream = front(table);
  if (stream != nullptr) remove(table, *stream);
  return stream;
}

}  // namespace penstock
