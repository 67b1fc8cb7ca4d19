// The network card: who drives it, behind what, where it sits and how fast it is connected.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

// Its driver in user space works beside the kernel's, which keeps the card.
bool is_bifurcated(const Card& card) {
  constexpr const char* mellanox = "0x15b3";
  return card.vendor == mellanox;
}

bool needs_vfio(const Situation& now) { return now.bypass && now.card && !is_bifurcated(*now.card); }

constexpr const char* vfio_driver = "vfio-pci";
constexpr const char* iommu_remedy =
    "switch on VT-d or AMD-Vi in the BIOS; kernel command line: intel_iommu=on iommu=pt (Intel), iommu=pt (AMD)";

// "16.0 GT/s PCIe" -> 16.0
double speed_of(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::optional<Finding> card_found(const Situation& now) {
  if (now.card)
    return ok(now.card->address +
              (now.card->interfaces.empty() ? "" : fmt::format(" ({})", fmt::join(now.card->interfaces, ", "))));
  if (now.cards.empty())
    return now.bypass ? fail("no Ethernet card on the PCI bus", "lspci -D | grep -i ethernet")
                      : ok("no Ethernet card on the PCI bus: nothing to check");
  return warn(fmt::format("several cards, so none is checked: {}", fmt::join(now.cards, ", ")),
              "penstock doctor --card " + now.cards[0]);
}

std::optional<Finding> card_iommu(const Situation& now) {
  if (!needs_vfio(now)) return std::nullopt;
  const std::string group = now.files.link_target(now.card->path + "iommu_group");
  if (!group.empty()) return ok("the card is behind an IOMMU, in group " + group);
  return fail("the card is behind no IOMMU, so vfio-pci cannot take it safely", iommu_remedy);
}

std::optional<Finding> card_vfio(const Situation& now) {
  if (!needs_vfio(now)) return std::nullopt;
  if (now.files.exists("/sys/bus/pci/drivers/vfio-pci")) return ok("vfio-pci is loaded");
  return fail("vfio-pci is not loaded", "modprobe vfio-pci && echo vfio-pci > /etc/modules-load.d/vfio-pci.conf");
}

std::optional<Finding> card_driver(const Situation& now) {
  if (!now.card) return std::nullopt;
  const Card& card = *now.card;
  const std::string has = card.driver.empty() ? "no driver" : "the driver " + card.driver;
  if (needs_vfio(now)) {
    if (card.driver == vfio_driver) return ok("the card has the driver vfio-pci");
    return fail(fmt::format("the card has {}, for bypass it needs vfio-pci", has),
                "dpdk-devbind.py --bind=vfio-pci " + card.address);
  }
  if (card.driver.empty() || card.driver == vfio_driver)
    return fail(fmt::format("the card has {}, so the kernel's network does not", has),
                fmt::format("echo > {0}driver_override; echo {1} > {0}driver/unbind; echo {1} > "
                            "/sys/bus/pci/drivers_probe",
                            card.path, card.address));
  return ok("the card has " + has);
}

// vfio hands out a whole group: each device in it must be with vfio-pci or with no driver. Bridges do not count.
std::optional<Finding> card_group(const Situation& now) {
  if (!needs_vfio(now)) return std::nullopt;
  constexpr const char* bridge_class = "0x0604";
  std::vector<std::string> others;
  for (const std::string& each : now.files.names_in(now.card->path + "iommu_group/devices")) {
    const std::string path = "/sys/bus/pci/devices/" + each + "/";
    const std::string driver = now.files.link_target(path + "driver");
    if (each == now.card->address || driver.empty() || driver == vfio_driver) continue;
    if (!now.files.line(path + "class").starts_with(bridge_class)) others.push_back(each);
  }
  if (others.empty()) return ok("no other device shares the card's IOMMU group");
  return fail(fmt::format("devices of other drivers share the card's IOMMU group: {}", fmt::join(others, ", ")),
              fmt::format("dpdk-devbind.py --bind=vfio-pci {}, or another slot", fmt::join(others, " ")));
}

std::optional<Finding> card_node(const Situation& now) {
  if (!now.card) return std::nullopt;
  if (now.card->numa_node < 0) return ok("the card is near no node in particular");
  const auto node = static_cast<uint32_t>(now.card->numa_node);
  const std::vector<uint32_t> nodes = now.lane_nodes();
  const bool away = std::ranges::any_of(nodes, [&](uint32_t each) { return each != node; });
  if (!away) return ok(fmt::format("card and lanes are on node {}", node));
  std::vector<std::string> near;
  for (const Processor& each : now.facts.machine.processors) {
    if (each.numa_node == node && (near.empty() || std::to_string(each.number) != near.back()))
      near.push_back(std::to_string(each.number));
  }
  near.resize(std::min(near.size(), size_t{now.lane_count()}));
  return warn(
      fmt::format("the card is on node {}, lanes are on node {}", node, list_of_numbers(nodes)),
      fmt::format("--set cores=[{}] or in the file: cores = [{}]", fmt::join(near, ","), fmt::join(near, ", ")));
}

std::optional<Finding> card_link(const Situation& now) {
  if (!now.card) return std::nullopt;
  const std::string speed = now.files.line(now.card->path + "current_link_speed");
  const std::string speed_max = now.files.line(now.card->path + "max_link_speed");
  const int64_t width = now.files.number(now.card->path + "current_link_width").value_or(0);
  const int64_t width_max = now.files.number(now.card->path + "max_link_width").value_or(0);
  if (speed_of(speed) == 0 || width == 0) return ok("the card does not say how it is connected");
  const std::string found = fmt::format("PCIe x{} at {}", width, speed);
  if (width >= width_max && speed_of(speed) >= speed_of(speed_max)) return ok(found);
  return warn(fmt::format("{}, the card can do x{} at {}", found, width_max, speed_max),
              fmt::format("another slot, or the slot's setting in the BIOS; see lspci -vv -s {}", now.card->address));
}

std::optional<Finding> card_mtu(const Situation& now) {
  if (!now.card || now.card->interfaces.empty()) return std::nullopt;
  constexpr int64_t jumbo = 9000;
  const std::string& name = now.card->interfaces[0];
  const std::string path = "/sys/class/net/" + name + "/mtu";
  const int64_t mtu = now.files.number(path).value_or(0);
  if (mtu >= jumbo) return ok(fmt::format("{} has an MTU of {}", name, mtu));
  return warn(fmt::format("{} has an MTU of {}: small frames cost CPU", name, mtu),
              fmt::format("ip link set {} mtu {}, if the whole network carries it", name, jumbo));
}

}  // namespace penstock::doctor
