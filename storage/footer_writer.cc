#include "storage/footer_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/base/mutation.h"
#include "storage/crc/crc32c.h"
#include "storage/limits.h"
#include "storage/request_tag.h"

namespace penstock {

using disk::FooterSection;

FooterWriter::FooterWriter(const LogConfig& config, const DriveUnits& units, const LogMemory& memory,
                           LogStatistics* statistics)
    : segment_bytes_(config.segment_bytes),
      drive_block_(units.block),
      block_bytes_(limits::footer_block_bytes(units.block)),
      memory_(memory),
      statistics_(statistics) {
  const uint8_t order = BufferAllocator::order_for(block_bytes_);
  buffer_ = memory.allocator->allocate(order);
  check(buffer_ != no_buffer, "no memory for footers");
  memory.buffers->open(buffer_, order, Holder::commit);
  data_ = memory.arena.at(buffer_);
  keys_.reserve(footer_blocks(FooterSection::partitions, config.partitions_max, block_bytes_) +
                footer_blocks(FooterSection::batches, limits::index_entries_max(config.segment_bytes), block_bytes_));
}

bool FooterWriter::begin(const SegmentEnd& end, const FooterRows& rows, Milliseconds max_timestamp) {
  check(idle(), "a footer is written already", static_cast<long long>(end_.number.value));
  const bool fits = end.position.value % drive_block_ == 0 && end.position.value < segment_bytes_ &&
                    footer_bytes(rows, block_bytes_, drive_block_) <= segment_bytes_ - end.position.value;
  if (!fits) return false;
  erasing_ = false;
  end_ = end;
  head_ = {};
  head_.max_timestamp = max_timestamp;
  keys_.clear();
  next_key_ = {};
  at_ = FilePosition(round_up(end.position.value + round_up(sizeof head_, drive_block_), footer_align(drive_block_)));
  section_ = 0;
  head_.sections[0].position = at_.value;
  block_number_ = block_rows_ = 0;
  used_ = sizeof(disk::FooterBlock);
  retries_ = 0;
  state_ = State::filling;
  return true;
}

bool FooterWriter::erase(const SealedSegment& segment) {
  check(idle(), "a footer is erased while one is written", static_cast<long long>(end_.number.value));
  at_ = FilePosition(uint64_t{segment.end_sector} * SealedSegment::sector_bytes);
  if (at_.value % drive_block_ != 0) return false;
  end_ = {.number = segment.number, .slot = segment.slot};
  length_ = drive_block_;
  std::memset(data_, 0, length_);
  retries_ = 0;
  erasing_ = true;
  state_ = State::head;
  return true;
}

void FooterWriter::put(const void* row, size_t bytes) {
  check(takes_rows() && bytes == footer_row_bytes[section_], "a footer's row at the wrong time", section_,
        static_cast<long long>(bytes));
  note_key(row);
  std::memcpy(data_ + used_, row, bytes);
  used_ += bytes;
  disk::FooterHead::Section& here = head_.sections[section_];
  here.row_count = here.row_count + 1;
  if (++block_rows_ == footer_rows_per_block(section(), block_bytes_)) send_block();
}

void FooterWriter::note_key(const void* row) {
  if (section() == FooterSection::partitions && block_rows_ == 0) {
    const auto& partition = *static_cast<const disk::FooterPartition*>(row);
    keys_.push_back({.partition = partition.partition, .base_offset = 0, .max_timestamp = -1});
  }
  if (section() != FooterSection::batches) return;
  const auto& batch = *static_cast<const disk::FooterBatch*>(row);
  if (next_key_.partition != batch.partition) next_key_.max_timestamp = -1;
  next_key_.partition = batch.partition;
  next_key_.base_offset = batch.base_offset;
  if (block_rows_ == 0) keys_.push_back(next_key_);
  next_key_.max_timestamp = std::max<int64_t>(next_key_.max_timestamp, batch.max_timestamp);
}

void FooterWriter::end_section() {
  check(takes_rows(), "a footer's section ends at the wrong time", section_);
  // What is in memory goes under its own section's name, wherever the next one begins.
  const bool partial = block_rows_ > 0;
  if (partial) send_block();
  ++section_;
  block_number_ = 0;
  head_.sections[section_].position = at_.value + (partial ? length_ : 0);
  if (!partial && section() == FooterSection::keys) fill_keys();
}

// The next block of them; behind the last one the flush.
void FooterWriter::fill_keys() {
  disk::FooterHead::Section& here = head_.sections[section_];
  const uint64_t left = keys_.size() - here.row_count;
  if (left == 0) {
    if (mutated(Mutation::footer_head_first)) return send_head();
    state_ = State::flush;
    return;
  }
  const auto rows = std::min<uint64_t>(left, footer_rows_per_block(FooterSection::keys, block_bytes_));
  std::memcpy(data_ + used_, keys_.data() + here.row_count, rows * sizeof(disk::FooterKey));
  used_ += rows * sizeof(disk::FooterKey);
  here.row_count = here.row_count + rows;
  block_rows_ = static_cast<uint32_t>(rows);
  send_block();
}

void FooterWriter::send_block() {
  auto& block = *new (data_) disk::FooterBlock{};
  block.magic = disk::footer_block_magic;
  block.section = static_cast<uint8_t>(section_);
  block.number = block_number_++;
  block.row_count = block_rows_;
  block.segment_id = end_.id;
  block.crc = crc32c(0, data_ + disk::crc_from, used_ - disk::crc_from);
  const bool full = block_rows_ == footer_rows_per_block(section(), block_bytes_);
  length_ = full ? block_bytes_ : round_up(used_, footer_align(drive_block_));
  std::memset(data_ + used_, 0, length_ - used_);
  state_ = State::block;
}

void FooterWriter::send_head() {
  head_.magic = disk::footer_magic;
  head_.version = disk::footer_version;
  head_.head_bytes = sizeof head_;
  head_.block_bytes = block_bytes_;
  head_.segment_number = end_.number.value;
  head_.segment_id = end_.id;
  head_.position = end_.position.value;
  head_.last_sequence = end_.sequence.value;
  head_.last_hash = end_.hash;
  std::memcpy(data_, &head_, sizeof head_);
  auto& head = *reinterpret_cast<disk::FooterHead*>(data_);
  head.crc = crc32c(0, data_ + disk::crc_from, head.head_bytes - disk::crc_from);
  length_ = round_up(head.head_bytes, drive_block_);
  std::memset(data_ + head.head_bytes, 0, length_ - head.head_bytes);
  at_ = end_.position;
  state_ = State::head;
}

// ---- the drive ----

const DriveRequest* FooterWriter::next_request() {
  if (in_flight_ || state_ == State::idle || state_ == State::filling) return nullptr;
  request_ = {.slot = end_.slot, .tag = RequestTag{RequestKind::footer}.pack()};
  if (state_ == State::flush) {
    request_.op = DriveOp::flush;
    return &request_;
  }
  if (at_.value + length_ > segment_bytes_) {  // partitions were opened meanwhile
    give_up();
    return nullptr;
  }
  vector_ = iovec{data_, length_};
  request_.op = DriveOp::write;
  request_.durable = state_ == State::head;
  request_.position = at_;
  request_.vectors = {&vector_, 1};
  return &request_;
}

void FooterWriter::submitted() { in_flight_ = true; }

void FooterWriter::completed(int64_t result) {
  check(in_flight_, "completion of a footer's request that is not in flight");
  in_flight_ = false;
  const bool write = state_ != State::flush;
  if (write && result > 0) statistics_->written_bytes += static_cast<uint64_t>(result);
  if (given_up_) return give_up();
  const bool again = result == -EINTR || result == -EAGAIN || (write && result >= 0);
  if (write ? result == static_cast<int64_t>(length_) : result >= 0) {
    retries_ = 0;
    sent();
  } else if (!again || ++retries_ > limits::write_retries_max) {
    ++statistics_->write_errors;
    statistics_->drive_error = static_cast<uint64_t>(result < 0 ? -result : EIO);
    give_up();
  }
}

void FooterWriter::sent() {
  switch (state_) {
    case State::block:
      ++statistics_->writes;
      at_ += length_;
      block_rows_ = 0;
      used_ = sizeof(disk::FooterBlock);
      if (section() == FooterSection::keys) return fill_keys();
      state_ = State::filling;
      return;
    case State::flush:
      ++statistics_->flushes;
      return send_head();
    case State::head:
      ++statistics_->writes;
      state_ = State::idle;
      if (erasing_) return;
      ++statistics_->footers;
      written_ = sealed_segment(head_, end_);
      return;
    case State::idle:
    case State::filling:
      check(false, "a footer sent what it did not have");
  }
}

void FooterWriter::give_up() {
  given_up_ = in_flight_;
  if (!in_flight_) state_ = State::idle;
}

void FooterWriter::release_all() {
  check(!in_flight_, "footer released with a request in flight");
  if (buffer_ != no_buffer) memory_.buffers->release(buffer_, Holder::commit);
  buffer_ = no_buffer;
  state_ = State::idle;
}

}  // namespace penstock
