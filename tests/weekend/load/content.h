// Record batches of which every byte follows from a few numbers, so that a reader can make them again and compare.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock::weekend {

// Who wrote a batch, as its header says it.
struct Writer {
  int64_t id = -1;
  int16_t epoch = -1;
  int32_t sequence = -1;
};

struct BatchShape {
  uint32_t place = 0;  // index of the partition among all that are written
  int64_t number = 0;  // counts up in each place
  int32_t count = 0;   // of records
  uint32_t value_bytes = 0;
  int64_t timestamp_ms = 0;
  Writer writer;
};

class Content {
 public:
  explicit Content(uint64_t seed);
  // KIP-98's record batch, uncompressed, base offset 0.
  std::string make(const BatchShape& shape) const;

 private:
  std::vector<char> noise_;
};

// A batch as it was read: its base offset, what it says of itself, and its length. Nothing when it is cut off at the
// end.
struct FoundBatch {
  int64_t base_offset = 0;
  BatchShape shape;
  size_t bytes = 0;
};
std::optional<FoundBatch> find_batch(std::span<const char> from);

// Whether `bytes` are the batch of that shape, but for what the broker sets: base offset and leader epoch.
bool same_batch(const Content& content, const FoundBatch& found, std::span<const char> bytes);

}  // namespace penstock::weekend
