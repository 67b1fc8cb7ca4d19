// Where each lane's log lies: in the data directory, or, with several drives, on the one nearest to the lane's core.
//
//   DATA/lane-000/            its log
//   DATA/lane-001 -> /mnt/nvme1/lane-001
//
// The link is all there is to it: whoever opens DATA/lane-001 finds the log. It is made once, with the lane; later the
// lane stays where it is. `owner` in a lane's directory names the data directory and the lane, so that a drive mounted
// in another's place is noticed.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/penstock/placement.h"

namespace penstock {

struct DrivePlace {
  std::string path;                   // a directory on it
  std::optional<uint32_t> numa_node;  // nullopt: not known, as near as any
};

// By lane, an index into `drives`: one on the lane's node if there is any, and of those the one with the fewest lanes.
std::vector<size_t> nearest_drives(std::span<const LanePlace> places, std::span<const DrivePlace> drives);

struct LaneHome {
  std::string path;  // DATA/lane-NNN
  uint32_t lane = 0;
  uint64_t directory_id = 0;  // DirectoryFormat::id; 0: made before there were any, nothing is compared
  bool in_use = false;        // the data directory has had lanes before
  std::string drive;          // for a new lane; empty: in the data directory
};
// Makes the lane's directory if it is new, else sees that it is there and this lane's. The error is for the operator.
std::expected<void, std::string> claim(const LaneHome& home);

}  // namespace penstock
