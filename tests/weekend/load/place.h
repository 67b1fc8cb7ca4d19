// One partition under load: its producer, its reader, what both count.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "tests/weekend/load/content.h"
#include "tests/weekend/load/ledger.h"
#include "tests/weekend/load/wire.h"

namespace penstock::weekend {

inline int64_t wall_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// How long requests took from their first byte to their answer: 8 buckets for each doubling, from 1 us on.
class Latencies {
 public:
  static constexpr size_t bucket_count = 256;
  static size_t bucket_of(uint64_t us) {
    const uint64_t value = std::max<uint64_t>(us, 8);
    const auto exponent = static_cast<size_t>(63 - __builtin_clzll(value));
    return std::min(bucket_count - 1, (exponent - 3) * 8 + static_cast<size_t>(value >> (exponent - 3) & 7));
  }
  // The first value above the bucket.
  static uint64_t upper_us(size_t bucket) { return (9 + bucket % 8) << (bucket / 8); }
  void add(uint64_t us) { counts_[bucket_of(us)].fetch_add(1, std::memory_order_relaxed); }
  uint64_t take(size_t bucket) { return counts_[bucket].exchange(0, std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, bucket_count> counts_{};
};

struct Totals {
  std::atomic<uint64_t> acknowledged_bytes{0};
  std::atomic<uint64_t> acknowledged_batches{0};
  std::atomic<uint64_t> read_bytes{0};
  std::atomic<uint64_t> audited_bytes{0};
  std::atomic<uint64_t> reconnects{0};  // of the clients' own will
  std::atomic<uint64_t> lost_connections{0};
  std::atomic<uint64_t> storage_errors{0};  // the drive was full
  std::atomic<uint64_t> jumps{0};           // of readers whom retention had overtaken
  Latencies latencies;
};

struct Place {
  uint32_t index = 0;
  std::string topic;
  int32_t partition = 0;
  Address leader;
  bool idempotent = false;
  int32_t batch_records = 0;
  uint32_t value_bytes = 0;
  std::unique_ptr<Ledger> ledger;
  std::atomic<bool> produced_all{false};
};

// What all threads share.
struct Load {
  const Content& content;
  Totals& totals;
  const std::atomic<bool>& finishing;
  const Ledger::Complain& complain;
  uint64_t seed = 0;
};

// Produces until `finishing`, and then until all that is under way is answered.
void produce(const Load& load, Place& place);
// Reads from offset 0 on until the producer is done and all is read.
void read_along(const Load& load, Place& place);
// Reads once what there is, from the log start up to what was known to be durable at the call.
void audit(const Load& load, Place& place);

}  // namespace penstock::weekend
