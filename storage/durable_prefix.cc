#include "storage/durable_prefix.h"

#include "dataplane/base/mutation.h"

namespace penstock {

DurablePrefix::DurablePrefix(size_t commits_max, CommitSequence durable) : commits_(commits_max), durable_(durable) {}

void DurablePrefix::add(CommitSequence sequence, SegmentSlot file) {
  check(sequence == last() + 1, "commits are added in order", static_cast<long long>(sequence.value),
        static_cast<long long>(last().value));
  commits_.push_back(Item{.file = file.value});
}

void DurablePrefix::written(CommitSequence sequence, bool durable) {
  check(sequence > durable_ && sequence <= last(), "written: not a commit in flight",
        static_cast<long long>(sequence.value), static_cast<long long>(durable_.value));
  Item& item = commits_[commits_.begin() + (sequence - durable_) - 1];
  check(item.state == State::in_flight, "written twice", static_cast<long long>(sequence.value));
  item.state = durable || mutated(Mutation::acknowledge_before_flush) ? State::durable : State::written;
  if (mutated(Mutation::skip_prefix)) commits_.front().state = item.state;
  advance();
}

bool DurablePrefix::wants_flush() const {
  return !flushing_ && !commits_.empty() && commits_.front().state == State::written;
}

void DurablePrefix::flush_submitted() {
  check(wants_flush(), "flush submitted without need");
  const uint32_t file = commits_.front().file;
  for (uint64_t i = commits_.begin(); i < commits_.end(); ++i) {
    if (commits_[i].file == file && commits_[i].state == State::written) commits_[i].state = State::covered;
  }
  flushing_ = true;
}

void DurablePrefix::flush_finished() {
  check(flushing_, "flush finished that was not submitted");
  flushing_ = false;
  for (uint64_t i = commits_.begin(); i < commits_.end(); ++i) {
    const bool later = mutated(Mutation::flush_covers_later_writes) && commits_[i].state == State::written;
    if (commits_[i].state == State::covered || later) commits_[i].state = State::durable;
  }
  advance();
}

void DurablePrefix::flush_interrupted() {
  check(flushing_, "flush interrupted that was not submitted");
  flushing_ = false;
  for (uint64_t i = commits_.begin(); i < commits_.end(); ++i) {
    if (commits_[i].state == State::covered) commits_[i].state = State::written;
  }
}

void DurablePrefix::advance() {
  while (!commits_.empty() && commits_.front().state == State::durable) {
    commits_.pop_front();
    durable_ += 1;
  }
}

void DurablePrefix::restart(CommitSequence durable) {
  while (!commits_.empty()) commits_.pop_back();
  flushing_ = false;
  durable_ = durable;
}

}  // namespace penstock
