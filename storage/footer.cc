#include "storage/footer.h"

#include <algorithm>

#include "storage/crc/crc32c.h"

namespace penstock {

namespace {

using disk::FooterSection;

constexpr uint64_t blocks_of(FooterSection section, uint64_t rows, uint32_t block_bytes) {
  const uint32_t per_block = footer_rows_per_block(section, block_bytes);
  return rows / per_block + (rows % per_block > 0 ? 1 : 0);
}

// Every section before its first block that is not full.
uint64_t section_bytes(FooterSection section, uint64_t rows, uint32_t block_bytes, uint32_t drive_block) {
  const uint32_t per_block = footer_rows_per_block(section, block_bytes);
  const uint64_t rest = rows % per_block;
  const uint64_t last = sizeof(disk::FooterBlock) + rest * footer_row_bytes[static_cast<size_t>(section)];
  return rows / per_block * block_bytes + (rest > 0 ? round_up(last, drive_block) : 0);
}

}  // namespace

uint64_t footer_head_bytes(uint64_t batch_count, uint32_t block_bytes, uint32_t drive_block) {
  const uint64_t keys = blocks_of(FooterSection::batches, batch_count, block_bytes);
  return round_up(sizeof(disk::FooterHead) + keys * sizeof(disk::FooterKey), drive_block);
}

uint64_t footer_bytes(const FooterRows& rows, uint32_t block_bytes, uint32_t drive_block) {
  uint64_t bytes = footer_head_bytes(rows[static_cast<size_t>(FooterSection::batches)], block_bytes, drive_block);
  for (size_t i = 0; i < footer_section_count; ++i) {
    bytes += section_bytes(static_cast<FooterSection>(i), rows[i], block_bytes, drive_block);
  }
  return bytes;
}

// ---- the head ----

FooterReader::Verdict FooterReader::open() {
  const auto fixed = reader_.read(end_.position, sizeof head_);
  if (fixed.size() < sizeof head_) return Verdict::absent;
  std::memcpy(&head_, fixed.data(), sizeof head_);
  // What was in the slot before, or a footer that was not finished.
  if (head_.magic != disk::footer_magic || head_.segment_id != end_.id) return Verdict::absent;
  if (head_.version != disk::footer_version) return Verdict::unknown_version;
  if (head_.head_bytes < sizeof head_ || head_.head_bytes > SegmentReader::window_bytes) return Verdict::damaged;
  const auto bytes = reader_.read(end_.position, head_.head_bytes);
  if (bytes.size() < head_.head_bytes) return Verdict::damaged;
  if (head_.crc != crc32c(0, bytes.data() + disk::crc_from, bytes.size() - disk::crc_from)) return Verdict::damaged;
  if (!possible()) return Verdict::damaged;
  const bool same = head_.segment_number == end_.number.value && head_.position == end_.position.value &&
                    head_.last_sequence == end_.sequence.value && head_.last_hash == end_.hash;
  if (!same) return Verdict::differs;
  keys_.resize((bytes.size() - sizeof head_) / sizeof(disk::FooterKey));
  if (!keys_.empty()) std::memcpy(keys_.data(), bytes.data() + sizeof head_, keys_.size() * sizeof(disk::FooterKey));
  return Verdict::whole;
}

bool FooterReader::possible() const {
  const uint32_t block = head_.block_bytes;
  if (block < 512 || block > SegmentReader::window_bytes) return false;
  for (size_t i = 0; i < footer_section_count; ++i) {
    const auto which = static_cast<FooterSection>(i);
    const disk::FooterHead::Section& here = head_.sections[i];
    const uint64_t rows_max = reader_.file_bytes() / footer_row_bytes[i];
    if (here.row_count > rows_max || here.position > reader_.file_bytes()) return false;
    if (section_bytes(which, here.row_count, block, 1) > reader_.file_bytes() - here.position) return false;
  }
  const uint64_t keys = blocks_of(FooterSection::batches, section(FooterSection::batches).row_count, block);
  return head_.head_bytes == sizeof head_ + keys * sizeof(disk::FooterKey);
}

// ---- the rows ----

template <class Row>
bool FooterReader::read_section(FooterSection which, std::vector<Row>& rows) {
  const uint32_t per_block = footer_rows_per_block(which, head_.block_bytes);
  rows.resize(section(which).row_count);
  FilePosition at(section(which).position);
  size_t done = 0;
  for (uint32_t number = 0; done < rows.size(); ++number, at += head_.block_bytes) {
    const size_t count = std::min<size_t>(per_block, rows.size() - done);
    const auto bytes = reader_.read(at, sizeof(disk::FooterBlock) + count * sizeof(Row));
    if (bytes.size() < sizeof(disk::FooterBlock) + count * sizeof(Row)) return false;
    disk::FooterBlock block;
    std::memcpy(&block, bytes.data(), sizeof block);
    const bool expected = block.magic == disk::footer_block_magic && block.segment_id == end_.id &&
                          block.section == static_cast<uint8_t>(which) && block.number == number &&
                          block.row_count == count;
    if (!expected) return false;
    if (block.crc != crc32c(0, bytes.data() + disk::crc_from, bytes.size() - disk::crc_from)) return false;
    std::memcpy(rows.data() + done, bytes.data() + sizeof block, count * sizeof(Row));
    done += count;
  }
  return std::ranges::all_of(rows, [&](const Row& row) { return possible(row); });
}

bool FooterReader::read(std::vector<disk::FooterPartition>& rows) {
  return read_section(FooterSection::partitions, rows);
}

bool FooterReader::read(std::vector<disk::FooterProducer>& rows) {
  return read_section(FooterSection::producers, rows);
}

bool FooterReader::read(std::vector<disk::FooterBatch>& rows) {
  if (!read_section(FooterSection::batches, rows)) return false;
  const uint32_t per_block = footer_rows_per_block(FooterSection::batches, head_.block_bytes);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i > 0 && rows[i].partition < rows[i - 1].partition) return false;
    if (i % per_block != 0) continue;
    const disk::FooterKey& key = keys_[i / per_block];
    if (key.partition != rows[i].partition || key.base_offset != rows[i].base_offset) return false;
  }
  return true;
}

bool FooterReader::possible(const disk::FooterPartition& row) const {
  return row.log_start >= 0 && row.next >= row.log_start && row.newest_segment != 0 &&
         row.newest_segment <= end_.number.value && row.deleted <= 1;
}

bool FooterReader::possible(const disk::FooterProducer& row) const {
  if (row.batch_count == 0 || row.batch_count > std::size(row.batches) || row.producer_id < 0) return false;
  uint64_t commit = 0;
  for (uint32_t i = 0; i < row.batch_count; ++i) {
    const disk::FooterProducer::Batch& batch = row.batches[i];
    const bool sane = batch.base_offset >= 0 && batch.last_offset_delta >= 0 && batch.base_sequence >= 0 &&
                      batch.commit >= commit && batch.commit <= end_.sequence.value;
    if (!sane) return false;
    commit = batch.commit;
  }
  return true;
}

bool FooterReader::possible(const disk::FooterBatch& row) const {
  return row.base_offset >= 0 && row.last_offset_delta >= 0 &&
         row.base_offset <= INT64_MAX - 1 - row.last_offset_delta && row.batch_bytes >= disk::batch_header_bytes &&
         row.commit >= segment_.block && row.commit % segment_.block == 0 && row.commit < end_.position.value &&
         row.first_position < end_.position.value - row.commit;
}

}  // namespace penstock
