// A simulated administrator of one topic: deletes it and creates it again under the same name, again and again. What
// the topic is between a creation and the next deletion is a life of it, with an id of its own; the world gives each
// life its own producers and consumers.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "dataplane/kafka/types.h"
#include "drivers/sim/random.h"
#include "tests/simulator/sim_client.h"

namespace penstock::sim {

struct ChurnerConfig {
  std::string topic;
  int32_t partitions = 1;
  uint64_t seed = 1;
};

class Churner {
 public:
  enum class News : uint8_t { none, created, deletion_asked, deleted };

  explicit Churner(const ChurnerConfig& config) : config_(config), random_(config.seed) {}

  bool step(std::span<Network* const> networks, Nanoseconds now);
  void node_lost();
  // The topic is to be there in the end.
  void finish() { finishing_ = true; }
  bool finishing() const { return finishing_; }
  bool finished() const { return finishing_ && exists_ && !may_be_done_; }

  const ChurnerConfig& config() const { return config_; }
  News take_news() { return std::exchange(news_, News::none); }
  const kafka::Uuid& topic_id() const { return topic_id_; }  // of the present life
  std::string life_name() const { return config_.topic + "@" + std::to_string(ids_.size()); }

 private:
  enum class State : uint8_t { idle, creating, naming, deleting };
  void create(Nanoseconds now);
  void on_created(const Frame& frame, Nanoseconds now);
  void ask_its_name(Nanoseconds now);
  void on_named(const Frame& frame, Nanoseconds now);
  void remove(Nanoseconds now);
  void on_deleted(const Frame& frame, Nanoseconds now);
  void begin_life(const kafka::Uuid& id, Nanoseconds now);
  void rest(Nanoseconds now, uint64_t ms_max);

  const ChurnerConfig config_;
  SimRandom random_;
  State state_ = State::idle;
  Connection connection_;
  kafka::Version version_ = 0;
  Nanoseconds next_at_ = 0;
  bool finishing_ = false;
  bool exists_ = false;       // as far as was confirmed
  bool may_be_done_ = false;  // an answer was lost, or was an error
  kafka::Uuid topic_id_{};
  std::set<kafka::Uuid> ids_;  // of all lives
  News news_ = News::none;
};

}  // namespace penstock::sim
