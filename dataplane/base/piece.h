// A piece is a run of bytes in one buffer; a stream, a request and a batch are lists of pieces. Bytes are never
// copied to make them contiguous: who reads them walks the pieces.
//
//   PieceList   owns chunks from a PiecePool (16 pieces each) and appends; does not own the buffers.
//   PieceRange  a view: "these `length` bytes, starting `skip` bytes into piece `index` of `chunk`".
//
// The buffers' reference counts live in BufferTable; taking a range does not take a reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/base/check.h"
#include "dataplane/base/units.h"

namespace penstock {

struct Piece {
  std::byte* data = nullptr;
  uint32_t length = 0;             // bytes
  BufferIndex buffer = no_buffer;  // whose reference count keeps `data` alive
};
static_assert(sizeof(Piece) == 16);

struct PieceChunk {
  static constexpr uint32_t capacity = 15;
  PieceChunk* next = nullptr;
  uint32_t count = 0;
  Piece pieces[capacity];
};

// All chunks of a lane, allocated at start; take() returns nullptr when none is left.
class PiecePool {
 public:
  explicit PiecePool(size_t chunk_count);
  PieceChunk* take();
  void give(PieceChunk* chunk);
  size_t free_count() const { return free_count_; }
  size_t chunk_count() const { return chunk_count_; }

 private:
  std::unique_ptr<PieceChunk[]> chunks_;
  size_t chunk_count_;
  PieceChunk* free_ = nullptr;
  size_t free_count_ = 0;
};

class PieceRange {
 public:
  PieceRange() = default;
  PieceRange(const PieceChunk* chunk, uint32_t index, uint32_t skip, uint64_t length)
      : chunk_(chunk), index_(index), skip_(skip), length_(length) {}

  uint64_t size() const { return length_; }
  bool empty() const { return length_ == 0; }

  // Calls visit(Piece) for each non-empty run in order; Piece::length is what belongs to this range.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for_each_and_later<0>(visit, [](const Piece&) {});
  }
  // The same, and before each visit later(Piece) with what lies `distance` pieces behind it in the list, perhaps beyond
  // the range: to be fetched from memory in time. Not for the first ones.
  template <uint32_t distance, class Visit, class Later>
  void for_each_and_later(Visit&& visit, Later&& later) const {
    const PieceChunk* chunk = chunk_;
    uint32_t index = index_, skip = skip_;
    for (uint64_t left = length_; left > 0;) {
      if (index == chunk->count) {
        chunk = chunk->next;
        index = 0;
        check(chunk != nullptr, "piece range outlives its list", static_cast<long long>(left));
        continue;
      }
      if constexpr (distance > 0) {
        const uint32_t then = index + distance;
        if (then < chunk->count) {
          later(chunk->pieces[then]);
        } else if (chunk->next != nullptr && then - chunk->count < chunk->next->count) {
          later(chunk->next->pieces[then - chunk->count]);
        }
      }
      Piece piece = chunk->pieces[index++];
      piece.data += skip;
      piece.length -= skip;
      skip = 0;
      if (piece.length > left) piece.length = static_cast<uint32_t>(left);
      if (piece.length == 0) continue;
      left -= piece.length;
      visit(piece);
    }
  }

  // The first run, without walking further. Not empty unless the range is.
  Piece front() const;
  // Moves the start `count` bytes on; count <= size().
  void drop_front(uint64_t count);
  // The sub-range [from, from + count); both within size().
  PieceRange slice(uint64_t from, uint64_t count) const;
  // Copies `count` bytes starting at `from` out of, or into, the pieces.
  void copy_out(uint64_t from, void* to, size_t count) const {
    // Mostly a few bytes of the first piece.
    const uint64_t end = from + count;
    if (end <= length_ && end > from && index_ < chunk_->count && end <= chunk_->pieces[index_].length - skip_) [[likely]] {
      std::memcpy(to, chunk_->pieces[index_].data + skip_ + from, count);
    } else {
      copy_out_of_several(from, to, count);
    }
  }
  void copy_in(uint64_t from, const void* bytes, size_t count) const;

 private:
  void copy_out_of_several(uint64_t from, void* to, size_t count) const;

  const PieceChunk* chunk_ = nullptr;
  uint32_t index_ = 0;
  uint32_t skip_ = 0;
  uint64_t length_ = 0;
};

// Appends pieces at the back, drops bytes at the front. Movable; the destructor requires clear() to have been called.
class PieceList {
 public:
  PieceList() = default;
  PieceList(PieceList&& other) noexcept { *this = static_cast<PieceList&&>(other); }
  PieceList& operator=(PieceList&& other) noexcept;
  ~PieceList() { check(first_ == nullptr, "piece list destroyed with pieces in it"); }

  // False when the pool is empty; nothing is appended then.
  [[nodiscard]] bool push_back(PiecePool& pool, Piece piece);
  uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  PieceRange range() const { return {first_, first_index_, first_skip_, size_}; }
  PieceRange slice(uint64_t from, uint64_t count) const { return range().slice(from, count); }
  Piece back() const;

  // Drops the first `count` bytes; calls release(BufferIndex) once for every piece dropped whole.
  template <class Release>
  void drop_front(PiecePool& pool, uint64_t count, Release&& release) {
    check(count <= size_, "piece list: drop beyond end", static_cast<long long>(count), static_cast<long long>(size_));
    size_ -= count;
    while (first_ != nullptr) {
      if (first_index_ == first_->count) {
        pop_chunk(pool);
        continue;
      }
      const Piece& piece = first_->pieces[first_index_];
      const uint64_t left = piece.length - first_skip_;
      if (count < left) {
        first_skip_ += static_cast<uint32_t>(count);
        return;
      }
      count -= left;
      first_skip_ = 0;
      ++first_index_;
      release(piece.buffer);
    }
  }
  template <class Release>
  void clear(PiecePool& pool, Release&& release) {
    drop_front(pool, size_, release);
  }

 private:
  void pop_chunk(PiecePool& pool);

  PieceChunk* first_ = nullptr;
  PieceChunk* last_ = nullptr;
  uint32_t first_index_ = 0;
  uint32_t first_skip_ = 0;
  uint64_t size_ = 0;
};

}  // namespace penstock
