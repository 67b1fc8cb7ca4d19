// What idempotent producers sent last, per (partition, producer id): Kafka's rules against duplicates and gaps.
//
// State is held twice, appended and durable, in one ring per producer. Each remembered batch knows its commit, so the
// durable state is simply the batches at or below the durable commit:
//
//        oldest                                   newest
//   | b11 | b12 | b13 | b14 | b15 | b16 | b17 | b18 | b19 | b20 |       ten batches
//                             |---- the last five: appended state
//               |---- the last five up to the durable commit (b17): durable state
//
// Undoing everything above the durable commit forgets b18 .. b20 and leaves exactly the state as of b17. Ten suffice:
// Kafka's clients have at most five batches in flight. Of one that ignores this, only batches older than ten are
// forgotten early.
//
// Capacity is fixed; when it is reached, whoever has been idle longest is forgotten, which Kafka does by time
// (producer.id.expiration.ms). No allocation after construction.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/base/units.h"
#include "storage/batch_info.h"
#include "storage/log.h"  // SequenceVerdict, SequenceCheck

namespace penstock {

class ProducerTable {
 public:
  static constexpr uint32_t remembered = 5;  // Kafka's ProducerStateEntry.NUM_BATCHES_TO_RETAIN
  static constexpr uint32_t history = 2 * remembered;

  explicit ProducerTable(uint32_t capacity);
  ~ProducerTable();
  ProducerTable(ProducerTable&&) noexcept;
  ProducerTable& operator=(ProducerTable&&) noexcept;

  // May the batch be appended? Batches without a producer id, or without a sequence (transaction markers), always may.
  SequenceCheck check(const BatchInfo& info) const;
  // The batch was appended to `commit`, at info.base_offset; commits never descend.
  void appended(const BatchInfo& info, CommitSequence commit);

  void durable_up_to(CommitSequence commit) { durable_ = commit; }
  // Back to the state after commit `last`, which is not below the durable one. Commits above it never were.
  void undo_above(CommitSequence last);

  void drop_partition(PartitionNumber partition);

  // ---- footers ----
  struct Batch {
    int64_t base_offset;
    CommitSequence commit;
    int32_t base_sequence;
    int32_t last_offset_delta;
    int16_t epoch;
    Milliseconds max_timestamp = -1;  // -1: not known, after a start from a footer
  };
  struct Remembered {
    PartitionNumber partition{};
    int64_t producer_id = -1;
    uint32_t batch_count = 0;
    Batch batches[remembered];  // oldest first
  };
  // What is remembered at place `at`, below end(), up to commit `last`. What was forgotten since, since it had to
  // make room, is not there.
  Remembered up_to(uint32_t at, CommitSequence last) const;
  void clear();
  // Someone whose last commit is not older than any known.
  void restore(const Remembered& state);

  uint32_t size() const { return size_; }
  uint32_t end() const { return end_; }  // places from here on have never been used

  // What the last sequence and epoch are, for snapshots and the operator: calls visit(partition, producer id, epoch,
  // last sequence, last offset), longest idle first.
  template <class Visit>
  void each(Visit&& visit) const {
    for (uint32_t at = idle_longest_; at != none; at = later(at)) {
      const Newest newest = newest_of(at);
      visit(newest.partition, newest.producer_id, newest.epoch, newest.last_sequence, newest.last_offset);
    }
  }

 private:
  static constexpr uint32_t none = UINT32_MAX;
  struct Producer;
  struct Newest {
    PartitionNumber partition{};
    int64_t producer_id = -1;
    int16_t epoch = -1;
    int32_t last_sequence = -1;
    Offset last_offset{};
  };

  Newest newest_of(uint32_t at) const;
  uint32_t later(uint32_t at) const;
  uint32_t home(PartitionNumber partition, int64_t producer_id) const;
  uint32_t find(PartitionNumber partition, int64_t producer_id) const;
  uint32_t insert(PartitionNumber partition, int64_t producer_id);
  void erase(uint32_t at);
  void detach(uint32_t at);
  void attach_latest(uint32_t at);

  uint32_t capacity_;
  uint32_t size_ = 0;
  uint32_t end_ = 0;
  uint32_t mask_;
  std::unique_ptr<uint32_t[]> places_;  // hash -> producer; open addressing, at most half full
  std::unique_ptr<Producer[]> producers_;
  uint32_t free_ = none;
  uint32_t idle_longest_ = none;  // producers in order of their last append
  uint32_t latest_ = none;
  CommitSequence durable_{};
};

}  // namespace penstock
