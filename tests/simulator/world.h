// The whole node in one process and in virtual time: lanes, logs, recovery, control plane, catalog, and clients around
// them, all from one seed. The node is crashed and started again on what the drives really hold.
//
// A life: start; clients work; crash, or two in a row, or a drive that fails writes; ... ; a last start without faults,
// in which everything is read back and compared with what was acknowledged and with what consumers were shown. Clients
// and lanes talk over simulated streams, or over our TCP and a link that loses and reorders.
//
// In some worlds records expire, by age, size or DeleteRecords, segments are small, and the log turns over many times;
// sometimes the wall clock is wrong for a while. In some, topics are deleted and created again under the same name, with
// clients of their own for each of their lives, and the catalog sometimes fails.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/control/control.h"
#include "dataplane/control/memory_store.h"
#include "dataplane/lane.h"
#include "drivers/sim/random.h"
#include "drivers/sim/sim_drive.h"
#include "tests/simulator/churner.h"
#include "tests/simulator/consumer.h"
#include "tests/simulator/coverage.h"
#include "tests/simulator/deleter.h"
#include "tests/simulator/faults.h"
#include "tests/simulator/producer.h"

namespace penstock::sim {

struct WorldSummary {
  uint64_t steps = 0;
  Nanoseconds simulated_ns = 0;
  uint32_t crashes = 0;
  uint64_t acknowledged = 0;
  uint64_t storage_errors = 0;  // answers with an error, over all producers
  uint64_t drive_errors = 0;    // write and flush requests that failed
  uint64_t segments_released = 0;
  uint64_t records_expired = 0;  // offsets below the log starts at the end
  uint64_t footers_read = 0;     // at starts, of sealed segments
  uint64_t topic_lives = 0;      // of topics that are deleted and created again
  FaultCounts faults;
  Coverage coverage;
  uint64_t trace_hash = 0;      // the same for the same seed on every compiler
};

inline constexpr Nanoseconds turn_ns = 1000;  // a turn of a lane takes that long at least

struct SimLane;

class World {
 public:
  // `over_tcp`: clients reach the lanes over frames and our TCP, else over simulated streams.
  explicit World(uint64_t seed, bool trace = false, bool over_tcp = false);
  ~World();
  WorldSummary run();

 private:
  void start_node(bool faults);
  void end_life();
  void cut_drives();
  void crash_node(bool power);  // else only the process ends
  void stop_node();  // as SIGTERM does: drain, answer, let go; checks that nothing leaks
  void node_lost();
  void draw_troubles();
  void change_weather();
  void calm_weather();
  void trouble_a_client();
  SimDriveConfig drive_config(bool faults);
  void count_lane(const SimLane& lane);
  void look_at(const SimLane& lane);  // what its life has met
  bool step();       // false: nothing to do and nothing to wait for
  void run_until(Nanoseconds end);
  void run_until_clients_are_done();
  void give_room_for_starts();
  void tell_who_waits() const;
  bool carry_control();
  template <class Client>
  void check_told(const Client& client, int64_t end, int64_t log_start);
  void check_everything();
  void check_budgets(const SimLane& lane) const;
  void check_quiet();
  struct Rot;
  std::optional<Rot> choose_rot();
  void live_with_rot();
  void read_all_but(const Rot& rot);
  void begin_audit();
  bool churn();
  void begin_life(const Churner& churner);
  void check_all_lanes_know(const Churner& churner, bool is_there);
  void check_expired(const Producer& producer, uint32_t batch, int64_t base_offset);
  const RetentionPolicy* retention(const std::string& topic) const;
  bool is_gone(const std::string& topic, int32_t partition, int64_t next_offset) const;
  void note(const std::string& line);
  Nanoseconds next_time() const;

  const uint64_t seed_;
  const bool trace_;
  const bool over_tcp_;
  SimRandom random_;
  Nanoseconds now_ = second_ns;
  uint32_t lane_count_ = 1;
  uint32_t restarts_ = 0;
  Nanoseconds started_at_ = 0;
  MemoryStore store_;
  std::unique_ptr<Control> control_;
  std::vector<SimDisk> images_;  // of each lane's drive while the node is down
  std::vector<std::unique_ptr<SimLane>> lanes_;
  Written written_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::vector<std::unique_ptr<Consumer>> consumers_;
  std::vector<std::unique_ptr<Deleter>> deleters_;
  std::vector<std::unique_ptr<Churner>> churners_;
  SimRandom churn_random_, fault_random_;
  // What may go wrong in this world, beside what always may; drawn from the seed, so that no life has all of it.
  struct Troubles {
    bool slow_drives = false;
    bool full_drives = false;   // refuse new slots for a while
    bool small_drives = false;  // have room for a few segments, also in the last life: records that expire make room
    bool rot = false;  // of the drives, in one more life
    bool stalls = false;
    bool flips = false;
    bool network = false;
    bool clients = false;
    bool catalog = false;
    bool mail = false;
  } troubles_;
  struct Mail {
    Nanoseconds arrives = 0;
    ToLane message;
  };
  std::vector<std::deque<Mail>> mail_;  // of the control plane, to each lane
  bool rotten_ = false;
  Nanoseconds weather_changes_at_ = never_ns;
  bool power_fails_ = false;  // as soon as the turn is over
  std::map<std::string, RetentionPolicy> retention_;           // topics whose records expire
  std::map<std::pair<std::string, int32_t>, const Consumer*> auditors_;  // in the last life
  Milliseconds clock_error_ms_ = 0;
  DriveUnits units_;
  int32_t partitions_per_topic_ = 1;
  uint32_t partitions_max_ = 0;  // of a lane
  uint64_t segment_bytes_ = 1 * MiB;
  uint32_t drive_slots_max_ = 1024;
  WorldSummary summary_;
};

}  // namespace penstock::sim
