// A segment's footer (storage/format.h) as it is laid out, and as it is read: everything checked before it is believed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "storage/drive.h"
#include "storage/format.h"
#include "storage/segment_scan.h"

namespace penstock {

inline constexpr size_t footer_section_count = static_cast<size_t>(disk::FooterSection::count);
inline constexpr uint32_t footer_row_bytes[footer_section_count] = {sizeof(disk::FooterPartition),
                                                                    sizeof(disk::FooterProducer),
                                                                    sizeof(disk::FooterBatch), sizeof(disk::FooterKey)};

constexpr uint32_t footer_rows_per_block(disk::FooterSection section, uint32_t block_bytes) {
  return (block_bytes - static_cast<uint32_t>(sizeof(disk::FooterBlock))) /
         footer_row_bytes[static_cast<size_t>(section)];
}
constexpr uint64_t footer_blocks(disk::FooterSection section, uint64_t rows, uint32_t block_bytes) {
  const uint32_t per_block = footer_rows_per_block(section, block_bytes);
  return rows / per_block + (rows % per_block > 0 ? 1 : 0);
}
constexpr uint32_t footer_align(uint32_t drive_block) {
  return disk::footer_align > drive_block ? disk::footer_align : drive_block;
}

// Rows by section; of keys there are as many as blocks, so they need not be given.
using FooterRows = std::array<uint64_t, footer_section_count>;

// The most bytes of a footer on a drive with this block, wherever its segment ends.
uint64_t footer_bytes(const FooterRows& rows, uint32_t block_bytes, uint32_t drive_block);

// Not less than footer_bytes(), without a division: for every batch that is appended.
constexpr uint64_t footer_bytes_bound(const FooterRows& rows, uint32_t drive_block) {
  uint64_t bytes = 6 * uint64_t{footer_align(drive_block)} + 1024;
  for (size_t i = 0; i < footer_section_count; ++i) {
    const uint64_t plain = rows[i] * footer_row_bytes[i];
    bytes += plain + (plain >> 6) + 256;
  }
  return bytes + (rows[static_cast<size_t>(disk::FooterSection::partitions)] >> 3) +
         (rows[static_cast<size_t>(disk::FooterSection::batches)] >> 3);
}

// What a segment ended with.
struct SegmentEnd {
  SegmentNumber number{};
  SegmentSlot slot{};
  uint64_t id = 0;
  FilePosition position{};
  CommitSequence sequence{};
  uint64_t hash = 0;
};

// What is kept in memory of a sealed segment with a footer: where the footer's blocks lie.
struct SealedSegment {
  static constexpr uint32_t sector_bytes = 512;  // the smallest block: positions are kept in this unit
  struct Section {
    uint32_t sector = 0;
    uint32_t rows = 0;
  };
  SegmentNumber number{};
  uint64_t id = 0;
  Milliseconds max_timestamp = -1;
  SegmentSlot slot{};
  uint32_t end_sector = 0;  // of its last commit
  uint32_t block_bytes = 0;
  Section partitions, batches, keys;

  const Section& section(disk::FooterSection which) const {
    return which == disk::FooterSection::partitions ? partitions
           : which == disk::FooterSection::batches  ? batches
                                                    : keys;
  }
  FilePosition position(disk::FooterSection which, uint32_t block) const {
    return FilePosition(uint64_t{section(which).sector} * sector_bytes + uint64_t{block} * block_bytes);
  }
  uint32_t rows_in(disk::FooterSection which, uint32_t block) const;
  uint32_t partition_blocks() const {
    return static_cast<uint32_t>(footer_blocks(disk::FooterSection::partitions, partitions.rows, block_bytes));
  }
};
static_assert(sizeof(SealedSegment) == 64);

// Can its blocks be read directly on a drive with this block, into memory for blocks of footer_block_bytes()?
bool reads_directly(const SealedSegment& segment, uint32_t drive_block);
SealedSegment sealed_segment(const disk::FooterHead& head, const SegmentEnd& end);

// Is this the block, and are its rows possible?
bool footer_block_whole(std::span<const std::byte> bytes, const SealedSegment& segment, disk::FooterSection section,
                        uint32_t number);

class FooterReader {
 public:
  enum class Verdict : uint8_t {
    whole,   // as far as its head says
    absent,  // there is none
    damaged,
    unknown_version,
    differs,  // whole, and of another end than the successor names
  };

  // The reader is open on the segment's slot and stays so.
  FooterReader(SegmentReader& reader, const SegmentEnd& end) : reader_(reader), end_(end) {}

  Verdict open();
  // After open() said whole:
  SealedSegment sealed() const { return sealed_segment(head_, end_); }
  uint64_t batch_count() const { return section(disk::FooterSection::batches).row_count; }
  // All rows of a section, checked; false: some of them are damaged, or cannot be.
  [[nodiscard]] bool read(std::vector<disk::FooterPartition>& rows);
  [[nodiscard]] bool read(std::vector<disk::FooterProducer>& rows);
  [[nodiscard]] bool read(std::vector<disk::FooterBatch>& rows);
  uint32_t version() const { return head_.version; }

 private:
  template <class Row>
  bool read_section(disk::FooterSection section, std::vector<Row>& rows);
  bool head_possible() const;
  const disk::FooterHead::Section& section(disk::FooterSection which) const {
    return head_.sections[static_cast<size_t>(which)];
  }

  SegmentReader& reader_;
  SegmentEnd end_;
  disk::FooterHead head_{};
};

}  // namespace penstock
