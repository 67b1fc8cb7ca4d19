#include "storage/gather.h"

#include <algorithm>
#include <cstring>

#include "storage/crc/crc32c.h"
#include "storage/limits.h"

namespace penstock {
namespace {

std::byte* align_down(std::byte* address, uint64_t unit) {
  const auto value = reinterpret_cast<uintptr_t>(address);
  return address - value % unit;
}
std::byte* align_up(std::byte* address, uint64_t unit) {
  const auto value = reinterpret_cast<uintptr_t>(address);
  return address + (unit - value % unit) % unit;
}

// Bytes a card has just written are not in cache, and a processor that fetches ahead by itself begins anew with each
// piece, since it does not look beyond a page.
constexpr uint32_t pieces_ahead = 2;
void fetch(const Piece& piece) {
  constexpr uint32_t line_bytes = 64, fetched_bytes_max = 2048;
  const uint32_t bytes = std::min(piece.length, fetched_bytes_max);
  for (uint32_t at = 0; at < bytes; at += line_bytes) __builtin_prefetch(piece.data + at);
}

// Copied pieces are checksummed when there is so much of them: still in the nearest cache, and many to a call.
constexpr size_t together_bytes = 8 * KiB;

// The first packing buffer is small so that a commit of one small batch does not keep a large one resident.
constexpr uint8_t packing_order_first = 2;  // 16 KiB
constexpr uint8_t packing_order_step = 2;   // then 64 KiB, 256 KiB, 1 MiB

}  // namespace

Gather::Gather(const DriveUnits& units, const Arena& arena, BufferTable* buffers, BufferAllocator* allocator)
    : units_(units),
      arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      runs_(2 * size_t{limits::gathered_vectors_max(units)} + 2),
      gathered_(limits::gathered_vectors_max(units)),
      packing_(limits::packing_buffers_max),
      held_(limits::gathered_buffers_max(units)) {
  // A vector is cut at multiples of the length unit, and what follows must still have an allowed address.
  units_.length_unit = static_cast<uint32_t>(round_up(units_.length_unit, units_.address_unit));
  check(units_.block % units_.length_unit == 0, "block is not a multiple of the length unit", units_.block,
        units_.length_unit);
  // Rounding to the unit must stay inside any buffer, also the smallest.
  if (arena_unit_bytes % units_.length_unit != 0) units_.copybreak = UINT32_MAX;
  if (units_.stable_pages) units_.copybreak = UINT32_MAX;
}

void Gather::plan(const PieceRange& batch, bool copy_all) {
  check(!staged_, "a batch is staged already");
  staged_ = true;
  before_ = Before{.packing_bytes = packing_bytes_,
                   .gathered_bytes = gathered_bytes_,
                   .vectors = gathered_.size(),
                   .held = held_.size(),
                   .last_vector_length = gathered_.empty() ? 0 : gathered_.back().length};
  runs_.clear();
  join_ = Join{};
  batch.for_each([&](const Piece& piece) {
    if (join_.length > 0 && join_.data + join_.length == piece.data) {
      extend_join(piece);
    } else {
      end_join(copy_all);
      begin_join(piece);
    }
  });
  end_join(copy_all);
}

void Gather::begin_join(const Piece& piece) {
  // In place: assigned whole, it would be read back wider than it was just stored, and the core would wait for it.
  join_.data = piece.data;
  join_.length = piece.length;
  join_.held_before = static_cast<uint32_t>(held_.size());
  join_.first = join_.last = piece.buffer;
  join_.holdable = true;
  hold_later(piece);
  join_.first_buffer = static_cast<uint32_t>(held_.empty() ? 0 : held_.size() - 1);
}

void Gather::extend_join(const Piece& piece) {
  join_.length += piece.length;
  join_.last = piece.buffer;
  hold_later(piece);
}

// Neighbours in one buffer share a reference.
void Gather::hold_later(const Piece& piece) {
  if (piece.buffer == no_buffer || !arena_.contains(piece.data) || !arena_.contains(piece.data + piece.length - 1)) {
    join_.holdable = false;
    return;
  }
  if (!held_.empty() && held_.back() == piece.buffer) return;
  if (held_.full()) {
    join_.holdable = false;
  } else {
    held_.push_back(piece.buffer);
  }
}

void Gather::end_join(bool copy_all) {
  if (join_.length == 0) return;
  const bool room = runs_.size() + 2 <= runs_.capacity();  // the last run takes all the rest, copied
  if (!copy_all && room && join_.holdable && gather(join_)) return;
  held_.truncate(join_.held_before);
  add_run(packing_bytes_, join_.length, true);
  packing_bytes_ += join_.length;
}

bool Gather::gather(const Join& join) {
  if (units_.copybreak == UINT32_MAX) return false;
  std::byte* begin = join.data;
  const bool worth_a_vector = join.length >= units_.copybreak;
  const bool after_last = !gathered_.empty() && begin >= gathered_.back().data;
  const bool joins_last = after_last && begin <= gathered_.back().data + gathered_.back().length;
  if (!worth_a_vector && !joins_last) return false;

  std::byte* low = arena_.at(join.first);
  std::byte* high = arena_.at(join.last) + buffers_->bytes(join.last);
  if (joins_last && extend_last_vector(join, high, worth_a_vector)) return true;
  if (!worth_a_vector) return false;

  const Range range = round_out(join, low, high);
  if (range.begin == nullptr) return false;
  if (after_last && range.begin <= gathered_.back().data + gathered_.back().length &&
      extend_last_vector(join, high, true)) {
    return true;
  }
  if (gathered_.full()) return false;
  const auto length = static_cast<uint32_t>(range.end - range.begin);
  gathered_.push_back(MemoryVector{.data = range.begin, .length = length, .first_buffer = join.first_buffer});
  add_run(gathered_bytes_ + static_cast<uint64_t>(begin - range.begin), join.length, false);
  gathered_bytes_ += length;
  return true;
}

// The run begins in, or right behind, the last vector: no vector of its own. A short run does so only when that does
// not make the drive write much more than the run.
bool Gather::extend_last_vector(const Join& join, std::byte* high, bool any_growth) {
  MemoryVector& last = gathered_.back();
  std::byte* end = last.data + last.length;
  if (join.data + join.length > end) end = round_end(last.data, join.data + join.length, high);
  if (end == nullptr) return false;
  const auto length = static_cast<uint64_t>(end - last.data);
  if (!any_growth && length - last.length > 2 * uint64_t{join.length}) return false;
  add_run(gathered_bytes_ - last.length + static_cast<uint64_t>(join.data - last.data), join.length, false);
  gathered_bytes_ += length - last.length;
  last.length = static_cast<uint32_t>(length);
  return true;
}

// Outward to the seam, so that the drive joins this vector with its neighbours; else to the finest the drive takes.
// Never beyond the buffers that the run lies in. nullptr: can't be done.
Gather::Range Gather::round_out(const Join& join, std::byte* low, std::byte* high) const {
  std::byte* end = join.data + join.length;
  if (units_.seam > 1 && units_.seam % units_.length_unit == 0) {
    std::byte* begin = align_down(join.data, units_.seam);
    std::byte* seam_end = align_up(end, units_.seam);
    if (begin >= low && seam_end <= high) return {begin, seam_end};
  }
  for (const uint32_t unit : {units_.address_unit, units_.length_unit}) {
    std::byte* begin = align_down(join.data, unit);
    std::byte* unit_end = round_end(begin, end, high);
    if (begin >= low && unit_end != nullptr) return {begin, unit_end};
  }
  return {};
}

// The end of a vector from `begin` that covers `end`: on the seam if that leaves the length a whole number of units.
std::byte* Gather::round_end(std::byte* begin, std::byte* end, std::byte* high) const {
  if (units_.seam > 1) {
    std::byte* seam_end = align_up(end, units_.seam);
    if (seam_end <= high && static_cast<uint64_t>(seam_end - begin) % units_.length_unit == 0) return seam_end;
  }
  std::byte* unit_end = begin + round_up(static_cast<uint64_t>(end - begin), units_.length_unit);
  return unit_end <= high ? unit_end : nullptr;
}

void Gather::add_run(uint64_t position, uint32_t length, bool packed) {
  if (!runs_.empty() && runs_.back().packed == packed && runs_.back().position + runs_.back().length == position) {
    runs_.back().length += length;
    return;
  }
  runs_.push_back(PlannedRun{static_cast<uint32_t>(position), length, packed});
}

bool Gather::reserve_packing() {
  while (packing_capacity_ < packing_bytes_) {
    if (packing_.full()) return false;
    const int grown = packing_order_first + packing_order_step * static_cast<int>(packing_.size());
    const uint8_t needed = BufferAllocator::order_for(packing_bytes_ - packing_capacity_);
    const auto order = static_cast<uint8_t>(std::clamp<int>(grown, needed, BufferAllocator::order_max));
    uint8_t got = 0;
    const BufferIndex buffer = allocator_->allocate_at_most(order, &got);
    if (buffer == no_buffer) return false;
    buffers_->open(buffer, got, Holder::commit);
    packing_.push_back(PackingBuffer{buffer, arena_unit_bytes << got});
    packing_capacity_ += packing_.back().bytes;
  }
  return true;
}

// One pass over the batch's bytes: those of packed runs are copied and checksummed, those of gathered ones only
// checksummed. A call of the checksum costs as much as a kilobyte of it: short pieces are checksummed together, where
// they have been copied to. Bytes 0-20 are outside the CRC; where the first 61 end up is remembered for patch().
uint32_t Gather::read(const PieceRange& batch) {
  header_part_count_ = header_part_bytes_ = 0;
  uint32_t crc = 0;
  std::span<std::byte> copied;  // and not checksummed yet
  const auto checksum_copied = [&] {
    crc = crc32c(crc, copied.data(), copied.size());
    copied = {};
  };
  uint64_t done = 0;  // bytes of the batch
  size_t run = 0;
  uint32_t left_in_run = runs_.empty() ? 0 : runs_[0].length;

  size_t packing = 0;
  uint64_t packed_in = before_.packing_bytes;  // bytes before the write position within packing_[packing]
  while (packing < packing_.size() && packed_in >= packing_[packing].bytes) packed_in -= packing_[packing++].bytes;

  const auto pass = [&](const Piece& piece) {
    std::byte* data = piece.data;
    for (uint32_t left = piece.length; left > 0;) {
      if (left_in_run == 0) left_in_run = runs_[++run].length;
      uint32_t count = std::min(left, left_in_run);
      if (done < disk::batch_crc_from) count = std::min(count, static_cast<uint32_t>(disk::batch_crc_from - done));
      std::byte* at = data;
      if (runs_[run].packed) {
        if (packed_in == packing_[packing].bytes) {
          ++packing;
          packed_in = 0;
        }
        count = static_cast<uint32_t>(std::min<uint64_t>(count, packing_[packing].bytes - packed_in));
        at = arena_.at(packing_[packing].buffer) + packed_in;
        packed_in += count;
        if (done < disk::batch_crc_from) {
          std::memcpy(at, data, count);
        } else if (count < together_bytes) {
          if (copied.data() + copied.size() != at) checksum_copied();
          std::memcpy(at, data, count);
          copied = {copied.empty() ? at : copied.data(), copied.size() + count};
          if (copied.size() >= together_bytes) checksum_copied();
        } else {
          checksum_copied();
          crc = copy_and_crc32c(crc, at, data, count);
        }
      } else if (done >= disk::batch_crc_from) {
        checksum_copied();
        crc = crc32c(crc, data, count);
      }
      if (header_part_bytes_ < disk::batch_header_bytes) {
        const uint32_t part = std::min(count, disk::batch_header_bytes - header_part_bytes_);
        header_parts_[header_part_count_++] = HeaderPart{at, part};
        header_part_bytes_ += part;
      }
      data += count;
      left -= count;
      left_in_run -= count;
      done += count;
    }
  };
  batch.for_each_and_later<pieces_ahead>(pass, fetch);
  checksum_copied();
  return crc;
}

void Gather::patch(uint32_t at, const void* bytes, size_t count) {
  check(staged_ && at + count <= header_part_bytes_, "patch outside the staged batch's header", at,
        static_cast<long long>(count));
  const auto* from = static_cast<const std::byte*>(bytes);
  uint32_t part_from = 0;
  for (uint32_t i = 0; i < header_part_count_ && count > 0; ++i) {
    const HeaderPart& part = header_parts_[i];
    if (at < part_from + part.length) {
      const size_t here = std::min<size_t>(count, part_from + part.length - at);
      std::memcpy(part.data + (at - part_from), from, here);
      from += here;
      count -= here;
      at += static_cast<uint32_t>(here);
    }
    part_from += part.length;
  }
}

void Gather::keep() {
  check(staged_, "no batch is staged");
  for (size_t i = before_.held; i < held_.size(); ++i) buffers_->hold(held_[i], Holder::commit);
  staged_ = false;
}

void Gather::undo() {
  check(staged_, "no batch is staged");
  packing_bytes_ = before_.packing_bytes;
  gathered_bytes_ = before_.gathered_bytes;
  gathered_.truncate(before_.vectors);
  if (before_.vectors > 0) gathered_.back().length = before_.last_vector_length;
  held_.truncate(before_.held);
  runs_.clear();
  staged_ = false;
}

uint32_t Gather::packing_count() const {
  uint64_t bytes = 0;
  uint32_t count = 0;
  while (bytes < packing_bytes_) bytes += packing_[count++].bytes;
  return count;
}

void Gather::release_unused_packing() {
  const uint32_t used = packing_count();
  for (size_t i = used; i < packing_.size(); ++i) {
    buffers_->release(packing_[i].buffer, Holder::commit);
    packing_capacity_ -= packing_[i].bytes;
  }
  packing_.truncate(used);
}

void Gather::reset() {
  check(!staged_, "a batch is staged");
  runs_.clear();
  gathered_.clear();
  packing_.clear();
  held_.clear();
  packing_bytes_ = packing_capacity_ = gathered_bytes_ = 0;
}

}  // namespace penstock
