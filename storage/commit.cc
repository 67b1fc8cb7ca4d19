#include "storage/commit.h"

#include <algorithm>
#include <cstring>

#include "storage/crc/crc32c.h"
#include "storage/limits.h"

namespace penstock {
namespace {

// While a commit is open, a run's position counts from the first packed byte or, with this bit, from the first
// gathered one: how long header and packing will be is known only at close.
constexpr uint32_t gathered_bit = 1u << 31;

uint64_t entry_bytes(size_t run_count) { return sizeof(disk::Entry) + run_count * sizeof(disk::Run); }

void fill_entry(disk::Entry& entry, const BatchInfo& info) {
  entry.partition = info.partition.value;
  entry.base_offset = info.base_offset.value;
  entry.last_offset_delta = info.last_offset_delta;
  entry.record_count = info.record_count;
  entry.max_timestamp = info.max_timestamp;
  entry.producer_id = info.producer_id;
  entry.base_sequence = info.base_sequence;
  entry.producer_epoch = info.producer_epoch;
  entry.attributes = info.attributes;
  entry.leader_epoch = info.leader_epoch;
  entry.batch_crc = info.crc;
  entry.batch_bytes = info.length;
}

}  // namespace

OutgoingCommit::OutgoingCommit(const DriveUnits& units, const Arena& arena, BufferTable* buffers,
                               BufferAllocator* allocator, const ZeroArea& zeros)
    : units_(units),
      arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      zeros_(zeros),
      gather_(units, arena, buffers, allocator),
      vectors_(limits::gathered_vectors_max(units) + limits::other_vectors_max),
      held_(limits::gathered_buffers_max(units) + limits::other_vectors_max) {
  units_.length_unit = static_cast<uint32_t>(round_up(units_.length_unit, units_.address_unit));
  check(zeros.length >= units.block, "zero area shorter than a block", zeros.length, units.block);
  // A write that is cut short to whole blocks must keep at least one.
  check(units.vectors_max > units.block / units_.length_unit, "too few vectors for one block", units.vectors_max,
        units.block / units_.length_unit);
}

bool OutgoingCommit::open() {
  check(state_ == State::idle, "commit opened while in use");
  header_bytes_ = sizeof(disk::CommitHeader);
  entry_count_ = 0;
  if (!reserve_header(header_bytes_)) return false;
  state_ = State::open;
  return true;
}

// The header grows in its own buffer: most commits stay in the first 4 KiB.
bool OutgoingCommit::reserve_header(uint64_t bytes) {
  if (bytes <= header_capacity_) return true;
  const uint8_t order = BufferAllocator::order_for(bytes);
  const BufferIndex larger = allocator_->allocate(order);
  if (larger == no_buffer) return false;
  buffers_->open(larger, order, Holder::commit);
  if (header_ != nullptr) {
    std::memcpy(arena_.at(larger), header_, header_bytes_);
    buffers_->release(header_buffer_, Holder::commit);
  }
  header_buffer_ = larger;
  header_ = arena_.at(larger);
  header_capacity_ = buffers_->bytes(larger);
  return true;
}

OutgoingCommit::StageVerdict OutgoingCommit::stage(const PieceRange& batch, uint64_t bytes_max, bool copy_all,
                                                   uint32_t* crc) {
  check(state_ == State::open, "stage in a commit that is not open");
  gather_.plan(batch, copy_all);
  const uint64_t header_bytes = header_bytes_ + entry_bytes(gather_.runs().size());
  const uint64_t bytes = closed_bytes(header_bytes);
  // Header, padding, and a packing buffer to come.
  const size_t vectors = gather_.gathered().size() + gather_.packing().size() + 3;
  const bool beyond_drive = bytes > units_.commit_bytes_max || vectors > units_.vectors_max;
  const bool full = bytes > bytes_max || header_bytes > limits::header_bytes_max(units_) || (!empty() && beyond_drive);
  StageVerdict verdict = StageVerdict::staged;
  if (full) {
    verdict = StageVerdict::full;
  } else if (!reserve_header(header_bytes) || !gather_.reserve_packing()) {
    verdict = StageVerdict::no_memory;
  }
  if (verdict == StageVerdict::staged) {
    *crc = gather_.read(batch);
  } else {
    gather_.undo();
  }
  return verdict;
}

void OutgoingCommit::add(const BatchInfo& info) {
  const std::span<const PlannedRun> runs = gather_.runs();
  check(gather_.staged() && state_ == State::open, "no batch is staged");
  auto* entry = new (header_ + header_bytes_) disk::Entry{};
  entry->prefix.entry_bytes = static_cast<uint32_t>(entry_bytes(runs.size()));
  entry->prefix.kind = static_cast<uint8_t>(disk::EntryKind::batch);
  entry->prefix.run_count = static_cast<uint16_t>(runs.size());
  fill_entry(*entry, info);
  auto* run = reinterpret_cast<disk::Run*>(entry + 1);
  for (const PlannedRun& planned : runs) {
    run->position = planned.packed ? planned.position : planned.position | gathered_bit;
    run->length = planned.length;
    ++run;
  }
  header_bytes_ += entry->prefix.entry_bytes;
  ++entry_count_;
  gather_.keep();
}

OutgoingCommit::StageVerdict OutgoingCommit::add_note(disk::EntryKind kind, PartitionNumber partition, Offset offset,
                                                      uint64_t bytes_max) {
  check(state_ == State::open && !gather_.staged(), "note in a commit that is not open, or during a stage");
  const uint64_t header_bytes = header_bytes_ + entry_bytes(0);
  if (header_bytes > limits::header_bytes_max(units_) || closed_bytes(header_bytes) > bytes_max) {
    return StageVerdict::full;
  }
  if (!reserve_header(header_bytes)) return StageVerdict::no_memory;
  auto* entry = new (header_ + header_bytes_) disk::Entry{};
  entry->prefix.entry_bytes = static_cast<uint32_t>(entry_bytes(0));
  entry->prefix.kind = static_cast<uint8_t>(kind);
  entry->partition = partition.value;
  entry->base_offset = offset.value;
  header_bytes_ = header_bytes;
  ++entry_count_;
  return StageVerdict::staged;
}

// What a vector that begins a buffer is rounded to: the seam where the buffer is long enough for it.
uint32_t OutgoingCommit::vector_unit(uint64_t buffer_bytes) const {
  return units_.seam > units_.length_unit && units_.seam <= buffer_bytes && units_.seam % units_.length_unit == 0
             ? units_.seam
             : units_.length_unit;
}

uint64_t OutgoingCommit::closed_bytes(uint64_t header_bytes) const {
  const uint32_t unit = vector_unit(arena_unit_bytes);
  return round_up(round_up(header_bytes, unit) + round_up(gather_.packing_bytes(), unit) + gather_.gathered_bytes(),
                  units_.block);
}

void OutgoingCommit::close() {
  check(state_ == State::open && !gather_.staged() && !empty(), "commit closed at the wrong time");
  gather_.release_unused_packing();
  lay_out();
  state_ = State::closed;
}

//   header, zeros | packing .., zeros | gathered .. | zeros
// Header and packing end on the unit with zeros of their own; the last block is filled from the zero area.
void OutgoingCommit::lay_out() {
  const uint32_t unit = vector_unit(arena_unit_bytes);
  const uint64_t packed_at = round_up(header_bytes_, unit);
  const uint64_t gathered_at = packed_at + round_up(gather_.packing_bytes(), unit);
  resolve_runs(packed_at, gathered_at);

  std::memset(header_ + header_bytes_, 0, packed_at - header_bytes_);
  vectors_.push_back(MemoryVector{header_, static_cast<uint32_t>(packed_at), 0});
  held_.push_back(header_buffer_);
  uint64_t left = gather_.packing_bytes();
  for (const PackingBuffer& packing : gather_.packing()) {
    const uint64_t here = std::min<uint64_t>(left, packing.bytes);
    const uint64_t rounded = round_up(here, unit);
    std::memset(arena_.at(packing.buffer) + here, 0, rounded - here);
    vectors_.push_back(
        MemoryVector{arena_.at(packing.buffer), static_cast<uint32_t>(rounded), static_cast<uint32_t>(held_.size())});
    held_.push_back(packing.buffer);
    left -= here;
  }
  const auto gathered_from = static_cast<uint32_t>(held_.size());
  for (const BufferIndex buffer : gather_.held_buffers()) held_.push_back(buffer);
  for (MemoryVector vector : gather_.gathered()) {
    vector.first_buffer += gathered_from;
    vectors_.push_back(vector);
  }
  const uint64_t filled = gathered_at + gather_.gathered_bytes();
  bytes_ = round_up(filled, units_.block);
  if (bytes_ > filled) {
    vectors_.push_back(MemoryVector{zeros_.data, static_cast<uint32_t>(bytes_ - filled), UINT32_MAX});
  }
}

void OutgoingCommit::resolve_runs(uint64_t packed_at, uint64_t gathered_at) {
  for_each_entry([&](const disk::Entry&, std::span<const disk::Run> runs) {
    for (const disk::Run& run : runs) {
      const uint32_t position = run.position;
      const uint64_t resolved =
          (position & gathered_bit) != 0 ? gathered_at + (position & ~gathered_bit) : packed_at + position;
      const_cast<disk::Run&>(run).position = static_cast<uint32_t>(resolved);
    }
  });
}

uint64_t OutgoingCommit::seal(const CommitPlace& place) {
  check(state_ == State::closed, "commit sealed before it was closed");
  auto& header = *reinterpret_cast<disk::CommitHeader*>(header_);
  header = disk::CommitHeader{};
  header.magic = disk::commit_magic;
  header.version = disk::format_version;
  header.header_bytes = static_cast<uint32_t>(header_bytes_);
  header.entry_count = entry_count_;
  header.commit_bytes = bytes_;
  header.segment_id = place.segment_id;
  header.term = place.term;
  header.position = place.position.value;
  header.sequence = place.sequence.value;
  header.previous_hash = place.previous_hash;
  header.durable_sequence = place.durable.value;
  header.crc = crc32c(0, header_ + disk::crc_from, header_bytes_ - disk::crc_from);
  return disk::chain_hash(place.previous_hash, place.sequence, header.crc);
}

const disk::CommitHeader& OutgoingCommit::header() const {
  return *reinterpret_cast<const disk::CommitHeader*>(header_);
}

uint64_t OutgoingCommit::write_from(uint64_t from, uint64_t bytes_max, std::span<iovec> to, size_t* count) const {
  check(state_ == State::closed && from < bytes_ && from % units_.block == 0, "write from outside the commit",
        static_cast<long long>(from), static_cast<long long>(bytes_));
  size_t used = 0;
  uint64_t skip = from, covered = 0;
  for (const MemoryVector& vector : vectors_.all()) {
    if (skip >= vector.length) {
      skip -= vector.length;
      continue;
    }
    if (used == to.size() || covered >= bytes_max) break;
    to[used++] = iovec{vector.data + skip, vector.length - skip};
    covered += vector.length - skip;
    skip = 0;
  }
  // Cut what the vectors hold beyond a whole number of blocks; the next write begins there.
  const uint64_t wanted = std::min(bytes_max, round_down(covered, units_.block));
  for (uint64_t beyond = covered - wanted; beyond > 0;) {
    const uint64_t cut = std::min<uint64_t>(beyond, to[used - 1].iov_len);
    to[used - 1].iov_len -= cut;
    if (to[used - 1].iov_len == 0) --used;
    beyond -= cut;
    covered -= cut;
  }
  check(covered > 0, "write of nothing", static_cast<long long>(from));
  *count = used;
  return covered;
}

void OutgoingCommit::passed_on() {
  gather_.reset();
  vectors_.clear();
  held_.clear();
  header_buffer_ = no_buffer;
  header_ = nullptr;
  header_capacity_ = header_bytes_ = bytes_ = 0;
  entry_count_ = 0;
  state_ = State::idle;
}

void OutgoingCommit::release() {
  if (state_ == State::open) {  // never closed: what it holds was not collected
    if (gather_.staged()) gather_.undo();
    for (const PackingBuffer& packing : gather_.packing()) buffers_->release(packing.buffer, Holder::commit);
    for (const BufferIndex buffer : gather_.held_buffers()) buffers_->release(buffer, Holder::commit);
    buffers_->release(header_buffer_, Holder::commit);
  }
  for (const BufferIndex buffer : held_.all()) buffers_->release(buffer, Holder::commit);
  passed_on();
}

}  // namespace penstock
