// A simulated producer, plain or idempotent, of one partition. Every batch is told apart by its number, so that the
// checker knows afterwards which are where. An idempotent producer sends again what was not answered, with the same
// sequence numbers; a plain one counts it as unknown and goes on.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "drivers/sim/random.h"
#include "tests/simulator/sim_client.h"
#include "tests/simulator/written.h"

namespace penstock::sim {

inline constexpr Milliseconds wall_start_ms = 1'700'000'000'000;  // the time of day at time 0

struct ProducerConfig {
  uint32_t number = 0;  // unique in the world
  std::string topic;              // as the world tells topics apart
  std::optional<TopicLife> life;  // else whatever has the topic's name
  const std::string& topic_name() const { return life ? life->name : topic; }
  int32_t partition = 0;
  bool idempotent = false;
  uint32_t batches = 50;
  uint32_t in_flight_max = 5;
  uint32_t record_bytes_max = 6000;  // some batches are larger than a few segments
  uint64_t seed = 1;
};

class Producer {
 public:
  Producer(const ProducerConfig& config, Written& written)
      : config_(config), written_(written), random_(config.seed) {}

  // One step; `networks` by lane. Returns whether anything happened.
  bool step(std::span<Network* const> networks, Nanoseconds now);
  // The node crashed: every connection is gone.
  void node_lost();
  // It gives up its connection; whether it had one.
  bool drop_connection();
  bool done() const { return over_ || (next_ >= config_.batches && in_flight_.empty()); }
  // Of its topic.
  void deletion_asked() { may_be_gone_ = true; }
  void deleted(Nanoseconds now) { gone_at_ = now; }
  bool may_be_gone() const { return may_be_gone_; }
  const ProducerConfig& config() const { return config_; }

  // What was acknowledged: batch number -> base offset.
  const std::map<uint32_t, int64_t>& acknowledged() const { return acknowledged_; }
  int64_t acknowledged_end() const { return acknowledged_end_; }  // behind the last of them
  int64_t producer_id() const { return producer_id_; }            // -1: none yet
  // Every batch that was ever built, by number.
  struct Built {
    Milliseconds timestamp = 0;
    uint64_t bytes = 0;
  };
  const std::map<uint32_t, Built>& built() const { return built_; }
  uint32_t errors() const { return errors_; }
  uint64_t damaged() const { return damaged_; }  // batches, on their way
  static uint32_t record_count(uint32_t producer, uint32_t batch) { return 1 + (producer * 7 + batch * 3) % 4; }

 private:
  enum class State : uint8_t { idle, locating, identifying, producing };
  struct InFlight {
    uint32_t batch = 0;
    int32_t sequence = 0;
    bool sent = false;
    bool damaged = false;  // what was sent
    Nanoseconds sent_at = 0;
    std::span<const std::byte> bytes;
  };
  void restart();
  bool locate(std::span<Network* const> networks, Nanoseconds now);
  bool receive(std::span<Network* const> networks, Nanoseconds now);
  void on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now);
  void on_identified(const Frame& frame, Nanoseconds now);
  void on_produced(const Frame& frame, Nanoseconds now);
  void on_refreshed(const Frame& frame);
  void ask_for_metadata(bool may_create, Nanoseconds now);
  bool send_more(Nanoseconds now);
  std::vector<std::byte> build(uint32_t batch, int32_t sequence, Milliseconds timestamp);

  const ProducerConfig config_;
  Written& written_;
  SimRandom random_;
  State state_ = State::idle;
  Connection connection_;
  kafka::Uuid topic_id_{};
  int32_t leader_ = -1;
  Nanoseconds retry_at_ = 0;
  int64_t producer_id_ = -1;
  int16_t producer_epoch_ = 0;
  int32_t next_sequence_ = 0;
  uint32_t next_ = 0;
  kafka::Version produce_version_ = 9;
  std::deque<InFlight> in_flight_;
  std::map<uint32_t, int64_t> acknowledged_;
  int64_t acknowledged_end_ = 0;
  std::map<uint32_t, Built> built_;
  uint32_t errors_ = 0;
  uint64_t damaged_ = 0;
  bool may_be_gone_ = false;
  std::optional<Nanoseconds> gone_at_;
  bool over_ = false;
};

}  // namespace penstock::sim
