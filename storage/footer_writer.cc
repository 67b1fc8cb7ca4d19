#include "storage/footer_writer.h"

#include <cerrno>
#include <cstring>

#include "storage/crc/crc32c.h"
#include "storage/limits.h"
#include "storage/request_tag.h"

namespace penstock {

using disk::FooterSection;

FooterWriter::FooterWriter(const LogConfig& config, const DriveUnits& units, const LogMemory& memory,
                           LogStatistics* statistics)
    : segment_bytes_(config.segment_bytes),
      drive_block_(units.block),
      block_bytes_(limits::footer_block_bytes(units)),
      memory_(memory),
      statistics_(statistics) {
  const uint64_t batches = limits::index_entries_max(config.segment_bytes);
  const uint64_t head = footer_head_bytes(batches, block_bytes_, drive_block_);
  const uint8_t order = BufferAllocator::order_for(std::max<uint64_t>(head, block_bytes_));
  buffer_ = memory.allocator->allocate(order);
  check(buffer_ != no_buffer, "no memory for footers");
  memory.buffers->open(buffer_, order, Holder::commit);
  data_ = memory.arena.at(buffer_);
  capacity_ = memory.buffers->bytes(buffer_);
  keys_.reserve(batches / footer_rows_per_block(FooterSection::batches, block_bytes_) + 1);
}

bool FooterWriter::begin(const SegmentEnd& end, const FooterRows& rows) {
  check(idle(), "a footer is written already", static_cast<long long>(end_.number.value));
  const uint64_t batches = rows[static_cast<size_t>(FooterSection::batches)];
  const uint64_t head_bytes = footer_head_bytes(batches, block_bytes_, drive_block_);
  const bool fits = end.position.value % drive_block_ == 0 && end.position.value < segment_bytes_ &&
                    footer_bytes(rows, block_bytes_, drive_block_) <= segment_bytes_ - end.position.value &&
                    head_bytes <= capacity_;
  if (!fits) return false;
  end_ = end;
  head_ = {};
  keys_.clear();
  at_ = end.position + head_bytes;
  section_ = 0;
  head_.sections[0].position = at_.value;
  block_number_ = block_rows_ = 0;
  used_ = sizeof(disk::FooterBlock);
  retries_ = 0;
  state_ = State::filling;
  return true;
}

void FooterWriter::put(const void* row, size_t bytes) {
  check(takes_rows() && bytes == footer_row_bytes[section_], "a footer's row at the wrong time", section_,
        static_cast<long long>(bytes));
  if (section() == FooterSection::batches && block_rows_ == 0) {
    const auto& batch = *static_cast<const disk::FooterBatch*>(row);
    keys_.push_back({.partition = batch.partition, .base_offset = batch.base_offset});
  }
  std::memcpy(data_ + used_, row, bytes);
  used_ += bytes;
  disk::FooterHead::Section& here = head_.sections[section_];
  here.row_count = here.row_count + 1;
  if (++block_rows_ == footer_rows_per_block(section(), block_bytes_)) send_block();
}

void FooterWriter::end_section() {
  check(takes_rows(), "a footer's section ends at the wrong time", section_);
  // What is in memory goes under its own section's name, wherever the next one begins.
  const bool partial = block_rows_ > 0;
  if (partial) send_block();
  ++section_;
  block_number_ = 0;
  if (section_ < footer_section_count) {
    head_.sections[section_].position = at_.value + (partial ? length_ : 0);
  } else if (!partial) {
    state_ = State::flush;
  }
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
  length_ = full ? block_bytes_ : round_up(used_, drive_block_);
  std::memset(data_ + used_, 0, length_ - used_);
  state_ = State::block;
}

void FooterWriter::send_head() {
  head_.magic = disk::footer_magic;
  head_.version = disk::footer_version;
  head_.head_bytes = static_cast<uint32_t>(sizeof head_ + keys_.size() * sizeof(disk::FooterKey));
  head_.block_bytes = block_bytes_;
  head_.segment_number = end_.number.value;
  head_.segment_id = end_.id;
  head_.position = end_.position.value;
  head_.last_sequence = end_.sequence.value;
  head_.last_hash = end_.hash;
  std::memcpy(data_, &head_, sizeof head_);
  if (!keys_.empty()) std::memcpy(data_ + sizeof head_, keys_.data(), keys_.size() * sizeof(disk::FooterKey));
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
  if (at_.value + length_ > segment_bytes_) {  // partitions came twice, see log_footer.cc
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
      state_ = section_ < footer_section_count ? State::filling : State::flush;
      return;
    case State::flush:
      ++statistics_->flushes;
      return send_head();
    case State::head:
      ++statistics_->writes;
      ++statistics_->footers;
      state_ = State::idle;
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
