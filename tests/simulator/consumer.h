// A simulated consumer of one partition: fetches from offset 0 on with long polls, remembers every batch it saw. What
// it was shown must be there for ever: the world compares it with the log after the last restart. Where records expire
// it goes on at the log start, which never goes back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "drivers/sim/random.h"
#include "tests/simulator/sim_client.h"
#include "tests/simulator/written.h"

namespace penstock::sim {

struct SeenBatch {
  int64_t base_offset = 0;
  int64_t next_offset = 0;
  Milliseconds timestamp = -1;  // of all its records
  BatchName name;
};

struct ConsumerConfig {
  std::string topic;              // as the world tells topics apart
  std::optional<TopicLife> life;  // else whatever has the topic's name
  const std::string& topic_name() const { return life ? life->name : topic; }
  int32_t partition = 0;
  uint64_t seed = 1;
  bool records_expire = false;
};

class Consumer {
 public:
  Consumer(const ConsumerConfig& config, const Written& written)
      : config_(config), written_(written), random_(config.seed) {}

  bool step(std::span<Network* const> networks, Nanoseconds now);
  void node_lost();
  // It gives up its connection, or takes nothing for a while; whether it had one.
  bool drop_connection();
  // For good.
  void leave();
  bool stop_reading(Nanoseconds until);

  // From some place before: its beginning, or anywhere.
  void read_again();
  // From the beginning, all of it; what was seen up to now is seen_before().
  void begin_audit();
  // The drive is damaged: these offsets, from begin to end, need not be there any more.
  struct Missing {
    int64_t begin = 0, end = 0;
  };
  void drive_is_damaged(const std::vector<Missing>& missing) {
    drive_is_damaged_ = true;
    may_miss_ = missing;
    begins_anywhere_ = true;  // at the log start of before, which the damage may have taken back
  }
  bool may_miss(int64_t offset) const {
    return std::ranges::any_of(may_miss_, [&](const Missing& each) { return each.begin <= offset && offset < each.end; });
  }
  // Some were passed over without an error.
  bool missed_unawares() const { return missed_unawares_; }
  const ConsumerConfig& config() const { return config_; }
  const std::vector<SeenBatch>& seen() const { return seen_; }
  const std::vector<SeenBatch>& seen_before() const { return seen_before_; }
  int64_t next_offset() const { return next_offset_; }
  int64_t log_start() const { return log_start_; }
  // Of its topic.
  void deleted(Nanoseconds now) { gone_at_ = now; }
  bool over() const { return over_; }
  int64_t high_watermark() const { return high_watermark_; }  // of the last answer since the node started, or -1
  Nanoseconds as_of() const { return as_of_; }                // when it asked for that

 private:
  enum class State : uint8_t { idle, locating, fetching };
  void on_located(const Frame& frame, std::span<Network* const> networks, Nanoseconds now);
  void on_fetched(const Frame& frame, Nanoseconds now);
  void fetch(Nanoseconds now);
  void list_offsets(Nanoseconds now);
  void on_listed(const Frame& frame);
  void check_time(Milliseconds asked, int64_t offset, Milliseconds timestamp) const;
  kafka::Version metadata_version_used() const;
  void take_batches(std::span<const std::byte> records);
  void pass_over_missing();
  void compare(const BatchName& name, std::span<const std::byte> batch) const;

  const ConsumerConfig config_;
  const Written& written_;
  SimRandom random_;
  State state_ = State::idle;
  Connection connection_;
  kafka::Uuid topic_id_{};
  kafka::Version fetch_version_ = 4;
  struct Listing {
    kafka::Version version = 0;
    Milliseconds timestamp = 0;  // or which offset, see list_offsets.h
  };
  std::deque<Listing> listings_;  // asked for on this connection
  Nanoseconds retry_at_ = 0;
  std::optional<Nanoseconds> reads_again_at_;
  int64_t next_offset_ = 0;
  std::vector<Missing> may_miss_;
  bool drive_is_damaged_ = false;
  bool missed_unawares_ = false;
  bool begins_anywhere_ = false;  // perhaps within a batch
  int64_t log_start_ = 0;
  int64_t high_watermark_ = -1;
  int64_t highest_watermark_ = -1;
  std::vector<SeenBatch> seen_, seen_before_;
  Nanoseconds asked_at_ = 0, as_of_ = -1;
  std::optional<Nanoseconds> gone_at_;
  bool over_ = false;
};

}  // namespace penstock::sim
