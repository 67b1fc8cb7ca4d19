// Each thing an operator may have wrong, one at a time: the check that is for it says so, names a remedy, and no other
// check changes its mind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/doctor/made_machine.h"
#include "tools/penstock/doctor/checks.h"
#include "tools/penstock/doctor/report.h"

namespace penstock::doctor {
namespace {

using testing::HasSubstr;

std::map<std::string, Finding> findings(const MadeMachine& machine, const std::string& card = "") {
  const auto now = machine.look(card);
  EXPECT_TRUE(now) << now.error();
  std::map<std::string, Finding> found;
  for (const Examined& each : examine(*now)) found[each.name] = each.finding;
  return found;
}

struct Broken {
  const char* what;
  const char* check;
  Verdict verdict;
  const char* found;   // part of it
  const char* remedy;  // likewise
  std::function<void(MadeMachine&)> breaks;
};
void PrintTo(const Broken& broken, std::ostream* stream) { *stream << broken.what; }

class Doctor : public testing::TestWithParam<Broken> {};

TEST_P(Doctor, SeesIt) {
  MadeMachine machine;
  const auto before = findings(machine);
  GetParam().breaks(machine);
  for (const auto& [name, finding] : findings(machine)) {
    SCOPED_TRACE(name);
    if (name == GetParam().check) {
      EXPECT_EQ(finding.verdict, GetParam().verdict) << finding.found;
      EXPECT_THAT(finding.found, HasSubstr(GetParam().found));
      EXPECT_THAT(finding.remedy, HasSubstr(GetParam().remedy));
    } else if (const auto was = before.find(name); was != before.end()) {
      EXPECT_EQ(finding.verdict, was->second.verdict) << finding.found;
    }
  }
}

const std::string pages = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/";
const std::string queue = "/sys/block/nvme0n1/queue/";
constexpr Verdict warns = Verdict::warn, fails = Verdict::fail;

const Broken all_broken[] = {
    {"no AVX2", "cpu.instructions", fails, "avx2", "CPU",
     [](MadeMachine& m) {
       m.write("/proc/cpuinfo",
               "a : 1\nflags : sse4_2 movbe pclmulqdq fma bmi2 avx512f avx512bw "
               "avx512vl vpclmulqdq");
     }},
    {"a governor that saves", "cpu.governor", warns, "processors 3 follow the governor powersave", "cpupower",
     [](MadeMachine& m) { m.write("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave"); }},
    {"deep sleep", "cpu.idle", warns, "C6, which takes 170 us", "cpupower idle-set",
     [](MadeMachine& m) { m.write("/sys/devices/system/cpu/cpu2/cpuidle/state2/disable", "0"); }},
    {"no isolation", "cpu.isolation", warns, "other programs may run on the lanes' processors: 3", "isolcpus=2-3",
     [](MadeMachine& m) { m.write("/sys/devices/system/cpu/isolated", "2"); }},
    {"a tick", "cpu.isolation", warns, "tick: 2-3", "nohz_full=2-3",
     [](MadeMachine& m) { m.write("/sys/devices/system/cpu/nohz_full", ""); }},
    {"irqbalance", "cpu.interrupts", warns, "irqbalance", "systemctl disable --now irqbalance",
     [](MadeMachine& m) { m.write("/proc/612/comm", "irqbalance"); }},
    {"an old kernel", "system.kernel", fails, "5.10.0-1", "apt install",
     [](MadeMachine& m) { m.write("/proc/sys/kernel/osrelease", "5.10.0-1"); }},
    {"io_uring switched off", "system.io_uring", fails, "kernel.io_uring_disabled is 2", "sysctl -w",
     [](MadeMachine& m) {
       m.write("/proc/sys/kernel/io_uring_disabled", "2");
       m.facts.ring_error = "Operation not permitted";
     }},
    {"io_uring filtered", "system.io_uring", fails, "no such call", "seccomp",
     [](MadeMachine& m) { m.facts.ring_error = "no such call"; }},
    {"a slow clock", "system.clock", warns, "hpet", "echo tsc >",
     [](MadeMachine& m) { m.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"); }},
    {"no clock but a slow one", "system.clock", warns, "hpet", "tsc=reliable",
     [](MadeMachine& m) {
       m.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
       m.write("/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm");
     }},
    {"wrong time", "system.time", warns, "nothing keeps the time right", "chrony",
     [](MadeMachine& m) { m.facts.clock_synchronized = false; }},
    {"few files", "limit.files", warns, "1024 may be open", "LimitNOFILE=22144",
     [](MadeMachine& m) { m.facts.open_files_max = 1024; }},
    {"little locked memory", "limit.locked", fails, "512 MiB of locked memory needed, 8 MiB allowed", "LimitMEMLOCK",
     [](MadeMachine& m) { m.facts.locked_bytes_max = 8 << 20; }},
    {"huge pages on the wrong node", "memory.hugepages", warns,
     "node 1 has 16 free huge pages of 2 MiB, the lanes there need 256", "echo 256 > /sys/devices/system/node/node1",
     [](MadeMachine& m) {
       m.write(pages + "nr_hugepages", "16");
       m.write(pages + "free_hugepages", "16");
     }},
    {"huge pages that others have", "memory.hugepages", fails, "node 1 has 6 free", "echo 550 >",
     [](MadeMachine& m) {
       m.config.hugepages = "on";
       m.write(pages + "free_hugepages", "6");
     }},
    {"no transparent pages", "memory.transparent", warns, "never", "echo madvise",
     [](MadeMachine& m) { m.write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"); }},
    {"no IOMMU", "card.iommu", fails, "no IOMMU", "intel_iommu=on",
     [](MadeMachine& m) { m.remove(m.card_path() + "iommu_group"); }},
    {"a card with the kernel", "card.driver", fails, "the driver ice", "dpdk-devbind.py --bind=vfio-pci 0000:43:00.0",
     [](MadeMachine& m) { m.link(m.card_path() + "driver", "/sys/bus/pci/drivers/ice"); }},
    {"vfio-pci not loaded", "card.vfio", fails, "not loaded", "modprobe vfio-pci",
     [](MadeMachine& m) { m.remove("/sys/bus/pci/drivers/vfio-pci"); }},
    {"a card that is not free", "card.group", fails, "0000:44:00.0", "dpdk-devbind.py --bind=vfio-pci 0000:44:00.0",
     [](MadeMachine& m) {
       m.write("/sys/kernel/iommu_groups/7/devices/0000:44:00.0/class", "0x010600");
       m.write("/sys/bus/pci/devices/0000:44:00.0/class", "0x010600");
       m.link("/sys/bus/pci/devices/0000:44:00.0/driver", "/sys/bus/pci/drivers/ahci");
     }},
    {"a narrow link", "card.link", warns, "PCIe x8 at 16.0 GT/s PCIe, the card can do x16", "slot",
     [](MadeMachine& m) { m.write(m.card_path() + "current_link_width", "8"); }},
    {"a slow link", "card.link", warns, "8.0 GT/s", "lspci -vv -s 0000:43:00.0",
     [](MadeMachine& m) { m.write(m.card_path() + "current_link_speed", "8.0 GT/s PCIe"); }},
    {"small frames", "card.mtu", warns, "ens1 has an MTU of 1500", "ip link set ens1 mtu 9000",
     [](MadeMachine& m) {
       m.write(m.card_path() + "net/ens1/mtu", "1500");
       m.write("/sys/class/net/ens1/mtu", "1500");
     }},
    {"a drive far from the card", "drive.node", warns, "the drive is on node 0, the card on node 1", "data_directory",
     [](MadeMachine& m) { m.write("/sys/devices/pci0000:40/0000:41:00.0/numa_node", "0"); }},
    {"a drive of two minds about blocks", "drive.blocks", warns, "inside the drive blocks are 4096", "ERASES",
     [](MadeMachine& m) { m.write(queue + "physical_block_size", "4096"); }},
    {"a file system without direct I/O", "drive.blocks", warns, "does not say", "xfs",
     [](MadeMachine& m) { m.facts.direct_offset_align = 0; }},
    {"a cache that is said to be safe", "drive.cache", fails, "a power cut loses", "echo 'write back'",
     [](MadeMachine& m) { m.write(queue + "write_cache", "write through"); }},
    {"a scheduler", "drive.scheduler", warns, "mq-deadline", "echo none > /sys/block/nvme0n1/queue/scheduler",
     [](MadeMachine& m) { m.write(queue + "scheduler", "none [mq-deadline]"); }},
    {"checksums in flight", "drive.stable_writes", warns, "copied first", "protection information",
     [](MadeMachine& m) { m.write(queue + "stable_writes", "1"); }},
    {"memory for a disk", "files.kind", fails, "tmpfs", "mkfs",
     [](MadeMachine& m) { m.mount("tmpfs", "rw,lazytime"); }},
    {"copy on write", "files.kind", warns, "btrfs", "mkfs", [](MadeMachine& m) { m.mount("btrfs", "rw,lazytime"); }},
    {"no lazytime", "files.options", warns, "without lazytime", "mount -o remount,lazytime /",
     [](MadeMachine& m) { m.mount("ext4", "rw,relatime"); }},
    {"discard", "files.options", warns, "discard", "fstrim.timer",
     [](MadeMachine& m) { m.mount("xfs", "rw,lazytime,discard"); }},
    {"no barriers", "files.options", fails, "nobarrier", "barrier=1",
     [](MadeMachine& m) { m.mount("ext4", "rw,lazytime,nobarrier"); }},
    {"everything written twice", "files.options", warns, "data=journal", "/etc/fstab",
     [](MadeMachine& m) { m.mount("ext4", "rw,lazytime,data=journal"); }},
    {"read-only", "files.options", fails, "read-only", "remount,rw",
     [](MadeMachine& m) { m.mount("ext4", "ro,lazytime"); }},
    {"a full disk", "files.space", warns, "100 MiB free, the first segments of 2 lanes take 2048 MiB", "free 1948 MiB",
     [](MadeMachine& m) { m.facts.free_bytes = 100 << 20; }},
};
INSTANTIATE_TEST_SUITE_P(EachThingBroken, Doctor, testing::ValuesIn(all_broken));

TEST(DoctorTest, FindsNothingWrongWithAGoodMachine) {
  const MadeMachine machine;
  for (const auto& [name, finding] : findings(machine)) {
    EXPECT_EQ(finding.verdict, Verdict::ok) << name << ": " << finding.found;
    EXPECT_EQ(finding.remedy, "") << name;
  }
}

TEST(DoctorTest, EveryCheckIsBrokenHereOnce) {
  for (const Check& check : checks()) {
    if (std::string_view(check.name) == "cpu.crc" || std::string_view(check.name).ends_with(".found") ||
        std::string_view(check.name) == "card.node")
      continue;  // in tests of their own
    EXPECT_TRUE(std::ranges::any_of(all_broken, [&](const Broken& each) {
      return std::string_view(each.check) == check.name;
    })) << check.name;
  }
}

TEST(DoctorTest, ToldWhichCrcTheCpuGives) {
  MadeMachine machine;
  EXPECT_THAT(findings(machine)["cpu.crc"].found, HasSubstr("AVX-512"));
  machine.write("/proc/cpuinfo", "a : 1\nflags : sse4_2 pclmulqdq avx2");
  EXPECT_THAT(findings(machine)["cpu.crc"].found, HasSubstr("no AVX-512"));
  machine.write("/proc/cpuinfo", "a : 1\nflags : sse4_2 avx2");
  EXPECT_EQ(findings(machine)["cpu.crc"].verdict, Verdict::warn);
}

TEST(DoctorTest, LanesFarFromTheCardAreToldOfItsProcessors) {
  MadeMachine machine;
  machine.config.cores = {"0", "1"};
  const auto found = findings(machine);
  EXPECT_EQ(found.at("card.node").verdict, Verdict::warn);
  EXPECT_THAT(found.at("card.node").remedy, HasSubstr("cores = [2, 3]"));
  EXPECT_EQ(found.at("drive.node").verdict, Verdict::warn);
}

TEST(DoctorTest, CardsOfTheKernelNeedNoVfio) {
  MadeMachine machine;
  machine.bypass = false;
  auto found = findings(machine);
  EXPECT_EQ(found.at("card.driver").verdict, Verdict::fail);
  EXPECT_THAT(found.at("card.driver").remedy, HasSubstr("drivers_probe"));
  machine.link(machine.card_path() + "driver", "/sys/bus/pci/drivers/ice");
  machine.remove(machine.card_path() + "iommu_group");
  found = findings(machine);
  EXPECT_EQ(found.at("card.driver").verdict, Verdict::ok);
  EXPECT_FALSE(found.contains("card.iommu"));
  EXPECT_FALSE(found.contains("card.vfio"));
}

TEST(DoctorTest, BifurcatedCardsStayWithTheKernel) {
  MadeMachine machine;
  machine.write(machine.card_path() + "vendor", "0x15b3");
  EXPECT_EQ(findings(machine).at("card.driver").verdict, Verdict::fail);
  machine.link(machine.card_path() + "driver", "/sys/bus/pci/drivers/mlx5_core");
  EXPECT_EQ(findings(machine).at("card.driver").verdict, Verdict::ok);
  EXPECT_FALSE(findings(machine).contains("card.iommu"));
}

void give_card_to_node(MadeMachine& machine, const std::string& device) {
  machine.bypass = false;  // by no option
  machine.config.network = "dpdk";
  machine.config.dpdk_device = device;
}

TEST(DoctorTest, TheCardOfTheConfigurationIsTheOneThatIsMeant) {
  MadeMachine machine;
  machine.write("/sys/bus/pci/devices/0000:05:00.0/class", "0x020000");
  for (const char* device : {"0000:43:00.0", "43:00.0", "0000:43:00.0,some_argument=1"}) {
    give_card_to_node(machine, device);
    const auto found = findings(machine);
    EXPECT_THAT(found.at("card.found").found, HasSubstr("0000:43:00.0"));
    EXPECT_EQ(found.at("card.driver").verdict, Verdict::ok) << found.at("card.driver").found;
    EXPECT_TRUE(found.contains("card.iommu"));
  }
  EXPECT_THAT(findings(machine, "05:00.0").at("card.found").found, HasSubstr("0000:05:00.0"));
  give_card_to_node(machine, "0000:99:00.0");
  const auto now = machine.look();
  ASSERT_FALSE(now);
  EXPECT_THAT(now.error(), HasSubstr("0000:99:00.0"));
}

TEST(DoctorTest, AVirtualDeviceNeedsNoCard) {
  MadeMachine machine;
  give_card_to_node(machine, "net_tap0,iface=tap0");
  machine.link(machine.card_path() + "driver", "/sys/bus/pci/drivers/ice");
  const auto found = findings(machine);
  EXPECT_EQ(found.at("card.driver").verdict, Verdict::ok);
  EXPECT_FALSE(found.contains("card.iommu"));
}

TEST(DoctorTest, DpdkTakesHugePagesOfItsOwnOnTheCardsNode) {
  MadeMachine machine;
  machine.config.cores = {"0", "2"};
  give_card_to_node(machine, MadeMachine::card);
  // 128 for each arena, and 12 for each lane.
  EXPECT_THAT(findings(machine).at("memory.hugepages").found,
              HasSubstr("node 0: 128 of 2 MiB needed, 300 free; node 1: 152 of 2 MiB needed"));
  machine.write(pages + "free_hugepages", "151");
  EXPECT_EQ(findings(machine).at("memory.hugepages").verdict, Verdict::warn);
  machine.write(pages + "free_hugepages", "152");
  EXPECT_EQ(findings(machine).at("memory.hugepages").verdict, Verdict::ok);
}

TEST(DoctorTest, LanesThatMayChooseAreNearTheCardTheyDrive) {
  MadeMachine machine;
  machine.config.cores = {"auto"};
  give_card_to_node(machine, MadeMachine::card);
  EXPECT_EQ(findings(machine).at("card.node").verdict, Verdict::ok);
  machine.config.cores = {"0", "2"};
  EXPECT_EQ(findings(machine).at("card.node").verdict, Verdict::warn);
  machine.config.cores = {"auto"};
  machine.config.network = "kernel";
  EXPECT_EQ(findings(machine).at("card.node").verdict, Verdict::warn);
}

TEST(DoctorTest, OfSeveralCardsOneIsNamed) {
  MadeMachine machine;
  machine.write("/sys/bus/pci/devices/0000:05:00.0/class", "0x020000");
  machine.write("/sys/bus/pci/devices/0000:05:00.0/net/eno1/mtu", "9000");
  auto found = findings(machine);
  EXPECT_EQ(found.at("card.found").verdict, Verdict::warn);
  EXPECT_THAT(found.at("card.found").remedy, HasSubstr("--card 0000:05:00.0"));
  EXPECT_FALSE(found.contains("card.driver"));
  EXPECT_THAT(findings(machine, "43:00.0").at("card.found").found, HasSubstr("0000:43:00.0"));
  EXPECT_THAT(findings(machine, "eno1").at("card.found").found, HasSubstr("0000:05:00.0 (eno1)"));
  EXPECT_FALSE(machine.look("eno2"));
}

TEST(DoctorTest, NoCardAtAll) {
  MadeMachine machine;
  machine.remove("/sys/bus/pci/devices");
  EXPECT_EQ(findings(machine).at("card.found").verdict, Verdict::fail);
  machine.bypass = false;
  EXPECT_EQ(findings(machine).at("card.found").verdict, Verdict::ok);
}

TEST(DoctorTest, ADirectoryOnNoDrive) {
  MadeMachine machine;
  machine.remove("/sys/dev/block");
  const auto found = findings(machine);
  EXPECT_EQ(found.at("drive.found").verdict, Verdict::warn);
  EXPECT_FALSE(found.contains("drive.scheduler"));
}

TEST(DoctorTest, TheLaterOfTwoMountsOnOnePointCounts) {
  MadeMachine machine;
  machine.write("/proc/self/mountinfo",
                "30 1 259:1 / / rw,lazytime - ext4 /dev/nvme0n1p1 rw\n31 1 0:9 / / rw - overlay overlay rw");
  EXPECT_EQ(findings(machine).at("files.kind").verdict, Verdict::fail);
}

TEST(DoctorTest, WhoMayGoBeyondLimitsIsNotLimited) {
  MadeMachine machine;
  machine.facts.locked_bytes_max = 0;
  machine.facts.may_lock_any = true;
  machine.facts.open_files_max = 64;
  machine.facts.may_raise_limits = true;
  EXPECT_EQ(findings(machine).at("limit.locked").verdict, Verdict::ok);
  EXPECT_EQ(findings(machine).at("limit.files").verdict, Verdict::ok);
}

TEST(DoctorTest, CoresThatAreNotThere) {
  MadeMachine machine;
  machine.config.cores = {"17"};
  const auto now = machine.look();
  ASSERT_FALSE(now);
  EXPECT_THAT(now.error(), HasSubstr("17"));
}

TEST(DoctorTest, OneLineACheckAndJson) {
  MadeMachine machine;
  machine.write(queue + "scheduler", "none [mq-deadline]");
  const auto all = examine(*machine.look());
  EXPECT_FALSE(any_fail(all));
  const std::string lines = as_lines(all);
  EXPECT_EQ(static_cast<size_t>(std::ranges::count(lines, '\n')), all.size() + 1);
  EXPECT_THAT(lines,
              HasSubstr("warn  drive.scheduler      the scheduler mq-deadline is between the node and the drive  "
                        "->  echo none > /sys/block/nvme0n1/queue/scheduler\n"));
  EXPECT_THAT(lines, HasSubstr(", 1 warn, 0 fail\n"));

  const auto page = nlohmann::json::parse(as_json(all));
  EXPECT_EQ(page["warn"], 1);
  EXPECT_EQ(page["checks"].size(), all.size());
  EXPECT_EQ(page["checks"][0]["name"], "cpu.instructions");
  EXPECT_EQ(page["checks"][0]["verdict"], "ok");

  machine.mount("tmpfs", "rw");
  EXPECT_TRUE(any_fail(examine(*machine.look())));
}

TEST(DoctorTest, ListsOfProcessors) {
  EXPECT_EQ(numbers_of_list("0-2,8"), (std::vector<uint32_t>{0, 1, 2, 8}));
  EXPECT_EQ(numbers_of_list(""), (std::vector<uint32_t>{}));
  EXPECT_EQ(list_of_numbers({8, 1, 0, 2, 8}), "0-2,8");
  EXPECT_EQ(list_of_numbers({}), "");
}

}  // namespace
}  // namespace penstock::doctor
