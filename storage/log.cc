#include "storage/log.h"

#include <algorithm>

#include "storage/log_impl.h"
#include "storage/recovery.h"

namespace penstock {
namespace {

// More segments than this at a time cost the table of them an allocation.
constexpr size_t segments_expected = 65'536;
// Notes waiting for room: deletions come one by one from the catalog.
constexpr size_t notes_expected = 1024;
// Index memory taken at start: for the open segment, the one before, whose footer is being written, and their successor,
// which has commits in flight before the footer is durable.
constexpr uint32_t index_segments_ahead = 3;

}  // namespace

Log::Impl::Recovered Log::Impl::read_files(const LogConfig& config, const DriveUnits& units, SegmentFiles& files) {
  Recovered found{.log = {},
                  .index = LogIndex(static_cast<uint32_t>(limits::index_entries_max(config.segment_bytes)),
                                    index_segments_ahead, config.partitions_max),
                  .producers = ProducerTable(config.producers_max)};
  found.log =
      recover(files, {.lane = config.lane, .block = units.block, .use_footers = true}, found.index, found.producers);
  if (!found.log.segments.empty()) found.newest = found.log.segments.back().number;
  found.empty = take_empty_newest(found.log, config.segment_bytes, found.index);
  return found;
}

// A start that ended before it had a commit leaves a segment with nothing in it. It is no part of the log any more: on a
// full drive its slot may be the only one for the next segment. Until that one is begun the next start finds the same.
std::optional<SegmentSlot> Log::Impl::take_empty_newest(RecoveredLog& log, uint64_t segment_bytes, LogIndex& index) {
  if (log.read_only || log.segments.size() < 2) return std::nullopt;
  const RecoveredSegment newest = log.segments.back();
  const RecoveredSegment& before = log.segments[log.segments.size() - 2];
  if (newest.last_sequence != before.last_sequence || newest.bytes != segment_bytes) return std::nullopt;
  log.segments.pop_back();
  index.truncate(log.segments.back().number, FilePosition(UINT64_MAX));
  return newest.slot;
}

// Slots whose header has to be zeroed come later.
std::vector<SlotUse> Log::Impl::usable(const RecoveredLog& log) {
  std::vector<SlotUse> slots = log.slots;
  for (const SegmentSlot slot : log.void_slots) slots[slot.value] = SlotUse::keep;
  return slots;
}

// The newest timestamp in what was written last.
Milliseconds Log::Impl::newest_timestamp(const RecoveredLog& log) {
  for (auto segment = log.segments.rbegin(); segment != log.segments.rend(); ++segment) {
    if (segment->max_timestamp >= 0) return segment->max_timestamp;
  }
  return -1;
}

LogEnd Log::Impl::end_of(const Recovered& found) {
  const RecoveredLog& log = found.log;
  LogEnd end;
  end.term = log.term_highest;
  if (log.segments.empty()) return end;
  const RecoveredSegment& last = log.segments.back();
  end.segment = last.number;
  end.segment_last = found.newest;
  end.empty = found.empty;
  end.slot = last.slot;
  end.segment_id = last.id;
  end.position = last.end;
  end.sequence = last.last_sequence;
  end.hash = last.last_hash;
  return end;
}

Log::Impl::Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& log_memory, SegmentFiles& files)
    : Impl(config, units, log_memory, read_files(config, units, files)) {}

Log::Impl::Impl(const LogConfig& config, const DriveUnits& units, const LogMemory& log_memory, Recovered found)
    : memory(log_memory),
      segment_bytes(config.segment_bytes),
      report(found.log.report()),
      partitions(config.partitions_max),
      advanced(config.partitions_max),
      index(std::move(found.index)),
      sealed(units, log_memory, config.footer_cache_bytes, &statistics),
      producers(std::move(found.producers)),
      writer(config, units, log_memory, end_of(found), usable(found.log), found.log.read_only, &statistics),
      resident(units, log_memory.arena, log_memory.buffers, *log_memory.allocator, config.resident_bytes_max),
      reader(units, log_memory, config.read_bytes_max, &statistics),
      footer(config, units, log_memory, &statistics),
      interval_ns(config.retention_interval_ns),
      clock(newest_timestamp(found.log)) {
  for (const RecoveredPartition& partition : found.log.partitions) {
    closed.emplace_hint(closed.end(), partition.number, partition);
  }
  notes.reserve(notes_expected);
  segments.reserve(segments_expected);
  for (const RecoveredSegment& segment : found.log.segments) {
    remember_slot(segment.number, segment.slot, segment.bytes != config.segment_bytes, segment.unknown_entries);
    indexed_segment = segment.number;
    if (segment.footer) sealed.add(*segment.footer);
  }
  count_index();
  for (const SegmentSlot slot : found.log.void_slots) writer.discard(slot);
  for (const SegmentSlot slot : found.log.blank_slots) writer.found_blank(slot);
  producers.durable_up_to(writer.durable());
}

Log::Log(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, SegmentFiles& files)
    : impl_(std::make_unique<Impl>(config, units, memory, files)) {}

Log::~Log() = default;

LogState Log::state() const { return impl_->writer.state(); }

LogTrouble Log::trouble() const { return impl_->writer.trouble(); }

std::string Log::recovery_report() const { return impl_->report; }

uint64_t Log::batch_bytes_max() const { return impl_->writer.batch_bytes_max(); }

void Log::open_partition(PartitionSlot slot, PartitionNumber number, int32_t leader_epoch) {
  check(slot.value < impl_->partitions.size(), "more partitions than partitions_max", slot.value,
        static_cast<long long>(impl_->partitions.size()));
  Impl::Partition& partition = impl_->partitions[slot.value];
  PartitionState& state = partition.state;
  if (state.open) {
    check(state.number == number, "the slot of an open partition is another's", static_cast<long long>(number.value),
          static_cast<long long>(state.number.value));
    state.leader_epoch = leader_epoch;
    return;
  }
  partition = Impl::Partition{.state = {.number = number, .open = true, .leader_epoch = leader_epoch},
                              .advanced = partition.advanced};
  impl_->slots_end = std::max(impl_->slots_end, slot.value + 1);
  impl_->by_number.emplace(number, slot);
  const auto known = impl_->closed.extract(number);
  if (known.empty()) return;
  const RecoveredPartition& found = known.mapped();
  // Of one that was deleted nothing can be read, whatever is still there.
  state.log_start = found.deleted ? found.next : found.log_start;
  partition.start_wanted = partition.start_appended = state.log_start;
  partition.newest_segment = found.newest_segment;
  partition.max_timestamp = found.max_timestamp;
  partition.bytes = found.bytes;
  state.durable = state.appended = found.next;
}

void Log::Impl::count_index() {
  statistics.index_bytes = index.bytes() + sealed.bytes();
}

void Log::delete_partition(PartitionSlot slot) {
  Impl::Partition* partition = impl_->find(slot);
  if (partition == nullptr) return;
  PartitionState& state = partition->state;
  state.open = false;
  const PartitionNumber number = state.number;
  impl_->by_number.erase(number);
  if (partition->newest_segment != SegmentNumber{}) {
    impl_->closed.emplace(number, RecoveredPartition{.number = number,
                                                     .log_start = state.log_start,
                                                     .next = state.durable,
                                                     .leader_epoch = state.leader_epoch,
                                                     .deleted = true,
                                                     .newest_segment = partition->newest_segment,
                                                     .max_timestamp = partition->max_timestamp,
                                                     .bytes = partition->bytes});
  }
  impl_->index.drop_partition(number);
  impl_->producers.drop_partition(number);
  impl_->notes.push_back(Impl::Note{disk::EntryKind::partition_deleted, number, {}});
  impl_->write_notes();
}

PartitionState* Log::partition(PartitionSlot slot) {
  Impl::Partition* partition = impl_->find(slot);
  return partition == nullptr ? nullptr : &partition->state;
}

bool Log::drained() const {
  const bool notes_wait = !impl_->notes.empty() && impl_->writer.state() != LogState::read_only;
  // A footer under way is finished, where anything can be written.
  const bool footer_waits = impl_->footer.in_flight() || (!impl_->footer.idle() && impl_->writer.healthy());
  return impl_->writer.drained() && impl_->reader.idle() && impl_->sealed.cache().idle() && !footer_waits && !notes_wait;
}

void Log::release_all() {
  check(drained(), "log released before it was drained");
  impl_->resident.shed_received(UINT64_MAX);
  impl_->reader.release_all();
  impl_->sealed.cache().release_all();
  impl_->footer.release_all();
  impl_->writer.release_all();
  impl_->statistics.resident_bytes = impl_->resident.bytes();
}

void Log::shed_resident(uint64_t bytes) {
  if (bytes == UINT64_MAX) impl_->reader.shed(bytes);
  impl_->resident.shed_received(bytes);
  impl_->statistics.resident_bytes = impl_->resident.bytes();
}

// Somebody found no memory: what is only kept in case it is asked for gives way, and is there in the next round.
void Log::Impl::make_room() {
  const uint64_t wanted = memory.allocator->take_refused();
  if (wanted == 0) return;
  const uint64_t from_reads = reader.shed(wanted);
  if (from_reads < wanted) resident.shed_own(wanted - from_reads);
  statistics.resident_bytes = resident.bytes();
}

bool Log::Impl::room_comes() const {
  if (memory.allocator->refused_bytes() == 0) return false;  // it was not memory
  return !memory.buffers->released().empty() || resident.own_bytes() > 0 || reader.can_shed();
}

const LogStatistics& Log::statistics() const { return impl_->statistics; }

}  // namespace penstock
