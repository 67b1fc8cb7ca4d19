// A producer of one partition that gives all it can, and now and then starts over with a new connection. An idempotent
// one sends again what was not answered, with the same sequence numbers; a plain one leaves it open.
#include <deque>
#include <random>
#include <thread>

#include "tests/weekend/load/place.h"

namespace penstock::weekend {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t depth = 4;  // the broker remembers the last five batches of a producer
constexpr auto pause_after_loss = std::chrono::milliseconds(20), pause_after_error = std::chrono::milliseconds(50);
constexpr uint32_t connection_batches_max = 20'000;

class Producer {
 public:
  Producer(const Load& load, Place& place) : load_(load), place_(place), random_(load.seed * 1000 + place.index) {}

  void run() {
    while (!load_.finishing || !under_way_.empty()) {
      try {
        Connection connection(place_.leader);
        if (place_.idempotent && writer_.id < 0) {
          std::tie(writer_.id, writer_.epoch) = new_producer_id(connection);
          writer_.sequence = 0;
        }
        work(connection);
      } catch (const ConnectionLost& why) {
        if (std::string(why.what()).starts_with("no answer")) complain(why.what());
        ++load_.totals.lost_connections;
        lose();
        std::this_thread::sleep_for(pause_after_loss);
      }
    }
  }

 private:
  struct UnderWay {
    BatchShape shape;
    std::string bytes;
    Clock::time_point sent_at{};
    bool sent = false;
  };

  // Until the connection has had enough, or an error wants everything to be sent again.
  void work(Connection& connection) {
    auto batches_left = static_cast<uint32_t>(random_() % connection_batches_max);
    const bool rudely = random_() % 2 == 0;
    for (UnderWay& each : under_way_) send(connection, each);
    while (!under_way_.empty() || (batches_left > 0 && !load_.finishing)) {
      while (under_way_.size() < depth && batches_left > 0 && !load_.finishing) {
        --batches_left;
        send(connection, next());
      }
      if (batches_left == 0 && rudely) break;  // in the middle of it all
      if (!take_answer(connection)) return;
    }
    if (rudely) connection.reset();
    lose();
    ++load_.totals.reconnects;
  }

  UnderWay& next() {
    UnderWay made;
    made.shape = {.place = place_.index,
                  .number = next_number_++,
                  .count = place_.batch_records,
                  .value_bytes = place_.value_bytes,
                  .timestamp_ms = wall_ms(),
                  .writer = writer_};
    if (place_.idempotent) writer_.sequence += made.shape.count;
    made.bytes = load_.content.make(made.shape);
    place_.ledger->sending(made.bytes.size());
    return under_way_.emplace_back(std::move(made));
  }

  void send(Connection& connection, UnderWay& each) {
    each.sent = true;
    each.sent_at = Clock::now();
    send_produce(connection, place_.topic, place_.partition, each.bytes);
  }

  // False: the connection is done with.
  bool take_answer(Connection& connection) {
    const Produced produced = receive_produced(connection);
    const UnderWay oldest = std::move(under_way_.front());
    if (produced.error == no_error) {
      under_way_.pop_front();
      const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - oldest.sent_at);
      load_.totals.latencies.add(static_cast<uint64_t>(took.count()));
      load_.totals.acknowledged_bytes += oldest.bytes.size();
      ++load_.totals.acknowledged_batches;
      place_.ledger->acknowledged(produced.base_offset, oldest.shape, oldest.bytes.size());
      return true;
    }
    switch (produced.error) {
      case storage_error:
        ++load_.totals.storage_errors;
        break;
      case not_leader:
      case unknown_topic:  // the lane has not heard of its topics yet
        break;
      default:
        complain("batch " + std::to_string(oldest.shape.number) + " is refused with error " +
                 std::to_string(produced.error));
    }
    under_way_.front() = std::move(oldest);
    for (size_t i = 1; i < under_way_.size(); ++i)
      receive_produced(connection);  // each fails with the first, or repeats
    lose();
    std::this_thread::sleep_for(pause_after_error);
    return false;
  }

  void lose() {
    if (place_.idempotent) return;
    for (const UnderWay& each : under_way_) place_.ledger->left_open(each.bytes.size());
    under_way_.clear();
  }

  void complain(const std::string& what) {
    load_.complain(place_.topic + "-" + std::to_string(place_.partition) + ", producer: " + what);
  }

  const Load& load_;
  Place& place_;
  std::mt19937_64 random_;
  Writer writer_;
  int64_t next_number_ = 0;
  std::deque<UnderWay> under_way_;
};

}  // namespace

void produce(const Load& load, Place& place) {
  Producer(load, place).run();
  place.produced_all = true;
}

}  // namespace penstock::weekend
