#include "storage/resident.h"

#include <algorithm>

#include "storage/limits.h"

namespace penstock {

ResidentCommits::ResidentCommits(const DriveUnits& units, const Arena& arena, BufferTable* buffers,
                                 const BufferAllocator& allocator, uint64_t bytes_max)
    : arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      bytes_max_(bytes_max),
      commits_(limits::resident_commits_max(bytes_max)),
      vectors_(limits::resident_vectors_max(units, bytes_max)),
      held_(limits::resident_vectors_max(units, bytes_max)),
      references_(std::make_unique<uint32_t[]>(arena.unit_count())) {}

void ResidentCommits::take(OutgoingCommit& commit, SegmentNumber segment, FilePosition position) {
  while (commits_.room() == 0 || vectors_.room() < commit.vectors().size() ||
         held_.room() < commit.held_buffers().size()) {
    evict();
  }
  bool has_header = false;
  commit.for_each_entry([&](const disk::Entry&, std::span<const disk::Run> runs) { has_header |= runs.size() > 1; });

  const uint64_t held_before = held_.end();
  for (const BufferIndex buffer : commit.held_buffers()) held_.push_back(buffer);
  Item item{.segment = segment, .position = position, .vectors = vectors_.end(), .has_header = has_header};
  uint32_t at = 0;
  for (const MemoryVector& vector : commit.vectors()) {
    vectors_.push_back(Vector{vector.data, vector.length, at, held_before + vector.first_buffer});
    at += vector.length;
  }
  item.vectors_end = vectors_.end();
  item.held_end = held_.end();
  commits_.push_back(item);

  for (uint64_t i = held_before; i < held_.end(); ++i) take_buffer(held_[i]);
  commit.passed_on();
  if (!has_header) {  // the header's buffer is the first
    let_go(held_[held_before]);
    held_[held_before] = no_buffer;
  }
  while (bytes_ > bytes_max_) evict();
}

void ResidentCommits::take_buffer(BufferIndex buffer) {
  buffers_->pass(buffer, Holder::commit, Holder::resident);
  if (references_[buffer.value]++ > 0) return;
  bytes_ += buffers_->bytes(buffer);
  if (allocator_.owns(buffer)) own_bytes_ += buffers_->bytes(buffer);
}

void ResidentCommits::let_go(BufferIndex buffer) {
  if (--references_[buffer.value] == 0) {
    bytes_ -= buffers_->bytes(buffer);
    if (allocator_.owns(buffer)) own_bytes_ -= buffers_->bytes(buffer);
  }
  buffers_->release(buffer, Holder::resident);
}

void ResidentCommits::evict() {
  check(!commits_.empty(), "a commit larger than the resident ring");
  const Item& item = commits_.front();
  while (vectors_.begin() < item.vectors_end) vectors_.pop_front();
  for (; held_.begin() < item.held_end; held_.pop_front()) {
    if (held_.front() != no_buffer) let_go(held_.front());
  }
  commits_.pop_front();
}

void ResidentCommits::shed_received(uint64_t bytes) {
  const uint64_t received = bytes_ - own_bytes_, goal = received - std::min(bytes, received);
  while (!commits_.empty() && (goal == 0 || bytes_ - own_bytes_ > goal)) evict();
}

void ResidentCommits::shed_own(uint64_t bytes) {
  const uint64_t goal = own_bytes_ - std::min(bytes, own_bytes_);
  while (own_bytes_ > goal) evict();
}

std::optional<ResidentCommits::Name> ResidentCommits::find(SegmentNumber segment, FilePosition position) const {
  uint64_t low = commits_.begin(), high = commits_.end();
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const Item& item = commits_[middle];
    if (item.segment < segment || (item.segment == segment && item.position < position)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == commits_.end() || commits_[low].segment != segment || commits_[low].position != position) {
    return std::nullopt;
  }
  return low;
}

const disk::Entry& ResidentCommits::entry(Name name, uint32_t ordinal) const {
  const Item& item = commits_[name];
  check(item.has_header, "runs of a commit whose header was not kept", ordinal);
  const std::byte* at = vectors_[item.vectors].data + sizeof(disk::CommitHeader);
  for (; ordinal > 0; --ordinal) at += reinterpret_cast<const disk::EntryPrefix*>(at)->entry_bytes;
  return *reinterpret_cast<const disk::Entry*>(at);
}

// The vector that covers `position`.
uint64_t ResidentCommits::vector_at(const Item& item, uint32_t position) const {
  uint64_t low = item.vectors, high = item.vectors_end;
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (vectors_[middle].position <= position ? low : high) = middle;
  }
  return low;
}

}  // namespace penstock
