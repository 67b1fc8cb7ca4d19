#include "storage/segment_scan.h"

#include <algorithm>
#include <bit>

#include "dataplane/base/check.h"
#include "dataplane/base/mutation.h"
#include "storage/crc/crc32c.h"

namespace penstock {

namespace {

constexpr uint64_t sector_bytes = 512;
// A sector more than a request may have, since the window begins at a sector's boundary.
constexpr uint64_t window_capacity = SegmentReader::window_bytes + sector_bytes;
constexpr size_t ahead_first = 16 * KiB;
constexpr uint32_t block_bytes_max = 1 << 20;

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

uint32_t crc_behind_itself(std::span<const std::byte> header) {
  return crc32c(0, header.data() + disk::crc_from, header.size() - disk::crc_from);
}

bool entries_are_sound(const Commit& commit);

}  // namespace

// ---- the window ----

SegmentReader::SegmentReader(SegmentFiles& files)
    : files_(files), window_(std::make_unique_for_overwrite<std::byte[]>(window_capacity)) {}

void SegmentReader::open(SegmentSlot slot) {
  slot_ = slot;
  file_bytes_ = files_.slot_bytes(slot);
  unreadable_bytes_ = 0;
  window_used_ = 0;
  ahead_ = ahead_first;
}

std::span<const std::byte> SegmentReader::read(FilePosition position, size_t count) {
  check(count <= window_bytes, "segment reader: more than a window", static_cast<long long>(count));
  if (position.value >= file_bytes_) return {};
  count = static_cast<size_t>(std::min<uint64_t>(count, file_bytes_ - position.value));
  const bool inside = position >= window_at_ && position.value + count <= window_at_.value + window_used_;
  if (!inside) fill(position, count);
  return {window_.get() + (position - window_at_), count};
}

void SegmentReader::fill(FilePosition position, size_t count) {
  const bool straight_on = position >= window_at_ && position <= window_at_ + window_used_ + ahead_;
  ahead_ = straight_on ? std::min<size_t>(4 * ahead_, window_bytes) : ahead_first;
  window_at_ = FilePosition(round_down(position.value, sector_bytes));
  const uint64_t bytes = round_up(std::max(ahead_, count + (position - window_at_)), sector_bytes);
  const auto wanted = static_cast<size_t>(std::min<uint64_t>({bytes, window_capacity, file_bytes_ - window_at_.value}));
  window_used_ = wanted;
  const std::span window(window_.get(), wanted);
  const auto got = files_.read(slot_, window_at_, window);
  bytes_read_ += wanted;
  if (got && *got == wanted) return;
  for (size_t at = 0; at < wanted; at += sector_bytes) {
    const auto part = window.subspan(at, std::min<size_t>(sector_bytes, wanted - at));
    const auto part_got = files_.read(slot_, window_at_ + at, part);
    if (part_got && *part_got == part.size()) continue;
    std::ranges::fill(part, std::byte{0});
    unreadable_bytes_ += part.size();
  }
}

bool SegmentReader::unreadable(FilePosition position) {
  if (position.value >= file_bytes_) return false;  // nothing is there: a file that a crash left empty
  std::byte byte;
  const auto got = files_.read(slot_, position, {&byte, 1});
  return !got || *got != 1;
}

// ---- headers ----

HeaderVerdict read_segment_header(SegmentReader& reader, disk::SegmentHeader& header) {
  const auto bytes = reader.read(FilePosition(0), sector_bytes);
  if (bytes.size() < sizeof header) return HeaderVerdict::absent;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (all_zero(bytes)) return HeaderVerdict::zeros;
  if (header.magic != disk::segment_magic) return HeaderVerdict::garbage;
  if (header.version != disk::format_version) return HeaderVerdict::unknown_version;
  if (header.crc != crc_behind_itself(bytes.first(sizeof header))) return HeaderVerdict::garbage;
  const bool block_possible =
      header.block >= sector_bytes && header.block <= block_bytes_max && std::has_single_bit(header.block.get());
  const bool possible = block_possible && header.segment_bytes >= header.block && header.segment_id != 0 &&
                        header.number != 0 && header.predecessor_number < header.number;
  return possible ? HeaderVerdict::valid : HeaderVerdict::bad_geometry;
}

CommitVerdict read_commit(SegmentReader& reader, const SegmentFrame& frame, FilePosition position, Commit& commit) {
  disk::CommitHeader& header = commit.header;
  if (position >= frame.end || frame.end - position < sizeof header) return CommitVerdict::beyond_end;
  const auto fixed = reader.read(position, sizeof header);
  if (fixed.size() < sizeof header) return CommitVerdict::beyond_end;
  std::memcpy(&header, fixed.data(), sizeof header);
  if (header.magic != disk::commit_magic) return CommitVerdict::nothing;

  const uint64_t room = frame.end - position;
  const bool lengths_possible = header.header_bytes >= sizeof header && header.header_bytes <= header.commit_bytes &&
                                header.commit_bytes <= room &&
                                header.header_bytes <= reader.file_bytes() - position.value;
  if (!lengths_possible) return CommitVerdict::torn;
  commit.position = position;
  commit.bytes.clear();
  for (uint64_t at = 0; at < header.header_bytes;) {
    const auto part = reader.read(position + at, std::min<uint64_t>(header.header_bytes - at, reader.window_bytes));
    commit.bytes.insert(commit.bytes.end(), part.begin(), part.end());
    at += part.size();
  }
  const bool whole = header.crc == crc_behind_itself(commit.bytes);
  if (!whole && !mutated(Mutation::ignore_commit_crc)) return CommitVerdict::torn;

  const bool ours = frame.id == 0 || header.segment_id == frame.id;
  if (!ours && !mutated(Mutation::accept_stale_commits)) return CommitVerdict::stale;
  const bool here = header.position == position.value && (frame.id == 0 || header.term == frame.term);
  if (!here) return CommitVerdict::misplaced;
  const bool sound = header.version == disk::format_version && header.header_bytes % 8 == 0 &&
                     header.commit_bytes % frame.block == 0 && header.durable_sequence < header.sequence &&
                     entries_are_sound(commit);
  return sound ? CommitVerdict::valid : CommitVerdict::malformed;
}

const char* to_string(CommitVerdict verdict) {
  switch (verdict) {
    case CommitVerdict::valid:
      return "a commit";
    case CommitVerdict::beyond_end:
      return "no room for a commit";
    case CommitVerdict::nothing:
      return "no commit";
    case CommitVerdict::torn:
      return "a commit header that is incomplete or damaged";
    case CommitVerdict::stale:
      return "a commit of what lay here before";
    case CommitVerdict::misplaced:
      return "a commit written for another place or term";
    case CommitVerdict::malformed:
      return "a commit whose entries contradict it";
  }
  return "?";
}

// ---- entries and payload ----

bool is_batch(disk::EntryKind kind) { return kind == disk::EntryKind::batch || kind == disk::EntryKind::carried_batch; }

disk::Entry read_entry(std::span<const std::byte> bytes) {
  disk::Entry entry;
  std::memcpy(&entry, bytes.data(), sizeof entry);
  return entry;
}

disk::Run read_run(std::span<const std::byte> entry_bytes, uint32_t index) {
  disk::Run run;
  std::memcpy(&run, entry_bytes.data() + sizeof(disk::Entry) + index * sizeof run, sizeof run);
  return run;
}

namespace {

bool entry_is_sound(const Commit& commit, const disk::EntryPrefix& prefix, std::span<const std::byte> bytes) {
  const auto kind = static_cast<disk::EntryKind>(prefix.kind.get());
  const bool has_entry =
      is_batch(kind) || kind == disk::EntryKind::log_start || kind == disk::EntryKind::partition_deleted;
  if (!has_entry) return true;  // skipped by its length
  if (bytes.size() < sizeof(disk::Entry) + prefix.run_count * sizeof(disk::Run)) return false;
  const disk::Entry entry = read_entry(bytes);
  if (entry.base_offset < 0) return false;
  if (!is_batch(kind)) return true;
  if (entry.last_offset_delta < 0 || entry.base_offset > INT64_MAX - 1 - entry.last_offset_delta) return false;
  if (entry.batch_bytes < disk::batch_header_bytes) return false;
  uint64_t total = 0;
  for (uint32_t i = 0; i < prefix.run_count; ++i) {
    const disk::Run run = read_run(bytes, i);
    const uint64_t run_end = uint64_t{run.position} + run.length;
    if (run.length == 0 || run.position < commit.header.header_bytes || run_end > commit.header.commit_bytes)
      return false;
    total += run.length;
  }
  return total == entry.batch_bytes;
}

bool entries_are_sound(const Commit& commit) {
  const std::span<const std::byte> bytes(commit.bytes);
  size_t at = sizeof(disk::CommitHeader);
  for (uint32_t i = 0; i < commit.header.entry_count; ++i) {
    disk::EntryPrefix prefix;
    if (bytes.size() - at < sizeof prefix) return false;
    std::memcpy(&prefix, bytes.data() + at, sizeof prefix);
    if (prefix.entry_bytes < sizeof prefix || prefix.entry_bytes % 8 != 0) return false;
    if (prefix.entry_bytes > bytes.size() - at) return false;
    if (!entry_is_sound(commit, prefix, bytes.subspan(at, prefix.entry_bytes))) return false;
    at += prefix.entry_bytes;
  }
  return at == bytes.size();
}

}  // namespace

bool payload_matches(SegmentReader& reader, const Commit& commit, std::span<const std::byte> entry_bytes) {
  const disk::Entry entry = read_entry(entry_bytes);
  uint64_t skip = disk::batch_crc_from;
  uint32_t crc = 0;
  for (uint32_t i = 0; i < entry.prefix.run_count; ++i) {
    const disk::Run run = read_run(entry_bytes, i);
    const uint64_t skipped = std::min<uint64_t>(skip, run.length);
    skip -= skipped;
    for (uint64_t at = skipped; at < run.length;) {
      const auto part =
          reader.read(commit.position + (run.position + at), std::min<uint64_t>(run.length - at, reader.window_bytes));
      if (part.empty()) return false;  // the file ends before
      crc = crc32c(crc, part.data(), part.size());
      at += part.size();
    }
  }
  return crc == entry.batch_crc || mutated(Mutation::ignore_payload_crc);
}

}  // namespace penstock
