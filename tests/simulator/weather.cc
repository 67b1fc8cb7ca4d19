// What goes wrong for a while: drives, networks, clients and the catalog have good and bad times, which come and go
// every few milliseconds until the last life.
#include "tests/simulator/sim_lane.h"
#include "tests/simulator/world.h"

namespace penstock::sim {

void World::draw_troubles() {
  SimRandom& random = fault_random_;
  troubles_.slow_drives = random.one_in(4);
  troubles_.full_drives = random.one_in(4);
  troubles_.small_drives = random.one_in(6);
  if (troubles_.small_drives) drive_slots_max_ = static_cast<uint32_t>(random.between(4, 8));
  troubles_.rot = random.one_in(4);
  troubles_.stalls = random.one_in(6);
  troubles_.flips = random.one_in(4);
  troubles_.network = random.one_in(2);
  troubles_.clients = random.one_in(2);
  troubles_.catalog = random.one_in(3);
  troubles_.mail = random.one_in(2);
}

void World::change_weather() {
  SimRandom& random = fault_random_;
  weather_changes_at_ = now_ + static_cast<Nanoseconds>(random.between(1, 60)) * millisecond_ns;
  for (auto& lane : lanes_) {
    lane->drive.set_slowness(
        static_cast<uint32_t>(troubles_.slow_drives && random.one_in(3) ? random.between(3, 100) : 1));
    lane->drive.set_full(troubles_.full_drives && random.one_in(3));
    if (troubles_.network) lane->network().change_weather(false);
  }
  if (troubles_.clients) trouble_a_client();
  const bool fails = troubles_.catalog && random.one_in(3);
  store_.fail_commits(random.one_in(2) ? MemoryStore::Failure::change_lost : MemoryStore::Failure::answer_lost,
                      fails ? UINT32_MAX : 0);
  store_.fail_loads(fails && random.one_in(2));
}

void World::trouble_a_client() {
  SimRandom& random = fault_random_;
  const auto any = [&](auto& of) -> auto& { return *of[random.below(of.size())]; };
  FaultCounts& faults = summary_.faults;
  if (random.one_in(3)) {
    const Nanoseconds until = now_ + static_cast<Nanoseconds>(random.below(50)) * millisecond_ns;
    faults[Fault::slow_reader] += any(consumers_).stop_reading(until) ? 1 : 0;
  } else if (random.one_in(2)) {
    faults[Fault::connection_dropped] += any(producers_).drop_connection() ? 1 : 0;
  } else {
    faults[Fault::connection_dropped] += any(consumers_).drop_connection() ? 1 : 0;
  }
}

void World::calm_weather() {
  weather_changes_at_ = never_ns;
  for (auto& lane : lanes_) {
    lane->drive.set_slowness(1);
    lane->drive.set_full(false);
    lane->network().change_weather(true);
  }
  store_.fail_commits(MemoryStore::Failure::none, 0);
  store_.fail_loads(false);
}

}  // namespace penstock::sim
