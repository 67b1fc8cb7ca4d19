#include "storage/footer_cache.h"

#include <algorithm>
#include <bit>
#include <cerrno>

namespace penstock {
namespace {
constexpr uint32_t none = UINT32_MAX;
}

FooterCache::FooterCache(const DriveUnits& units, const LogMemory& memory, uint64_t bytes, LogStatistics* statistics)
    : memory_(memory),
      statistics_(statistics),
      drive_block_(units.block),
      block_bytes_(limits::footer_block_bytes(units.block)),
      blocks_(limits::footer_cache_blocks(units, bytes)),
      table_(std::make_unique<Block[]>(blocks_)),
      bucket_mask_(std::bit_ceil(2 * blocks_) - 1) {
  buckets_ = std::make_unique_for_overwrite<uint32_t[]>(bucket_mask_ + 1);
  std::fill_n(buckets_.get(), bucket_mask_ + 1, none);
  const uint8_t order = BufferAllocator::order_for(block_bytes_);
  for (uint32_t i = 0; i < blocks_; ++i) {
    table_[i].buffer = memory.allocator->allocate(order);
    check(table_[i].buffer != no_buffer, "no memory for the cache of footers", blocks_);
    memory.buffers->open(table_[i].buffer, order, Holder::commit);
  }
  statistics_->footer_cache_bytes = uint64_t{blocks_} * memory.buffers->bytes(table_[0].buffer);
}

FooterCache::~FooterCache() = default;

uint32_t FooterCache::bytes_of(const Block& block) const {
  const uint32_t rows = block.segment.rows_in(block.section, block.number);
  const uint64_t bytes = sizeof(disk::FooterBlock) + uint64_t{rows} * footer_row_bytes[static_cast<size_t>(block.section)];
  return static_cast<uint32_t>(round_up(bytes, drive_block_));
}

FooterCache::Verdict FooterCache::get(const SealedSegment& segment, disk::FooterSection section, uint32_t number,
                                      uint64_t token, std::span<const std::byte>& rows) {
  uint32_t index = find(segment, section, number);
  stop_wanting(token, index);
  if (index == none) {
    if (wants_.size() + done_.size() >= done_.capacity()) return Verdict::busy;
    index = take();
    if (index == none) return Verdict::busy;
    Block& block = table_[index];
    block.segment = segment;
    block.section = section;
    block.number = number;
    block.state = State::waiting;
    block.retries = 0;
    block.dropped = false;
    uint32_t& first = bucket(segment.number, section, number);
    block.next = std::exchange(first, index);
    ++waiting_;
    ++statistics_->footer_cache_misses;
  }
  Block& block = table_[index];
  block.used = true;
  if (block.state == State::waiting || block.state == State::in_flight) {
    return want(index, token) ? Verdict::reading : Verdict::busy;
  }
  stop_wanting(token, none);
  if (block.state == State::damaged) {  // when all have been told, the next one reads it again
    if (block.wanters == 0) unname(index);
    return Verdict::damaged;
  }
  ++statistics_->footer_cache_hits;
  rows = {memory_.arena.at(block.buffer) + sizeof(disk::FooterBlock),
          size_t{segment.rows_in(section, number)} * footer_row_bytes[static_cast<size_t>(section)]};
  return Verdict::whole;
}

uint32_t& FooterCache::bucket(SegmentNumber segment, disk::FooterSection section, uint32_t number) {
  const uint64_t key = segment.value << 34 ^ uint64_t{static_cast<uint8_t>(section)} << 32 ^ number;
  return buckets_[(key * 0x9e3779b97f4a7c15 >> 32) & bucket_mask_];
}

uint32_t FooterCache::find(const SealedSegment& segment, disk::FooterSection section, uint32_t number) {
  uint32_t index = bucket(segment.number, section, number);
  for (; index != none; index = table_[index].next) {
    const Block& block = table_[index];
    const bool same = block.segment.number == segment.number && block.section == section && block.number == number;
    if (same && !block.dropped) return index;
  }
  return none;
}

// A block for something else: free, or not asked for since the hand came by.
uint32_t FooterCache::take() {
  for (uint32_t steps = 0; steps < 2 * blocks_; ++steps) {
    hand_ = hand_ + 1 == blocks_ ? 0 : hand_ + 1;
    Block& block = table_[hand_];
    if (block.state == State::free) return hand_;
    if (block.wanters > 0 || block.state == State::waiting || block.state == State::in_flight) continue;
    if (std::exchange(block.used, false)) continue;
    unname(hand_);
    return hand_;
  }
  return none;
}

void FooterCache::unname(uint32_t index) {
  Block& block = table_[index];
  uint32_t* link = &bucket(block.segment.number, block.section, block.number);
  while (*link != index) link = &table_[*link].next;
  *link = block.next;
  block.state = State::free;
}

// ---- who waits ----

// False: too many wait already.
bool FooterCache::want(uint32_t index, uint64_t token) {
  const auto same = [&](const Want& each) { return each.token == token; };
  if (std::ranges::any_of(wants_.all(), same)) return true;  // for this block: others were let go of
  if (wants_.size() + done_.size() >= done_.capacity()) return false;
  wants_.push_back({token, index});
  ++table_[index].wanters;
  return true;
}

void FooterCache::stop_wanting(uint64_t token, uint32_t except) {
  for (size_t i = 0; i < wants_.size(); ++i) {
    const Want gone = wants_[i];
    if (gone.token != token || gone.block == except) continue;
    wants_[i] = wants_.back();
    wants_.truncate(wants_.size() - 1);
    --table_[gone.block].wanters;
    return;
  }
}

void FooterCache::tell(uint32_t index) {
  for (const Want& want : wants_.all()) {
    if (want.block == index) done_.push_back(want.token);
  }
}

void FooterCache::cancel(uint64_t token) {
  stop_wanting(token, none);
  size_t kept = 0;
  for (const uint64_t each : done_.all()) {
    if (each != token) done_[kept++] = each;
  }
  done_.truncate(kept);
}

void FooterCache::drop(SegmentNumber segment) {
  for (uint32_t i = 0; i < blocks_; ++i) {
    Block& block = table_[i];
    if (block.state == State::free || block.segment.number != segment || block.dropped) continue;
    if (block.state == State::waiting || block.state == State::in_flight) tell(i);
    size_t kept = 0;
    for (const Want& want : wants_.all()) {
      if (want.block != i) wants_[kept++] = want;
    }
    wants_.truncate(kept);
    block.wanters = 0;
    if (block.state == State::in_flight) {
      block.dropped = true;
      continue;
    }
    if (block.state == State::waiting) --waiting_;
    unname(i);
  }
}

bool FooterCache::uses(SegmentSlot slot) const {
  return std::any_of(table_.get(), table_.get() + blocks_, [&](const Block& block) {
    return (block.state == State::waiting || block.state == State::in_flight) && block.segment.slot == slot;
  });
}

// ---- the drive ----

const DriveRequest* FooterCache::next_request() {
  if (waiting_ == 0 || in_flight_ >= limits::footer_reads_max) return nullptr;
  while (table_[next_].state != State::waiting) next_ = next_ + 1 == blocks_ ? 0 : next_ + 1;
  const Block& block = table_[next_];
  vector_ = iovec{memory_.arena.at(block.buffer), bytes_of(block)};
  request_ = DriveRequest{.op = DriveOp::read,
                          .slot = block.segment.slot,
                          .position = block.segment.position(block.section, block.number),
                          .vectors = {&vector_, 1},
                          .tag = RequestTag{RequestKind::footer_read, next_}.pack()};
  return &request_;
}

void FooterCache::submitted() {
  table_[RequestTag::unpack(request_.tag).index].state = State::in_flight;
  --waiting_;
  ++in_flight_;
}

// What comes short or is interrupted is read again from the start.
void FooterCache::completed(uint32_t index, int64_t result) {
  Block& block = table_[index];
  check(block.state == State::in_flight, "completion of a footer's read that is not in flight", index);
  --in_flight_;
  if (result > 0) {
    statistics_->read_bytes += static_cast<uint64_t>(result);
    statistics_->footer_read_bytes += static_cast<uint64_t>(result);
  }
  if (block.dropped) return unname(index);
  const uint32_t bytes = bytes_of(block);
  const bool again = result == -EINTR || result == -EAGAIN || (result >= 0 && result < bytes);
  if (again && ++block.retries <= limits::write_retries_max) {
    block.state = State::waiting;
    ++waiting_;
    return;
  }
  if (result < 0) {
    ++statistics_->read_errors;
    statistics_->read_error = static_cast<uint64_t>(-result);
  }
  ++statistics_->reads;
  const bool whole = result == bytes && footer_block_whole({memory_.arena.at(block.buffer), bytes}, block.segment,
                                                           block.section, block.number);
  block.state = whole ? State::whole : State::damaged;
  if (!whole) ++statistics_->footer_blocks_damaged;
  if (!whole && result >= 0) damaged_ = block.segment;
  tell(index);
}

// At shutdown.
void FooterCache::release_all() {
  check(in_flight_ == 0, "footers released while the drive reads them");
  wants_.clear();
  waiting_ = 0;
  for (uint32_t i = 0; i < blocks_; ++i) {
    if (table_[i].state != State::free) unname(i);
    table_[i].wanters = 0;
    memory_.buffers->release(table_[i].buffer, Holder::commit);
  }
  blocks_ = 0;
}

}  // namespace penstock
