// What goes wrong in simulated lives, by name. A world draws from its seed which of these it has, and counts how often
// each has really happened: a fault that never happens tests nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace penstock::sim {

enum class Fault : uint8_t {
  // the process
  power_cut,
  power_cut_within,  // in the middle of a turn: after any request to a drive or any completion
  process_killed,    // what the drives have in their caches stays
  clean_stop,
  // the drive
  slow_request,     // a hundred times as long as others
  stalled_request,  // a thousand times
  slow_drive,       // a request while the drive is slow for a while
  full_drive,       // a slot that the drive refused, for a while or until others are released
  no_room_to_start,
  out_of_order,  // a request that completed before an older one
  short_transfer,
  interrupted,
  write_error,
  flush_error,
  read_error,
  read_flipped,  // a bit, for once
  lost_write,  // not durable, and gone with the power
  torn_write,  // some of its sectors are there
  rot_in_batch,
  rot_in_commit_header,
  rot_in_footer,
  rot_in_segment_header,
  rot_while_up,  // one of these, not before a start
  // the catalog
  catalog_change_lost,
  catalog_answer_lost,
  catalog_unreadable,
  power_cut_at_commit,  // of the catalog
  // between control plane and lanes
  late_mail,
  // the clock
  clock_ahead,
  clock_back,
  // the network, over our TCP
  frame_lost,
  frame_duplicated,
  frame_reordered,
  frame_corrupted,
  frame_too_big,  // for the path
  link_down,
  memory_short,  // no buffer for a received frame
  send_refused,  // by the port's ring
  // clients
  batch_damaged,  // on its way
  connection_dropped,
  slow_reader,
  count,
};

inline constexpr std::array<const char*, static_cast<size_t>(Fault::count)> fault_names = {
    "power_cut",
    "power_cut_within",
    "process_killed",
    "clean_stop",
    "slow_request",
    "stalled_request",
    "slow_drive",
    "full_drive",
    "no_room_to_start",
    "out_of_order",
    "short_transfer",
    "interrupted",
    "write_error",
    "flush_error",
    "read_error",
    "read_flipped",
    "lost_write",
    "torn_write",
    "rot_in_batch",
    "rot_in_commit_header",
    "rot_in_footer",
    "rot_in_segment_header",
    "rot_while_up",
    "catalog_change_lost",
    "catalog_answer_lost",
    "catalog_unreadable",
    "power_cut_at_commit",
    "late_mail",
    "clock_ahead",
    "clock_back",
    "frame_lost",
    "frame_duplicated",
    "frame_reordered",
    "frame_corrupted",
    "frame_too_big",
    "link_down",
    "memory_short",
    "send_refused",
    "batch_damaged",
    "connection_dropped",
    "slow_reader",
};
static_assert(fault_names.back() != nullptr, "a name for each");

class FaultCounts {
 public:
  uint64_t& operator[](Fault fault) { return counts_[static_cast<size_t>(fault)]; }
  uint64_t operator[](Fault fault) const { return counts_[static_cast<size_t>(fault)]; }
  FaultCounts& operator+=(const FaultCounts& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    return *this;
  }

 private:
  std::array<uint64_t, static_cast<size_t>(Fault::count)> counts_{};
};

}  // namespace penstock::sim
