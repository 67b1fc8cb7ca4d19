#include "storage/dump.h"

#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <set>
#include <string>

#include "storage/recovery.h"
#include "storage/segment_scan.h"

namespace penstock {

namespace {

[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...) {
  char buffer[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

class Dump {
 public:
  Dump(SegmentFiles& files, const DumpOptions& options, const std::function<void(std::string_view)>& line)
      : files_(files), options_(options), line_(line), reader_(files) {}

  bool run() {
    for (uint32_t slot = 0; slot < files_.slot_count(); ++slot) dump_slot(SegmentSlot(slot));
    line_(text("%" PRIu64 " segments, %" PRIu64 " commits, %" PRIu64 " batches of %" PRIu64 " bytes, %zu partitions",
               segments_, commits_, batches_, batch_bytes_, partitions_.size()));
    return recovery_view();
  }

 private:
  void dump_slot(SegmentSlot slot);
  void dump_segment(const disk::SegmentHeader& header);
  void dump_commit(const Commit& commit);
  void dump_entry(const Commit& commit, const disk::EntryPrefix& prefix, std::span<const std::byte> bytes,
                  uint32_t ordinal);
  FilePosition skip_to_commit(const SegmentFrame& frame, FilePosition from);
  bool recovery_view();

  SegmentFiles& files_;
  const DumpOptions& options_;
  const std::function<void(std::string_view)>& line_;
  SegmentReader reader_;
  uint64_t segments_ = 0, commits_ = 0, batches_ = 0, batch_bytes_ = 0;
  std::set<uint64_t> partitions_;
};

void Dump::dump_slot(SegmentSlot slot) {
  reader_.open(slot);
  disk::SegmentHeader header;
  const auto say = [&](const char* what) { line_(text("slot %" PRIu32 ": %s", slot.value, what)); };
  switch (read_segment_header(reader_, header)) {
    case HeaderVerdict::absent:
      return say("too short for a segment header");
    case HeaderVerdict::zeros:
      return say("unused");
    case HeaderVerdict::garbage:
      return say("no segment header, or a damaged one");
    case HeaderVerdict::unknown_version:
      return say("a segment of an unknown format version");
    case HeaderVerdict::bad_geometry:
      return say("a segment header with impossible values");
    case HeaderVerdict::valid:
      return dump_segment(header);
  }
}

void Dump::dump_segment(const disk::SegmentHeader& header) {
  ++segments_;
  std::string head = text("slot %" PRIu32 ": segment %" PRIu64 " id %" PRIx64 " lane %" PRIu32 " term %" PRIu64
                          " block %" PRIu32 " bytes %" PRIu64,
                          reader_.slot().value, header.number.get(), header.segment_id.get(), header.lane.get(),
                          header.term.get(), header.block.get(), header.segment_bytes.get());
  if (header.predecessor_number == 0) {
    head += ", the first";
  } else {
    head += text(" after segment %" PRIu64 " id %" PRIx64 " (commit %" PRIu64 ", byte %" PRIu64 ")",
                 header.predecessor_number.get(), header.predecessor_id.get(), header.predecessor_sequence.get(),
                 header.predecessor_end.get());
  }
  line_(head);

  const uint64_t bytes = std::min<uint64_t>(header.segment_bytes, reader_.file_bytes());
  const SegmentFrame frame{.id = header.segment_id,
                           .term = header.term,
                           .block = header.block,
                           .end = FilePosition(round_down(bytes, header.block))};
  CommitSequence expected(header.predecessor_sequence + 1);
  uint64_t hash = header.predecessor_hash;
  Commit commit;
  for (FilePosition at(header.block.get());;) {
    const CommitVerdict verdict = read_commit(reader_, frame, at, commit);
    const bool follows = commit.sequence() == expected && commit.header.previous_hash == hash;
    if (verdict != CommitVerdict::valid || !follows) {
      const char* why =
          verdict == CommitVerdict::valid ? "a commit that does not follow the one before" : to_string(verdict);
      line_(text("  stopped at %" PRIu64 ": %s", at.value, why));
      if (verdict != CommitVerdict::valid) at = skip_to_commit(frame, at);
      if (at >= frame.end) return;
      read_commit(reader_, frame, at, commit);
      line_(text("  goes on at %" PRIu64 " with commit %" PRIu64 ", %" PRIu64 " was expected", at.value,
                 commit.sequence().value, expected.value));
    }
    dump_commit(commit);
    expected = commit.sequence() + 1;
    hash = commit.hash();
    at = commit.end();
  }
}

FilePosition Dump::skip_to_commit(const SegmentFrame& frame, FilePosition from) {
  Commit commit;
  for (FilePosition at = from + frame.block; at < frame.end; at += frame.block) {
    if (read_commit(reader_, frame, at, commit) == CommitVerdict::valid) return at;
  }
  return frame.end;
}

void Dump::dump_commit(const Commit& commit) {
  ++commits_;
  line_(text("  commit %" PRIu64 " at %" PRIu64 ": %" PRIu64 " bytes, %" PRIu32 " entries, durable %" PRIu64,
             commit.sequence().value, commit.position.value, commit.header.commit_bytes.get(),
             commit.header.entry_count.get(), commit.header.durable_sequence.get()));
  commit.each_entry([&](const disk::EntryPrefix& prefix, std::span<const std::byte> bytes, uint32_t ordinal) {
    dump_entry(commit, prefix, bytes, ordinal);
  });
}

void Dump::dump_entry(const Commit& commit, const disk::EntryPrefix& prefix, std::span<const std::byte> bytes,
                      uint32_t ordinal) {
  const auto kind = static_cast<disk::EntryKind>(prefix.kind.get());
  if (!is_batch(kind)) {
    if (!options_.verbose) return;
    if (kind == disk::EntryKind::log_start || kind == disk::EntryKind::partition_deleted) {
      const disk::Entry entry = read_entry(bytes);
      const char* name = kind == disk::EntryKind::log_start ? "log start" : "deleted";
      line_(text("    %" PRIu32 " %s partition %" PRIu64 " offset %" PRId64, ordinal, name, entry.partition.get(),
                 entry.base_offset.get()));
    } else {
      line_(text("    %" PRIu32 " kind %u, %" PRIu32 " bytes", ordinal, prefix.kind.get(), prefix.entry_bytes.get()));
    }
    return;
  }
  const disk::Entry entry = read_entry(bytes);
  ++batches_;
  batch_bytes_ += entry.batch_bytes;
  partitions_.insert(entry.partition);
  const bool damaged = options_.payload && !payload_matches(reader_, commit, bytes);
  if (!options_.verbose && !damaged) return;
  line_(text("    %" PRIu32 " %s partition %" PRIu64 " offsets %" PRId64 "-%" PRId64 " bytes %" PRIu32 " crc %08" PRIx32
             " time %" PRId64 " epoch %" PRId32 " producer %" PRId64 "/%d sequence %" PRId32 "%s",
             ordinal, kind == disk::EntryKind::batch ? "batch" : "carried batch", entry.partition.get(),
             entry.base_offset.get(), entry.base_offset + entry.last_offset_delta, entry.batch_bytes.get(),
             entry.batch_crc.get(), entry.max_timestamp.get(), entry.leader_epoch.get(), entry.producer_id.get(),
             entry.producer_epoch.get(), entry.base_sequence.get(),
             damaged ? ", DAMAGED: its bytes do not match" : ""));
  if (!options_.verbose) return;
  for (uint32_t i = 0; i < prefix.run_count; ++i) {
    const disk::Run run = read_run(bytes, i);
    line_(text("        run %" PRIu32 " %" PRIu32, run.position.get(), run.length.get()));
  }
}

// What a start would make of it, whatever the chain looked like above.
bool Dump::recovery_view() {
  LogIndex index(1024, 0, 1024);
  ProducerTable producers(1024);
  const RecoveryOptions options{
      .lane = options_.lane, .block = options_.block, .verify_sealed_payload = options_.payload};
  const RecoveredLog log = recover(files_, options, index, producers);
  if (options_.verbose) {
    for (const RecoveredPartition& partition : log.partitions) {
      line_(text("partition %" PRIu64 ": offsets %" PRId64 "-%" PRId64 ", leader epoch %" PRId32 "%s",
                 partition.number.value, partition.log_start.value, partition.next.value - 1, partition.leader_epoch,
                 partition.deleted ? ", deleted" : ""));
    }
  }
  const std::string report = log.report();
  for (size_t at = 0; at < report.size();) {
    const size_t end = report.find('\n', at);
    line_(std::string_view(report).substr(at, end - at));
    at = end + 1;
  }
  return !log.read_only;
}

}  // namespace

bool dump(SegmentFiles& files, const DumpOptions& options, const std::function<void(std::string_view)>& line) {
  return Dump(files, options, line).run();
}

}  // namespace penstock
