// A machine made of files below a temporary directory: two nodes, a card and an NVMe drive on node 1, and nothing
// wrong. A test breaks one thing and looks at what is said.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tools/penstock/doctor/situation.h"

namespace penstock::doctor {

class MadeMachine {
 public:
  static constexpr const char* card = "0000:43:00.0";
  static constexpr const char* drive = "0000:41:00.0";

  MadeMachine();
  ~MadeMachine() { std::filesystem::remove_all(root_); }
  MadeMachine(const MadeMachine&) = delete;

  void write(const std::string& path, const std::string& text) const;
  void link(const std::string& path, const std::string& target) const;  // a path on the machine
  void remove(const std::string& path) const { std::filesystem::remove_all(root_ + path); }
  void mount(const std::string& kind, const std::string& options) const;

  std::expected<Situation, std::string> look(const std::string& wanted_card = "") const {
    return look_around(RootFiles(root_), facts, config, wanted_card, bypass);
  }

  const std::string& root() const { return root_; }
  std::string card_path() const { return std::string("/sys/bus/pci/devices/") + card + "/"; }

  SystemFacts facts;
  Config config = default_config();
  bool bypass = true;

 private:
  std::string root_;
};

inline MadeMachine::MadeMachine() {
  char name[] = "/tmp/penstock-doctor-XXXXXX";
  root_ = mkdtemp(name);

  // Of each node two processors.
  for (uint32_t each = 0; each < 4; ++each) {
    facts.machine.processors.push_back({.number = each, .core = each, .numa_node = each / 2});
    const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(each);
    write(cpu + "/cpufreq/scaling_governor", "performance");
    write(cpu + "/cpuidle/state0/name", "POLL");
    write(cpu + "/cpuidle/state0/latency", "0");
    write(cpu + "/cpuidle/state1/name", "C1");
    write(cpu + "/cpuidle/state1/latency", "2");
    write(cpu + "/cpuidle/state2/name", "C6");
    write(cpu + "/cpuidle/state2/latency", "170");
    write(cpu + "/cpuidle/state2/disable", "1");
  }
  facts.ring_features = "everything";
  facts.locked_bytes_max = uint64_t{1} << 40;
  facts.open_files_max = uint64_t{1} << 20;
  facts.clock_synchronized = true;
  facts.free_bytes = uint64_t{1} << 40;
  facts.direct_memory_align = 4;
  facts.direct_offset_align = 512;

  // A directory that is not on this machine, so that the mount of "/" holds it.
  config.data_directory = "/no-such-directory-here/data";
  config.lanes = 2;
  config.cores = {"2", "3"};

  write("/proc/cpuinfo",
        "processor\t: 0\nflags\t\t: fpu sse4_2 movbe pclmulqdq fma avx2 bmi2 avx512f avx512bw avx512vl vpclmulqdq\n");
  write("/proc/sys/kernel/osrelease", "6.18.1");
  write("/proc/sys/kernel/io_uring_disabled", "0");
  write("/proc/1/comm", "systemd");
  write("/sys/devices/system/cpu/isolated", "2-3");
  write("/sys/devices/system/cpu/nohz_full", "2-3");
  write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc");
  write("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm");
  write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
  for (const char* node : {"node0", "node1"}) {
    const std::string pages = std::string("/sys/devices/system/node/") + node + "/hugepages/hugepages-2048kB/";
    write(pages + "nr_hugepages", "300");
    write(pages + "free_hugepages", "300");
  }

  const std::string pci = std::string("/sys/devices/pci0000:40/") + card;
  write(pci + "/class", "0x020000");
  write(pci + "/vendor", "0x8086");
  write(pci + "/numa_node", "1");
  write(pci + "/current_link_speed", "16.0 GT/s PCIe");
  write(pci + "/max_link_speed", "16.0 GT/s PCIe");
  write(pci + "/current_link_width", "16");
  write(pci + "/max_link_width", "16");
  write("/sys/bus/pci/drivers/vfio-pci/new_id", "");
  link(std::string("/sys/bus/pci/devices/") + card, pci);
  link(pci + "/driver", "/sys/bus/pci/drivers/vfio-pci");
  write(std::string("/sys/kernel/iommu_groups/7/devices/") + card + "/class", "0x020000");
  link(pci + "/iommu_group", "/sys/kernel/iommu_groups/7");

  const std::string nvme = std::string("/sys/devices/pci0000:40/") + drive;
  write(nvme + "/class", "0x010802");
  write(nvme + "/numa_node", "1");
  const std::string disk = nvme + "/nvme/nvme0/nvme0n1";
  write(disk + "/queue/scheduler", "[none] mq-deadline");
  write(disk + "/queue/logical_block_size", "512");
  write(disk + "/queue/physical_block_size", "512");
  write(disk + "/queue/virt_boundary_mask", "4095");
  write(disk + "/queue/write_cache", "write back");
  write(disk + "/queue/fua", "1");
  write(disk + "/queue/stable_writes", "0");
  write(disk + "/nvme0n1p1/partition", "1");
  link("/sys/block/nvme0n1", disk);
  link("/sys/dev/block/259:1", disk + "/nvme0n1p1");
  mount("ext4", "rw,lazytime");
}

inline void MadeMachine::write(const std::string& path, const std::string& text) const {
  std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
  std::ofstream(root_ + path) << text << "\n";
}

inline void MadeMachine::link(const std::string& path, const std::string& target) const {
  std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
  std::filesystem::remove(root_ + path);
  std::filesystem::create_symlink(root_ + target, root_ + path);
}

inline void MadeMachine::mount(const std::string& kind, const std::string& options) const {
  write("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n30 1 259:1 / / " + options + " shared:1 - " +
                                    kind + " /dev/nvme0n1p1 rw");
}

}  // namespace penstock::doctor
