// What the checks look at: the machine's files and facts, what the configuration asks for, and the devices it means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/penstock/config.h"
#include "tools/penstock/doctor/root_files.h"
#include "tools/penstock/doctor/system_facts.h"
#include "tools/penstock/placement.h"

namespace penstock::doctor {

struct Mount {
  std::string point, file_system, source;
  std::vector<std::string> options;  // of the mount and of the file system
  std::string device_number;         // "259:1"

  bool has(std::string_view option) const;
};

struct Drive {
  std::string name;   // the whole disk: "nvme0n1"
  std::string queue;  // "/sys/block/nvme0n1/queue/"
  int64_t numa_node = -1;
};

struct Card {
  std::string address;  // "0000:43:00.0"
  std::string path;     // "/sys/bus/pci/devices/0000:43:00.0/"
  std::string driver;   // empty: none
  std::string vendor;   // "0x15b3"
  int64_t numa_node = -1;
  std::vector<std::string> interfaces;  // the kernel's names
};

struct Situation {
  RootFiles files;
  SystemFacts facts;
  Config config;
  bool bypass = false;  // the card is driven by the node itself
  std::vector<LanePlace> places;
  uint64_t segment_bytes = 0;
  std::optional<Mount> mount;  // of the data directory
  std::optional<Drive> drive;
  std::vector<std::string> cards;  // PCI addresses of all Ethernet cards
  std::optional<Card> card;        // the one that is meant

  uint64_t lane_count() const { return places.size(); }
  std::vector<uint32_t> lane_processors() const;
  std::vector<uint32_t> lane_nodes() const;  // sorted, unique
};

// `card`: a PCI address or the kernel's name of an interface; empty: the one of dpdk.device, else the only one there is.
// `bypass`: look as if the node were to drive it itself; it does if the configuration says so.
// The error is for the operator: the configuration and this machine do not go together at all.
std::expected<Situation, std::string> look_around(RootFiles files, SystemFacts facts, Config config, std::string card,
                                                  bool bypass);

// The deepest directory of the path that exists.
std::string existing_part(const std::string& path);

}  // namespace penstock::doctor
