#include "storage/sealed_index.h"

#include <algorithm>

namespace penstock {

using disk::FooterSection;

namespace {

// More of them at a time cost an allocation.
constexpr size_t segments_expected = 65'536;
constexpr size_t hint_count = 1024;
constexpr uint32_t no_block = UINT32_MAX;

IndexEntry describe(const SealedSegment& segment, const disk::FooterBatch& row) {
  return {.partition = PartitionNumber(row.partition),
          .base_offset = Offset(row.base_offset),
          .last_offset_delta = row.last_offset_delta,
          .max_timestamp = row.max_timestamp,
          .segment = segment.number,
          .commit = FilePosition(row.commit),
          .ordinal = row.ordinal & ~disk::footer_gathered_bit,
          .first_position = row.first_position,
          .direct = (row.ordinal & disk::footer_gathered_bit) == 0,
          .bytes = row.batch_bytes};
}

template <class Row>
std::span<const Row> rows_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const Row*>(bytes.data()), bytes.size() / sizeof(Row)};
}

SealedIndex::Verdict verdict_of(FooterCache::Verdict blocked) {
  switch (blocked) {
    case FooterCache::Verdict::whole:
      return SealedIndex::Verdict::found;
    case FooterCache::Verdict::reading:
      return SealedIndex::Verdict::reading;
    case FooterCache::Verdict::busy:
      return SealedIndex::Verdict::busy;
    case FooterCache::Verdict::damaged:
      break;
  }
  return SealedIndex::Verdict::damaged;
}

}  // namespace

SealedIndex::SealedIndex(const DriveUnits& units, const LogMemory& memory, uint64_t cache_bytes,
                         LogStatistics* statistics)
    : cache_(units, memory, cache_bytes, statistics), hints_(hint_count) {
  segments_.reserve(segments_expected);
}

void SealedIndex::add(const SealedSegment& segment) {
  check(segments_.empty() || segments_.back().number < segment.number, "sealed segments out of order",
        static_cast<long long>(segment.number.value));
  segments_.push_back(segment);
}

void SealedIndex::remove(SegmentNumber number) {
  const auto found = std::ranges::lower_bound(segments_, number, {}, &SealedSegment::number);
  if (found == segments_.end() || found->number != number) return;
  segments_.erase(found);
  cache_.drop(number);
}

const SealedSegment* SealedIndex::segment(SegmentNumber number) const {
  const auto found = std::ranges::lower_bound(segments_, number, {}, &SealedSegment::number);
  return found != segments_.end() && found->number == number ? &*found : nullptr;
}

bool SealedIndex::holds(SegmentNumber number) const { return segment(number) != nullptr; }

Milliseconds SealedIndex::max_timestamp(SegmentNumber number) const {
  const SealedSegment* found = segment(number);
  return found == nullptr ? -1 : found->max_timestamp;
}

// ---- questions ----

SealedIndex::Verdict SealedIndex::find(PartitionNumber partition, Offset begin, uint64_t token, IndexEntry& entry) {
  Search search;
  const Verdict verdict = ask({.want = Want::offset, .partition = partition, .begin = begin}, token, search);
  if (verdict != Verdict::found) return verdict;
  entry = *search.best;
  hints_[partition.value % hints_.size()] = {partition, search.from, begin, search.row};
  return verdict;
}

SealedIndex::Verdict SealedIndex::find_time(PartitionNumber partition, Milliseconds timestamp, Offset begin,
                                            uint64_t token, IndexEntry& entry) {
  return ask({.want = Want::time, .partition = partition, .begin = begin, .timestamp = timestamp}, token, entry);
}

SealedIndex::Verdict SealedIndex::find_max_timestamp(PartitionNumber partition, Milliseconds largest, Offset begin,
                                                     uint64_t token, IndexEntry& entry) {
  return ask({.want = Want::max_timestamp, .partition = partition, .begin = begin, .timestamp = largest}, token, entry);
}

SealedIndex::Verdict SealedIndex::oldest_stretch(PartitionNumber partition, Offset begin, uint64_t token,
                                                 LogIndex::Stretch& stretch) {
  Search search;
  const Verdict verdict = ask({.want = Want::stretch, .partition = partition, .begin = begin}, token, search);
  if (verdict != Verdict::found) return verdict;
  stretch = {.segment = search.from,
             .begin = begin,
             .end = search.row.next,
             .max_timestamp = search.row.max_timestamp_here,
             .bytes_up_to = search.row.bytes_up_to};
  return verdict;
}

SealedIndex::Verdict SealedIndex::ask(const Question& question, uint64_t token, IndexEntry& entry) {
  Search search;
  const Verdict verdict = ask(question, token, search);
  if (verdict == Verdict::found) entry = *search.best;
  return verdict;
}

SealedIndex::Verdict SealedIndex::ask(const Question& question, uint64_t token, Search& search) {
  const size_t at = saved(token);
  const bool goes_on = at < tokens_.size() && searches_[at].question == question;
  search = goes_on ? searches_[at] : begin(question);
  const Verdict verdict = advance(search, token);
  const bool waits = verdict == Verdict::reading || verdict == Verdict::busy;
  if (!waits) {
    forget(token);
  } else if (at < tokens_.size()) {
    searches_[at] = search;
  } else if (!tokens_.full()) {
    searches_.push_back(search);
    tokens_.push_back(token);
  }
  return verdict;
}

size_t SealedIndex::saved(uint64_t token) const {
  return static_cast<size_t>(std::ranges::find(tokens_.all(), token) - tokens_.all().begin());
}

void SealedIndex::forget(uint64_t token) {
  const size_t at = saved(token);
  if (at == tokens_.size()) return;
  searches_[at] = searches_.back();
  tokens_[at] = tokens_.back();
  searches_.truncate(searches_.size() - 1);
  tokens_.truncate(tokens_.size() - 1);
}

void SealedIndex::cancel(uint64_t token) {
  forget(token);
  cache_.cancel(token);
}

// A reader who goes on begins where it was.
SealedIndex::Search SealedIndex::begin(const Question& question) const {
  Search search{.question = question};
  const Hint& known = hint(question.partition);
  const bool helps = question.want == Want::offset && known.partition == question.partition &&
                     known.begin <= question.begin && holds(known.segment);
  if (!helps) return search;
  if (question.begin < known.row.next) {
    search.below = SegmentNumber(known.segment.value - 1);
    search.from = search.row_of = known.segment;
    search.row = known.row;
  } else {
    search.below = known.segment;
    search.next_first = true;
  }
  return search;
}

// ---- the way to the answer ----

SealedIndex::Verdict SealedIndex::advance(Search& search, uint64_t token) {
  for (;;) {
    const SealedSegment* segment = nullptr;
    if (const Blocked blocked = find_segment(search, token, segment); blocked != Blocked::whole) {
      return verdict_of(blocked);
    }
    if (segment == nullptr) {
      if (search.question.want != Want::max_timestamp || search.one_by_one) {
        return search.best ? Verdict::found : Verdict::none;
      }
      search = {.question = search.question, .one_by_one = true};
      continue;
    }
    if (search.row.batch_count > 0) {
      if (search.question.want == Want::stretch) return Verdict::found;
      bool found = false;
      if (const Blocked blocked = look_in(search, token, *segment, found); blocked != Blocked::whole) {
        return verdict_of(blocked);
      }
      if (found) return Verdict::found;
    }
    // Nothing of it here: in the next one, if there is one.
    search.below = segment->number;
    search.from = SegmentNumber(UINT64_MAX);
    search.next_first = true;
    search.batch_block = no_block;
  }
}

bool SealedIndex::by_time(const Search& search) {
  return search.question.want == Want::time || (search.question.want == Want::max_timestamp && !search.one_by_one);
}

bool SealedIndex::late_enough(const Search& search, const Row& row) {
  return row.next > search.question.begin && (!by_time(search) || row.max_timestamp >= search.question.timestamp);
}

// The first that is late enough, with its row; nullptr: none is.
SealedIndex::Blocked SealedIndex::find_segment(Search& search, uint64_t token, const SealedSegment*& segment) {
  for (;;) {
    const auto first = std::ranges::upper_bound(segments_, search.below, {}, &SealedSegment::number);
    const auto end = std::ranges::lower_bound(segments_, search.from, {}, &SealedSegment::number);
    const bool known = first == end;
    if (known && end == segments_.end()) return Blocked::whole;
    const auto middle = known || search.next_first ? first : first + (end - first) / 2;
    if (known && search.row_of == middle->number) {
      segment = &*middle;
      search.from = middle->number;
      return Blocked::whole;
    }
    Row row;
    if (const Blocked blocked = read_row(search, token, *middle, row); blocked != Blocked::whole) return blocked;
    search.next_first = false;
    if (late_enough(search, row)) {
      search.from = search.row_of = middle->number;
      search.row = row;
      search.batch_block = no_block;
    } else {
      search.below = middle->number;
    }
  }
}

// The partition's row at the end of a segment; as it is made when there is none.
SealedIndex::Blocked SealedIndex::read_row(Search& search, uint64_t token, const SealedSegment& segment, Row& row) {
  if (segment.partitions.rows == 0) return Blocked::whole;
  const uint64_t partition = search.question.partition.value;
  Blocked blocked = locate(search, token, segment, 0, segment.partition_blocks() - 1,
                           [&](const disk::FooterKey& key) { return key.partition <= partition; });
  if (blocked != Blocked::whole) return blocked;
  std::span<const std::byte> bytes;
  blocked = cache_.get(segment, FooterSection::partitions, search.key_low, token, bytes);
  if (blocked != Blocked::whole) return blocked;
  search.keys_of = {};
  const auto rows = rows_of<disk::FooterPartition>(bytes);
  const auto found =
      std::ranges::lower_bound(rows, partition, {}, [](const disk::FooterPartition& each) { return each.partition.get(); });
  if (found == rows.end() || found->partition != partition) return Blocked::whole;
  row = {.next = Offset(found->next),
         .max_timestamp = found->max_timestamp,
         .max_timestamp_here = found->max_timestamp_here,
         .bytes_up_to = found->bytes_up_to,
         .first_batch = found->first_batch,
         .batch_count = found->batch_count};
  return Blocked::whole;
}

// Of the keys from `first` to `last` the last for which `holds`, as it does up to some key; else the first: `key_low`.
template <class Holds>
SealedIndex::Blocked SealedIndex::locate(Search& search, uint64_t token, const SealedSegment& segment, uint32_t first,
                                         uint32_t last, Holds&& holds) {
  if (search.keys_of != segment.number) {
    search.keys_of = segment.number;
    search.key_low = first;
    search.key_high = last + 1;
  }
  const uint32_t per_block = footer_rows_per_block(FooterSection::keys, segment.block_bytes);
  while (search.key_high - search.key_low > 1) {
    const uint32_t middle = search.key_low + (search.key_high - search.key_low) / 2;
    std::span<const std::byte> bytes;
    const Blocked blocked = cache_.get(segment, FooterSection::keys, middle / per_block, token, bytes);
    if (blocked != Blocked::whole) return blocked;
    (holds(rows_of<disk::FooterKey>(bytes)[middle % per_block]) ? search.key_low : search.key_high) = middle;
  }
  return Blocked::whole;
}

// The partition's batches in a segment.
SealedIndex::Blocked SealedIndex::look_in(Search& search, uint64_t token, const SealedSegment& segment, bool& found) {
  const Question& question = search.question;
  const uint32_t per_block = footer_rows_per_block(FooterSection::batches, segment.block_bytes);
  const uint32_t end = search.row.first_batch + search.row.batch_count;
  const uint32_t first = search.row.first_batch / per_block, last = (end - 1) / per_block;
  if (search.batch_block == no_block) {
    const Milliseconds here = search.row.max_timestamp_here;
    if (by_time(search) && here < question.timestamp) return Blocked::whole;
    if (search.one_by_one && search.best && here <= search.best->max_timestamp) return Blocked::whole;
    const uint32_t keys = segment.partition_blocks();
    if (!search.one_by_one) {
      const Blocked blocked = locate(search, token, segment, keys + first, keys + last, [&](const disk::FooterKey& key) {
        return question.want == Want::offset ? key.base_offset <= question.begin.value
                                             : key.max_timestamp < question.timestamp;
      });
      if (blocked != Blocked::whole) return blocked;
      search.batch_block = search.key_low - keys;
      search.keys_of = {};
    } else {
      search.batch_block = first;
    }
  }
  for (; search.batch_block <= last; ++search.batch_block) {
    std::span<const std::byte> bytes;
    const Blocked blocked = cache_.get(segment, FooterSection::batches, search.batch_block, token, bytes);
    if (blocked != Blocked::whole) return blocked;
    const uint32_t block_begin = search.batch_block * per_block;
    const uint32_t from = std::max(search.row.first_batch, block_begin) - block_begin;
    const uint32_t to = std::min(end - block_begin, per_block);
    if (!take_rows(search, segment, rows_of<disk::FooterBatch>(bytes).subspan(from, to - from), found)) {
      return Blocked::damaged;
    }
    if (found) return Blocked::whole;
  }
  return Blocked::whole;
}

// False: they are not the partition's.
bool SealedIndex::take_rows(Search& search, const SealedSegment& segment, std::span<const disk::FooterBatch> rows,
                            bool& found) {
  const Question& question = search.question;
  for (const disk::FooterBatch& row : rows) {
    if (row.partition != question.partition.value) return false;
    if (row.base_offset + row.last_offset_delta < question.begin.value) continue;
    if (by_time(search) && row.max_timestamp < question.timestamp) continue;
    if (search.one_by_one && search.best && row.max_timestamp <= search.best->max_timestamp) continue;
    search.best = describe(segment, row);
    found = !search.one_by_one;
    if (found) return true;
  }
  return true;
}

}  // namespace penstock
