#include "storage/footer.h"

#include <algorithm>

#include "storage/crc/crc32c.h"
#include "storage/limits.h"

namespace penstock {

namespace {

using disk::FooterSection;

// Every section before its first block that is not full.
uint64_t section_bytes(FooterSection section, uint64_t rows, uint32_t block_bytes, uint32_t align) {
  const uint32_t per_block = footer_rows_per_block(section, block_bytes);
  const uint64_t rest = rows % per_block;
  const uint64_t last = sizeof(disk::FooterBlock) + rest * footer_row_bytes[static_cast<size_t>(section)];
  return rows / per_block * block_bytes + (rest > 0 ? round_up(last, align) : 0);
}

uint64_t key_count(uint64_t partitions, uint64_t batches, uint32_t block_bytes) {
  return footer_blocks(FooterSection::partitions, partitions, block_bytes) +
         footer_blocks(FooterSection::batches, batches, block_bytes);
}

// ---- rows ----

bool possible(const disk::FooterPartition& row, const SealedSegment& segment) {
  return row.log_start >= 0 && row.next >= row.log_start && row.newest_segment != 0 &&
         row.newest_segment <= segment.number.value && row.deleted <= 1 && row.first_batch <= segment.batches.rows &&
         row.batch_count <= segment.batches.rows - row.first_batch;
}

bool possible(const disk::FooterBatch& row, const SealedSegment& segment) {
  const uint64_t end = uint64_t{segment.end_sector} * SealedSegment::sector_bytes;
  return row.base_offset >= 0 && row.last_offset_delta >= 0 &&
         row.base_offset <= INT64_MAX - 1 - row.last_offset_delta && row.batch_bytes >= disk::batch_header_bytes &&
         row.commit > 0 && row.commit % SealedSegment::sector_bytes == 0 && row.commit < end &&
         row.first_position < end - row.commit && row.batch_bytes <= end - row.commit;
}

bool possible(const disk::FooterProducer& row, const SegmentEnd& end) {
  if (row.batch_count == 0 || row.batch_count > std::size(row.batches) || row.producer_id < 0) return false;
  uint64_t commit = 0;
  for (uint32_t i = 0; i < row.batch_count; ++i) {
    const disk::FooterProducer::Batch& batch = row.batches[i];
    const bool sane = batch.base_offset >= 0 && batch.last_offset_delta >= 0 && batch.base_sequence >= 0 &&
                      batch.commit >= commit && batch.commit <= end.sequence.value;
    if (!sane) return false;
    commit = batch.commit;
  }
  return true;
}

// By partition; strictly where each has one row.
template <class Row>
bool in_order(const Row& before, const Row& row) {
  if constexpr (std::is_same_v<Row, disk::FooterPartition>) return before.partition < row.partition;
  return before.partition <= row.partition;
}

template <class Row>
bool rows_possible(std::span<const std::byte> bytes, const SealedSegment& segment) {
  const auto* rows = reinterpret_cast<const Row*>(bytes.data());
  const size_t count = bytes.size() / sizeof(Row);
  for (size_t i = 0; i < count; ++i) {
    if (!possible(rows[i], segment) || (i > 0 && !in_order(rows[i - 1], rows[i]))) return false;
  }
  return true;
}

bool block_whole(std::span<const std::byte> bytes, uint64_t segment_id, FooterSection section, uint32_t number,
                 uint32_t rows) {
  disk::FooterBlock block;
  const size_t length = sizeof block + size_t{rows} * footer_row_bytes[static_cast<size_t>(section)];
  if (bytes.size() < length) return false;
  std::memcpy(&block, bytes.data(), sizeof block);
  return block.magic == disk::footer_block_magic && block.segment_id == segment_id &&
         block.section == static_cast<uint8_t>(section) && block.number == number && block.row_count == rows &&
         block.crc == crc32c(0, bytes.data() + disk::crc_from, length - disk::crc_from);
}

}  // namespace

uint64_t footer_bytes(const FooterRows& rows, uint32_t block_bytes, uint32_t drive_block) {
  const uint32_t align = footer_align(drive_block);
  const uint64_t partitions = rows[static_cast<size_t>(FooterSection::partitions)];
  const uint64_t batches = rows[static_cast<size_t>(FooterSection::batches)];
  FooterRows all = rows;
  all[static_cast<size_t>(FooterSection::keys)] = key_count(partitions, batches, block_bytes);
  uint64_t bytes = round_up(sizeof(disk::FooterHead), drive_block) + align - drive_block;
  for (size_t i = 0; i < footer_section_count; ++i) {
    bytes += section_bytes(static_cast<FooterSection>(i), all[i], block_bytes, align);
  }
  return bytes;
}

uint32_t SealedSegment::rows_in(FooterSection which, uint32_t block) const {
  const uint32_t per_block = footer_rows_per_block(which, block_bytes);
  return std::min(per_block, section(which).rows - block * per_block);
}

SealedSegment sealed_segment(const disk::FooterHead& head, const SegmentEnd& end) {
  const auto kept = [&](FooterSection which) {
    const disk::FooterHead::Section& section = head.sections[static_cast<size_t>(which)];
    return SealedSegment::Section{static_cast<uint32_t>(section.position / SealedSegment::sector_bytes),
                                  static_cast<uint32_t>(section.row_count)};
  };
  return {.number = end.number,
          .id = end.id,
          .max_timestamp = head.max_timestamp,
          .slot = end.slot,
          .end_sector = static_cast<uint32_t>(end.position.value / SealedSegment::sector_bytes),
          .block_bytes = head.block_bytes,
          .partitions = kept(FooterSection::partitions),
          .batches = kept(FooterSection::batches),
          .keys = kept(FooterSection::keys)};
}

bool reads_directly(const SealedSegment& segment, uint32_t drive_block) {
  const auto aligned = [&](const SealedSegment::Section& section) {
    return uint64_t{section.sector} * SealedSegment::sector_bytes % drive_block == 0;
  };
  return segment.block_bytes <= limits::footer_block_bytes(drive_block) && segment.block_bytes % drive_block == 0 &&
         aligned(segment.partitions) && aligned(segment.batches) && aligned(segment.keys);
}

bool footer_block_whole(std::span<const std::byte> bytes, const SealedSegment& segment, FooterSection section,
                        uint32_t number) {
  const uint32_t rows = segment.rows_in(section, number);
  if (!block_whole(bytes, segment.id, section, number, rows)) return false;
  const auto of_rows = bytes.subspan(sizeof(disk::FooterBlock),
                                     size_t{rows} * footer_row_bytes[static_cast<size_t>(section)]);
  if (section == FooterSection::partitions) return rows_possible<disk::FooterPartition>(of_rows, segment);
  if (section == FooterSection::batches) return rows_possible<disk::FooterBatch>(of_rows, segment);
  return true;
}

// ---- the head ----

FooterReader::Verdict FooterReader::open() {
  const auto bytes = reader_.read(end_.position, sizeof head_);
  if (bytes.size() < sizeof head_) return Verdict::absent;
  std::memcpy(&head_, bytes.data(), sizeof head_);
  // What was in the slot before, or a footer that was not finished.
  if (head_.magic != disk::footer_magic) return Verdict::absent;
  if (head_.segment_id != end_.id) return Verdict::absent;
  if (head_.version != disk::footer_version) return Verdict::unknown_version;
  if (head_.head_bytes != sizeof head_) return Verdict::damaged;
  if (head_.crc != crc32c(0, bytes.data() + disk::crc_from, sizeof head_ - disk::crc_from)) return Verdict::damaged;
  if (!head_possible()) return Verdict::damaged;
  const bool same = head_.segment_number == end_.number.value && head_.position == end_.position.value &&
                    head_.last_sequence == end_.sequence.value && head_.last_hash == end_.hash;
  return same ? Verdict::whole : Verdict::differs;
}

bool FooterReader::head_possible() const {
  const uint32_t block = head_.block_bytes;
  constexpr uint64_t sector = SealedSegment::sector_bytes;
  if (block < sector || block % sector != 0 || block > SegmentReader::window_bytes) return false;
  if (reader_.file_bytes() / sector > UINT32_MAX) return false;
  for (size_t i = 0; i < footer_section_count; ++i) {
    const auto which = static_cast<FooterSection>(i);
    const disk::FooterHead::Section& here = head_.sections[i];
    const uint64_t rows_max = reader_.file_bytes() / footer_row_bytes[i];
    if (here.row_count > std::min<uint64_t>(rows_max, UINT32_MAX) || here.position > reader_.file_bytes()) return false;
    if (here.position % sector != 0) return false;
    if (section_bytes(which, here.row_count, block, sector) > reader_.file_bytes() - here.position) return false;
  }
  return section(FooterSection::keys).row_count == key_count(section(FooterSection::partitions).row_count,
                                                             section(FooterSection::batches).row_count, block);
}

// ---- all rows of a section ----

template <class Row>
bool FooterReader::read_section(FooterSection which, std::vector<Row>& rows) {
  const uint32_t per_block = footer_rows_per_block(which, head_.block_bytes);
  rows.resize(section(which).row_count);
  FilePosition at(section(which).position);
  size_t done = 0;
  for (uint32_t number = 0; done < rows.size(); ++number, at += head_.block_bytes) {
    const size_t count = std::min<size_t>(per_block, rows.size() - done);
    const auto bytes = reader_.read(at, sizeof(disk::FooterBlock) + count * sizeof(Row));
    if (!block_whole(bytes, end_.id, which, number, static_cast<uint32_t>(count))) return false;
    std::memcpy(rows.data() + done, bytes.data() + sizeof(disk::FooterBlock), count * sizeof(Row));
    done += count;
  }
  return true;
}

bool FooterReader::read(std::vector<disk::FooterPartition>& rows) {
  return read_section(FooterSection::partitions, rows) &&
         rows_possible<disk::FooterPartition>(std::as_bytes(std::span(rows)), sealed());
}

bool FooterReader::read(std::vector<disk::FooterProducer>& rows) {
  return read_section(FooterSection::producers, rows) &&
         std::ranges::all_of(rows, [&](const disk::FooterProducer& row) { return possible(row, end_); });
}

bool FooterReader::read(std::vector<disk::FooterBatch>& rows) {
  return read_section(FooterSection::batches, rows) &&
         rows_possible<disk::FooterBatch>(std::as_bytes(std::span(rows)), sealed());
}

}  // namespace penstock
