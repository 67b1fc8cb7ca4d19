// The drive below the data directory, and the file system on it.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "dataplane/base/units.h"
#include "tools/penstock/config.h"
#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

constexpr std::array meant_for_it = {"ext4", "xfs"};
constexpr std::array not_durable = {"tmpfs", "ramfs", "nfs", "nfs4", "9p", "cifs", "virtiofs", "overlay"};

bool is_one_of(const auto& names, const std::string& name) { return std::ranges::find(names, name) != names.end(); }

std::string remount(const Situation& now, const char* option) {
  return fmt::format("mount -o remount,{} {}, and in /etc/fstab", option, now.mount->point);
}

}  // namespace

std::optional<Finding> drive_found(const Situation& now) {
  if (!now.mount) return warn("the mount of " + now.config.data_directory + " is unknown", "findmnt");
  if (now.drive) {
    const std::string model = now.files.line("/sys/block/" + now.drive->name + "/device/model");
    return ok(
        fmt::format("{}{}{} holds {}", now.drive->name, model.empty() ? "" : " ", model, now.config.data_directory));
  }
  return warn(
      fmt::format("{} lies on no block device of this machine ({})", now.config.data_directory, now.mount->source),
      "data_directory = a directory on an NVMe drive");
}

std::optional<Finding> drive_node(const Situation& now) {
  if (!now.drive) return std::nullopt;
  if (now.drive->numa_node < 0) return ok("the drive is near no node in particular");
  const auto node = static_cast<uint32_t>(now.drive->numa_node);
  const std::vector<uint32_t> lanes = now.lane_nodes();
  if (now.card && now.card->numa_node >= 0 && now.card->numa_node != now.drive->numa_node)
    return warn(fmt::format("the drive is on node {}, the card on node {}", node, now.card->numa_node),
                "data_directory = a directory on a drive of the card's node");
  if (std::ranges::any_of(lanes, [&](uint32_t each) { return each != node; }))
    return warn(fmt::format("the drive is on node {}, lanes are on node {}", node, list_of_numbers(lanes)),
                fmt::format("cores = processors of node {} (lscpu)", node));
  return ok(fmt::format("drive and lanes are on node {}", node));
}

std::optional<Finding> drive_blocks(const Situation& now) {
  if (!now.drive) return std::nullopt;
  const auto number = [&](const char* name) { return now.files.number(now.drive->queue + name).value_or(0); };
  const int64_t logical = number("logical_block_size"), physical = number("physical_block_size");
  const int64_t mask = number("virt_boundary_mask");
  std::string found = fmt::format("blocks of {} bytes, seam {}", logical,
                                  mask == 0 ? "anywhere" : "every " + std::to_string(mask + 1) + " bytes");
  if (now.facts.direct_offset_align == 0)
    return warn(found + ", but the file system does not say how direct I/O must be aligned",
                "ext4 or xfs with kernel 6.1 or later");
  found += fmt::format(", direct I/O from memory aligned to {}, to places aligned to {}", now.facts.direct_memory_align,
                       now.facts.direct_offset_align);
  // The drive itself reads, patches and writes when it is given less than its own block.
  if (physical > logical && now.drive->name.starts_with("nvme"))
    return warn(fmt::format("{}; inside the drive blocks are {} bytes", found, physical),
                fmt::format("nvme id-ns -H /dev/{0} shows the formats; nvme format /dev/{0} --lbaf=N takes another and "
                            "ERASES the drive",
                            now.drive->name));
  return ok(found);
}

std::optional<Finding> drive_cache(const Situation& now) {
  if (!now.drive) return std::nullopt;
  const std::string cache = now.files.line(now.drive->queue + "write_cache");
  // A drive without a volatile cache has no use for forced unit access, and the kernel does not offer it.
  const bool was_volatile = now.files.number(now.drive->queue + "fua").value_or(0) != 0;
  if (cache == "write through" && was_volatile)
    return fail(
        "the kernel was told that the drive's cache is safe, and sends no flushes: a power cut loses "
        "acknowledged records",
        fmt::format("echo 'write back' > {}write_cache", now.drive->queue));
  if (cache == "write back") return ok("the drive's cache is volatile: each commit waits for a flush");
  return ok("the drive needs no flushes: no cache, or one that survives a power cut");
}

std::optional<Finding> drive_scheduler(const Situation& now) {
  if (!now.drive) return std::nullopt;
  const std::string path = now.drive->queue + "scheduler";
  const std::string chosen = chosen_of(now.files.line(path));
  if (chosen.empty() || chosen == "none") return ok("no scheduler between the node and the drive");
  return warn(fmt::format("the scheduler {} is between the node and the drive", chosen), "echo none > " + path);
}

std::optional<Finding> drive_stable_writes(const Situation& now) {
  if (!now.drive) return std::nullopt;
  if (now.files.number(now.drive->queue + "stable_writes").value_or(0) == 0)
    return ok("pages may be written from where they were received");
  return warn("pages are checksummed in flight, so every record is copied first",
              "a drive without protection information, below no checksumming RAID");
}

std::optional<Finding> files_kind(const Situation& now) {
  if (!now.mount) return std::nullopt;
  const std::string& kind = now.mount->file_system;
  if (is_one_of(meant_for_it, kind)) return ok(kind + " on " + now.mount->point);
  const std::string remedy = "mkfs.xfs or mkfs.ext4 on an NVMe drive; data_directory = a directory there";
  if (is_one_of(not_durable, kind)) return fail(kind + " does not keep what is written through a power cut", remedy);
  return warn(kind + " is not tested; copy-on-write and checksums cost copies", remedy);
}

std::optional<Finding> files_options(const Situation& now) {
  if (!now.mount || !is_one_of(meant_for_it, now.mount->file_system)) return std::nullopt;
  for (const char* unsafe : {"nobarrier", "barrier=0"}) {
    if (now.mount->has(unsafe))
      return fail(fmt::format("{}: a power cut loses acknowledged records", unsafe), remount(now, "barrier=1"));
  }
  if (now.mount->has("ro")) return fail(now.mount->point + " is read-only", remount(now, "rw"));
  if (now.mount->has("data=journal"))
    return warn("data=journal: every record is written twice", "take data=journal out of /etc/fstab and mount again");
  if (now.mount->has("discard"))
    return warn("discard: the drive is told of each freed segment, in the way of commits",
                remount(now, "nodiscard") + "; systemctl enable --now fstrim.timer");
  if (!now.mount->has("lazytime"))
    return warn("without lazytime the file times are journalled some 250 times a second", remount(now, "lazytime"));
  return ok("lazytime, no discard, barriers on");
}

std::optional<Finding> files_space(const Situation& now) {
  if (!now.facts.free_bytes) return std::nullopt;
  // Spares are written ahead; one segment is open, one is kept in reserve.
  const uint64_t segments = now.lane_count() * (static_cast<uint64_t>(now.config.spare_segments) + 2);
  const uint64_t needed = segments * now.segment_bytes, free = *now.facts.free_bytes;
  const std::string found = fmt::format("{} MiB free, the first segments of {} lanes take {} MiB", free / MiB,
                                        now.lane_count(), needed / MiB);
  if (free >= needed) return ok(found);
  return warn(found, fmt::format("free {} MiB, or lower segment_bytes or spare_segments", (needed - free) / MiB));
}

}  // namespace penstock::doctor
