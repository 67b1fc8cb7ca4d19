// Streams for benchmarks: one connection whose peer sends the same Produce request for ever, to one partition after the
// other, out of buffers that lie ready in the arena. Nothing is copied and nothing is received, so what is measured is the lane behind it.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/byte_order.h"
#include "dataplane/streams.h"

namespace penstock {

class MemoryStreams {
 public:
  // Buffers of the allocator are filled with copies of `frame`, one each; `batch_position` is where its batch begins
  // (the node writes the offset there, which a producer leaves 0).
  MemoryStreams(Arena arena, BufferTable& buffers, BufferAllocator& allocator, std::span<const std::byte> frame,
                uint32_t batch_position, uint32_t piece_bytes)
      : arena_(arena), buffers_(buffers), batch_position_(batch_position) {
    const uint8_t order = BufferAllocator::order_for(std::min<uint64_t>(piece_bytes, frame.size()));
    const uint64_t buffer_bytes = uint64_t{arena_unit_bytes} << order;
    const uint64_t piece = std::min<uint64_t>(piece_bytes, buffer_bytes);
    of_buffer_.resize(arena.unit_count(), UINT32_MAX);
    for (;;) {
      Copy copy;
      for (uint64_t at = 0; at < frame.size(); at += piece) {
        const BufferIndex buffer = allocator.allocate(order);
        if (buffer == no_buffer) return;
        const auto length = static_cast<uint32_t>(std::min<uint64_t>(piece, frame.size() - at));
        std::memcpy(arena.at(buffer), frame.data() + at, length);
        copy.pieces.push_back({arena.at(buffer), length, buffer});
        copy.order = order;
      }
      for (const Piece& part : copy.pieces) of_buffer_[part.buffer.value] = static_cast<uint32_t>(copies_.size());
      free_.push_back(static_cast<uint32_t>(copies_.size()));
      copies_.push_back(std::move(copy));
    }
  }

  template <class Handler>
  uint32_t poll(Nanoseconds, Handler&& handler) {
    uint32_t events = 0;
    const StreamId id{0, 1};
    if (!opened_) {
      opened_ = true;
      handler(StreamEvent{.kind = StreamEventKind::opened, .stream = id});
      ++events;
    }
    if (sent_ > 0) {
      handler(StreamEvent{.kind = StreamEventKind::sent, .stream = id, .bytes = std::exchange(sent_, 0)});
      ++events;
    }
    // A request at a time, as far as the credit and the free copies go.
    while (!paused_ && credit_ > 0 && events < 64) {
      if (current_ == UINT32_MAX) {
        if (free_.empty()) break;
        current_ = free_.back();
        free_.pop_back();
        next_piece_ = 0;
        piece_taken_ = 0;
        copies_[current_].holders = static_cast<uint32_t>(copies_[current_].pieces.size());
        clear_offset(copies_[current_]);
        if (partition_count_ > 1) name_partition(copies_[current_]);
      }
      Piece piece = copies_[current_].pieces[next_piece_];
      if (piece_taken_ == 0)
        buffers_.open(piece.buffer, copies_[current_].order, Holder::request);
      else
        buffers_.hold(piece.buffer, Holder::request);
      piece.data += piece_taken_;
      piece.length -= piece_taken_;
      if (piece.length > credit_) piece.length = static_cast<uint32_t>(credit_);
      credit_ -= piece.length;
      piece_taken_ += piece.length;
      if (piece_taken_ == copies_[current_].pieces[next_piece_].length) {
        piece_taken_ = 0;
        if (++next_piece_ == copies_[current_].pieces.size()) {
          current_ = UINT32_MAX;
          ++requests_;
        }
      }
      handler(StreamEvent{.kind = StreamEventKind::data, .stream = id, .piece = piece});
      ++events;
    }
    return events;
  }
  void allow(StreamId, uint64_t count) { credit_ += count; }
  void request_done(StreamId) {}
  void probe(StreamId) {}
  size_t send(StreamId, std::span<const Piece> pieces) {
    for (const Piece& piece : pieces) {
      sent_ += piece.length;
      buffers_.release(piece.buffer, Holder::send);
    }
    ++responses_;
    return pieces.size();
  }
  void close(StreamId) {}
  void abort(StreamId) { aborted_ = true; }
  uint64_t receive_cost(uint64_t count) const { return round_up(count, arena_unit_bytes); }
  uint64_t receive_free() const { return uint64_t{GiB}; }
  void release(std::span<const BufferIndex> buffers) {
    for (const BufferIndex buffer : buffers) {
      Copy& copy = copies_[of_buffer_[buffer.value]];
      if (--copy.holders == 0) free_.push_back(of_buffer_[buffer.value]);
    }
  }
  void stop_accepting() {}
  Nanoseconds next_deadline() const { return never_ns; }

  // The requests name partitions 0 .. count - 1 in turn, where `position` in the frame says which.
  void rotate(uint32_t position, uint32_t count) {
    partition_position_ = position;
    partition_count_ = count;
  }
  void pause(bool paused) { paused_ = paused; }
  bool aborted() const { return aborted_; }
  uint64_t requests() const { return requests_; }
  size_t copy_count() const { return copies_.size(); }

 private:
  struct Copy {
    std::vector<Piece> pieces;
    uint8_t order = 0;
    uint32_t holders = 0;  // pieces whose buffer has not come back
  };
  void clear_offset(Copy& copy) {
    uint64_t at = 0;
    for (const Piece& piece : copy.pieces) {
      for (uint32_t i = 0; i < piece.length; ++i, ++at) {
        if (at >= batch_position_ + sizeof(int64_t)) return;
        if (at >= batch_position_) piece.data[i] = std::byte{0};
      }
    }
  }

  void name_partition(Copy& copy) {  // a request's first piece is longer than what comes before the records
    store_big(copy.pieces[0].data + partition_position_, static_cast<int32_t>(next_partition_));
    next_partition_ = (next_partition_ + 1) % partition_count_;
  }

  Arena arena_;
  BufferTable& buffers_;
  uint32_t partition_position_ = 0;
  uint32_t partition_count_ = 1;
  uint32_t next_partition_ = 0;
  const uint32_t batch_position_;
  std::vector<Copy> copies_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> of_buffer_;
  uint32_t current_ = UINT32_MAX;
  size_t next_piece_ = 0;
  uint32_t piece_taken_ = 0;
  uint64_t credit_ = 0;
  uint64_t sent_ = 0;
  uint64_t requests_ = 0;
  uint64_t responses_ = 0;
  bool opened_ = false;
  bool paused_ = false;
  bool aborted_ = false;
};

}  // namespace penstock
