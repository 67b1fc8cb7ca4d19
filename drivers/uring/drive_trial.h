// A timed trial of about half a second on a small file, written before and removed from the directory at once: how
// long a run of payload must be for a gathered write to beat a copy, and the least in flight that keeps the drive busy.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "drivers/uring/block_device.h"
#include "storage/drive.h"

namespace penstock {

struct TrialResult {
  uint32_t copybreak = 0;
  uint32_t commit_bytes_max = 0;
  uint32_t inflight_bytes_max = 0;
  uint32_t inflight_writes_max = 0;
  std::string report;  // lines, each indented by two blanks
};

// `device` may be nullptr: then commands are not counted.
std::expected<TrialResult, std::string> run_drive_trial(const std::string& directory, const DriveUnits& units,
                                                        const BlockDevice* device, Nanoseconds budget_ns);

}  // namespace penstock
