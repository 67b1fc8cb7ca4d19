// Decides what is durable. Commits are written in any order and grouped by file (a flush covers one file); a commit is
// durable by itself when it was written with O_DSYNC, or else when a flush has finished that was submitted after the
// commit's write had completed. What counts is the contiguous prefix.
//
//   sequence    6        7        8        9        10
//             durable  durable  written  durable  in flight
//                         ^ durable(): 7. A flush submitted now covers 8.
//
// A write that completes while a flush is under way is not covered by it.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"
#include "storage/bounded.h"

namespace penstock {

class DurablePrefix {
 public:
  // `commits_max`: commits not durable at any time. Everything up to `durable` is.
  DurablePrefix(size_t commits_max, CommitSequence durable);

  // Commits are added in sequence order.
  void add(CommitSequence sequence, SegmentSlot file);
  // All writes of a commit completed; `durable`: with O_DSYNC.
  void written(CommitSequence sequence, bool durable);

  // A flush would move the prefix on: the first commit that is not durable is written. False while one is under way.
  bool wants_flush() const;
  SegmentSlot flush_file() const { return SegmentSlot(commits_.front().file); }
  void flush_submitted();
  void flush_finished();     // successfully
  void flush_interrupted();  // it did nothing and is wanted again
  bool flushing() const { return flushing_; }

  CommitSequence durable() const { return durable_; }
  // The last commit added.
  CommitSequence last() const { return durable_ + commits_.size(); }
  // A write or flush failed: commits above `durable` are forgotten, and added again if they are written again.
  void restart(CommitSequence durable);

 private:
  enum class State : uint8_t { in_flight, written, covered, durable };
  struct Item {
    uint32_t file = 0;
    State state = State::in_flight;
  };
  void advance();

  BoundedQueue<Item> commits_;  // durable_ + 1 ..
  CommitSequence durable_;
  bool flushing_ = false;
};

}  // namespace penstock
