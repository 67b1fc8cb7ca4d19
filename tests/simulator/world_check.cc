// What a world checks when a life is over, and always.
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/simulator/sim_lane.h"
#include "tests/simulator/world.h"

namespace penstock::sim {

// In the last life consumers read all there is, so that what they see is there after all crashes.
void World::begin_audit() {
  for (auto& consumer : consumers_) {
    if (consumer->over()) continue;
    consumer->begin_audit();
    auditors_[{consumer->config().topic, consumer->config().partition}] = consumer.get();
  }
}

const RetentionPolicy* World::retention(const std::string& topic) const {
  const auto found = retention_.find(topic);
  return found == retention_.end() ? nullptr : &found->second;
}

bool World::is_gone(const std::string& topic, int32_t partition, int64_t next_offset) const {
  const auto auditor = auditors_.find({topic, partition});
  return auditor != auditors_.end() && next_offset <= auditor->second->log_start();
}

// Somebody asked for it, or it had expired.
void World::check_expired(const Producer& producer, uint32_t batch, int64_t base_offset) {
  const ProducerConfig& config = producer.config();
  for (const auto& deleter : deleters_) {
    const bool here = deleter->config().topic == config.topic && deleter->config().partition == config.partition;
    if (here && deleter->asked() > base_offset) return;
  }
  uint64_t others = 0;  // what may lie behind it
  for (const auto& other : producers_) {
    if (other->config().topic != config.topic || other->config().partition != config.partition) continue;
    for (const auto& [number, built] : other->built()) {
      const auto acknowledged = other->acknowledged().find(number);
      const bool before = acknowledged != other->acknowledged().end() && acknowledged->second <= base_offset;
      others += before ? 0 : built.bytes;
    }
  }
  const Milliseconds wall = wall_start_ms + now_ / millisecond_ns;
  check(has_expired(*retention(config.topic), wall, producer.built().at(batch).timestamp, others),
        "a batch is gone that was to be kept", static_cast<long long>(seed_), base_offset);
}

void World::check_budgets(const SimLane& lane) const {
  const auto within = [&](uint64_t used, uint64_t budget, const char* what) {
    check(used <= budget, what, static_cast<long long>(used), static_cast<long long>(budget));
  };
  const LogStatistics& log = lane.log.statistics();
  within(lane.metrics.connections.get(), connections_max, "connections");
  within(lane.metrics.reserved_bytes.get(), receive_budget_bytes, "memory of requests");
  // A commit may go alone, however long its one batch, rounded, has become.
  within(log.inflight_bytes, std::max(units_.inflight_bytes_max, 2 * units_.commit_bytes_max), "bytes in flight");
  within(log.resident_bytes, lane.limits.resident_bytes_max, "resident bytes");
  constexpr uint64_t two_blocks = 32 * KiB;  // the least there is
  within(log.footer_cache_bytes, std::max(lane.limits.footer_cache_bytes, two_blocks), "memory of footers");
}

// When all clients have gone nothing is left of them.
void World::check_quiet() {
  for (auto& consumer : consumers_) consumer->leave();
  const auto is_quiet = [](const auto& lane) {
    return lane->metrics.connections.get() == 0 && lane->metrics.reserved_bytes.get() == 0 &&
           lane->metrics.reservations_waiting.get() == 0 && lane->log.statistics().inflight_bytes == 0;
  };
  // Over our TCP a connection whose end got lost is found out by keep-alives.
  const Nanoseconds began = now_;
  while (!std::ranges::all_of(lanes_, is_quiet)) {
    if (!step()) now_ = std::max(now_ + turn_ns, next_time());
    if (now_ >= began + 60 * second_ns) tell_who_waits();
    check(now_ < began + 60 * second_ns, "something is left of clients that have gone", static_cast<long long>(seed_));
  }
}

// What was acknowledged and has not expired is there, once, where the acknowledgement said, and so is what any consumer
// was ever shown; offsets are dense (the consumers saw to that, and to the bytes) and never given out twice; idempotent
// producers have no duplicate and no gap.
void World::check_everything() {
  struct Place {
    std::string topic;
    int32_t partition;
    int64_t base_offset;
    auto operator<=>(const Place&) const = default;
  };
  std::map<Place, BatchName> names;
  const auto at_its_place = [&](const Place& place, const BatchName& name) {
    const auto [known, fresh] = names.emplace(place, name);
    check(known->second == name, "an offset was given out twice", static_cast<long long>(seed_), place.base_offset);
    return fresh;
  };
  std::map<BatchName, std::vector<Place>> places;  // where consumers saw it
  for (const auto& [of, auditor] : auditors_) {
    summary_.records_expired += static_cast<uint64_t>(auditor->log_start());
    for (const auto& deleter : deleters_) {
      const bool here = deleter->config().topic == of.first && deleter->config().partition == of.second;
      check(!here || auditor->log_start() >= deleter->confirmed(), "deleted records are back",
            static_cast<long long>(seed_), auditor->log_start());
    }
  }
  for (const auto& consumer : consumers_) {
    const ConsumerConfig& config = consumer->config();
    for (const SeenBatch& batch : consumer->seen()) {
      const Place place{config.topic, config.partition, batch.base_offset};
      if (at_its_place(place, batch.name)) places[batch.name].push_back(place);
    }
    for (const SeenBatch& batch : consumer->seen_before()) {
      const Place place{config.topic, config.partition, batch.base_offset};
      if (!at_its_place(place, batch.name)) continue;
      places[batch.name].push_back(place);
      check(consumer->over() || is_gone(config.topic, config.partition, batch.next_offset), "what a consumer was shown is lost",
            static_cast<long long>(seed_), batch.base_offset);
    }
  }
  std::set<int64_t> producer_ids;
  for (const auto& producer : producers_) {
    const ProducerConfig& config = producer->config();
    const bool own = producer->producer_id() < 0 || producer_ids.insert(producer->producer_id()).second;
    check(own, "a producer id was given out twice", static_cast<long long>(seed_), producer->producer_id());
    summary_.acknowledged += producer->acknowledged().size();
    summary_.storage_errors += producer->errors();
    summary_.faults[Fault::batch_damaged] += producer->damaged();
    int64_t previous = -1;
    for (uint32_t batch = 0; batch < config.batches; ++batch) {
      const BatchName name{config.number, batch};
      const auto found = places.find(name);
      const size_t copies = found == places.end() ? 0 : found->second.size();
      const auto acknowledged = producer->acknowledged().find(batch);
      if (acknowledged != producer->acknowledged().end()) {
        const int64_t base_offset = acknowledged->second;
        at_its_place({config.topic, config.partition, base_offset}, name);
        const int64_t next_offset = base_offset + Producer::record_count(config.number, batch);
        if (is_gone(config.topic, config.partition, next_offset)) {
          check_expired(*producer, batch, base_offset);
          continue;
        }
        if (copies == 0 && producer->may_be_gone()) continue;
        check(copies >= 1, "an acknowledged batch is lost", static_cast<long long>(seed_), batch);
        check(found->second[0].base_offset == acknowledged->second, "a batch is not where it was acknowledged",
              found->second[0].base_offset, acknowledged->second);
      }
      check(copies <= 1, "a batch is there twice", static_cast<long long>(seed_), batch);
      if (config.idempotent && retention(config.topic) == nullptr && !producer->may_be_gone()) {
        check(copies == 1, "a gap in what an idempotent producer wrote", static_cast<long long>(seed_), batch);
      }
      if (copies == 1) {
        check(found->second[0].topic == config.topic && found->second[0].partition == config.partition,
              "a batch is in the wrong partition", static_cast<long long>(seed_), batch);
        check(found->second[0].base_offset > previous, "batches of one producer out of order",
              static_cast<long long>(seed_), batch);
        previous = found->second[0].base_offset;
      }
    }
  }
  note("checked " + std::to_string(summary_.acknowledged) + " acknowledged batches");
}

void World::tell_who_waits() const {
  for (const auto& lane : lanes_) {
    const LogStatistics& log = lane->log.statistics();
    std::printf("lane: log state %d, trouble %d, %llu segments, %llu released, %u slots; %s\n",
                static_cast<int>(lane->log.state()), static_cast<int>(lane->log.trouble()),
                static_cast<unsigned long long>(log.segments), static_cast<unsigned long long>(log.segments_released),
                lane->drive.files().slot_count(), lane->broker().pending_report().c_str());
  }
  for (const auto& producer : producers_) {
    const ProducerConfig& config = producer->config();
    if (producer->done()) continue;
    std::printf("producer %u of %s/%d: %zu of %u batches acknowledged, %u errors\n", config.number,
                config.topic.c_str(), config.partition, producer->acknowledged().size(), config.batches,
                producer->errors());
  }
  for (const auto& consumer : consumers_) {
    if (consumer->over()) continue;
    std::printf("consumer of %s/%d: at %lld of %lld\n", consumer->config().topic.c_str(),
                consumer->config().partition, static_cast<long long>(consumer->next_offset()),
                static_cast<long long>(consumer->high_watermark()));
  }
  std::fflush(stdout);
}

}  // namespace penstock::sim
