#include "tools/penstock/doctor/situation.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "drivers/dpdk/eal.h"
#include "tools/penstock/data_directory.h"

namespace penstock::doctor {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t lane_count_created_max = 16;  // as `serve` has it
constexpr uint64_t segment_bytes_created = uint64_t{256} << 20;

bool lies_below(const std::string& path, const std::string& directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

// One line of /proc/self/mountinfo: 36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue
std::optional<Mount> parse_mount(const std::string& line) {
  const std::vector<std::string> fields = words(line);
  const auto dash = std::ranges::find(fields, "-");
  if (fields.size() < 6 || fields.end() - dash < 4) return std::nullopt;
  Mount mount{.point = fields[4],
              .file_system = *(dash + 1),
              .source = *(dash + 2),
              .options = split(fields[5], ','),
              .device_number = fields[2]};
  for (std::string& each : split(*(dash + 3), ',')) mount.options.push_back(std::move(each));
  return mount;
}

std::optional<Mount> mount_of(const RootFiles& files, const std::string& path) {
  std::optional<Mount> found;
  for (const std::string& line : split(files.text("/proc/self/mountinfo").value_or(""), '\n')) {
    std::optional<Mount> mount = parse_mount(line);
    // Of two on the same point the later one hides the other.
    if (mount && lies_below(path, mount->point) && (!found || mount->point.size() >= found->point.size()))
      found = std::move(mount);
  }
  return found;
}

// The first directory upward that knows its node.
int64_t numa_node_above(const RootFiles& files, std::string path) {
  while (path.size() > 1) {
    if (const auto node = files.number(path + "/numa_node")) return *node;
    path.resize(path.rfind('/'));
  }
  return -1;
}

std::optional<Drive> drive_of(const RootFiles& files, const Mount& mount) {
  std::string path = files.real_path("/sys/dev/block/" + mount.device_number);
  // File systems of several devices have a number of their own; the source names one of them.
  if (path.empty() && mount.source.starts_with("/dev/"))
    path = files.real_path("/sys/class/block/" + mount.source.substr(mount.source.rfind('/') + 1));
  if (path.empty()) return std::nullopt;
  if (files.exists(path + "/partition")) path.resize(path.rfind('/'));
  const std::string name = path.substr(path.rfind('/') + 1);
  return Drive{.name = name, .queue = "/sys/block/" + name + "/queue/", .numa_node = numa_node_above(files, path)};
}

std::vector<std::string> ethernet_cards(const RootFiles& files) {
  constexpr const char* ethernet_class = "0x0200";
  std::vector<std::string> cards;
  for (std::string& address : files.names_in("/sys/bus/pci/devices")) {
    if (files.line("/sys/bus/pci/devices/" + address + "/class").starts_with(ethernet_class))
      cards.push_back(std::move(address));
  }
  return cards;
}

Card card_at(const RootFiles& files, const std::string& address) {
  Card card{.address = address, .path = "/sys/bus/pci/devices/" + address + "/"};
  card.driver = files.link_target(card.path + "driver");
  card.vendor = files.line(card.path + "vendor");
  card.numa_node = files.number(card.path + "numa_node").value_or(-1);
  card.interfaces = files.names_in(card.path + "net");
  // virtio's interface hangs below a bus of its own.
  for (const std::string& each : files.names_in(card.path)) {
    if (!each.starts_with("virtio")) continue;
    for (std::string& name : files.names_in(card.path + each + "/net")) card.interfaces.push_back(std::move(name));
  }
  return card;
}

std::expected<std::optional<Card>, std::string> find_card(const RootFiles& files, const std::vector<std::string>& cards,
                                                          const std::string& wanted) {
  if (wanted.empty()) return cards.size() == 1 ? std::optional(card_at(files, cards[0])) : std::nullopt;
  if (files.exists("/sys/bus/pci/devices/" + wanted)) return card_at(files, wanted);
  if (files.exists("/sys/bus/pci/devices/0000:" + wanted)) return card_at(files, "0000:" + wanted);
  for (const std::string& address : cards) {
    Card card = card_at(files, address);
    if (std::ranges::find(card.interfaces, wanted) != card.interfaces.end()) return card;
  }
  return std::unexpected("there is no network card '" + wanted + "': its PCI address or the name of its interface is " +
                         "expected (lspci -D | grep -i ethernet)");
}

}  // namespace

bool Mount::has(std::string_view option) const { return std::ranges::find(options, option) != options.end(); }

std::vector<uint32_t> Situation::lane_processors() const {
  std::vector<uint32_t> processors;
  for (const LanePlace& place : places) processors.push_back(place.processor);
  return processors;
}

std::vector<uint32_t> Situation::lane_nodes() const {
  std::vector<uint32_t> nodes;
  for (const LanePlace& place : places) nodes.push_back(place.numa_node);
  std::ranges::sort(nodes);
  nodes.erase(std::ranges::unique(nodes).begin(), nodes.end());
  return nodes;
}

std::string existing_part(const std::string& path) {
  std::error_code error;
  fs::path part = fs::absolute(path, error);
  while (!fs::exists(part, error) && part.has_relative_path()) part = part.parent_path();
  const fs::path real = fs::canonical(part, error);
  return error ? part.string() : real.string();
}

std::expected<Situation, std::string> look_around(RootFiles files, SystemFacts facts, Config config, std::string card,
                                                  bool bypass) {
  Situation now{.files = std::move(files), .facts = std::move(facts), .config = std::move(config)};
  now.cards = ethernet_cards(now.files);
  const std::string& device = now.config.dpdk_device;
  const bool of_configuration = now.config.network == "dpdk" && is_pci_address(device);
  if (card.empty() && of_configuration) card = device.substr(0, device.find(','));
  auto found = find_card(now.files, now.cards, card);
  if (!found) return std::unexpected(found.error());
  now.card = std::move(*found);
  now.bypass = bypass || of_configuration;

  const auto format = DataDirectory::look(now.config.data_directory);
  auto lanes = static_cast<uint32_t>(now.config.lanes);
  if (lanes == 0)
    lanes = format ? format->lane_count : std::clamp(now.facts.machine.core_count(), 1u, lane_count_created_max);
  now.segment_bytes = static_cast<uint64_t>(now.config.segment_bytes);
  if (now.segment_bytes == 0) now.segment_bytes = format ? format->segment_bytes : segment_bytes_created;
  // As `serve` does: lanes that may choose are near the card they drive.
  const bool choose = now.config.cores.empty() || now.config.cores == std::vector<std::string>{"auto"};
  const bool near_card = choose && now.bypass && now.card && now.card->numa_node >= 0;
  auto places =
      place_lanes(near_card ? of_node(now.facts.machine, static_cast<uint32_t>(now.card->numa_node)) : now.facts.machine,
                  lanes, now.config.cores);
  if (!places) return std::unexpected(places.error());
  now.places = std::move(*places);

  now.mount = mount_of(now.files, existing_part(now.config.data_directory));
  if (now.mount) now.drive = drive_of(now.files, *now.mount);
  return now;
}

}  // namespace penstock::doctor
