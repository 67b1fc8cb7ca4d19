// What a directory's drive joins without a copy, and how much of what size keeps it busy.
//
// Facts come from statx and the block queue (facts_of), rules turn them into units (units_from), a timed trial of
// about half a second sets copybreak and the commit sizes (drive_trial.h). The trial may only tighten what the facts
// allow. Its result is kept in a small text file, keyed by drive, kernel and units, so that later starts are instant.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "dataplane/base/units.h"
#include "storage/drive.h"

namespace penstock {

// As the kernel reports it; 0 where it does not say.
struct DriveFacts {
  std::string device;       // "vda", "nvme0n1", "dm-0"; empty: no block device is known (then only statx speaks)
  std::string file_system;  // "ext4", "xfs", "btrfs", "0x..."
  std::string kernel;       // release
  uint32_t statx_memory_align = 0;  // statx DIOALIGN
  uint32_t statx_offset_align = 0;
  uint32_t logical_block = 0;      // queue/logical_block_size
  uint32_t physical_block = 0;     // queue/physical_block_size
  uint32_t dma_mask = 0;           // queue/dma_alignment, a mask
  uint64_t seam_mask = 0;          // queue/virt_boundary_mask
  uint32_t segments_max = 0;       // queue/max_segments
  uint32_t command_bytes_max = 0;  // queue/max_sectors_kb
  bool stable_writes = false;      // queue/stable_writes, or a file system that checksums data
  bool write_cache = false;        // volatile: "write back"
  bool fine_vectors_work = false;  // a trial write with vectors shorter than a block succeeded and read back right
};

// Units without a measured policy: the defaults for copybreak and commit sizes.
DriveUnits units_from(const DriveFacts& facts);
std::expected<DriveFacts, std::string> facts_of(const std::string& directory);

struct DriveUnitsConfig {
  std::string cache_file;      // empty: nothing is kept
  bool measure = true;         // false: facts only
  bool measure_again = false;  // although the cache knows
  Nanoseconds trial_ns = 500 * millisecond_ns;
};

struct DriveUnitsFound {
  DriveUnits units;
  std::string report;  // lines for the operator: what was chosen and why
};

// `directory`: where segment files will be, existing and writable.
std::expected<DriveUnitsFound, std::string> find_drive_units(const std::string& directory,
                                                             const DriveUnitsConfig& config);

}  // namespace penstock
