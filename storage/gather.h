// The payload of one commit while it fills: which bytes of each batch go to the drive from where they lie, and which
// are copied.
//
// Adjacent pieces of a batch are joined into runs. A long run is gathered: its memory, rounded outward to what the
// drive takes, becomes a vector of the write. A short one is copied to the packing buffers in the same pass that
// checksums it. On the drive all copied bytes of a commit come first, then the gathered vectors:
//
//      | packed: batch A, batch C's edges, ... | vector: ~~~batch B~~~ | vector: ~batch C's middle~~ |
//      0                                packing_bytes      ~ what lay around it in its buffer
//
// The bytes around a gathered run may still change while the drive reads them (the rest of a buffer being received
// into): they belong to no entry, no checksum covers them, nobody reads them back. Where the drive checksums whole
// pages in flight (DriveUnits::stable_pages) that would matter, and everything is copied.
//
// A batch is staged in two steps, so that no byte is touched before it is known that the batch has room:
//
//   plan(batch)     chooses runs and vectors by their addresses alone; the sizes below include them from here on
//   read(batch)     copies and checksums
//   keep() or undo()
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "storage/bounded.h"
#include "storage/drive.h"
#include "storage/format.h"

namespace penstock {

// Memory that goes to the drive. It lies in one or more adjacent buffers; the first is held_buffers()[first_buffer].
struct MemoryVector {
  std::byte* data = nullptr;
  uint32_t length = 0;  // bytes
  uint32_t first_buffer = 0;
};

// A run of a batch: `position` counts from the first packed byte or from the first gathered byte of the commit.
struct PlannedRun {
  uint32_t position = 0;
  uint32_t length = 0;
  bool packed = false;
};

struct PackingBuffer {
  BufferIndex buffer = no_buffer;
  uint32_t bytes = 0;
};

class Gather {
 public:
  Gather(const DriveUnits& units, const Arena& arena, BufferTable* buffers, BufferAllocator* allocator);

  // `copy_all`: for a batch whose rounding would not fit where its bytes do.
  void plan(const PieceRange& batch, bool copy_all = false);
  // Takes packing buffers for what is planned to be copied. False: the arena has none.
  [[nodiscard]] bool reserve_packing();
  // The CRC32C of bytes 21.. of the batch.
  uint32_t read(const PieceRange& batch);
  // Overwrites bytes of the staged batch's first 61 where they will be written from.
  void patch(uint32_t at, const void* bytes, size_t count);
  // The batch stays: every buffer it is gathered from is held, as Holder::commit.
  void keep();
  void undo();

  bool staged() const { return staged_; }
  // Of the staged batch:
  std::span<const PlannedRun> runs() const { return runs_.all(); }
  uint64_t copied_bytes() const { return packing_bytes_ - before_.packing_bytes; }

  // Of the commit:
  uint64_t packing_bytes() const { return packing_bytes_; }
  uint64_t gathered_bytes() const { return gathered_bytes_; }
  std::span<const MemoryVector> gathered() const { return gathered_.all(); }
  std::span<PackingBuffer> packing() { return packing_.all(); }
  uint32_t packing_count() const;  // of packing(), how many have bytes in them
  std::span<const BufferIndex> held_buffers() const { return held_.all(); }

  // Forgets everything; the commit has passed on or released what is held.
  void reset();
  // Packing buffers beyond packing_count() go back.
  void release_unused_packing();

 private:
  struct Join {
    std::byte* data = nullptr;
    uint32_t length = 0;
    uint32_t first_buffer = 0;  // index into held_
    uint32_t held_before = 0;   // held_'s size before this join
    BufferIndex first = no_buffer;
    BufferIndex last = no_buffer;
    bool holdable = true;  // all its buffers are in held_
  };
  struct Range {
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
  };
  struct Before {  // what undo() goes back to
    uint64_t packing_bytes = 0;
    uint64_t gathered_bytes = 0;
    size_t vectors = 0;
    size_t held = 0;
    uint32_t last_vector_length = 0;
  };

  void begin_join(const Piece& piece);
  void extend_join(const Piece& piece);
  void hold_later(const Piece& piece);
  void end_join(bool copy_all);
  bool gather(const Join& join);
  bool extend_last_vector(const Join& join, std::byte* high, bool any_growth);
  Range round_out(const Join& join, std::byte* low, std::byte* high) const;
  std::byte* round_end(std::byte* begin, std::byte* end, std::byte* high) const;
  void add_run(uint64_t position, uint32_t length, bool packed);

  DriveUnits units_;
  Arena arena_;
  BufferTable* buffers_;
  BufferAllocator* allocator_;

  Bounded<PlannedRun> runs_;
  Bounded<MemoryVector> gathered_;
  Bounded<PackingBuffer> packing_;
  Bounded<BufferIndex> held_;
  uint64_t packing_bytes_ = 0;
  uint64_t packing_capacity_ = 0;
  uint64_t gathered_bytes_ = 0;

  bool staged_ = false;
  Before before_;
  Join join_;
  // Where the staged batch's first bytes will be written from.
  struct HeaderPart {
    std::byte* data = nullptr;
    uint32_t length = 0;
  };
  HeaderPart header_parts_[disk::batch_header_bytes];
  uint32_t header_part_count_ = 0;
  uint32_t header_part_bytes_ = 0;
};

}  // namespace penstock
