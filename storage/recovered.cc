#include "storage/recovered.h"

namespace penstock {

namespace {

std::string range(const char* what, uint64_t first, uint64_t last) {
  if (last <= first) return std::string(what) + " " + std::to_string(first);
  return std::string(what) + "s " + std::to_string(first) + " to " + std::to_string(last);
}

}  // namespace

std::string describe(const Found& found) {
  std::string line;
  if (found.segment.value != 0) line += "segment " + std::to_string(found.segment.value) + " in ";
  line += "slot " + std::to_string(found.slot.value) + ": " + to_string(found.finding);
  if (found.first.value != 0) line += ", " + range("commit", found.first.value, found.last.value);
  if (found.end > found.begin) {
    line += ", bytes " + std::to_string(found.begin.value) + " to " + std::to_string(found.end.value);
  }
  if (!found.detail.empty()) line += " (" + found.detail + ")";
  return line;
}

std::string RecoveredLog::report() const {
  std::string text;
  for (const Found& found : findings) {
    if (consequence_of(found.finding) != Consequence::in_order) text += describe(found) + "\n";
  }
  for (const LostOffsets& range : lost) {
    text += "lost: partition " + std::to_string(range.partition.value) + ", offsets " +
            std::to_string(range.begin.value) + " to " + std::to_string(range.end.value - 1) + "\n";
  }
  text += "recovered " + std::to_string(segments.size()) + " segments, " + std::to_string(commits) + " commits, " +
          std::to_string(batches) + " batches, " + std::to_string(partitions.size()) + " partitions; ";
  if (segments.empty()) {
    text += "a new log";
  } else {
    text += "the log ends with commit " + std::to_string(segments.back().last_sequence.value) + " in segment " +
            std::to_string(segments.back().number.value) + " at byte " + std::to_string(segments.back().end.value);
  }
  text += read_only ? "; damaged: the lane starts read-only\n" : "\n";
  return text;
}

}  // namespace penstock
