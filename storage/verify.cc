#include "storage/verify.h"

#include <algorithm>
#include <cstring>

#include "storage/batch_front.h"
#include "storage/export.h"
#include "storage/recovery.h"

namespace penstock {

namespace {

class Verify {
 public:
  Verify(SegmentFiles& files, const BatchComplaint& complaint) : files_(files), complaint_(complaint), reader_(files) {}

  Verified run(uint32_t lane) {
    LogIndex index(1024, 0, 1024);
    ProducerTable producers(1024);
    result_.log = recover(files_, {.lane = lane, .verify_sealed_payload = true}, index, producers);
    result_.lost = result_.log.lost;
    for (const Found& found : result_.log.findings) keep(found);
    each_commit(reader_, result_.log, [&](const RecoveredSegment& segment, const Commit& commit) {
      commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t) {
        if (is_batch(static_cast<disk::EntryKind>(prefix.kind.get()))) check_batch(segment, commit, bytes);
      });
    });
    result_.bytes_read = result_.log.bytes_read + reader_.bytes_read();
    return std::move(result_);
  }

 private:
  void keep(Found found);
  void check_batch(const RecoveredSegment& segment, const Commit& commit, std::span<const std::byte> bytes);
  const char* judge(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes);
  bool read(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes);

  SegmentFiles& files_;
  const BatchComplaint& complaint_;
  SegmentReader reader_;
  Verified result_;
  std::vector<std::byte> batch_;
};

void Verify::keep(Found found) {
  if (consequence_of(found.finding) == Consequence::in_order) return;
  if (found.finding == Finding::payload_damaged) return;   // `batches` names them
  if (found.finding == Finding::slot_other_block) return;  // no drive to differ from
  if (found.finding == Finding::slot_short_file) {
    disk::SegmentHeader header;
    reader_.open(found.slot);
    if (read_segment_header(reader_, header) == HeaderVerdict::valid) {
      found.begin = FilePosition(reader_.file_bytes());
      found.end = FilePosition(header.segment_bytes);
    }
  }
  result_.found.push_back(std::move(found));
}

void Verify::check_batch(const RecoveredSegment& segment, const Commit& commit, std::span<const std::byte> bytes) {
  const disk::Entry entry = read_entry(bytes);
  ++result_.batch_count;
  result_.record_count += static_cast<uint64_t>(entry.record_count);
  result_.batch_bytes += entry.batch_bytes;
  const char* what = judge(commit, entry, bytes);
  if (what == nullptr) return;
  uint32_t begin = UINT32_MAX, end = 0;
  for (uint32_t i = 0; i < entry.prefix.run_count; ++i) {
    const disk::Run run = read_run(bytes, i);
    begin = std::min<uint32_t>(begin, run.position);
    end = std::max<uint32_t>(end, run.position + run.length);
  }
  result_.batches.push_back({.slot = segment.slot,
                             .segment = segment.number,
                             .begin = commit.position + begin,
                             .end = commit.position + end,
                             .commit = commit.sequence(),
                             .partition = PartitionNumber(entry.partition),
                             .first = Offset(entry.base_offset),
                             .last = Offset(entry.base_offset + entry.last_offset_delta),
                             .what = what});
}

const char* Verify::judge(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes) {
  if (entry.record_count != entry.last_offset_delta + 1) return "its record count does not fit its offsets";
  if (!payload_matches(reader_, commit, bytes)) return "its bytes do not match its CRC";
  if (!read(commit, entry, bytes)) return "its bytes cannot be read";
  return complaint_(entry, batch_);
}

// The batch into batch_, its bytes 0-20 from the entry.
bool Verify::read(const Commit& commit, const disk::Entry& entry, std::span<const std::byte> bytes) {
  batch_.resize(entry.batch_bytes);
  size_t filled = 0;
  for (uint32_t i = 0; i < entry.prefix.run_count; ++i) {
    const disk::Run run = read_run(bytes, i);
    for (uint32_t at = 0; at < run.length;) {
      const auto part = reader_.read(commit.position + (run.position + at),
                                     std::min<size_t>(run.length - at, SegmentReader::window_bytes));
      if (part.empty()) return false;
      std::memcpy(batch_.data() + filled, part.data(), part.size());
      filled += part.size();
      at += static_cast<uint32_t>(part.size());
    }
  }
  write_batch_front(entry, batch_.data());
  return true;
}

}  // namespace

bool Verified::damaged() const {
  const bool by_recovery = std::ranges::any_of(
      found, [](const Found& each) { return consequence_of(each.finding) == Consequence::read_only; });
  return by_recovery || !batches.empty() || !lost.empty();
}

bool Verified::unknown_version() const {
  return std::ranges::any_of(found, [](const Found& each) { return each.finding == Finding::slot_unknown_version; });
}

Verified verify(SegmentFiles& files, uint32_t lane, const BatchComplaint& complaint) {
  return Verify(files, complaint).run(lane);
}

Verified found_by_both(const Verified& earlier, Verified later) {
  const auto in = [](const auto& items, auto same) { return std::ranges::any_of(items, same); };
  std::erase_if(later.found, [&](const Found& a) {
    return !in(earlier.found, [&](const Found& b) {
      return a.finding == b.finding && a.slot == b.slot && a.segment == b.segment && a.begin == b.begin;
    });
  });
  std::erase_if(later.batches, [&](const DamagedBatch& a) {
    return !in(earlier.batches,
               [&](const DamagedBatch& b) { return a.slot == b.slot && a.commit == b.commit && a.begin == b.begin; });
  });
  std::vector<LostOffsets> lost;
  for (const LostOffsets& a : later.lost) {
    for (const LostOffsets& b : earlier.lost) {
      const Offset begin = std::max(a.begin, b.begin), end = std::min(a.end, b.end);
      if (a.partition == b.partition && begin < end) lost.push_back({a.partition, begin, end});
    }
  }
  later.lost = std::move(lost);
  return later;
}

}  // namespace penstock
