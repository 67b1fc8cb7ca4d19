#include "dataplane/base/piece.h"

#include <utility>

namespace penstock {

PiecePool::PiecePool(size_t chunk_count)
    : chunks_(std::make_unique<PieceChunk[]>(chunk_count)), chunk_count_(chunk_count) {
  for (size_t i = chunk_count; i-- > 0;) give(&chunks_[i]);
}

PieceChunk* PiecePool::take() {
  PieceChunk* chunk = free_;
  if (chunk == nullptr) return nullptr;
  free_ = chunk->next;
  --free_count_;
  chunk->next = nullptr;
  chunk->count = 0;
  return chunk;
}

void PiecePool::give(PieceChunk* chunk) {
  chunk->next = free_;
  chunk->count = 0;
  free_ = chunk;
  ++free_count_;
}

Piece PieceRange::front() const {
  Piece first;
  const PieceChunk* chunk = chunk_;
  uint32_t index = index_, skip = skip_;
  while (length_ > 0) {
    if (index == chunk->count) {
      chunk = chunk->next;
      index = 0;
      check(chunk != nullptr, "piece range outlives its list", static_cast<long long>(length_));
      continue;
    }
    first = chunk->pieces[index++];
    first.data += skip;
    first.length -= skip;
    skip = 0;
    if (first.length > length_) first.length = static_cast<uint32_t>(length_);
    if (first.length > 0) break;
  }
  return first;
}

void PieceRange::drop_front(uint64_t count) {
  check(count <= length_, "piece range: drop beyond end", static_cast<long long>(count),
        static_cast<long long>(length_));
  length_ -= count;
  while (count > 0) {
    if (index_ == chunk_->count) {
      chunk_ = chunk_->next;
      index_ = 0;
      continue;
    }
    const uint64_t left = chunk_->pieces[index_].length - skip_;
    if (count < left) {
      skip_ += static_cast<uint32_t>(count);
      return;
    }
    count -= left;
    skip_ = 0;
    ++index_;
  }
}

PieceRange PieceRange::slice(uint64_t from, uint64_t count) const {
  check(from <= length_ && count <= length_ - from, "piece range: slice beyond end",
        static_cast<long long>(from + count), static_cast<long long>(length_));
  PieceRange part = *this;
  part.drop_front(from);
  part.length_ = count;
  return part;
}

void PieceRange::copy_out_of_several(uint64_t from, void* to, size_t count) const {
  auto* out = static_cast<std::byte*>(to);
  slice(from, count).for_each([&](const Piece& piece) {
    std::memcpy(out, piece.data, piece.length);
    out += piece.length;
  });
}

void PieceRange::copy_in(uint64_t from, const void* bytes, size_t count) const {
  const auto* in = static_cast<const std::byte*>(bytes);
  slice(from, count).for_each([&](const Piece& piece) {
    std::memcpy(piece.data, in, piece.length);
    in += piece.length;
  });
}

PieceList& PieceList::operator=(PieceList&& other) noexcept {
  check(first_ == nullptr, "piece list assigned over pieces");
  first_ = std::exchange(other.first_, nullptr);
  last_ = std::exchange(other.last_, nullptr);
  first_index_ = std::exchange(other.first_index_, 0);
  first_skip_ = std::exchange(other.first_skip_, 0);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

bool PieceList::push_back(PiecePool& pool, Piece piece) {
  check(piece.length > 0, "piece list: empty piece");
  if (last_ == nullptr || last_->count == PieceChunk::capacity) {
    PieceChunk* chunk = pool.take();
    if (chunk == nullptr) return false;
    (last_ == nullptr ? first_ : last_->next) = chunk;
    last_ = chunk;
  }
  last_->pieces[last_->count++] = piece;
  size_ += piece.length;
  return true;
}

Piece PieceList::back() const { return last_ == nullptr ? Piece{} : last_->pieces[last_->count - 1]; }

void PieceList::pop_chunk(PiecePool& pool) {
  PieceChunk* chunk = first_;
  first_ = chunk->next;
  if (first_ == nullptr) last_ = nullptr;
  first_index_ = 0;
  pool.give(chunk);
}

}  // namespace penstock
