#include "storage/producers.h"

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/base/check.h"

namespace penstock {

struct ProducerTable::Producer {
  PartitionNumber partition{};
  int64_t producer_id = -1;
  std::array<Batch, history> ring{};
  uint64_t begin = 0;  // batches ever appended that are no longer remembered
  uint64_t end = 0;    // ever appended, without undone ones
  uint32_t earlier = none;
  uint32_t later = none;  // also links the free ones

  const Batch& newest() const { return ring[(end - 1) % history]; }
  const Batch& at(uint64_t number) const { return ring[number % history]; }
};

namespace {

// Sequences are 0 .. INT32_MAX, then 0 again.
constexpr int32_t advance(int32_t sequence, uint32_t count) {
  return static_cast<int32_t>((static_cast<uint32_t>(sequence) + count) & INT32_MAX);
}
static_assert(advance(INT32_MAX, 1) == 0 && advance(INT32_MAX - 1, 3) == 1);

// How far `b` lies after `a`, if less than half way round; else a negative number.
constexpr int32_t distance(int32_t a, int32_t b) {
  const uint32_t forward = (static_cast<uint32_t>(b) - static_cast<uint32_t>(a)) & INT32_MAX;
  return forward <= INT32_MAX / 2 ? static_cast<int32_t>(forward) : static_cast<int32_t>(forward) - INT32_MAX - 1;
}
static_assert(distance(3, 5) == 2 && distance(5, 3) == -2 && distance(INT32_MAX, 0) == 1 &&
              distance(0, INT32_MAX) == -1);

bool sequenced(const BatchInfo& info) { return info.producer_id >= 0 && info.base_sequence >= 0; }

// What is true of a batch, in the order the questions are asked.
enum class Epoch : uint8_t { older, same, newer };  // than the newest batch's; newer if there is none
enum class Place : uint8_t {
  next,        // same epoch: begins where the newest batch ended
  remembered,  // same epoch: exactly one of the last five: same first and last sequence
  behind,      // same epoch: all of it before the oldest of the last five
  first,       // sequence 0, where none of the above holds
  elsewhere,   // ahead, overlapping, or behind what little is remembered
};

struct Row {
  const char* label;
  bool known;
  Epoch epoch;
  Place place;
  SequenceVerdict verdict;
};

// Kafka 3.x: ProducerAppendInfo.checkProducerEpoch and checkSequence, ProducerStateEntry.findDuplicateBatch.
// clang-format off
constexpr Row rules[] = {
    // label                          known  epoch          place              verdict
    {"older epoch, 0",                true,  Epoch::older, Place::first,      SequenceVerdict::fenced},
    {"older epoch, any sequence",     true,  Epoch::older, Place::elsewhere,  SequenceVerdict::fenced},
    {"same epoch, next",              true,  Epoch::same,  Place::next,       SequenceVerdict::next},
    {"same epoch, sent again",        true,  Epoch::same,  Place::remembered, SequenceVerdict::duplicate},
    {"same epoch, sent again late",   true,  Epoch::same,  Place::behind,     SequenceVerdict::duplicate_old},
    {"same epoch, 0 again",           true,  Epoch::same,  Place::first,      SequenceVerdict::out_of_order},
    {"same epoch, gap or overlap",    true,  Epoch::same,  Place::elsewhere,  SequenceVerdict::out_of_order},
    {"new epoch begins at 0",         true,  Epoch::newer, Place::first,      SequenceVerdict::next},
    {"new epoch begins elsewhere",    true,  Epoch::newer, Place::elsewhere,  SequenceVerdict::out_of_order},
    // KIP-360: a broker that forgot a producer takes what comes, else an idle producer could never go on.
    {"not known, 0",                  false, Epoch::newer, Place::first,      SequenceVerdict::next},
    {"not known, any sequence",       false, Epoch::newer, Place::elsewhere,  SequenceVerdict::next},
};
// clang-format on

SequenceVerdict verdict_of(bool known, Epoch epoch, Place place) {
  for (const Row& row : rules) {
    if (row.known == known && row.epoch == epoch && row.place == place) return row.verdict;
  }
  check(false, "producers: no rule", static_cast<long long>(epoch), static_cast<long long>(place));
  return SequenceVerdict::out_of_order;
}

}  // namespace

ProducerTable::ProducerTable(uint32_t capacity) : capacity_(std::max<uint32_t>(capacity, 1)) {
  const uint32_t places = std::bit_ceil(2 * capacity_);
  mask_ = places - 1;
  places_ = std::make_unique<uint32_t[]>(places);
  std::fill_n(places_.get(), places, none);
  producers_ = std::make_unique<Producer[]>(capacity_);
  for (uint32_t at = capacity_; at-- > 0;) {
    producers_[at].later = free_;
    free_ = at;
  }
}
ProducerTable::~ProducerTable() = default;
ProducerTable::ProducerTable(ProducerTable&&) noexcept = default;
ProducerTable& ProducerTable::operator=(ProducerTable&&) noexcept = default;

SequenceCheck ProducerTable::check(const BatchInfo& info) const {
  if (!sequenced(info)) return {};
  const uint32_t found = find(info.partition, info.producer_id);
  if (found == none) {
    return {verdict_of(false, Epoch::newer, info.base_sequence == 0 ? Place::first : Place::elsewhere), {}, {}};
  }
  const Producer& producer = producers_[found];
  const Batch& newest = producer.newest();
  const Epoch epoch = info.producer_epoch < newest.epoch   ? Epoch::older
                      : info.producer_epoch > newest.epoch ? Epoch::newer
                                                           : Epoch::same;
  const Place otherwise = info.base_sequence == 0 ? Place::first : Place::elsewhere;
  if (epoch != Epoch::same) return {verdict_of(true, epoch, otherwise), {}, {}};

  const int32_t last_sequence = advance(info.base_sequence, static_cast<uint32_t>(info.last_offset_delta));
  uint32_t of_epoch = 0;
  const Batch* oldest = nullptr;
  for (uint64_t number = producer.end; number > producer.begin && of_epoch < remembered; --number) {
    const Batch& batch = producer.at(number - 1);
    if (batch.epoch != newest.epoch) break;
    if (batch.base_sequence == info.base_sequence && batch.last_offset_delta == info.last_offset_delta) {
      return {verdict_of(true, epoch, Place::remembered), Offset(batch.base_offset), batch.commit, batch.max_timestamp};
    }
    oldest = &batch;
    ++of_epoch;
  }
  if (info.base_sequence == advance(newest.base_sequence, static_cast<uint32_t>(newest.last_offset_delta) + 1)) {
    return {verdict_of(true, epoch, Place::next), {}, {}};
  }
  // With fewer than five there is nothing older that could have been accepted in this epoch, as far as we know.
  const bool behind = of_epoch == remembered && distance(last_sequence, oldest->base_sequence) > 0;
  return {verdict_of(true, epoch, behind ? Place::behind : otherwise), {}, {}};
}

void ProducerTable::appended(const BatchInfo& info, CommitSequence commit) {
  if (!sequenced(info)) return;
  uint32_t found = find(info.partition, info.producer_id);
  if (found == none) {
    if (size_ == capacity_) erase(idle_longest_);
    found = insert(info.partition, info.producer_id);
  } else {
    detach(found);
    attach_latest(found);
  }
  Producer& producer = producers_[found];
  producer.ring[producer.end % history] = {.base_offset = info.base_offset.value,
                                           .commit = commit,
                                           .base_sequence = info.base_sequence,
                                           .last_offset_delta = info.last_offset_delta,
                                           .epoch = info.producer_epoch,
                                           .max_timestamp = info.max_timestamp};
  ++producer.end;
  if (producer.end - producer.begin > history) ++producer.begin;
}

void ProducerTable::undo_above(CommitSequence last) {
  penstock::check(last >= durable_, "producers: undoing what is durable", static_cast<long long>(last.value),
                  static_cast<long long>(durable_.value));
  // Producers stand in the order of their last append, so those with anything to undo are the latest ones.
  for (uint32_t at = latest_; at != none;) {
    Producer& producer = producers_[at];
    if (producer.newest().commit <= last) return;
    while (producer.end > producer.begin && producer.newest().commit > last) --producer.end;
    const uint32_t next = producer.earlier;
    if (producer.end == producer.begin) erase(at);
    at = next;
  }
}

void ProducerTable::drop_partition(PartitionNumber partition) {
  for (uint32_t at = idle_longest_; at != none;) {
    const uint32_t next = producers_[at].later;
    if (producers_[at].partition == partition) erase(at);
    at = next;
  }
}

// ---- footers ----

ProducerTable::Remembered ProducerTable::up_to(uint32_t at, CommitSequence last) const {
  const Producer& producer = producers_[at];
  Remembered state{.partition = producer.partition, .producer_id = producer.producer_id, .batches = {}};
  uint64_t end = producer.end;
  while (end > producer.begin && producer.at(end - 1).commit > last) --end;
  const uint64_t begin = std::max(producer.begin, end - std::min<uint64_t>(end, remembered));
  for (uint64_t number = begin; number < end; ++number) state.batches[state.batch_count++] = producer.at(number);
  return state;
}

void ProducerTable::clear() {
  while (idle_longest_ != none) erase(idle_longest_);
}

void ProducerTable::restore(const Remembered& state) {
  if (const uint32_t known = find(state.partition, state.producer_id); known != none) erase(known);
  if (size_ == capacity_) erase(idle_longest_);
  Producer& producer = producers_[insert(state.partition, state.producer_id)];
  for (uint32_t i = 0; i < state.batch_count; ++i) producer.ring[producer.end++] = state.batches[i];
}

ProducerTable::Newest ProducerTable::newest_of(uint32_t at) const {
  const Producer& producer = producers_[at];
  const Batch& batch = producer.newest();
  return {.partition = producer.partition,
          .producer_id = producer.producer_id,
          .epoch = batch.epoch,
          .last_sequence = advance(batch.base_sequence, static_cast<uint32_t>(batch.last_offset_delta)),
          .last_offset = Offset(batch.base_offset + batch.last_offset_delta)};
}

uint32_t ProducerTable::later(uint32_t at) const { return producers_[at].later; }

// ---- the table ----

uint32_t ProducerTable::home(PartitionNumber partition, int64_t producer_id) const {
  uint64_t mixed = partition.value * 0x9e3779b97f4a7c15 ^ static_cast<uint64_t>(producer_id) * 0xbf58476d1ce4e5b9;
  mixed ^= mixed >> 29;
  return static_cast<uint32_t>(mixed * 0x94d049bb133111eb >> 32) & mask_;
}

uint32_t ProducerTable::find(PartitionNumber partition, int64_t producer_id) const {
  for (uint32_t place = home(partition, producer_id);; place = (place + 1) & mask_) {
    const uint32_t at = places_[place];
    if (at == none) return none;
    if (producers_[at].partition == partition && producers_[at].producer_id == producer_id) return at;
  }
}

uint32_t ProducerTable::insert(PartitionNumber partition, int64_t producer_id) {
  const uint32_t at = free_;
  Producer& producer = producers_[at];
  free_ = producer.later;
  end_ = std::max(end_, at + 1);
  producer.partition = partition;
  producer.producer_id = producer_id;
  producer.begin = producer.end = 0;
  uint32_t place = home(partition, producer_id);
  while (places_[place] != none) place = (place + 1) & mask_;
  places_[place] = at;
  attach_latest(at);
  ++size_;
  return at;
}

void ProducerTable::erase(uint32_t at) {
  Producer& producer = producers_[at];
  uint32_t gap = home(producer.partition, producer.producer_id);
  while (places_[gap] != at) gap = (gap + 1) & mask_;
  places_[gap] = none;
  for (uint32_t place = (gap + 1) & mask_; places_[place] != none; place = (place + 1) & mask_) {
    // Moves up whoever's way from home leads across the gap.
    const Producer& other = producers_[places_[place]];
    if (((place - home(other.partition, other.producer_id)) & mask_) < ((place - gap) & mask_)) continue;
    places_[gap] = places_[place];
    places_[place] = none;
    gap = place;
  }
  detach(at);
  producer.begin = producer.end = 0;
  producer.later = free_;
  free_ = at;
  --size_;
}

void ProducerTable::detach(uint32_t at) {
  const Producer& producer = producers_[at];
  (producer.earlier == none ? idle_longest_ : producers_[producer.earlier].later) = producer.later;
  (producer.later == none ? latest_ : producers_[producer.later].earlier) = producer.earlier;
}

void ProducerTable::attach_latest(uint32_t at) {
  producers_[at].earlier = latest_;
  producers_[at].later = none;
  (latest_ == none ? idle_longest_ : producers_[latest_].later) = at;
  latest_ = at;
}

}  // namespace penstock
