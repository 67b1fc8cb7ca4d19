#include "storage/writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/base/mutation.h"
#include "storage/crc/crc32c.h"
#include "storage/writer_parts.h"

namespace penstock {

LogWriter::LogWriter(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, const LogEnd& end,
                     const std::vector<SlotUse>& slots, bool read_only, LogStatistics* statistics)
    : config_(config),
      units_(units),
      memory_(memory),
      statistics_(statistics),
      term_(end.term + 1),
      random_state_(config.random_seed ^ (uint64_t{config.lane} << 32) ^ (term_ * 0x9e3779b97f4a7c15)),
      index_entries_max_(limits::index_entries_max(config.segment_bytes)),
      mode_(read_only ? Mode::read_only : Mode::starting),
      given_up_for_(read_only ? LogTrouble::damaged : LogTrouble::none),
      recover_until_(end.sequence),
      spares_(config.spare_segments),
      found_empty_(end.empty),
      segments_(limits::commits_max(units) + 2),
      segment_last_(std::max(end.segment, end.segment_last)),
      placed_hash_(end.hash),
      durable_end_{.position = end.position, .hash = end.hash},
      taken_(end.sequence),
      next_submit_(end.sequence + 1),
      next_place_(end.sequence + 1),
      open_(end.sequence + 1),
      prefix_(limits::commits_max(units), end.sequence),
      first_flush_wanted_(end.segment != SegmentNumber{} && !mutated(Mutation::start_without_flush)) {
  check(config.segment_bytes % units.block == 0 && config.segment_bytes >= limits::segment_bytes_min(units),
        "segment size: whole blocks, and room for a few commits", static_cast<long long>(config.segment_bytes),
        static_cast<long long>(limits::segment_bytes_min(units)));
  // The zero area and the segment header are the lane's for as long as the log is there.
  const uint8_t order = BufferAllocator::order_for(2 * uint64_t{std::max(units.block, arena_unit_bytes)});
  control_buffer_ = memory.allocator->allocate(order);
  check(control_buffer_ != no_buffer, "no memory for the log's own blocks");
  memory.buffers->open(control_buffer_, order, Holder::commit);
  const uint64_t half = memory.buffers->bytes(control_buffer_) / 2;
  zeros_ = ZeroArea{memory.arena.at(control_buffer_), static_cast<uint32_t>(half)};
  header_block_ = zeros_.data + half;
  std::memset(zeros_.data, 0, 2 * half);

  for (uint32_t i = 0; i < limits::commits_max(units); ++i) {
    records_.push_back(std::make_unique<Record>(units, memory, zeros_));
  }
  for (uint32_t i = 0; i < units.inflight_writes_max; ++i)
    writes_.push_back(std::make_unique<Write>(units.vectors_max));
  spares_.begin(slots);

  // What was found open is never appended to: the first segment of this start follows it.
  Segment found;
  found.number = end.segment;
  found.slot = end.slot;
  found.id = end.segment_id;
  found.end = end.position;
  found.sealed = !mutated(Mutation::append_to_open_segment) || end.segment == SegmentNumber{};
  found.header = Segment::Header::durable;
  segments_.push_back(found);
}

LogWriter::~LogWriter() = default;

LogState LogWriter::state() const {
  if (mode_ == Mode::read_only) return LogState::read_only;
  if (space_refused_ && !spares_.available(reserve_used_ ? SpareSlots::Need::rewrite : SpareSlots::Need::roll)) {
    return LogState::read_only;
  }
  if (mode_ == Mode::starting) {
    // Nothing to go on in, but what was found can be read.
    return stuck_at_start() && last_room() ? LogState::read_only : LogState::starting;
  }
  if (mode_ == Mode::writable && last_room()) return LogState::read_only;
  return failing_ || mode_ == Mode::recovering ? LogState::recovering : LogState::writable;
}

LogTrouble LogWriter::trouble() const {
  if (mode_ == Mode::read_only) return given_up_for_;
  if (failing_ || mode_ == Mode::recovering) return LogTrouble::rewriting;
  return short_of_space() ? LogTrouble::no_space : LogTrouble::none;
}

const DriveRequest* LogWriter::next_request(Nanoseconds now) {
  offered_write_ = nullptr;
  if (mode_ == Mode::read_only) return nullptr;
  if (!failing_) {
    place_waiting();
    if (const DriveRequest* request = header_request()) return request;
    if (const DriveRequest* request = write_request()) return request;
    if (const DriveRequest* request = flush_request()) return request;
  }
  if (const DriveRequest* request = recycle_request(now)) return request;
  return prepare_request(now);
}

// ---- what to send ----

// The header of the segment after the front one, once all commits of the front one are durable.
const DriveRequest* LogWriter::header_request() {
  if (segments_.size() < 2 || first_flush_wanted_ || first_flush_) return nullptr;
  const Segment& segment = segments_[segments_.begin() + 1];
  if (segment.header != Segment::Header::waiting || taken_ < segment.predecessor_sequence) return nullptr;
  auto& header = *new (header_block_) disk::SegmentHeader{};
  header.magic = disk::segment_magic;
  header.version = disk::format_version;
  header.lane = config_.lane;
  header.block = units_.block;
  header.segment_bytes = config_.segment_bytes;
  header.number = segment.number.value;
  header.segment_id = segment.id;
  header.term = term_;
  header.predecessor_number = segment.predecessor.value;
  header.predecessor_id = segment.predecessor_id;
  header.predecessor_sequence = segment.predecessor_sequence.value;
  header.predecessor_hash = segment.predecessor_hash;
  header.predecessor_end = segment.predecessor_end.value;
  header.durable_sequence = segment.predecessor_sequence.value;
  header.crc = crc32c(0, header_block_ + disk::crc_from, sizeof header - disk::crc_from);
  header_vector_ = iovec{header_block_, units_.block};
  request_ = DriveRequest{.op = DriveOp::write,
                          .durable = true,
                          .slot = segment.slot,
                          .position = FilePosition(0),
                          .vectors = {&header_vector_, 1},
                          .tag = RequestTag{RequestKind::segment_header}.pack()};
  return &request_;
}

const DriveRequest* LogWriter::write_request() {
  Write* write = nullptr;
  for (const auto& each : writes_) {
    if (each->state == Write::State::to_resume) {
      write = each.get();
      break;
    }
    if (each->state == Write::State::idle) write = each.get();
  }
  if (write == nullptr) return nullptr;
  if (write->state == Write::State::idle) {
    // There is no linger: what is open goes when the drive has room.
    const OutgoingCommit& open = record(open_).commit;
    const bool may_close = mode_ == Mode::writable && next_submit_ == open_ && open.is_open() && !open.empty();
    if (may_close && !open.staged() && has_room(open.closed_bytes())) close_open();
    if (next_submit_ >= next_place_) return nullptr;
    const Record& next = record(next_submit_);
    if (next.submitted == 0 && !has_room(next.commit.bytes())) return nullptr;
    write->sequence = next_submit_;
    write->from = next.submitted;
    write->length = next.commit.bytes() - next.submitted;
    // Alone: O_DSYNC. In company: a flush for all.
    write->durable = inflight_writes_ == 0 && write->sequence == taken_ + 1 &&
                     !mutated(Mutation::acknowledge_before_flush);
    write->retries = 0;
  }
  const Record& of = record(write->sequence);
  size_t count = 0;
  const uint64_t covered =
      of.commit.write_from(write->from, write->length, {write->vectors.get(), units_.vectors_max}, &count);
  if (write->state == Write::State::idle) write->length = write->whole = covered;
  request_ = DriveRequest{.op = DriveOp::write,
                          .durable = write->durable,
                          .slot = of.slot,
                          .position = of.position + write->from,
                          .vectors = {write->vectors.get(), count},
                          .tag = 0};
  offered_write_ = write;
  const auto at = std::find_if(writes_.begin(), writes_.end(), [&](const auto& each) { return each.get() == write; });
  request_.tag = RequestTag{RequestKind::write, static_cast<uint32_t>(at - writes_.begin())}.pack();
  return &request_;
}

bool LogWriter::has_room(uint64_t bytes) const {
  return inflight_writes_ == 0 ||
         (inflight_writes_ < units_.inflight_writes_max && inflight_bytes_ + bytes <= units_.inflight_bytes_max);
}

const DriveRequest* LogWriter::flush_request() {
  if (flush_in_flight_ || (!first_flush_wanted_ && !prefix_.wants_flush())) return nullptr;
  request_ = DriveRequest{.op = DriveOp::flush,
                          .slot = first_flush_wanted_ ? segments_.front().slot : prefix_.flush_file(),
                          .tag = RequestTag{RequestKind::flush}.pack()};
  return &request_;
}

const DriveRequest* LogWriter::prepare_request(Nanoseconds now) {
  const std::optional<SegmentSlot> slot = spares_.wanted(now);
  if (!slot) return nullptr;
  request_ = DriveRequest{.op = DriveOp::prepare, .slot = *slot, .tag = RequestTag{RequestKind::prepare}.pack()};
  return &request_;
}

// Zeros over the header, durably: from then on nothing in the slot counts, and any of it may be overwritten.
const DriveRequest* LogWriter::recycle_request(Nanoseconds now) {
  if (!recycling_ && !void_slots_.empty()) {
    recycling_ = Recycling{.slot = void_slots_.back(), .anew = true};
    void_slots_.pop_back();
  }
  if (!recycling_ || recycling_->in_flight || now < recycling_->not_before) return nullptr;
  recycle_vector_ = iovec{zeros_.data, units_.block};
  request_ = DriveRequest{.op = DriveOp::write,
                          .durable = true,
                          .slot = recycling_->slot,
                          .position = FilePosition(0),
                          .vectors = {&recycle_vector_, 1},
                          .tag = RequestTag{RequestKind::recycle}.pack()};
  return &request_;
}

void LogWriter::recycle(SegmentSlot slot, bool anew) {
  check(!recycling_, "one segment is released at a time", slot.value);
  if (mutated(Mutation::recycle_without_zeroing)) return spares_.recycled(slot);
  recycling_ = Recycling{.slot = slot, .anew = anew};
}

bool LogWriter::discard_found_blank() {
  if (blank_slots_.empty()) return false;
  if (spares_.take_back(blank_slots_.back())) {
    discard(blank_slots_.back());
    blank_slots_.pop_back();
  }  // else it is being prepared
  return true;
}

void LogWriter::submitted() {
  const RequestTag tag = RequestTag::unpack(request_.tag);
  switch (tag.kind) {
    case RequestKind::write: {
      Write& write = *writes_[tag.index];
      check(offered_write_ == &write, "submitted without a request", tag.index);
      if (write.state == Write::State::idle) {
        Record& of = record(write.sequence);
        of.submitted += write.length;
        of.all_durable = of.all_durable && write.durable;
        if (of.submitted == of.commit.bytes()) next_submit_ += 1;
        ++inflight_writes_;
        inflight_bytes_ += write.length;
        statistics_->inflight_bytes = inflight_bytes_;
        if (mutated(Mutation::release_before_completion)) {
          for (const BufferIndex buffer : of.commit.held_buffers()) memory_.buffers->release(buffer, Holder::commit);
        }
      }
      write.state = Write::State::in_flight;
      offered_write_ = nullptr;
      break;
    }
    case RequestKind::segment_header:
      segments_[segments_.begin() + 1].header = Segment::Header::in_flight;
      break;
    case RequestKind::flush:
      if (first_flush_wanted_) {
        first_flush_wanted_ = false;
        first_flush_ = true;
      } else {
        prefix_.flush_submitted();
      }
      flush_in_flight_ = true;
      break;
    case RequestKind::prepare:
      spares_.preparing(request_.slot);
      break;
    case RequestKind::recycle:
      recycling_->in_flight = true;
      break;
    case RequestKind::read:
    case RequestKind::footer:
    case RequestKind::footer_read:
      check(false, "not the writer's request");
  }
}

// ---- what came back ----

void LogWriter::completed(RequestTag tag, int64_t result, Nanoseconds now) {
  switch (tag.kind) {
    case RequestKind::write:
      write_completed(*writes_[tag.index], result);
      break;
    case RequestKind::segment_header:
      header_completed(result);
      break;
    case RequestKind::flush:
      flush_completed(result);
      break;
    case RequestKind::prepare:
      if (result >= 0) std::erase(blank_slots_, spares_.current());
      spares_.prepared(result, now);
      if (result < 0 && found_empty_ && !spares_.available(SpareSlots::Need::rewrite)) {
        spares_.recycled(*std::exchange(found_empty_, std::nullopt));
      }
      if (result >= 0) ++statistics_->slots_prepared;
      statistics_->space_error = result < 0 ? static_cast<uint64_t>(-result) : 0;
      // Rewriting needs a segment now: a drive that gives none has failed a second time.
      if (result < 0 && mode_ == Mode::recovering && segments_.back().sealed &&
          !spares_.available(SpareSlots::Need::rewrite)) {
        fail(result);
      }
      break;
    case RequestKind::recycle:
      recycle_completed(result, now);
      break;
    case RequestKind::read:
    case RequestKind::footer:
    case RequestKind::footer_read:
      check(false, "not the writer's request");
  }
}

void LogWriter::write_completed(Write& write, int64_t result) {
  check(write.state == Write::State::in_flight, "completion of a write that is not in flight");
  if (result > 0) statistics_->written_bytes += static_cast<uint64_t>(result);
  const bool interrupted = result == -EINTR || result == -EAGAIN;
  const bool all = result == static_cast<int64_t>(write.length);
  const bool part = result >= 0 && result < static_cast<int64_t>(write.length);
  if (!failing_ && (part || interrupted)) {
    // Resumed where it stopped, at a whole block; what is written twice is the same.
    const uint64_t progress = round_down(part ? static_cast<uint64_t>(result) : 0, units_.block);
    write.from += progress;
    write.length -= progress;
    write.retries = progress > 0 ? 0 : write.retries + 1;
    if (write.retries <= limits::write_retries_max) {
      write.state = Write::State::to_resume;
      return;
    }
  }
  write.state = Write::State::idle;
  --inflight_writes_;
  inflight_bytes_ -= write.whole;
  statistics_->inflight_bytes = inflight_bytes_;
  if (!all && !mutated(Mutation::ignore_write_error)) return fail(result);
  ++statistics_->writes;
  Record& of = record(write.sequence);
  of.written += write.whole;
  if (of.written == of.commit.bytes()) prefix_.written(write.sequence, of.all_durable);
}

void LogWriter::header_completed(int64_t result) {
  Segment& segment = segments_[segments_.begin() + 1];
  check(segment.header == Segment::Header::in_flight, "completion of a segment header that is not in flight");
  if (result > 0) statistics_->written_bytes += static_cast<uint64_t>(result);
  if (result != static_cast<int64_t>(units_.block)) {
    segment.header = Segment::Header::waiting;
    if (!try_again(result < 0 ? result : -EAGAIN)) fail(result);
    return;
  }
  retries_ = 0;
  ++statistics_->writes;
  check(taken_ == segment.predecessor_sequence, "segment header before its predecessor's commits",
        static_cast<long long>(taken_.value), static_cast<long long>(segment.predecessor_sequence.value));
  segment.header = Segment::Header::durable;
  durable_end_ = DurableEnd{FilePosition(units_.block), segment.predecessor_hash};
  const Segment& sealed = segments_.front();
  if (sealed.number != SegmentNumber{}) {
    sealed_ = SegmentEnd{.number = sealed.number,
                         .slot = sealed.slot,
                         .id = sealed.id,
                         .position = segment.predecessor_end,
                         .sequence = segment.predecessor_sequence,
                         .hash = segment.predecessor_hash};
  }
  segments_.pop_front();
}

void LogWriter::flush_completed(int64_t result) {
  check(flush_in_flight_, "completion of a flush that is not in flight");
  flush_in_flight_ = false;
  const bool first = first_flush_;
  first_flush_ = false;
  if (result >= 0) {
    retries_ = 0;
    ++statistics_->flushes;
    if (!first) prefix_.flush_finished();
    return;
  }
  const bool again = try_again(result) || mutated(Mutation::believe_second_flush);
  if (first) {
    // A flush that failed says nothing of what it should have covered, and neither does the next one that succeeds.
    // What recovery found can't be rewritten from memory as later commits can: it is shown, and nothing follows it.
    first_flush_wanted_ = again;
    if (again) return;
    note_error(result);
    mode_ = Mode::read_only;
    given_up_for_ = LogTrouble::found_unflushed;
    return;
  }
  prefix_.flush_interrupted();
  if (!again) fail(result);
}

// Until it succeeds the slot holds a segment, which recovery would find: it stays out of use, and nothing newer is
// released before it.
void LogWriter::recycle_completed(int64_t result, Nanoseconds now) {
  check(recycling_ && recycling_->in_flight, "completion of a recycling that is not in flight");
  if (result > 0) statistics_->written_bytes += static_cast<uint64_t>(result);
  if (result == static_cast<int64_t>(units_.block)) {
    ++statistics_->writes;
    if (recycling_->anew) {
      spares_.give_back(recycling_->slot);
    } else {
      ++statistics_->slots_recycled;
      spares_.recycled(recycling_->slot);
    }
    recycling_.reset();
    return;
  }
  recycling_->in_flight = false;
  if (result >= 0 || result == -EINTR || result == -EAGAIN) return;
  note_error(result);
  recycling_->not_before = now + limits::prepare_retry_ns;
}

// Interrupted, and not too often in a row.
bool LogWriter::try_again(int64_t result) {
  return (result == -EINTR || result == -EAGAIN) && ++retries_ <= limits::write_retries_max;
}

// Nothing is sent from here on; what waited to be resumed is done with.
void LogWriter::fail(int64_t result) {
  failing_ = true;
  retries_ = 0;
  note_error(result);
  for (const auto& write : writes_) {
    if (write->state != Write::State::to_resume) continue;
    write->state = Write::State::idle;
    --inflight_writes_;
    inflight_bytes_ -= write->whole;
  }
  statistics_->inflight_bytes = inflight_bytes_;
}

// What stays short is an error like any other.
void LogWriter::note_error(int64_t result) {
  ++statistics_->write_errors;
  statistics_->drive_error = static_cast<uint64_t>(result < 0 ? -result : EIO);
}

// ---- what is durable ----

// Commits behind a segment header that is not durable do not count yet.
CommitSequence LogWriter::counted() const {
  const CommitSequence durable = prefix_.durable();
  return segments_.size() < 2 ? durable : std::min(durable, segments_[segments_.begin() + 1].predecessor_sequence);
}

const LogWriter::Durable* LogWriter::next_durable() {
  if (taken_ >= counted()) return nullptr;
  Record& next = record(taken_ + 1);
  durable_ = Durable{.commit = &next.commit,
                     .partitions = next.partitions.all(),
                     .sequence = taken_ + 1,
                     .segment = next.segment,
                     .slot = next.slot,
                     .position = next.position};
  durable_end_ = DurableEnd{next.position + next.commit.bytes(), next.hash};
  return &durable_;
}

void LogWriter::durable_taken() {
  Record& next = record(taken_ + 1);
  check(next.commit.held_buffers().empty(), "a durable commit's references were not passed on");
  next.partitions.clear();
  taken_ += 1;
  ++statistics_->commits;
}

bool LogWriter::settle() {
  if (failing_ && !in_flight()) {
    failing_ = false;
    if (mode_ == Mode::recovering) {
      give_up();
      return true;
    }
    if (mode_ != Mode::read_only) rewrite_on_fresh_segment();
  }
  // Started, or recovered: the fresh segment counts, and everything that had to be rewritten is durable.
  const bool fresh_counts = segments_.size() == 1 && !segments_.front().sealed;
  const bool waiting = mode_ == Mode::starting || mode_ == Mode::recovering;
  if (waiting && fresh_counts && !failing_ && taken_ >= recover_until_) {
    mode_ = Mode::writable;
    if (found_empty_) discard(*std::exchange(found_empty_, std::nullopt));
  }
  return false;
}

bool LogWriter::in_flight() const {
  const bool header = segments_.size() > 1 && segments_[segments_.begin() + 1].header == Segment::Header::in_flight;
  return inflight_writes_ > 0 || flush_in_flight_ || header;
}

// The segment ends at the durable end. What comes after it is placed again, completed or not: a completed commit behind
// a hole is out of recovery's reach.
void LogWriter::rewrite_on_fresh_segment() {
  mode_ = Mode::recovering;
  recover_until_ = open_ - 1;
  while (segments_.size() > 1) {
    discard(segments_.back().slot);
    segments_.pop_back();
  }
  segments_.front().sealed = true;
  segments_.front().end = durable_end_.position;
  placed_hash_ = durable_end_.hash;
  prefix_.restart(taken_);
  next_submit_ = next_place_ = taken_ + 1;
}

void LogWriter::give_up() {
  mode_ = Mode::read_only;
  given_up_for_ = LogTrouble::write_failed;
  prefix_.restart(taken_);
  for (CommitSequence sequence = taken_ + 1; sequence <= open_; sequence += 1) {
    Record& lost = record(sequence);
    if (sequence == open_ && !lost.commit.is_open()) break;
    if (!lost.commit.empty()) lost_up_to_ = sequence;
    lost.commit.release();
    lost.partitions.clear();
  }
  open_ = next_submit_ = next_place_ = std::max(lost_up_to_, taken_) + 1;
}

// A copied batch with its header and padding, alone in a segment.
uint64_t LogWriter::batch_bytes_max() const {
  const uint64_t around = 2 * uint64_t{arena_unit_bytes} + 2 * uint64_t{units_.block};
  return std::min(limits::batch_bytes_max, config_.segment_bytes - units_.block - around);
}

Nanoseconds LogWriter::next_deadline() const {
  if (mode_ == Mode::read_only) return never_ns;
  const bool rests = recycling_ && !recycling_->in_flight;
  return std::min(spares_.next_deadline(), rests ? recycling_->not_before : never_ns);
}

bool LogWriter::drained() const {
  if (in_flight() || failing_ || spares_.is_preparing() || (recycling_ && recycling_->in_flight)) return false;
  if (mode_ == Mode::read_only) return true;  // what was open or closed was given up
  const OutgoingCommit& open = records_[open_.value % records_.size()]->commit;
  return taken_ + 1 == open_ && !(open.is_open() && !open.empty());
}

void LogWriter::release_all() {
  check(drained(), "log released before it was drained");
  if (record(open_).commit.is_open()) record(open_).commit.release();
  if (control_buffer_ != no_buffer) memory_.buffers->release(control_buffer_, Holder::commit);
  control_buffer_ = no_buffer;
  mode_ = Mode::read_only;
}

// splitmix64, never 0.
uint64_t LogWriter::random() {
  uint64_t x = random_state_ += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  x ^= x >> 31;
  return x != 0 ? x : random();
}

}  // namespace penstock
