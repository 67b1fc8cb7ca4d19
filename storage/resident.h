// The newest durable commits, still in memory: consumers that keep up are served from the very buffers the batches
// were received into. Oldest first out; counted by buffer, since a buffer is held whole however little of it is used.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "storage/bounded.h"
#include "storage/commit.h"

namespace penstock {

class ResidentCommits {
 public:
  ResidentCommits(const DriveUnits& units, const Arena& arena, BufferTable* buffers, const BufferAllocator& allocator,
                  uint64_t bytes_max);

  // A commit became durable. Its references pass from Holder::commit to Holder::resident; the commit is empty then.
  // Commits come in log order.
  void take(OutgoingCommit& commit, SegmentNumber segment, FilePosition position);

  // A name for a resident commit, good until the next take() or shed().
  using Name = uint64_t;
  std::optional<Name> find(SegmentNumber segment, FilePosition position) const;
  // Calls visit(const disk::Run&) for the runs of entry `ordinal`. Only for a batch of several runs: where a commit has
  // none of these its header is not kept.
  template <class Visit>
  void for_each_run(Name name, uint32_t ordinal, Visit&& visit) const {
    const disk::Entry& found = entry(name, ordinal);
    const auto* run = reinterpret_cast<const disk::Run*>(&found + 1);
    for (uint32_t i = 0; i < found.prefix.run_count; ++i) visit(run[i]);
  }
  // Calls visit(Piece) for `length` bytes from `position` in the commit on, buffer by buffer.
  template <class Visit>
  void for_each_piece(Name name, uint32_t position, uint32_t length, Visit&& visit) const {
    const Item& item = commits_[name];
    for (uint64_t at = vector_at(item, position); length > 0; ++at) {
      const Vector& vector = vectors_[at];
      const uint32_t skip = position - vector.position;
      const uint32_t here = std::min(length, vector.length - skip);
      split_at_buffers(vector, vector.data + skip, here, visit);
      position += here;
      length -= here;
    }
  }

  // Lets go of the oldest commits until `bytes` came free or none is left:
  void shed_received(uint64_t bytes);  // of buffers that were received into
  void shed_own(uint64_t bytes);       // of buffers that the log gave out itself
  uint64_t bytes() const { return bytes_; }          // of buffers held
  uint64_t own_bytes() const { return own_bytes_; }  // of these, of the log's

 private:
  struct Vector {
    std::byte* data = nullptr;
    uint32_t length = 0;
    uint32_t position = 0;      // in the commit
    uint64_t first_buffer = 0;  // position in held_
  };
  struct Item {
    SegmentNumber segment{};
    FilePosition position{};
    uint64_t vectors = 0, vectors_end = 0;  // positions in vectors_
    uint64_t held_end = 0;
    bool has_header = false;
  };

  const disk::Entry& entry(Name name, uint32_t ordinal) const;
  uint64_t vector_at(const Item& item, uint32_t position) const;
  template <class Visit>
  void split_at_buffers(const Vector& vector, std::byte* data, uint32_t length, Visit&& visit) const {
    uint64_t held = vector.first_buffer;
    while (length > 0) {
      const BufferIndex buffer = held_[held];
      std::byte* begin = arena_.at(buffer);
      std::byte* end = begin + buffers_->bytes(buffer);
      if (data < begin || data >= end) {
        ++held;
        continue;
      }
      const auto here = static_cast<uint32_t>(std::min<uint64_t>(length, static_cast<uint64_t>(end - data)));
      visit(Piece{data, here, buffer});
      data += here;
      length -= here;
    }
  }
  void take_buffer(BufferIndex buffer);
  void let_go(BufferIndex buffer);
  void evict();

  Arena arena_;
  BufferTable* buffers_;
  const BufferAllocator& allocator_;
  uint64_t bytes_max_;
  uint64_t bytes_ = 0;
  uint64_t own_bytes_ = 0;
  BoundedQueue<Item> commits_;
  BoundedQueue<Vector> vectors_;
  BoundedQueue<BufferIndex> held_;
  std::unique_ptr<uint32_t[]> references_;  // by buffer: ours, so that a shared one is counted once
};

}  // namespace penstock
