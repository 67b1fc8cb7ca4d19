#include "storage/index.h"

#include <algorithm>
#include <bit>

#include "dataplane/base/check.h"

namespace penstock {

namespace {
constexpr uint32_t none = UINT32_MAX;
constexpr uint32_t sector_bytes = 512;  // the smallest block: commit positions are kept in this unit
constexpr uint32_t gathered_bit = uint32_t{1} << 31;
}  // namespace

struct LogIndex::Entry {
  int64_t base_offset;
  int64_t max_timestamp;
  int64_t running_max_timestamp;  // of this and all before it in the strand: ascending, so time can be searched
  uint32_t commit_sector;
  uint32_t ordinal;  // with gathered_bit when the batch has several runs on disk
  uint32_t first_position;
  int32_t last_offset_delta;
  uint32_t bytes;
  uint32_t strand;
  uint32_t previous;  // entries of the same strand; none at its ends
  uint32_t next;
  uint32_t jump;   // further back; itself at the oldest
  uint32_t depth;  // entries before this in the strand

  int64_t next_offset() const { return base_offset + last_offset_delta + 1; }
};

struct LogIndex::Strand {
  PartitionNumber partition{};
  uint32_t oldest = none;
  uint32_t newest = none;
  StrandId older{};  // the partition's strand before this one
  uint64_t bytes_up_to = 0;  // of the partition's batches in this and all older strands
};

struct LogIndex::Segment {
  SegmentNumber number{};
  uint32_t object = 0;
  uint32_t entry_count = 0;
  uint32_t strand_count = 0;
  uint32_t entry_capacity = 0;
  uint32_t strand_capacity = 0;
  Milliseconds max_timestamp = -1;
  // Not initialized: memory never written costs no page.
  std::unique_ptr<Entry[]> entries;
  std::unique_ptr<Strand[]> strands;

  template <class T>
  static void grow(std::unique_ptr<T[]>& array, uint32_t count, uint32_t& capacity, uint32_t wanted) {
    auto larger = std::make_unique_for_overwrite<T[]>(wanted);
    std::copy_n(array.get(), count, larger.get());
    array = std::move(larger);
    capacity = wanted;
  }
  void reserve(uint32_t wanted) {
    if (entry_capacity < wanted) grow(entries, entry_count, entry_capacity, wanted);
    if (strand_capacity < wanted) grow(strands, strand_count, strand_capacity, wanted);
  }
  uint32_t new_entry() {
    if (entry_count == entry_capacity) grow(entries, entry_count, entry_capacity, 2 * entry_capacity);
    return entry_count++;
  }
  uint32_t new_strand() {
    if (strand_count == strand_capacity) grow(strands, strand_count, strand_capacity, 2 * strand_capacity);
    return strand_count++;
  }

  // The oldest entry of a strand for which `holds`, which is false up to some entry and true from there on.
  // The jumps are those of Myers' random-access lists (An Applicative Random-Access Stack, 1983): O(log n) steps.
  template <class Predicate>
  uint32_t first_where(const Strand& strand, Predicate&& holds) const {
    uint32_t at = strand.newest;
    if (!holds(entries[at])) return none;
    for (;;) {
      const Entry& entry = entries[at];
      if (entry.previous == none || !holds(entries[entry.previous])) return at;
      at = holds(entries[entry.jump]) ? entry.jump : entry.previous;
    }
  }
  uint32_t jump_over(uint32_t previous) const {
    const Entry& one = entries[previous];
    const Entry& two = entries[one.jump];
    const Entry& three = entries[two.jump];
    return one.depth - two.depth == two.depth - three.depth ? two.jump : previous;
  }
};

struct LogIndex::Place {
  const Segment* segment = nullptr;
  uint32_t at = none;
  const Entry& entry() const { return segment->entries[at]; }
  explicit operator bool() const { return segment != nullptr; }
};

// Partition -> newest strand: open addressing, at most half full, no tombstones.
class LogIndex::Heads {
 public:
  struct Head {
    PartitionNumber partition{};
    StrandId newest{};       // segment_number 0: this place is free
    bool unordered = false;  // strands do not descend in offsets along the chain
    bool used() const { return newest.segment_number != 0; }
  };

  explicit Heads(uint32_t expected) { allocate(std::bit_ceil(std::max<size_t>(16, size_t{expected} * 2))); }

  Head* find(PartitionNumber partition) const {
    for (size_t at = home(partition);; at = (at + 1) & mask_) {
      if (!places_[at].used()) return nullptr;
      if (places_[at].partition == partition) return &places_[at];
    }
  }
  Head& insert(PartitionNumber partition, StrandId newest) {
    if (++count_ * 2 > mask_ + 1) grow();
    size_t at = home(partition);
    while (places_[at].used()) at = (at + 1) & mask_;
    places_[at] = {partition, newest, false};
    return places_[at];
  }
  uint64_t bytes() const { return (mask_ + 1) * sizeof(Head); }
  void erase(Head* head) {
    --count_;
    size_t gap = static_cast<size_t>(head - places_.get());
    places_[gap] = {};
    for (size_t at = (gap + 1) & mask_; places_[at].used(); at = (at + 1) & mask_) {
      // Moves up whoever's way from home leads across the gap.
      if (((at - home(places_[at].partition)) & mask_) < ((at - gap) & mask_)) continue;
      places_[gap] = places_[at];
      places_[at] = {};
      gap = at;
    }
  }

 private:
  size_t home(PartitionNumber partition) const { return (partition.value * 0x9e3779b97f4a7c15 >> 20) & mask_; }
  void allocate(size_t places) {
    places_ = std::make_unique<Head[]>(places);
    mask_ = places - 1;
  }
  void grow() {
    const auto old = std::move(places_);
    const size_t old_places = mask_ + 1;
    allocate(2 * old_places);
    for (size_t i = 0; i < old_places; ++i) {
      if (!old[i].used()) continue;
      size_t at = home(old[i].partition);
      while (places_[at].used()) at = (at + 1) & mask_;
      places_[at] = old[i];
    }
  }

  std::unique_ptr<Head[]> places_;
  size_t mask_ = 0;
  size_t count_ = 0;
};

LogIndex::LogIndex(uint32_t entries_max, uint32_t segments, uint32_t partitions)
    : entries_max_(entries_max), heads_(std::make_unique<Heads>(partitions)) {
  static_assert(sizeof(Entry) == 64, "one cache line");
  check(entries_max > 0, "index: no entries");
  for (uint32_t i = 0; i < segments; ++i) spare_.push_back(take_object());
}
LogIndex::~LogIndex() = default;
LogIndex::LogIndex(LogIndex&&) noexcept = default;
LogIndex& LogIndex::operator=(LogIndex&&) noexcept = default;

// ---- the log's end ----

void LogIndex::begin_segment(SegmentNumber number) {
  check(live_.empty() || objects_[live_.back()]->number < number, "index: segments out of order",
        static_cast<long long>(number.value));
  uint32_t object = none;
  if (spare_.empty()) {
    object = take_object();
  } else {
    object = spare_.back();
    spare_.pop_back();
  }
  Segment& fresh = *objects_[object];
  fresh.number = number;
  fresh.entry_count = fresh.strand_count = 0;
  fresh.max_timestamp = -1;
  fresh.reserve(entries_max_);
  live_.push_back(object);
}

uint32_t LogIndex::take_object() {
  const auto object = static_cast<uint32_t>(objects_.size());
  objects_.push_back(std::make_unique<Segment>());
  objects_.back()->object = object;
  return object;
}

uint32_t LogIndex::room() const {
  if (live_.empty()) return 0;
  const uint32_t count = objects_[live_.back()]->entry_count;
  return count < entries_max_ ? entries_max_ - count : 0;
}

void LogIndex::append(const IndexEntry& entry, uint64_t bytes_up_to) {
  check(!live_.empty(), "index: append without a segment");
  check(entry.commit.value % sector_bytes == 0 && entry.commit.value / sector_bytes < none, "index: commit position",
        static_cast<long long>(entry.commit.value));
  check(entry.ordinal < gathered_bit, "index: ordinal", entry.ordinal);
  Segment& segment = *objects_[live_.back()];

  const uint32_t at = segment.new_entry();
  Entry& stored = segment.entries[at];
  stored = {.base_offset = entry.base_offset.value,
            .max_timestamp = entry.max_timestamp,
            .running_max_timestamp = entry.max_timestamp,
            .commit_sector = static_cast<uint32_t>(entry.commit.value / sector_bytes),
            .ordinal = entry.ordinal | (entry.direct ? 0 : gathered_bit),
            .first_position = entry.first_position,
            .last_offset_delta = entry.last_offset_delta,
            .bytes = entry.bytes,
            .strand = 0,
            .previous = none,
            .next = none,
            .jump = at,
            .depth = 0};
  segment.max_timestamp = std::max(segment.max_timestamp, entry.max_timestamp);

  Heads::Head* head = heads_->find(entry.partition);
  if (head != nullptr) {
    const Segment& newest_segment = *objects_[head->newest.object];
    Strand& newest = newest_segment.strands[head->newest.strand];
    const bool ascending = newest_segment.entries[newest.newest].next_offset() <= stored.base_offset;
    if (ascending && &newest_segment == &segment) {
      Entry& previous = segment.entries[newest.newest];
      stored.running_max_timestamp = std::max(previous.running_max_timestamp, stored.max_timestamp);
      stored.strand = head->newest.strand;
      stored.previous = newest.newest;
      stored.jump = segment.jump_over(newest.newest);
      stored.depth = previous.depth + 1;
      previous.next = at;
      newest.newest = at;
      newest.bytes_up_to = bytes_up_to;
      return;
    }
    head->unordered |= !ascending;
  }
  const StrandId id{segment.number.value, segment.object, segment.new_strand()};
  stored.strand = id.strand;
  segment.strands[id.strand] = {.partition = entry.partition,
                                .oldest = at,
                                .newest = at,
                                .older = head != nullptr ? head->newest : StrandId{},
                                .bytes_up_to = bytes_up_to};
  if (head != nullptr) {
    head->newest = id;
  } else {
    heads_->insert(entry.partition, id);
  }
}

void LogIndex::truncate(SegmentNumber number, FilePosition end) {
  while (!live_.empty() && objects_[live_.back()]->number > number) {
    Segment& newest = *objects_[live_.back()];
    cut_back(newest, 0);
    newest.number = {};
    spare_.push_back(newest.object);
    live_.pop_back();
  }
  if (live_.empty() || objects_[live_.back()]->number != number) return;
  Segment& segment = *objects_[live_.back()];
  uint32_t count = segment.entry_count;
  while (count > 0 && uint64_t{segment.entries[count - 1].commit_sector} * sector_bytes >= end.value) --count;
  cut_back(segment, count);
}

// Takes back appends, newest first, until `count` entries are left: the newest segment only.
void LogIndex::cut_back(Segment& segment, uint32_t count) {
  while (segment.entry_count > count) {
    const Entry& entry = segment.entries[--segment.entry_count];
    Strand& strand = segment.strands[entry.strand];
    strand.newest = entry.previous;
    strand.bytes_up_to -= entry.bytes;
    if (entry.previous != none) {
      segment.entries[entry.previous].next = none;
      continue;
    }
    check(entry.strand + 1 == segment.strand_count, "index: strands out of order", entry.strand, segment.strand_count);
    --segment.strand_count;
    unlink({segment.number.value, segment.object, entry.strand}, strand);
  }
  segment.max_timestamp = -1;
  for (uint32_t i = 0; i < count; ++i) {
    segment.max_timestamp = std::max(segment.max_timestamp, segment.entries[i].max_timestamp);
  }
}

// ---- the log's beginning ----

bool LogIndex::remove_some(SegmentNumber number, uint32_t strands) {
  const auto found =
      std::find_if(live_.begin(), live_.end(), [&](uint32_t o) { return objects_[o]->number == number; });
  if (found == live_.end()) return true;
  Segment& segment = *objects_[*found];
  const bool oldest = found == live_.begin();
  for (; segment.strand_count > 0; --strands) {
    if (strands == 0) return false;
    const uint32_t last = --segment.strand_count;
    const StrandId id{number.value, segment.object, last};
    const Heads::Head* head = heads_->find(segment.strands[last].partition);
    // Behind the oldest segment nothing hangs: who points there finds the number gone.
    if (!oldest || (head != nullptr && head->newest == id)) unlink(id, segment.strands[last]);
  }
  segment.number = {};
  segment.entry_count = 0;
  spare_.push_back(segment.object);
  live_.erase(found);
  return true;
}

// Takes a strand out of its partition's chain.
void LogIndex::unlink(StrandId id, const Strand& strand) {
  Heads::Head* head = heads_->find(strand.partition);
  if (head == nullptr) return;  // dropped
  if (head->newest == id) {
    head->newest = strand.older;
    if (resolve(strand.older) == nullptr) heads_->erase(head);
    return;
  }
  for (Strand* newer = resolve(head->newest); newer != nullptr; newer = resolve(newer->older)) {
    if (newer->older != id) continue;
    newer->older = strand.older;
    return;
  }
}

void LogIndex::drop_partition(PartitionNumber partition) {
  if (Heads::Head* head = heads_->find(partition); head != nullptr) heads_->erase(head);
}

// ---- look-ups ----

// Calls visit(segment, strand, ordered) from the newest strand to the oldest until it returns false.
template <class Visit>
void LogIndex::each_strand(PartitionNumber partition, Visit&& visit) const {
  const Heads::Head* head = heads_->find(partition);
  if (head == nullptr) return;
  StrandId id = head->newest;
  for (const Strand* strand = resolve(id); strand != nullptr; strand = resolve(id)) {
    const Segment& segment = *objects_[id.object];
    id = strand->older;
    if (!visit(segment, *strand, !head->unordered)) return;
  }
}

std::optional<IndexEntry> LogIndex::find(PartitionNumber partition, Offset offset, OffsetRange range) const {
  const int64_t from = std::max(offset, range.begin).value;
  Place best;
  each_strand(partition, [&](const Segment& segment, const Strand& strand, bool ordered) {
    const uint32_t at = segment.first_where(strand, [&](const Entry& entry) { return entry.next_offset() > from; });
    if (at == none) return !ordered;
    if (!best || segment.entries[at].base_offset < best.entry().base_offset) best = {&segment, at};
    return !ordered || segment.entries[strand.oldest].base_offset > from;
  });
  if (!best || best.entry().next_offset() > range.end.value) return std::nullopt;
  return describe(best);
}

std::optional<IndexEntry> LogIndex::next(const IndexEntry& entry, OffsetRange range) const {
  const Heads::Head* head = heads_->find(entry.partition);
  if (head == nullptr) return std::nullopt;
  const Entry* here = head->unordered ? nullptr : entry_of(entry);
  if (here == nullptr || here->next == none) return find(entry.partition, entry.next_offset(), range);
  const Place place{objects_[entry.reference >> 32].get(), here->next};
  if (place.entry().next_offset() > range.end.value) return std::nullopt;
  if (place.entry().next_offset() <= range.begin.value) return find(entry.partition, range.begin, range);
  return describe(place);
}

std::optional<IndexEntry> LogIndex::at(uint64_t reference, PartitionNumber partition, Offset base_offset) const {
  const IndexEntry wanted{.partition = partition, .base_offset = base_offset, .reference = reference};
  if (heads_->find(partition) == nullptr) return std::nullopt;
  if (entry_of(wanted) != nullptr) {
    return describe({objects_[reference >> 32].get(), static_cast<uint32_t>(reference)});
  }
  const auto found = find(partition, base_offset, {.begin = base_offset, .end = Offset(INT64_MAX)});
  return found && found->base_offset == base_offset ? found : std::nullopt;
}

// What a reference names, if it still is that partition's batch at that offset.
const LogIndex::Entry* LogIndex::entry_of(const IndexEntry& described) const {
  const uint64_t object = described.reference >> 32;
  const auto at = static_cast<uint32_t>(described.reference);
  if (object >= objects_.size()) return nullptr;
  const Segment& segment = *objects_[object];
  if (segment.number.value == 0 || at >= segment.entry_count) return nullptr;
  const Entry& entry = segment.entries[at];
  const bool same = entry.base_offset == described.base_offset.value &&
                    segment.strands[entry.strand].partition == described.partition;
  return same ? &entry : nullptr;
}

std::optional<IndexEntry> LogIndex::find_time(PartitionNumber partition, Milliseconds timestamp,
                                              OffsetRange range) const {
  Place best;
  each_strand(partition, [&](const Segment& segment, const Strand& strand, bool) {
    uint32_t at =
        segment.first_where(strand, [&](const Entry& entry) { return entry.running_max_timestamp >= timestamp; });
    if (at == none) return true;
    // The batch may lie below the log's start; a later one must then be late enough by itself.
    while (at != none &&
           (segment.entries[at].next_offset() <= range.begin.value || segment.entries[at].max_timestamp < timestamp)) {
      at = segment.entries[at].next;
    }
    if (at == none || segment.entries[at].next_offset() > range.end.value) return true;
    if (!best || segment.entries[at].base_offset < best.entry().base_offset) best = {&segment, at};
    return true;
  });
  if (!best) return std::nullopt;
  return describe(best);
}

std::optional<IndexEntry> LogIndex::find_max_timestamp(PartitionNumber partition, OffsetRange range) const {
  Place best;
  const auto consider = [&](const Segment& segment, uint32_t at) {
    const Entry& entry = segment.entries[at];
    const bool better =
        !best || entry.max_timestamp > best.entry().max_timestamp ||
        (entry.max_timestamp == best.entry().max_timestamp && entry.base_offset < best.entry().base_offset);
    if (better) best = {&segment, at};
  };
  each_strand(partition, [&](const Segment& segment, const Strand& strand, bool) {
    const auto& entries = segment.entries;
    uint32_t first =
        segment.first_where(strand, [&](const Entry& entry) { return entry.next_offset() > range.begin.value; });
    const uint32_t beyond =
        segment.first_where(strand, [&](const Entry& entry) { return entry.next_offset() > range.end.value; });
    const uint32_t last = beyond == none ? strand.newest : entries[beyond].previous;
    if (first == none || last == none || entries[first].depth > entries[last].depth) return true;
    const int64_t largest = entries[last].running_max_timestamp;
    const uint32_t at =
        segment.first_where(strand, [&](const Entry& entry) { return entry.running_max_timestamp >= largest; });
    if (entries[at].depth >= entries[first].depth) {
      consider(segment, at);
      return true;
    }
    for (;; first = entries[first].next) {  // the largest lies below the log's start
      consider(segment, first);
      if (first == last) return true;
    }
  });
  if (!best) return std::nullopt;
  return describe(best);
}

// ---- retention ----

std::optional<LogIndex::Stretch> LogIndex::oldest_stretch(PartitionNumber partition, Offset from) const {
  std::optional<Stretch> oldest;
  each_strand(partition, [&](const Segment& segment, const Strand& strand, bool ordered) {
    const Entry& last = segment.entries[strand.newest];
    if (last.next_offset() <= from.value) return !ordered;
    if (oldest && oldest->end.value <= last.next_offset()) return true;
    oldest = {.segment = segment.number,
              .begin = Offset(segment.entries[strand.oldest].base_offset),
              .end = Offset(last.next_offset()),
              .max_timestamp = last.running_max_timestamp,
              .bytes_up_to = strand.bytes_up_to};
    return true;
  });
  return oldest;
}

void LogIndex::shift_bytes(PartitionNumber partition, uint64_t more) {
  const Heads::Head* head = heads_->find(partition);
  if (head == nullptr) return;
  for (Strand* strand = resolve(head->newest); strand != nullptr; strand = resolve(strand->older)) {
    strand->bytes_up_to += more;
  }
}

// ---- footers ----

void LogIndex::begin_walk(SegmentNumber number, Walk& walk) const {
  const Segment* found = segment(number);
  walk.segment_ = number;
  walk.object_ = found == nullptr ? none : found->object;
  walk.keys_.clear();
  walk.keys_.reserve(entries_max_);
  walk.strands_seen_ = 0;
  walk.heap_ = 0;
  rewind(walk);
}

void LogIndex::rewind(Walk& walk) const {
  walk.next_ = 0;
  walk.at_ = none;
}

// nullptr: it was removed.
const LogIndex::Segment* LogIndex::walked(const Walk& walk) const {
  if (walk.object_ == none || objects_[walk.object_]->number != walk.segment_) return nullptr;
  return objects_[walk.object_].get();
}

// A heap sort: strands go into the heap, and when all are there, the last of them behind it, until it is empty.
bool LogIndex::sort(Walk& walk, uint32_t strands) const {
  const Segment* segment = walked(walk);
  if (segment == nullptr) return true;
  const auto begin = [&] { return walk.keys_.begin(); };
  for (; walk.strands_seen_ < segment->strand_count; --strands) {
    if (strands == 0) return false;
    walk.keys_.push_back({segment->strands[walk.strands_seen_].partition, walk.strands_seen_});
    std::push_heap(begin(), walk.keys_.end());
    walk.heap_ = ++walk.strands_seen_;
  }
  for (; walk.heap_ > 0; --strands) {
    if (strands == 0) return false;
    std::pop_heap(begin(), begin() + static_cast<ptrdiff_t>(walk.heap_--));
  }
  return true;
}

std::optional<IndexEntry> LogIndex::next(Walk& walk) const {
  const Segment* segment = walked(walk);
  if (segment == nullptr) return std::nullopt;
  if (walk.at_ == none) {
    if (walk.next_ == walk.keys_.size()) return std::nullopt;
    walk.at_ = segment->strands[walk.keys_[walk.next_++].strand].oldest;
  }
  const Place place{segment, walk.at_};
  walk.at_ = place.entry().next;
  return describe(place);
}

std::optional<LogIndex::Share> LogIndex::next_share(Walk& walk) const {
  const Segment* segment = walked(walk);
  if (segment == nullptr || walk.next_ == walk.keys_.size()) return std::nullopt;
  Share share{.partition = walk.keys_[walk.next_].partition};
  for (; walk.next_ < walk.keys_.size() && walk.keys_[walk.next_].partition == share.partition; ++walk.next_) {
    const Entry& newest = segment->entries[segment->strands[walk.keys_[walk.next_].strand].newest];
    share.batches += newest.depth + 1;
    share.max_timestamp = std::max(share.max_timestamp, newest.running_max_timestamp);
  }
  return share;
}

uint32_t LogIndex::entry_count(SegmentNumber number) const {
  const Segment* found = segment(number);
  return found == nullptr ? 0 : found->entry_count;
}

Milliseconds LogIndex::segment_max_timestamp(SegmentNumber number) const {
  const Segment* found = segment(number);
  return found == nullptr ? -1 : found->max_timestamp;
}

uint64_t LogIndex::entry_count() const {
  uint64_t count = 0;
  for (const uint32_t object : live_) count += objects_[object]->entry_count;
  return count;
}

uint64_t LogIndex::bytes() const {
  uint64_t bytes = heads_->bytes();
  for (const auto& object : objects_) {
    bytes += object->entry_capacity * sizeof(Entry) + object->strand_capacity * sizeof(Strand);
  }
  return bytes;
}

LogIndex::Strand* LogIndex::resolve(const StrandId& id) const {
  if (id.segment_number == 0 || objects_[id.object]->number.value != id.segment_number) return nullptr;
  return &objects_[id.object]->strands[id.strand];
}

LogIndex::Segment* LogIndex::segment(SegmentNumber number) const {
  for (const uint32_t object : live_) {
    if (objects_[object]->number == number) return objects_[object].get();
  }
  return nullptr;
}

IndexEntry LogIndex::describe(const Place& place) const {
  const Segment& segment = *place.segment;
  const Entry& entry = place.entry();
  return {.partition = segment.strands[entry.strand].partition,
          .base_offset = Offset(entry.base_offset),
          .last_offset_delta = entry.last_offset_delta,
          .max_timestamp = entry.max_timestamp,
          .segment = segment.number,
          .commit = FilePosition(uint64_t{entry.commit_sector} * sector_bytes),
          .ordinal = entry.ordinal & ~gathered_bit,
          .first_position = entry.first_position,
          .direct = (entry.ordinal & gathered_bit) == 0,
          .bytes = entry.bytes,
          .reference = uint64_t{segment.object} << 32 | place.at};
}

}  // namespace penstock
