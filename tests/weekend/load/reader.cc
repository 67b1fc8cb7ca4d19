// Readers of one partition: offsets without a gap, batches in the order in which they were written, every byte as it
// was written. Where retention has overtaken a reader it goes on at the log start.
#include <random>
#include <set>
#include <thread>

#include "tests/weekend/load/place.h"

namespace penstock::weekend {
namespace {

constexpr int32_t bytes_max = 1 << 20, wait_ms = 100;
constexpr auto pause_after_loss = std::chrono::milliseconds(20);
constexpr uint32_t connection_fetches_max = 20'000;
constexpr int64_t overtaken_max = 100;

class Reader {
 public:
  Reader(const Load& load, Place& place, std::atomic<uint64_t>& read_bytes, uint64_t seed)
      : load_(load), place_(place), read_bytes_(read_bytes), random_(seed) {}

  // `done(offset)`: whether all before `offset` was enough.
  template <class Done>
  void run(int64_t from, Done&& done) {
    expected_ = from;
    while (!done(expected_)) {
      try {
        Connection connection(place_.leader);
        auto fetches_left = static_cast<uint32_t>(random_() % connection_fetches_max);
        while (fetches_left-- > 0 && !done(expected_)) step(connection);
        ++load_.totals.reconnects;
      } catch (const ConnectionLost& why) {
        if (std::string(why.what()).starts_with("no answer")) complain(why.what());
        std::this_thread::sleep_for(pause_after_loss);
      }
    }
  }

 private:
  void step(Connection& connection) {
    const int64_t end_before = place_.ledger->end();
    const Fetched fetched = fetch(connection, place_.topic, place_.partition, expected_, bytes_max, wait_ms);
    switch (fetched.error) {
      case no_error:
        place_.ledger->stands(fetched.log_start, fetched.high_watermark, end_before, wall_ms());
        see_start(fetched.log_start);
        return take(fetched.records);
      case offset_out_of_range:
        return jump(connection);
      case not_leader:
      case unknown_topic:
      case storage_error:
        std::this_thread::sleep_for(pause_after_loss);
        return;
      default:
        complain("fetching offset " + std::to_string(expected_) + ": error " + std::to_string(fetched.error));
        std::this_thread::sleep_for(pause_after_loss);
    }
  }

  void jump(Connection& connection) {
    const auto start = log_start(connection, place_.topic, place_.partition);
    if (!start) return;
    if (*start <= expected_) {
      complain("offset " + std::to_string(expected_) + " is out of range, the log starts at " + std::to_string(*start));
      std::this_thread::sleep_for(pause_after_loss);
      return;
    }
    place_.ledger->starts(*start, wall_ms());
    see_start(*start);
    expected_ = *start;
    last_number_ = -1;
    recent_.clear();
    ++load_.totals.jumps;
  }

  void see_start(int64_t start) {
    if (start < log_start_) {
      complain("the log start goes back from " + std::to_string(log_start_) + " to " + std::to_string(start));
    }
    log_start_ = start;
  }

  void take(std::span<const char> records) {
    while (const auto found = find_batch(records)) {
      const auto bytes = records.first(found->bytes);
      records = records.subspan(found->bytes);
      if (found->base_offset + found->shape.count <= expected_)
        continue;  // the fetch was for the middle of a later one
      const std::string batch = "batch " + std::to_string(found->shape.number);
      if (found->base_offset != expected_) {
        complain(batch + " is at offset " + std::to_string(found->base_offset) + ", expected was " +
                 std::to_string(expected_));
      }
      if (found->shape.place != place_.index || !same_batch(load_.content, *found, bytes)) {
        complain("what is at offset " + std::to_string(found->base_offset) + " is not what was written");
      } else {
        see_number(found->shape.number);
        place_.ledger->shown(*found);
      }
      expected_ = found->base_offset + found->shape.count;
      read_bytes_ += found->bytes;
    }
  }

  // What a plain producer had under way when it took a new connection may come behind what it sent there; it was never
  // acknowledged, or the ledger complains.
  void see_number(int64_t number) {
    const bool in_order = place_.idempotent ? last_number_ < 0 || number == last_number_ + 1
                                            : number > last_number_ - overtaken_max && recent_.insert(number).second;
    if (!in_order) {
      complain("batch " + std::to_string(number) + " follows batch " + std::to_string(last_number_));
    }
    last_number_ = std::max(last_number_, number);
    recent_.erase(recent_.begin(), recent_.lower_bound(last_number_ - overtaken_max));
  }

  void complain(const std::string& what) {
    load_.complain(place_.topic + "-" + std::to_string(place_.partition) + ", reader: " + what);
  }

  const Load& load_;
  Place& place_;
  std::atomic<uint64_t>& read_bytes_;
  std::mt19937_64 random_;
  int64_t expected_ = 0;
  int64_t last_number_ = -1;  // the largest
  std::set<int64_t> recent_;
  int64_t log_start_ = 0;
};

}  // namespace

void read_along(const Load& load, Place& place) {
  Reader reader(load, place, load.totals.read_bytes, load.seed * 1000 + 500 + place.index);
  reader.run(0, [&](int64_t offset) { return place.produced_all && offset >= place.ledger->end(); });
}

void audit(const Load& load, Place& place) {
  const int64_t end = place.ledger->end();
  Reader reader(load, place, load.totals.audited_bytes, load.seed * 1000 + 900 + place.index);
  reader.run(place.ledger->log_start(), [&](int64_t offset) { return offset >= end; });
}

}  // namespace penstock::weekend
