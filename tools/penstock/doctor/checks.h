// The list that docs/HARDWARE.md explains: one function a check, in one table. A check that has nothing to look at on
// this machine (no card is named, the directory is on no block device) says nothing.
#pragma once

#include <optional>
#include <span>

#include "tools/penstock/doctor/finding.h"
#include "tools/penstock/doctor/situation.h"

namespace penstock::doctor {

struct Check {
  const char* name;
  std::optional<Finding> (*judge)(const Situation&);
};

std::span<const Check> checks();

// checks_cpu.cc
std::optional<Finding> cpu_instructions(const Situation& now);
std::optional<Finding> cpu_crc(const Situation& now);
std::optional<Finding> cpu_governor(const Situation& now);
std::optional<Finding> cpu_idle(const Situation& now);
std::optional<Finding> cpu_isolation(const Situation& now);
std::optional<Finding> cpu_interrupts(const Situation& now);

// checks_system.cc
std::optional<Finding> system_kernel(const Situation& now);
std::optional<Finding> system_ring(const Situation& now);
std::optional<Finding> system_clock(const Situation& now);
std::optional<Finding> system_time(const Situation& now);
std::optional<Finding> limit_files(const Situation& now);
std::optional<Finding> limit_locked(const Situation& now);

// checks_memory.cc
std::optional<Finding> memory_huge_pages(const Situation& now);
std::optional<Finding> memory_transparent(const Situation& now);

// checks_card.cc
std::optional<Finding> card_found(const Situation& now);
std::optional<Finding> card_iommu(const Situation& now);
std::optional<Finding> card_vfio(const Situation& now);
std::optional<Finding> card_driver(const Situation& now);
std::optional<Finding> card_group(const Situation& now);
std::optional<Finding> card_node(const Situation& now);
std::optional<Finding> card_link(const Situation& now);
std::optional<Finding> card_mtu(const Situation& now);

// checks_drive.cc
std::optional<Finding> drive_found(const Situation& now);
std::optional<Finding> drive_node(const Situation& now);
std::optional<Finding> drive_blocks(const Situation& now);
std::optional<Finding> drive_cache(const Situation& now);
std::optional<Finding> drive_scheduler(const Situation& now);
std::optional<Finding> drive_stable_writes(const Situation& now);
std::optional<Finding> files_kind(const Situation& now);
std::optional<Finding> files_options(const Situation& now);
std::optional<Finding> files_space(const Situation& now);

}  // namespace penstock::doctor
