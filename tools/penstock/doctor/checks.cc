#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

constexpr Check table[] = {
    {"cpu.instructions", cpu_instructions},
    {"cpu.crc", cpu_crc},
    {"cpu.governor", cpu_governor},
    {"cpu.idle", cpu_idle},
    {"cpu.isolation", cpu_isolation},
    {"cpu.interrupts", cpu_interrupts},
    {"system.kernel", system_kernel},
    {"system.io_uring", system_ring},
    {"system.clock", system_clock},
    {"system.time", system_time},
    {"limit.files", limit_files},
    {"limit.locked", limit_locked},
    {"memory.hugepages", memory_huge_pages},
    {"memory.transparent", memory_transparent},
    {"card.found", card_found},
    {"card.iommu", card_iommu},
    {"card.vfio", card_vfio},
    {"card.driver", card_driver},
    {"card.group", card_group},
    {"card.node", card_node},
    {"card.link", card_link},
    {"card.mtu", card_mtu},
    {"drive.found", drive_found},
    {"drive.node", drive_node},
    {"drive.blocks", drive_blocks},
    {"drive.cache", drive_cache},
    {"drive.scheduler", drive_scheduler},
    {"drive.stable_writes", drive_stable_writes},
    {"files.kind", files_kind},
    {"files.options", files_options},
    {"files.space", files_space},
};

}  // namespace

std::span<const Check> checks() { return table; }

}  // namespace penstock::doctor
