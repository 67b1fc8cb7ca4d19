// One more life, after all was read: a bit has changed on a drive, before the start or under the running node. Wrong
// bytes are never served. What must be there is there: all but the batch that was hit, or those of the commit or segment
// whose header was. And nothing is missing without a word: who asks for it is refused, or the lane has named it at its start
// and is read-only. A footer that was hit takes nothing away, at the latest after another start.
//
// The newest segment is left alone: behind its last commit nothing claims that it was durable.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "storage/recovery.h"
#include "tests/simulator/sim_lane.h"
#include "tests/simulator/world.h"

namespace penstock::sim {

struct World::Rot {
  uint32_t lane = 0;
  Fault fault{};
  uint32_t slot = 0;
  uint64_t position = 0;
  uint8_t bit = 0;
  std::vector<IndexEntry> hit;
};

std::optional<World::Rot> World::choose_rot() {
  SimRandom& random = fault_random_;
  Rot rot{.lane = static_cast<uint32_t>(random.below(lane_count_)), .bit = static_cast<uint8_t>(random.below(8))};
  LogIndex index(256, 1, 16);
  ProducerTable producers(256);
  SimFiles& files = images_[rot.lane].current;
  const RecoveredLog log = recover(files, {.lane = rot.lane, .block = units_.block}, index, producers);
  std::vector<IndexEntry> sealed;
  constexpr OffsetRange everything{Offset(0), Offset(INT64_MAX)};
  for (const RecoveredPartition& partition : log.partitions) {
    for (auto at = index.find(partition.number, Offset(0), everything); at; at = index.next(*at, everything)) {
      if (at->segment < log.segments.back().number) sealed.push_back(*at);
    }
  }
  if (sealed.empty()) return std::nullopt;
  const IndexEntry& victim = sealed[random.below(sealed.size())];
  const auto segment = std::ranges::find(log.segments, victim.segment, &RecoveredSegment::number);
  rot.slot = segment->slot.value;
  const auto in_its_commit = [&](const IndexEntry& each) {
    return each.segment == victim.segment && each.commit == victim.commit;
  };
  switch (random.below(4)) {
    case 3:
      rot.fault = Fault::rot_in_segment_header;
      rot.position = random.below(sizeof(disk::SegmentHeader));
      std::ranges::copy_if(sealed, std::back_inserter(rot.hit),
                           [&](const IndexEntry& each) { return each.segment == victim.segment; });
      break;
    case 0:
      rot.fault = Fault::rot_in_footer;
      rot.position = std::min<uint64_t>(segment->end.value + random.below(2 * units_.block), segment_bytes_ - 1);
      break;
    case 1:
      if (victim.direct) {
        rot.fault = Fault::rot_in_batch;
        rot.position = victim.commit.value + victim.first_position + random.below(victim.bytes);
        rot.hit = {victim};
        break;
      }
      [[fallthrough]];
    default:
      rot.fault = Fault::rot_in_commit_header;
      rot.position = victim.commit.value + random.below(sizeof(disk::CommitHeader));
      std::ranges::copy_if(sealed, std::back_inserter(rot.hit), in_its_commit);
  }
  return rot;
}

void World::live_with_rot() {
  const auto rot = choose_rot();
  if (!rot) return;
  rotten_ = true;
  drive_slots_max_ = 1024;  // a lane without a segment to start in takes no footer away
  const bool while_up = fault_random_.one_in(2);
  ++summary_.faults[rot->fault];
  summary_.faults[Fault::rot_while_up] += while_up ? 1 : 0;
  note(std::string(fault_names[static_cast<size_t>(rot->fault)]) + " of lane " + std::to_string(rot->lane) +
       (while_up ? ", while it is up" : ""));
  if (!while_up) images_[rot->lane].rot(rot->slot, rot->position, rot->bit);
  start_node(false);
  if (while_up) lanes_[rot->lane]->drive.rot(rot->slot, rot->position, rot->bit);
  begin_audit();
  std::map<const Consumer*, int64_t> log_starts;
  for (const auto& consumer : consumers_) log_starts[consumer.get()] = consumer->log_start();
  read_all_but(*rot);
  for (const auto& consumer : consumers_) {
    std::set<int64_t> seen;
    for (const SeenBatch& batch : consumer->seen()) seen.insert(batch.base_offset);
    if (consumer->over()) continue;
    for (const SeenBatch& batch : consumer->seen_before()) {
      const int64_t log_start = std::max(consumer->log_start(), log_starts[consumer.get()]);
      const bool expired = consumer->config().records_expire && batch.next_offset <= log_start;
      const bool missing = !seen.contains(batch.base_offset) && !expired;
      check(!missing || consumer->may_miss(batch.base_offset), "a batch is gone that was not hit",
            static_cast<long long>(seed_), batch.base_offset);
    }
    const Log& log = lanes_[rot->lane]->log;
    check(!consumer->missed_unawares() || (log.state() == LogState::read_only && log.trouble() == LogTrouble::damaged),
          "a batch is gone without a word", static_cast<long long>(seed_));
  }
  stop_node();
}

void World::read_all_but(const Rot& rot) {
  const CatalogView view = control_->catalog().view();
  for (auto& consumer : consumers_) {
    if (consumer->over()) continue;
    const ConsumerConfig& config = consumer->config();
    const TopicView* topic = config.life ? view.find(config.life->id) : view.find(config.topic);
    const PartitionPlace& place = topic->partitions[static_cast<size_t>(config.partition)];
    std::vector<Consumer::Missing> missing;
    for (const IndexEntry& hit : rot.hit) {
      if (hit.partition == place.number) missing.push_back({hit.base_offset.value, hit.next_offset().value});
    }
    if (place.lane == rot.lane) consumer->drive_is_damaged(missing);
  }
  const auto done = [&] {
    return std::ranges::all_of(consumers_, [](const auto& each) {
      return each->over() || (each->high_watermark() >= 0 && each->next_offset() >= each->high_watermark());
    });
  };
  const Nanoseconds began = now_;
  while (!done()) {
    if (!step()) now_ = std::max(now_ + turn_ns, next_time());
    if (lanes_[rot.lane]->log.statistics().footer_blocks_damaged > 0 && now_ > started_at_ + 2 * second_ns) {
      stop_node();
      start_node(false);
    }
    if (now_ > began + 60 * second_ns) tell_who_waits();
    check(now_ <= began + 60 * second_ns, "consumers do not come past what has rotted", static_cast<long long>(seed_));
  }
}

}  // namespace penstock::sim
