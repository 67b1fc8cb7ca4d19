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
inline constexpr uint32_t footer_row_bytes[footer_section_count] = {
    sizeof(disk::FooterPartition), sizeof(disk::FooterProducer), sizeof(disk::FooterBatch)};

constexpr uint32_t footer_rows_per_block(disk::FooterSection section, uint32_t block_bytes) {
  return (block_bytes - static_cast<uint32_t>(sizeof(disk::FooterBlock))) /
         footer_row_bytes[static_cast<size_t>(section)];
}

// Rows by section.
using FooterRows = std::array<uint64_t, footer_section_count>;

// Bytes of a footer, and of its head alone, on a drive with this block.
uint64_t footer_head_bytes(uint64_t batch_count, uint32_t block_bytes, uint32_t drive_block);
uint64_t footer_bytes(const FooterRows& rows, uint32_t block_bytes, uint32_t drive_block);

// Not less than footer_bytes(), without a division: for every batch that is appended.
constexpr uint64_t footer_bytes_bound(const FooterRows& rows, uint32_t drive_block) {
  uint64_t bytes = 4 * uint64_t{drive_block} + 1024;
  for (size_t i = 0; i < footer_section_count; ++i) {
    const uint64_t plain = rows[i] * footer_row_bytes[i];
    bytes += plain + (plain >> 6) + 256;
  }
  return bytes + (rows[static_cast<size_t>(disk::FooterSection::batches)] >> 4);
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
  FooterReader(SegmentReader& reader, const disk::SegmentHeader& segment, const SegmentEnd& end)
      : reader_(reader), segment_(segment), end_(end) {}

  Verdict open();
  // All rows of a section, checked; false: some of them are damaged, or cannot be. After open() said whole.
  [[nodiscard]] bool read(std::vector<disk::FooterPartition>& rows);
  [[nodiscard]] bool read(std::vector<disk::FooterProducer>& rows);
  [[nodiscard]] bool read(std::vector<disk::FooterBatch>& rows);

 private:
  template <class Row>
  bool read_section(disk::FooterSection section, std::vector<Row>& rows);
  bool possible() const;
  bool possible(const disk::FooterPartition& row) const;
  bool possible(const disk::FooterProducer& row) const;
  bool possible(const disk::FooterBatch& row) const;
  const disk::FooterHead::Section& section(disk::FooterSection which) const {
    return head_.sections[static_cast<size_t>(which)];
  }

  SegmentReader& reader_;
  const disk::SegmentHeader& segment_;
  SegmentEnd end_;
  disk::FooterHead head_{};
  std::vector<disk::FooterKey> keys_;
};

}  // namespace penstock
