// One commit: a header with its entries, and the payload (Gather). Filled, closed, sealed for a place in a segment
// (again for another place after a write error), written from memory in one or more writes, and let go of.
//
//   open()   stage() add()  stage() add() ...   close()   seal()   write_from() ...   pass_on() or release()
//
// Until pass_on() or release() every buffer that the commit is written from is held, as Holder::commit.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/units.h"
#include "storage/batch_info.h"
#include "storage/bounded.h"
#include "storage/format.h"
#include "storage/gather.h"

namespace penstock {

// A zeroed buffer of the arena that all commits pad their last block from.
struct ZeroArea {
  std::byte* data = nullptr;
  uint32_t length = 0;  // bytes, at least a block
};

// Where a commit is written, and what its header says of the log around it.
struct CommitPlace {
  uint64_t segment_id = 0;
  uint64_t term = 0;
  FilePosition position{};
  CommitSequence sequence{};
  uint64_t previous_hash = 0;
  CommitSequence durable{};
};

class OutgoingCommit {
 public:
  OutgoingCommit(const DriveUnits& units, const Arena& arena, BufferTable* buffers, BufferAllocator* allocator,
                 const ZeroArea& zeros);

  // False: no memory for a header.
  [[nodiscard]] bool open();
  bool is_open() const { return state_ == State::open; }
  bool empty() const { return entry_count_ == 0; }

  enum class StageVerdict : uint8_t { staged, full, no_memory };
  // Plans, copies and checksums a batch if the closed commit would then be at most `bytes_max` long. An open commit
  // that already has entries is also full at the drive's commit_bytes_max, vectors_max and the header's limit.
  StageVerdict stage(const PieceRange& batch, uint64_t bytes_max, bool copy_all, uint32_t* crc);
  void unstage() { gather_.undo(); }
  bool staged() const { return gather_.staged(); }
  uint64_t staged_copied_bytes() const { return gather_.copied_bytes(); }
  void patch(uint32_t at, const void* bytes, size_t count) { gather_.patch(at, bytes, count); }

  // The staged batch becomes an entry; its buffers are held from now on.
  void add(const BatchInfo& info);
  // An entry without payload (log_start, partition_deleted); `staged`: it is in.
  StageVerdict add_note(disk::EntryKind kind, PartitionNumber partition, Offset offset, uint64_t bytes_max);

  // Bytes of the commit if it were closed now.
  uint64_t closed_bytes() const { return closed_bytes(header_bytes_); }
  // Nothing is added from here on; the layout is final.
  void close();
  uint64_t bytes() const { return bytes_; }  // after close()
  uint32_t entry_count() const { return entry_count_; }
  // Fills in the header. Returns the commit's chain hash. May be repeated for another place while no write is in
  // flight.
  uint64_t seal(const CommitPlace& place);

  // A write: vectors for the bytes from `from` on, at most `bytes_max` and as many as `to` holds; all three are whole
  // blocks. Returns the bytes covered and sets *count.
  uint64_t write_from(uint64_t from, uint64_t bytes_max, std::span<iovec> to, size_t* count) const;

  // The header and its entries in memory, for the index once the commit is durable.
  const disk::CommitHeader& header() const;
  // Calls visit(const disk::Entry&, std::span<const disk::Run>) for each entry of a kind that has an Entry.
  template <class Visit>
  void for_each_entry(Visit&& visit) const {
    const std::byte* at = header_ + sizeof(disk::CommitHeader);
    for (uint32_t i = 0; i < entry_count_; ++i) {
      const auto& entry = *reinterpret_cast<const disk::Entry*>(at);
      const auto* runs = reinterpret_cast<const disk::Run*>(at + sizeof(disk::Entry));
      visit(entry, std::span<const disk::Run>(runs, entry.prefix.run_count));
      at += entry.prefix.entry_bytes;
    }
  }

  // After close(): the commit's memory in file order (vectors()[0] is the header, the last may be padding from the
  // zero area), and the buffers it holds; a vector's first_buffer counts in held_buffers().
  std::span<const MemoryVector> vectors() const { return vectors_.all(); }
  std::span<const BufferIndex> held_buffers() const { return held_.all(); }
  // Whoever calls this took over the references, passing each of held_buffers() on.
  void passed_on();
  void release();

 private:
  enum class State : uint8_t { idle, open, closed };

  bool reserve_header(uint64_t bytes);
  uint64_t closed_bytes(uint64_t header_bytes) const;
  uint32_t vector_unit(uint64_t buffer_bytes) const;
  void lay_out();
  void resolve_runs(uint64_t packed_at, uint64_t gathered_at);

  DriveUnits units_;
  Arena arena_;
  BufferTable* buffers_;
  BufferAllocator* allocator_;
  ZeroArea zeros_;

  State state_ = State::idle;
  Gather gather_;
  BufferIndex header_buffer_ = no_buffer;
  std::byte* header_ = nullptr;
  uint64_t header_capacity_ = 0;
  uint64_t header_bytes_ = 0;
  uint32_t entry_count_ = 0;

  uint64_t bytes_ = 0;
  Bounded<MemoryVector> vectors_;
  Bounded<BufferIndex> held_;
};

}  // namespace penstock
