#include "drivers/uring/drive_units.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "dataplane/base/check.h"
#include "drivers/uring/block_device.h"
#include "drivers/uring/drive_trial.h"

namespace penstock {

namespace {

constexpr uint32_t page_bytes = 4096;
constexpr uint32_t block_bytes_max = 65'536;  // a larger "physical block" is a stripe, not what a write must be made of
constexpr uint32_t vectors_max = 1024;        // UIO_MAXIOV; io_uring refuses more

struct KnownFileSystem {
  uint32_t magic;
  const char* name;
  bool checksums_data;  // pages must not change while a write is in flight
};
constexpr KnownFileSystem known_file_systems[] = {
    {0xef53, "ext4", false},      {0x58465342, "xfs", false},     {0xf2f52010, "f2fs", false},
    {0x9123683e, "btrfs", true},  {0xca451a4e, "bcachefs", true}, {0x2fc12fc1, "zfs", true},
    {0x01021994, "tmpfs", false}, {0x794c7630, "overlay", false},
};

std::string hexadecimal(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

// A file that is gone from the directory as soon as it is open.
int open_nameless(const std::string& directory, const char* name) {
  const std::string path = directory + "/" + name;
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0640);
  const int error = errno;
  if (file >= 0) ::unlink(path.c_str());
  return file < 0 ? -error : file;
}

// Since kernel 6.18 vectors may be shorter than a logical block where the drive's DMA allows it. Believed only when
// such a write succeeds and reads back as written.
bool fine_vectors_work(int file, uint32_t unit, uint32_t block) {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  const auto make = [] {
    return std::unique_ptr<std::byte, Free>(
        static_cast<std::byte*>(std::aligned_alloc(page_bytes, 4 * block_bytes_max)));
  };
  const auto from = make(), back = make();
  if (from == nullptr || back == nullptr || block > block_bytes_max) return false;
  for (uint32_t at = 0; at < 2 * block_bytes_max; ++at) from.get()[at] = static_cast<std::byte>(at * 7 + at / 251);
  // One unit from one place, the rest of the block from another.
  const iovec vectors[] = {{from.get() + unit, unit}, {from.get() + block_bytes_max + unit, block - unit}};
  if (::pwritev(file, vectors, 2, 0) != static_cast<ssize_t>(block)) return false;
  if (::pread(file, back.get(), block, 0) != static_cast<ssize_t>(block)) return false;
  return std::memcmp(back.get(), vectors[0].iov_base, unit) == 0 &&
         std::memcmp(back.get() + unit, vectors[1].iov_base, block - unit) == 0;
}

// ---- the cache: one line of key, then name and number ----

std::string cache_key(const DriveFacts& facts, const std::string& identity, const DriveUnits& units) {
  std::ostringstream key;
  key << "v1 | " << identity << " | " << facts.file_system << " | " << facts.kernel << " | " << units.address_unit
      << " " << units.length_unit << " " << units.block << " " << units.seam << " " << units.vectors_max << " "
      << units.stable_pages;
  return key.str();
}

struct Measured {
  const char* name;
  uint32_t DriveUnits::* value;
};
constexpr Measured measured[] = {{"copybreak", &DriveUnits::copybreak},
                                 {"commit_bytes_max", &DriveUnits::commit_bytes_max},
                                 {"inflight_bytes_max", &DriveUnits::inflight_bytes_max},
                                 {"inflight_writes_max", &DriveUnits::inflight_writes_max}};

bool load_measured(const std::string& path, const std::string& key, DriveUnits& units) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != key) return false;
  DriveUnits loaded = units;
  for (const Measured& field : measured) {
    std::string name;
    if (!(file >> name >> loaded.*field.value) || name != field.name || loaded.*field.value == 0) return false;
  }
  units = loaded;
  return true;
}

void save_measured(const std::string& path, const std::string& key, const DriveUnits& units) {
  // Written aside and renamed; a failure only means measuring again.
  const std::string aside = path + ".new";
  {
    std::ofstream file(aside, std::ios::trunc);
    file << key << "\n";
    for (const Measured& field : measured) file << field.name << " " << units.*field.value << "\n";
    if (!file.flush()) return;
  }
  std::rename(aside.c_str(), path.c_str());
}

// ---- the report ----

std::string describe(const DriveFacts& facts, const DriveUnits& units) {
  std::ostringstream text;
  text << "drive " << (facts.device.empty() ? "unknown" : facts.device) << " under " << facts.file_system
       << ": address " << units.address_unit << ", vector length " << units.length_unit << ", block " << units.block
       << ", seam ";
  if (units.seam == 0) {
    text << "anywhere";
  } else {
    text << units.seam;
  }
  text << ", " << units.vectors_max << " vectors a write\n  from statx: memory " << facts.statx_memory_align
       << ", offset " << facts.statx_offset_align << "; from the queue: logical block " << facts.logical_block
       << ", physical block " << facts.physical_block << ", " << facts.segments_max << " segments and "
       << facts.command_bytes_max / KiB << " KiB a command, write cache "
       << (facts.write_cache ? "volatile" : "none or protected") << "\n";
  if (units.stable_pages) text << "  pages are checksummed in flight: everything is copied, nothing patched in place\n";
  if (facts.fine_vectors_work) text << "  vectors shorter than a block: a trial write read back right\n";
  return text.str();
}

std::string describe_policy(const DriveUnits& units) {
  std::ostringstream text;
  text << "  chosen: ";
  if (units.copybreak == UINT32_MAX) {
    text << "copy everything";
  } else {
    text << "copy runs below " << units.copybreak << " bytes";
  }
  text << "; commits of up to " << units.commit_bytes_max / KiB << " KiB, in flight up to "
       << units.inflight_bytes_max / KiB << " KiB in " << units.inflight_writes_max
       << (units.inflight_writes_max == 1 ? " write with O_DSYNC\n" : " writes with shared flushes\n");
  return text.str();
}

}  // namespace

std::expected<DriveFacts, std::string> facts_of(const std::string& directory) {
  DriveFacts facts;
  const int file = open_nameless(directory, ".drive-facts");
  if (file < 0) return std::unexpected("cannot write to " + directory + " with direct I/O: " + std::strerror(-file));

  struct statx told{};
  if (::statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &told) == 0 && (told.stx_mask & STATX_DIOALIGN) != 0) {
    facts.statx_memory_align = told.stx_dio_mem_align;
    facts.statx_offset_align = told.stx_dio_offset_align;
  }
  struct statfs file_system{};
  if (::fstatfs(file, &file_system) == 0) {
    const auto magic = static_cast<uint32_t>(file_system.f_type);
    facts.file_system = hexadecimal(magic);
    for (const KnownFileSystem& known : known_file_systems) {
      if (known.magic != magic) continue;
      facts.file_system = known.name;
      facts.stable_writes = known.checksums_data;
    }
  }
  utsname system{};
  if (::uname(&system) == 0) facts.kernel = system.release;

  if (const auto device = BlockDevice::of(directory)) {
    const auto number = [&](const char* attribute) {
      return static_cast<uint32_t>(device->queue_number(attribute, 0));
    };
    facts.device = device->name();
    facts.logical_block = number("logical_block_size");
    facts.physical_block = number("physical_block_size");
    facts.dma_mask = number("dma_alignment");
    facts.seam_mask = device->queue_number("virt_boundary_mask", 0);
    facts.segments_max = number("max_segments");
    facts.command_bytes_max = number("max_sectors_kb") * static_cast<uint32_t>(KiB);
    facts.stable_writes = facts.stable_writes || number("stable_writes") != 0;
    facts.write_cache = device->queue_text("write_cache") == "write back";
  }

  const DriveUnits coarse = units_from(facts);
  if (facts.statx_memory_align > 0 && facts.statx_memory_align < coarse.length_unit) {
    facts.fine_vectors_work = fine_vectors_work(file, coarse.address_unit, coarse.block);
  }
  ::close(file);
  return facts;
}

DriveUnits units_from(const DriveFacts& facts) {
  const auto known = [](uint32_t value, uint32_t otherwise) { return value != 0 ? value : otherwise; };
  DriveUnits units;
  const uint32_t logical = std::max(known(facts.statx_offset_align, facts.logical_block), facts.logical_block);
  units.length_unit = known(logical, page_bytes);
  units.address_unit = std::max(known(facts.statx_memory_align, units.length_unit), facts.dma_mask + 1);
  // A drive that emulates 512-byte blocks on 4096-byte ones would read, patch and write on anything less.
  units.block = units.length_unit;
  if (facts.physical_block <= block_bytes_max) units.block = std::max(units.block, facts.physical_block);
  if (facts.fine_vectors_work) units.length_unit = units.address_unit;
  // Without a queue to ask, assume the strictest that exists.
  units.seam = facts.device.empty()   ? page_bytes
               : facts.seam_mask == 0 ? 0
                                      : static_cast<uint32_t>(std::min<uint64_t>(facts.seam_mask + 1, UINT32_MAX));
  units.vectors_max = vectors_max;
  units.stable_pages = facts.stable_writes;
  if (units.stable_pages) units.copybreak = UINT32_MAX;
  check(std::has_single_bit(units.address_unit) && std::has_single_bit(units.length_unit) &&
            std::has_single_bit(units.block),
        "drive units are not powers of two", units.address_unit, units.block);
  return units;
}

std::expected<DriveUnitsFound, std::string> find_drive_units(const std::string& directory,
                                                             const DriveUnitsConfig& config) {
  const auto facts = facts_of(directory);
  if (!facts) return std::unexpected(facts.error());
  DriveUnitsFound found{units_from(*facts), {}};
  found.report = describe(*facts, found.units);
  if (!config.measure) {
    found.report += "  not measured, by configuration\n" + describe_policy(found.units);
    return found;
  }

  const auto device = BlockDevice::of(directory);
  const std::string key = cache_key(*facts, device ? device->identity() : "no device", found.units);
  if (!config.measure_again && !config.cache_file.empty() && load_measured(config.cache_file, key, found.units)) {
    found.report += "  measured at an earlier start: " + config.cache_file + "\n" + describe_policy(found.units);
    return found;
  }

  const auto trial = run_drive_trial(directory, found.units, device ? &*device : nullptr, config.trial_ns);
  if (!trial) {
    found.report += "  could not be measured (" + trial.error() + "), using defaults\n" + describe_policy(found.units);
    return found;
  }
  if (!found.units.stable_pages) found.units.copybreak = trial->copybreak;
  found.units.commit_bytes_max = trial->commit_bytes_max;
  found.units.inflight_bytes_max = trial->inflight_bytes_max;
  found.units.inflight_writes_max = trial->inflight_writes_max;
  found.report += trial->report + describe_policy(found.units);
  if (!config.cache_file.empty()) save_measured(config.cache_file, key, found.units);
  return found;
}

}  // namespace penstock
