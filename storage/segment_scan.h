// Reading one segment file: through a window of up to 1 MiB, header by header, everything checked before it is
// believed. Verdicts only; what they mean for the log is recovery's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/base/units.h"
#include "storage/drive.h"
#include "storage/format.h"

namespace penstock {

class SegmentReader {
 public:
  explicit SegmentReader(SegmentFiles& files);

  void open(SegmentSlot slot);
  SegmentSlot slot() const { return slot_; }
  uint64_t file_bytes() const { return file_bytes_; }

  // The bytes at `position`, valid until the next call: `count` of them, at most window_bytes, fewer at the end of the
  // file. What the drive refuses to read is given as zeros and noted.
  static constexpr size_t window_bytes = 1 << 20;
  std::span<const std::byte> read(FilePosition position, size_t count);

  uint64_t bytes_read() const { return bytes_read_; }              // of all slots
  uint64_t unreadable_bytes() const { return unreadable_bytes_; }  // of this slot
  bool unreadable(FilePosition position);                          // is this byte?

 private:
  void fill(FilePosition position, size_t count);

  SegmentFiles& files_;
  SegmentSlot slot_{};
  uint64_t file_bytes_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t unreadable_bytes_ = 0;
  std::unique_ptr<std::byte[]> window_;
  FilePosition window_at_{};
  size_t window_used_ = 0;
  size_t ahead_ = 0;  // bytes to be read at a time: more as long as the reader goes straight on
};

enum class HeaderVerdict : uint8_t {
  valid,
  absent,           // the file ends before
  zeros,            // the whole first sector
  garbage,          // no magic, or the CRC is wrong
  unknown_version,  // magic, but a version we do not know: nothing else can be said
  bad_geometry,     // valid, but with a block or size that cannot be
};
HeaderVerdict read_segment_header(SegmentReader& reader, disk::SegmentHeader& header);

enum class CommitVerdict : uint8_t {
  valid,
  beyond_end,  // no room for a header up to the end
  nothing,     // no magic: zeros or payload of something
  torn,        // magic, but the CRC is wrong or lengths cannot be
  stale,       // whole, of another segment id: what lay here before
  misplaced,   // whole, but written for another position, or another term
  malformed,   // whole and ours, but its entries contradict it: a defect of the writer
};
const char* to_string(CommitVerdict verdict);

// A commit's header with its entries.
class Commit {
 public:
  disk::CommitHeader header{};
  FilePosition position{};

  FilePosition end() const { return position + header.commit_bytes.get(); }
  CommitSequence sequence() const { return CommitSequence(header.sequence); }
  uint64_t hash() const { return disk::chain_hash(header.previous_hash, sequence(), header.crc); }

  // Calls visit(prefix, entry bytes, ordinal) for each entry; of any kind.
  template <class Visit>
  void each_entry(Visit&& visit) const {
    size_t at = sizeof(disk::CommitHeader);
    for (uint32_t ordinal = 0; ordinal < header.entry_count; ++ordinal) {
      disk::EntryPrefix prefix;
      std::memcpy(&prefix, bytes.data() + at, sizeof prefix);
      visit(prefix, std::span<const std::byte>(bytes).subspan(at, prefix.entry_bytes), ordinal);
      at += prefix.entry_bytes;
    }
  }

  std::vector<std::byte> bytes;  // the header and its entries
};

// A segment as far as commits in it are concerned.
struct SegmentFrame {
  uint64_t id = 0;
  uint64_t term = 0;
  uint32_t block = 0;
  FilePosition end{};  // commits lie below; of the file, or as a successor said
};

// What lies at `position`, a multiple of the block. `commit` is set when valid, and when malformed without entries.
CommitVerdict read_commit(SegmentReader& reader, const SegmentFrame& frame, FilePosition position, Commit& commit);

// The kinds whose entries are disk::Entry with runs behind.
bool is_batch(disk::EntryKind kind);
disk::Entry read_entry(std::span<const std::byte> bytes);
disk::Run read_run(std::span<const std::byte> entry_bytes, uint32_t index);

// Do the batch's bytes, where its runs say, match its CRC?
bool payload_matches(SegmentReader& reader, const Commit& commit, std::span<const std::byte> entry_bytes);

}  // namespace penstock
