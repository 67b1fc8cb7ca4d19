#include "tests/simulator/world.h"

#include <algorithm>
#include <cstdio>
#include <ranges>
#include <set>

#include "tests/simulator/sim_lane.h"
#include "tests/storage/footer_agreement.h"

namespace penstock::sim {

namespace {

constexpr Nanoseconds life_max_ns = 600 * second_ns;  // a life that takes longer has stopped making progress

DriveUnits random_units(SimRandom& random) {
  DriveUnits units;
  units.block = random.one_in(2) ? 512 : 4096;
  units.address_unit = random.one_in(2) ? 4 : 512;
  units.length_unit = 512;
  units.seam = random.one_in(2) ? 4096 : 0;
  units.vectors_max = static_cast<uint32_t>(random.one_in(3) ? random.between(16, 64) : 1024);
  constexpr uint32_t copybreaks[] = {0, 512, 1024, 4096, UINT32_MAX};
  units.copybreak = copybreaks[random.below(5)];
  units.commit_bytes_max = static_cast<uint32_t>(random.one_in(2) ? 64 * KiB : 256 * KiB);
  units.inflight_writes_max = static_cast<uint32_t>(random.between(1, 4));
  units.inflight_bytes_max = units.commit_bytes_max * units.inflight_writes_max;
  return units;
}

}  // namespace

World::World(uint64_t seed, bool trace, bool over_tcp)
    : seed_(seed), trace_(trace), over_tcp_(over_tcp), random_(seed), churn_random_(seed ^ 0xc4052), fault_random_(seed ^ 0xfa017) {
  constexpr uint32_t lane_counts[] = {1, 1, 2, 4};
  lane_count_ = lane_counts[random_.below(4)];
  units_ = random_units(random_);
  images_.resize(lane_count_);
  draw_troubles();
  const bool turns_over = troubles_.small_drives || random_.one_in(2);
  if (turns_over) {
    if (units_.commit_bytes_max == 64 * KiB) segment_bytes_ = 256 * KiB;
    for (const char* topic : {"topic-0", "topic-1"}) {
      if (random_.one_in(4) && !troubles_.small_drives) continue;
      RetentionPolicy policy;
      // Nothing becomes old enough for the longer ones unless a wrong clock is believed.
      const bool longer = random_.one_in(3) && !troubles_.small_drives;
      if (random_.one_in(2)) policy.age_max = longer ? 1'200'000 : static_cast<Milliseconds>(random_.below(300));
      if (troubles_.small_drives && policy.age_max < 0) policy.age_max = 300;
      if (random_.one_in(2)) policy.bytes_max = static_cast<int64_t>(random_.below(300'000));
      retention_[topic] = policy;
    }
  }
  const uint32_t partitions = static_cast<uint32_t>(random_.between(1, 4));
  const uint32_t producers = static_cast<uint32_t>(random_.between(1, 6));
  // A commit is a block then, and lies where others of its slot have lain.
  const bool small_batches = random_.one_in(4);
  for (uint32_t i = 0; i < producers; ++i) {
    ProducerConfig config;
    config.number = i;
    config.topic = "topic-" + std::to_string(i % 2);
    config.partition = static_cast<int32_t>(random_.below(partitions));
    config.idempotent = random_.one_in(2);
    config.batches = static_cast<uint32_t>(random_.between(5, turns_over ? 250 : 60));
    config.in_flight_max = static_cast<uint32_t>(random_.between(1, 5));
    if (small_batches) config.record_bytes_max = 60;
    config.seed = random_.next();
    producers_.push_back(std::make_unique<Producer>(config, written_));
  }
  for (uint32_t topic = 0; topic < std::min(producers, 2u); ++topic) {
    for (uint32_t partition = 0; partition < partitions; ++partition) {
      const std::string name = "topic-" + std::to_string(topic);
      const bool expire = retention_.contains(name);
      consumers_.push_back(std::make_unique<Consumer>(
          ConsumerConfig{.topic = name,
                         .life = {},
                         .partition = static_cast<int32_t>(partition),
                         .seed = random_.next(),
                         .records_expire = expire},
          written_));
      if (expire && random_.one_in(2)) {
        deleters_.push_back(
            std::make_unique<Deleter>(DeleterConfig{name, static_cast<int32_t>(partition), random_.next()}));
      }
    }
  }
  partitions_per_topic_ = static_cast<int32_t>(partitions);
  // Topics that come and go keep their records.
  const bool churns = !troubles_.small_drives && churn_random_.one_in(2);
  for (uint64_t i = 0, count = churns ? churn_random_.between(1, 3) : 0; i < count; ++i) {
    churners_.push_back(std::make_unique<Churner>(
        ChurnerConfig{"churn-" + std::to_string(i), static_cast<int32_t>(churn_random_.between(1, 3)), churn_random_.next()}));
  }
  // As many as there are at a time, so every life of a topic has the slots of one that was deleted.
  uint32_t partitions_all = 2 * partitions;
  for (const auto& churner : churners_) partitions_all += static_cast<uint32_t>(churner->config().partitions);
  partitions_max_ = (partitions_all + lane_count_ - 1) / lane_count_;
}

World::~World() = default;

void World::note(const std::string& line) {
  for (const char c : line) summary_.trace_hash = (summary_.trace_hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  if (trace_) std::printf("%10.3f ms  %s\n", static_cast<double>(now_) / 1e6, line.c_str());
}

void World::start_node(bool faults) {
  ++restarts_;
  mail_.assign(lane_count_, {});
  store_.fail_commits(MemoryStore::Failure::none, 0);
  store_.fail_loads(false);
  const RandomSource source = [this] { return random_.next(); };
  auto catalog = Catalog::open(store_, {.lane_count = lane_count_, .slots_per_lane_max = partitions_max_}, source);
  check(catalog.has_value(), "the catalog does not open");
  for (const auto& [topic, policy] : retention_) {
    if (catalog->find(topic) != nullptr) continue;
    CatalogDraft draft = catalog->draft();
    const auto created = draft.create({.name = topic,
                                       .partition_count = static_cast<uint32_t>(partitions_per_topic_),
                                       .configs = {{"retention.ms", std::to_string(policy.age_max)},
                                                   {"retention.bytes", std::to_string(policy.bytes_max)}}},
                                      source);
    check(created.has_value() && catalog->commit(draft), "a topic is not created");
  }
  std::set<uint64_t> in_catalog;
  for (const auto& topic : catalog->view().topics) {
    for (const PartitionPlace& place : topic->partitions) in_catalog.insert(place.number.value);
  }
  clock_error_ms_ = 0;
  ControlSettings settings;
  settings.num_partitions = partitions_per_topic_;
  for (uint32_t i = 0; i < lane_count_; ++i) settings.advertised.push_back({"", static_cast<uint16_t>(9092 + i)});
  control_ = std::make_unique<Control>(settings, std::move(*catalog), source);
  for (uint32_t i = 0; i < lane_count_; ++i) {
    const SimDriveConfig drive = drive_config(faults);
    LogConfig log;
    log.lane = i;
    log.segment_bytes = segment_bytes_;
    log.spare_segments = static_cast<uint32_t>(fault_random_.between(2, 3));
    // What is kept in memory has a bound of its own, or only the memory there is.
    log.resident_bytes_max = random_.one_in(3) ? log_region_bytes : random_.one_in(2) ? 1 * MiB : 64 * KiB;
    log.read_bytes_max = random_.one_in(3) ? log_region_bytes : 1 * MiB;
    log.partitions_max = partitions_max_;
    log.producers_max = 256;
    log.retention_interval_ns = static_cast<Nanoseconds>(random_.between(1, 20)) * millisecond_ns;
    log.footer_cache_bytes = random_.one_in(3) ? 1 * MiB : random_.below(6) * 16 * KiB;
    log.random_seed = random_.next();
    const test::FooterAgreement agreement =
        test::compare_with_scan(images_[i].current, {.lane = i, .block = units_.block},
                                [&](PartitionNumber number) { return in_catalog.contains(number.value); });
    if (!agreement.difference.empty()) note(agreement.difference);
    check(agreement.damaged == 0 || rotten_, "a footer is damaged", static_cast<long long>(agreement.damaged));
    check(agreement.difference.empty() || rotten_, "a start from footers differs from one from the commits: try --trace");
    summary_.footers_read += agreement.footers_read;
    summary_.coverage.rows += agreement.rows;
    const uint64_t seed = random_.next();
    if (over_tcp_) {
      lanes_.push_back(std::make_unique<LaneOver<TcpCarrier>>(i, seed, units_, drive, std::move(images_[i]), log));
    } else {
      lanes_.push_back(std::make_unique<LaneOver<StreamsCarrier>>(i, seed, units_, drive, std::move(images_[i]), log));
    }
    note("lane " + std::to_string(i) + " starts: " + lanes_.back()->log.recovery_report());
    check(lanes_.back()->log.state() != LogState::read_only || rotten_, "recovery calls a crash damage",
          static_cast<long long>(seed_));
  }
  // What was shown once must be shown again after every restart.
  for (auto& consumer : consumers_) {
    if (!consumer->over() && fault_random_.one_in(3)) consumer->read_again();
  }
  if (faults)
    change_weather();
  else
    calm_weather();
  control_->start();
  started_at_ = now_;
}

SimDriveConfig World::drive_config(bool faults) {
  SimDriveConfig drive;
  drive.seed = random_.next();
  drive.units = units_;
  drive.segment_bytes = segment_bytes_;
  drive.slots_max = drive_slots_max_;
  if (!faults) return drive;
  drive.slow_one_in = random_.one_in(3) ? 50 : 0;
  drive.short_one_in = random_.one_in(3) ? 20 : 0;
  drive.interrupted_one_in = random_.one_in(4) ? 30 : 0;
  drive.write_error_one_in = random_.one_in(6) ? random_.between(20, 200) : 0;
  drive.read_error_one_in = random_.one_in(8) ? random_.between(20, 200) : 0;
  drive.flush_error_one_in = random_.one_in(8) ? random_.between(10, 50) : 0;
  drive.stall_one_in = troubles_.stalls ? 300 : 0;
  drive.read_flip_one_in = troubles_.flips ? 10 : 0;
  return drive;
}

void World::end_life() {
  if (!power_fails_ && random_.one_in(5)) return stop_node();
  if (power_fails_) return crash_node(true);
  const bool power = !fault_random_.one_in(4);
  if (power && fault_random_.one_in(2)) cut_drives();
  crash_node(power);
}

// Each drive loses its power in the middle of a turn; what the rest of the node still does goes nowhere.
void World::cut_drives() {
  for (auto& lane : lanes_) lane->drive.cut_after(fault_random_.below(20));
  run_until(now_ + static_cast<Nanoseconds>(fault_random_.below(10 * millisecond_ns)));
}

void World::crash_node(bool power) {
  // What a start found and could not flush is shown all the same, and may go with the power (docs/ERRORS.md).
  power &= std::ranges::none_of(lanes_, [](const auto& lane) { return lane->log.trouble() == LogTrouble::found_unflushed; });
  note(power ? "power cut" : "killed");
  ++summary_.crashes;
  ++summary_.faults[power ? Fault::power_cut : Fault::process_killed];
  const auto is_cut = [](const auto& lane) { return lane->drive.is_cut(); };
  summary_.faults[Fault::power_cut_within] += std::ranges::any_of(lanes_, is_cut) ? 1 : 0;
  node_lost();
  for (uint32_t i = 0; i < lane_count_; ++i) {
    look_at(*lanes_[i]);
    SimDrive& drive = lanes_[i]->drive;
    const uint64_t seed = random_.next();
    images_[i] = power ? std::move(drive).end_by_crash(seed) : std::move(drive).end_by_kill(seed);
    lanes_[i]->network().count(summary_.faults);
    count_lane(*lanes_[i]);
  }
  lanes_.clear();
  control_.reset();
  power_fails_ = false;
}

void World::node_lost() {
  for (auto& producer : producers_) producer->node_lost();
  for (auto& consumer : consumers_) consumer->node_lost();
  for (auto& deleter : deleters_) deleter->node_lost();
  for (auto& churner : churners_) churner->node_lost();
}

void World::count_lane(const SimLane& lane) {
  summary_.segments_released += lane.log.statistics().segments_released;
  summary_.drive_errors += lane.log.statistics().write_errors;
  FaultCounts& faults = summary_.faults;
  const SimDriveStatistics& drive = lane.drive.statistics();
  faults[Fault::slow_request] += drive.slow;
  faults[Fault::stalled_request] += drive.stalled;
  faults[Fault::slow_drive] += drive.slowed;
  faults[Fault::full_drive] += drive.prepare_errors;
  faults[Fault::read_flipped] += drive.reads_flipped;
  faults[Fault::out_of_order] += drive.out_of_order;
  faults[Fault::short_transfer] += drive.short_transfers;
  faults[Fault::interrupted] += drive.interrupted;
  faults[Fault::write_error] += drive.write_errors;
  faults[Fault::flush_error] += drive.flush_errors;
  faults[Fault::read_error] += drive.read_errors;
  faults[Fault::lost_write] += drive.lost_writes;
  faults[Fault::torn_write] += drive.torn_writes;
}

void World::look_at(const SimLane& lane) {
  Coverage& coverage = summary_.coverage;
  ++coverage.log_states[static_cast<size_t>(lane.log.state())];
  ++coverage.log_troubles[static_cast<size_t>(lane.log.trouble())];
  if (lane.log.trouble() != LogTrouble::none) note(std::string("a log ends in trouble: ") + to_string(lane.log.trouble()));
  for (size_t i = 0; i < coverage.answers.size(); ++i) coverage.answers[i] += lane.metrics.errors[i].get();
}

void World::stop_node() {
  note("stop");
  calm_weather();
  control_->stop();
  const Nanoseconds deadline = now_ + 60 * second_ns;
  const auto stopped = [&] {
    return std::ranges::all_of(
        lanes_, [](const auto& lane) { return lane->broker().stopped() && lane->drive.in_flight() == 0; });
  };
  while (!stopped()) {
    if (!step()) now_ = std::max(now_ + turn_ns, std::min(next_time(), now_ + second_ns));
    if (now_ >= deadline) {
      for (const auto& lane : lanes_) std::printf("%s\n", lane->broker().pending_report().c_str());
    }
    check(now_ < deadline, "the node does not stop", static_cast<long long>(seed_));
  }
  ++summary_.faults[Fault::clean_stop];
  node_lost();
  for (uint32_t i = 0; i < lane_count_; ++i) {
    SimLane& lane = *lanes_[i];
    look_at(lane);
    lane.network().count(summary_.faults);
    lane.release_all();
    if (const std::string leaks = lane.buffers.leak_report(); !leaks.empty()) {
      std::printf("%s", leaks.c_str());
      check(false, "buffers leak", static_cast<long long>(seed_));
    }
    check(lane.pieces.free_count() == lane.pieces.chunk_count(), "piece chunks leak", static_cast<long long>(seed_));
    images_[i] = std::move(lane.drive).end_by_crash(random_.next());
    count_lane(lane);
  }
  lanes_.clear();
  control_.reset();
}

bool World::churn() {
  bool busy = false;
  std::vector<Network*> networks;
  for (auto& lane : lanes_) networks.push_back(&lane->network());
  for (auto& churner : churners_) {
    // Now and then the catalog does not take a change, or takes it and does not say so.
    if (!churner->finishing() && churn_random_.one_in(200)) {
      store_.fail_commits(churn_random_.one_in(2) ? MemoryStore::Failure::change_lost : MemoryStore::Failure::answer_lost, 1);
    }
    busy |= churner->step(networks, now_);
    const std::string name = churner->life_name();
    const auto of_this_life = [&](const auto& client) { return client->config().topic == name; };
    switch (churner->take_news()) {
      case Churner::News::none:
        break;
      case Churner::News::created:
        check_all_lanes_know(*churner, true);
        begin_life(*churner);
        break;
      case Churner::News::deletion_asked:
        for (auto& producer : producers_ | std::views::filter(of_this_life)) producer->deletion_asked();
        break;
      case Churner::News::deleted:
        note(name + " is deleted");
        check_all_lanes_know(*churner, false);
        for (auto& producer : producers_ | std::views::filter(of_this_life)) producer->deleted(now_);
        for (auto& consumer : consumers_ | std::views::filter(of_this_life)) consumer->deleted(now_);
    }
  }
  return busy;
}

// When its client is told that a topic is there, or gone.
void World::check_all_lanes_know(const Churner& churner, bool is_there) {
  for (const auto& lane : lanes_) {
    const bool known = lane->broker().view().find(churner.topic_id()) != nullptr;
    if (lane->broker().stopped()) continue;  // serves nobody
    check(known == is_there, "a topic's creation or deletion is told before all lanes know", is_there);
  }
}

void World::begin_life(const Churner& churner) {
  note(churner.life_name() + " is created");
  ++summary_.topic_lives;
  const TopicLife life{churner.config().topic, churner.topic_id()};
  for (uint64_t i = 0, count = churn_random_.between(1, 2); i < count; ++i) {
    ProducerConfig config;
    config.number = static_cast<uint32_t>(producers_.size());
    config.topic = churner.life_name();
    config.life = life;
    config.partition = static_cast<int32_t>(churn_random_.below(static_cast<uint64_t>(churner.config().partitions)));
    config.idempotent = churn_random_.one_in(2);
    config.batches = static_cast<uint32_t>(churn_random_.between(5, 60));
    config.in_flight_max = static_cast<uint32_t>(churn_random_.between(1, 5));
    config.seed = churn_random_.next();
    producers_.push_back(std::make_unique<Producer>(config, written_));
  }
  for (int32_t partition = 0; partition < churner.config().partitions; ++partition) {
    consumers_.push_back(std::make_unique<Consumer>(
        ConsumerConfig{.topic = churner.life_name(), .life = life, .partition = partition, .seed = churn_random_.next()},
        written_));
  }
}

bool World::carry_control() {
  bool busy = false;
  const uint64_t commits_failed = store_.failed_count();
  for (auto& lane : lanes_) {
    while (auto message = lane->outbox.pop()) {
      control_->handle(std::move(*message));
      busy = true;
    }
  }
  for (Outgoing& outgoing : control_->take_outbox()) {
    std::deque<Mail>& mail = mail_[outgoing.lane];
    const bool late = troubles_.mail && fault_random_.one_in(2);
    const auto delay = static_cast<Nanoseconds>(late ? fault_random_.below(5 * millisecond_ns) : 0);
    mail.push_back({std::max(now_ + delay, mail.empty() ? 0 : mail.back().arrives), std::move(outgoing.message)});
    summary_.faults[Fault::late_mail] += late ? 1 : 0;
  }
  for (uint32_t lane = 0; lane < lane_count_; ++lane) {
    for (std::deque<Mail>& mail = mail_[lane]; !mail.empty() && mail.front().arrives <= now_; mail.pop_front()) {
      check(lanes_[lane]->inbox.push(std::move(mail.front().message)), "a lane's mailbox is full");
      busy = true;
    }
  }
  // A change that nobody heard of: the power went with it.
  if (troubles_.catalog && store_.failed_count() > commits_failed && fault_random_.one_in(8)) {
    power_fails_ = true;
    ++summary_.faults[Fault::power_cut_at_commit];
  }
  return busy;
}

bool World::step() {
  ++summary_.steps;
  if (now_ >= weather_changes_at_) change_weather();
  bool busy = carry_control();
  std::vector<Network*> networks;
  for (auto& lane : lanes_) {
    // A lane that has stopped only waits for its drive, as in a node (tools/penstock/lane_thread.cc).
    busy |= lane->broker().stopped()
                ? lane->drive.poll(now_, [&](const DriveCompletion& done) { lane->log.completed(done, now_); }) > 0
                : lane->poll(now_, wall_start_ms + now_ / millisecond_ns + clock_error_ms_).work > 0;
    check_budgets(*lane);
    networks.push_back(&lane->network());
  }
  for (auto& producer : producers_) {
    if (!producer->step(networks, now_)) continue;
    check_told(*producer, producer->acknowledged_end(), 0);
    busy = true;
  }
  for (auto& consumer : consumers_) {
    if (!consumer->step(networks, now_)) continue;
    check_told(*consumer, consumer->high_watermark(), consumer->log_start());
    busy = true;
  }
  busy |= churn();
  for (auto& deleter : deleters_) {
    if (!auditors_.empty() || !deleter->step(networks, now_)) continue;
    check_told(*deleter, 0, deleter->confirmed());
    busy = true;
  }
  for (Network* network : networks) busy |= network->step(now_);
  return busy;
}

// What a client was told is durable in the books of the log, at once: not only if the next crash happens to try it.
template <class Client>
void World::check_told(const Client& client, int64_t end, int64_t log_start) {
  const CatalogView& view = lanes_.front()->broker().view();
  const auto& config = client.config();
  const TopicView* topic = view.find(config.topic);
  if constexpr (requires { config.life; }) topic = config.life ? view.find(config.life->id) : topic;
  if (topic == nullptr) return;  // not opened yet, or deleted
  const PartitionPlace& place = topic->partitions[static_cast<size_t>(config.partition)];
  const PartitionState* state = lanes_[place.lane]->log.partition(place.slot);
  if (state == nullptr || state->number != place.number) return;
  check(end <= state->durable.value, "a client was told of what is not durable", end, state->durable.value);
  // What says so may be what has rotted.
  check(log_start <= state->log_start.value || rotten_, "a client was told of a log start that is not durable", log_start,
        state->log_start.value);
}

Nanoseconds World::next_time() const {
  Nanoseconds next = std::min(now_ + 5 * millisecond_ns, weather_changes_at_);  // clients look again at least so often
  for (const auto& mail : mail_) next = std::min(next, mail.empty() ? never_ns : mail.front().arrives);
  for (const auto& lane : lanes_) {
    next = std::min({next, lane->next_stream_deadline(), lane->network().next_arrival(), lane->drive.next_deadline(),
                     lane->log.next_deadline(), lane->broker().next_deadline()});
  }
  return next;
}

void World::run_until(Nanoseconds end) {
  while (now_ < end && !power_fails_) {
    if (!step()) now_ = std::max(now_ + turn_ns, next_time());
    check(now_ < life_max_ns, "no progress", static_cast<long long>(seed_));
  }
}

// A start needs a segment. Where crashes have left none, and nothing of which it is durable that nobody wants it, somebody
// has to make room for one; all the rest a lane does by itself.
void World::give_room_for_starts() {
  for (auto& lane : lanes_) {
    lane->has_started |= lane->log.state() == LogState::writable;
    if (lane->has_started || lane->was_given_room || now_ < started_at_ + 5 * second_ns) continue;
    lane->was_given_room = true;
    lane->drive.config().slots_max = lane->drive.files().slot_count() + 1;
    ++summary_.faults[Fault::no_room_to_start];
    note("room for one more segment");
  }
}

void World::run_until_clients_are_done() {
  const auto up_to_date = [&](Nanoseconds since) {
    return std::ranges::all_of(consumers_, [&](const auto& each) { return each->over() || each->as_of() > since; });
  };
  const auto done = [&] {
    for (const auto& producer : producers_) {
      if (!producer->done()) return false;
    }
    for (const auto& churner : churners_) {
      if (!churner->finished()) return false;
    }
    for (const auto& consumer : consumers_) {
      if (consumer->over()) continue;
      if (consumer->high_watermark() < 0 || consumer->next_offset() < consumer->high_watermark()) return false;
    }
    return true;
  };
  // Done, and every consumer has had an answer to what it asked since: a watermark is only as new as that.
  for (std::optional<Nanoseconds> since; !since || !up_to_date(*since);) {
    if (!step()) now_ = std::max(now_ + turn_ns, next_time());
    give_room_for_starts();
    if (!done()) since.reset();
    else if (!since) since = now_;
    if (now_ >= life_max_ns) tell_who_waits();
    check(now_ < life_max_ns, "clients do not finish", static_cast<long long>(seed_));
  }
}

WorldSummary World::run() {
  const uint32_t lives = static_cast<uint32_t>(random_.between(1, 4));
  for (uint32_t life = 0; life < lives; ++life) {
    start_node(true);
    // Sometimes right away: two crashes in a row. Often while clients have still much to do.
    const Nanoseconds longest = random_.one_in(4) ? 2 * millisecond_ns : (400 * millisecond_ns) >> random_.below(5);
    run_until(now_ + static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(longest))));
    // A clock that is ahead when an empty lane first looks at it is believed: nothing there says what time it is.
    if (!power_fails_ && control_->settled() && random_.one_in(4)) {
      run_until(now_ + millisecond_ns);
      constexpr Milliseconds jumps[] = {2'000, 3'600'000, 30 * 86'400'000ll};
      clock_error_ms_ = jumps[random_.below(3)] * (random_.one_in(3) ? -1 : 1);
      ++summary_.faults[clock_error_ms_ < 0 ? Fault::clock_back : Fault::clock_ahead];
      run_until(now_ + static_cast<Nanoseconds>(random_.below(100 * millisecond_ns)));
      clock_error_ms_ = 0;
      run_until(now_ + static_cast<Nanoseconds>(random_.below(20 * millisecond_ns)));
    }
    end_life();
  }
  store_.fail_commits(MemoryStore::Failure::none, 0);
  summary_.faults[Fault::catalog_unreadable] = store_.failed_loads();
  summary_.faults[Fault::catalog_change_lost] = store_.failed_count(MemoryStore::Failure::change_lost);
  summary_.faults[Fault::catalog_answer_lost] = store_.failed_count(MemoryStore::Failure::answer_lost);
  for (auto& churner : churners_) churner->finish();
  start_node(false);
  begin_audit();
  run_until_clients_are_done();
  check_everything();
  if (!troubles_.rot) check_quiet();
  stop_node();
  if (troubles_.rot) live_with_rot();
  summary_.simulated_ns = now_;
  return summary_;
}

}  // namespace penstock::sim
