// A simulated administrator who deletes the records of one partition up to some offset, again and again. What was
// confirmed stays deleted; what was asked for may be.
#pragma once

#include <cstdint>
#include <string>

#include "drivers/sim/random.h"
#include "tests/simulator/sim_client.h"

namespace penstock::sim {

struct DeleterConfig {
  std::string topic;
  int32_t partition = 0;
  uint64_t seed = 1;
};

class Deleter {
 public:
  explicit Deleter(const DeleterConfig& config) : config_(config), random_(config.seed) {}

  bool step(std::span<Network* const> networks, Nanoseconds now);
  void node_lost();

  const DeleterConfig& config() const { return config_; }
  int64_t asked() const { return asked_; }          // the largest offset
  int64_t confirmed() const { return confirmed_; }  // the last log start

 private:
  enum class State : uint8_t { idle, locating, deleting };
  void on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now);
  void on_deleted(const Frame& frame);

  const DeleterConfig config_;
  SimRandom random_;
  State state_ = State::idle;
  Connection connection_;
  kafka::Version version_ = 0;
  Nanoseconds retry_at_ = 0;
  int64_t asked_ = 0;
  int64_t confirmed_ = 0;
};

}  // namespace penstock::sim
