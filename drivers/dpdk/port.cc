#include "drivers/dpdk/port.h"

#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_memory.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "dataplane/base/check.h"
#include "drivers/dpdk/steering.h"

namespace penstock {
namespace {

constexpr uint32_t link_bytes_max = 18;  // Ethernet header with a VLAN tag
constexpr uint32_t page_bytes = 4096;
constexpr uint32_t mbuf_room_max = UINT16_MAX;  // DPDK's lengths
constexpr uint16_t descriptors_usual = 1024;
constexpr uint16_t descriptors_virtio = 256;  // as hosts have them; the driver does not tell how many there are
constexpr uint16_t descriptors_tap = 4;       // one readv each: more only cost
constexpr uint32_t pieces_max = 16;
constexpr uint32_t segmentation_bytes_max = 61'440;

std::string error_text(int result) { return rte_strerror(result < 0 ? -result : result); }

std::string device_name(const std::string& device) { return device.substr(0, device.find(',')); }

}  // namespace

const char* to_string(Steering steering) {
  switch (steering) {
    case Steering::none:
      return "not needed, one lane";
    case Steering::rules:
      return "flow rules by destination port";
    case Steering::hash:
      return "RSS key that hashes the destination port alone";
    case Steering::program:
      return "program of the tap device by destination port";
    case Steering::hand_over:
      return "none: lanes hand frames over by copy";
  }
  return "";
}

ReceiveShape receive_shape(uint32_t mtu_bytes, uint32_t header_bytes, uint32_t alignment_bytes) {
  ReceiveShape shape;
  const uint32_t front = RTE_PKTMBUF_HEADROOM + header_bytes;
  shape.alignment_bytes = alignment_bytes;
  shape.shift_bytes = (alignment_bytes - front % alignment_bytes) % alignment_bytes;
  shape.frame_bytes = std::min(link_bytes_max + mtu_bytes, mbuf_room_max - RTE_PKTMBUF_HEADROOM);
  shape.room_bytes = RTE_PKTMBUF_HEADROOM + shape.frame_bytes;
  shape.units = (shape.shift_bytes + shape.room_bytes + arena_unit_bytes - 1) / arena_unit_bytes;
  // What rounding left over is room too: cards take sizes in steps.
  shape.room_bytes = std::min(shape.units * arena_unit_bytes - shape.shift_bytes, mbuf_room_max);
  return shape;
}

uint16_t receive_descriptors_max(uint32_t buffers) {
  constexpr uint32_t most = 32'768;
  return static_cast<uint16_t>(std::bit_floor(std::min(buffers / 4, most)));
}

Port::Port(const PortConfig& config, uint16_t number)
    : config_(config), number_(number), hand_over_(config.lanes.lane_count), pools_(config.lanes.lane_count) {}

std::expected<std::unique_ptr<Port>, std::string> Port::open(const PortConfig& config) {
  const std::string name = device_name(config.device);
  uint16_t number = 0;
  if (rte_eth_dev_get_port_by_name(name.c_str(), &number) != 0) {
    const int result = rte_dev_probe(config.device.c_str());
    if (result != 0 || rte_eth_dev_get_port_by_name(name.c_str(), &number) != 0) {
      return std::unexpected("DPDK finds no port " + name + (result != 0 ? ": " + error_text(result) : "") +
                             "; is it bound to vfio-pci, and its driver (librte-net-*) installed?");
    }
  }
  std::unique_ptr<Port> port(new Port(config, number));
  if (auto done = port->negotiate(); !done) return std::unexpected(name + ": " + done.error());
  return port;
}

Port::~Port() {
  stop();
  if (device_ != nullptr && !half_way()) rte_dev_remove(device_);
}

std::expected<void, std::string> Port::negotiate() {
  rte_eth_dev_info info{};
  if (const int result = rte_eth_dev_info_get(number_, &info); result != 0)
    return std::unexpected("says nothing about itself: " + error_text(result));
  device_ = info.device;
  driver_ = info.driver_name;
  is_tap_ = driver_ == "net_tap";
  if (info.if_index != 0) {
    std::array<char, IF_NAMESIZE> name{};
    if (if_indextoname(info.if_index, name.data()) != nullptr) interface_ = name.data();
  }
  const uint32_t lanes = config_.lanes.lane_count;
  const uint32_t queues = std::min(info.max_rx_queues, info.max_tx_queues);
  if (queues < lanes)
    return std::unexpected("has " + std::to_string(queues) + " queue pairs for " + std::to_string(lanes) + " lanes");
  if (const int node = rte_eth_dev_socket_id(number_); node >= 0) numa_node_ = static_cast<unsigned>(node);

  // A tap device takes more from its kernel side than DPDK's limit for it says.
  port_mtu_ = std::min<uint32_t>(config_.mtu_bytes, info.max_mtu);
  if (is_tap_) port_mtu_ = std::min<uint32_t>(port_mtu_, 1500);
  if (!is_tap_ && port_mtu_ < config_.mtu_bytes)
    return std::unexpected("takes an MTU of at most " + std::to_string(info.max_mtu) + ", not " +
                           std::to_string(config_.mtu_bytes));
  receive_offered_ = info.rx_offload_capa;
  transmit_offered_ = info.tx_offload_capa;
  constexpr uint64_t receive_sums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
  receive_offloads_ = receive_offered_ & receive_sums;
  // Cards take buffer sizes in steps of their own.
  if (!is_tap_ && config_.mtu_bytes > 1500) receive_offloads_ |= receive_offered_ & RTE_ETH_RX_OFFLOAD_SCATTER;

  constexpr uint64_t transmit_sums = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
  // A tap device adds up in software, as we do, and wrongly where a piece of an odd length is not the last.
  if (!is_tap_ && (transmit_offered_ & transmit_sums) == transmit_sums) transmit_offloads_ |= transmit_sums;
  transmit_offloads_ |= transmit_offered_ & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  multi_segment_ = (transmit_offloads_ & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
  // A tap device would cut in software, and IPv4 only.
  if (!is_tap_ && multi_segment_ && (transmit_offloads_ & transmit_sums) != 0)
    transmit_offloads_ |= transmit_offered_ & RTE_ETH_TX_OFFLOAD_TCP_TSO;

  rte_ether_addr address{};
  if (const int result = rte_eth_macaddr_get(number_, &address); result != 0)
    return std::unexpected("has no link address: " + error_text(result));
  std::copy_n(address.addr_bytes, features_.address.size(), features_.address.begin());
  features_.mtu_bytes = port_mtu_;
  features_.receive_mtu_bytes = config_.mtu_bytes;
  features_.receive_checksums = (receive_offloads_ & receive_sums) != 0;
  features_.transmit_checksums = (transmit_offloads_ & transmit_sums) != 0;
  features_.segmentation = (transmit_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
  features_.segmentation_bytes_max = features_.segmentation ? segmentation_bytes_max : 0;
  const auto limit = [](uint16_t of_driver) { return of_driver == 0 ? pieces_max : uint32_t{of_driver}; };
  // A frame that the port cuts may have nb_seg_max pieces, and nb_mtu_seg_max in each part: the smaller is always
  // right.
  features_.pieces_max = multi_segment_ ? std::max(2u, std::min({pieces_max, limit(info.tx_desc_lim.nb_seg_max),
                                                                 limit(info.tx_desc_lim.nb_mtu_seg_max)}))
                                        : pieces_max;  // all copied

  const auto wanted = [&](uint32_t configured) {
    if (configured != 0) return static_cast<uint16_t>(configured);
    return is_tap_ ? descriptors_tap : driver_ == "net_virtio" ? descriptors_virtio : descriptors_usual;
  };
  receive_descriptors_ = wanted(config_.receive_descriptors);
  transmit_descriptors_ = wanted(config_.transmit_descriptors);
  if (const int result = rte_eth_dev_adjust_nb_rx_tx_desc(number_, &receive_descriptors_, &transmit_descriptors_);
      result != 0)
    return std::unexpected("takes no descriptors: " + error_text(result));
  table_size_ = info.reta_size;
  key_bytes_ = info.hash_key_size;
  hash_fields_ = is_tap_ ? 0 : info.flow_type_rss_offloads;
  return {};
}

std::expected<void, std::string> Port::place(uint32_t alignment_bytes, uint32_t receive_units) {
  shape_ = penstock::receive_shape(config_.mtu_bytes, config_.header_bytes, alignment_bytes);
  const uint32_t buffers = receive_units / shape_.units;
  const std::string has = "receive memory of a lane holds " + std::to_string(buffers) + " buffers of " +
                          std::to_string(shape_.units * arena_unit_bytes / KiB) + " KiB for an MTU of " +
                          std::to_string(config_.mtu_bytes);
  if (buffers < receive_buffers_min) {
    const uint64_t lacking = uint64_t{receive_buffers_min - buffers} * shape_.units * arena_unit_bytes;
    return std::unexpected(has + ", " + std::to_string(receive_buffers_min) + " are needed: " +
                           std::to_string(lacking / MiB + 1) +
                           " MiB more (memory.arena_bytes, memory.receive_bytes) or a smaller dpdk.mtu");
  }
  if (const uint16_t most = receive_descriptors_max(buffers); receive_descriptors_ > most) {
    config_.log(has + ": " + std::to_string(most) + " receive descriptors of each queue, not " +
                std::to_string(receive_descriptors_) + "; a larger memory.arena_bytes has room for more");
    receive_descriptors_ = most;
  }
  return {};
}

std::expected<void, std::string> Port::map_memory(std::byte* base, uint64_t bytes) {
  const uint64_t page = rte_eal_iova_mode() == RTE_IOVA_PA ? 2ull << 20 : page_bytes;
  std::vector<rte_iova_t> addresses;
  if (rte_eal_iova_mode() == RTE_IOVA_PA) {
    for (uint64_t at = 0; at < bytes; at += page) addresses.push_back(rte_mem_virt2iova(base + at));
    if (std::ranges::count(addresses, RTE_BAD_IOVA) > 0)
      return std::unexpected(
          "physical addresses of the arena are not to be had; an IOMMU (dpdk.iova = \"va\") is "
          "the better way, else huge pages and CAP_SYS_ADMIN");
  }
  if (rte_extmem_register(base, bytes, addresses.empty() ? nullptr : addresses.data(),
                          static_cast<unsigned>(addresses.size()), page) != 0)
    return std::unexpected("DPDK does not take the arena: " + error_text(rte_errno));
  for (uint64_t at = 0; at < bytes;) {
    const uint64_t part = addresses.empty() ? bytes : page;
    const rte_iova_t iova = addresses.empty() ? reinterpret_cast<rte_iova_t>(base) : addresses[at / page];
    // Devices that do no DMA of their own have nothing to map.
    if (rte_dev_dma_map(device_, base + at, iova, part) != 0 && rte_errno != ENOTSUP)
      return std::unexpected("the device cannot reach the arena: " + error_text(rte_errno));
    at += part;
  }
  return {};
}

void Port::unmap_memory(std::byte* base, uint64_t bytes) {
  if (rte_eal_iova_mode() == RTE_IOVA_VA) rte_dev_dma_unmap(device_, base, reinterpret_cast<rte_iova_t>(base), bytes);
  rte_extmem_unregister(base, bytes);
}

std::expected<void, std::string> Port::set_up(bool spread) {
  const auto lanes = static_cast<uint16_t>(config_.lanes.lane_count);
  rte_eth_conf wanted{};
  wanted.rxmode.mtu = port_mtu_;
  wanted.rxmode.offloads = receive_offloads_;
  wanted.txmode.offloads = transmit_offloads_;
  std::vector<uint8_t> key;
  if (spread) {
    wanted.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    wanted.rx_adv_conf.rss_conf.rss_hf = hash_fields_ & (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP);
    if (table_size_ != 0 && key_bytes_ >= 40) {
      key = port_hash_key(config_.ipv4, static_cast<uint32_t>(std::bit_width(table_size_) - 1), key_bytes_);
      wanted.rx_adv_conf.rss_conf.rss_key = key.data();
      wanted.rx_adv_conf.rss_conf.rss_key_len = key_bytes_;
    }
  }
  wanted.intr_conf.rxq = config_.interrupts;
  int result = rte_eth_dev_configure(number_, lanes, lanes, &wanted);
  if (result != 0 && wanted.intr_conf.rxq != 0) {
    wanted.intr_conf.rxq = 0;
    result = rte_eth_dev_configure(number_, lanes, lanes, &wanted);
  }
  if (result != 0) return std::unexpected("cannot be configured: " + error_text(result));
  configured_ = true;
  interrupts_ = wanted.intr_conf.rxq != 0;

  rte_eth_dev_info info{};
  rte_eth_dev_info_get(number_, &info);
  const int node = rte_eth_dev_socket_id(number_);
  for (uint16_t queue = 0; queue < lanes; ++queue) {
    rte_eth_rxconf receive = info.default_rxconf;
    receive.offloads = receive_offloads_;
    result = rte_eth_rx_queue_setup(number_, queue, receive_descriptors_, static_cast<unsigned>(node), &receive,
                                    pools_[queue]);
    if (result != 0) return std::unexpected("refuses the receive buffers: " + error_text(result));
    rte_eth_txconf transmit = info.default_txconf;
    transmit.offloads = transmit_offloads_;
    // What was sent is given back soon: our memory hangs on it.
    constexpr uint16_t kept_max = 32;
    if (!is_tap_ && transmit_descriptors_ >= 4 * kept_max)
      transmit.tx_free_thresh = static_cast<uint16_t>(transmit_descriptors_ - kept_max);
    result = rte_eth_tx_queue_setup(number_, queue, transmit_descriptors_, static_cast<unsigned>(node), &transmit);
    if (result != 0) {  // its own threshold, then
      transmit.tx_free_thresh = info.default_txconf.tx_free_thresh;
      result = rte_eth_tx_queue_setup(number_, queue, transmit_descriptors_, static_cast<unsigned>(node), &transmit);
    }
    if (result != 0) return std::unexpected("refuses a transmit queue: " + error_text(result));
  }
  if (result = rte_eth_dev_start(number_); result != 0) return std::unexpected("does not start: " + error_text(result));
  running_ = true;
  return {};
}

std::expected<void, std::string> Port::start() {
  auto done = bring_up();
  if (!done) stop();  // before the pools go
  return done;
}

std::expected<void, std::string> Port::bring_up() {
  const bool alone = config_.lanes.lane_count == 1;
  const bool can_spread = hash_fields_ != 0 && !alone;
  if (auto done = set_up(false); !done) return done;
  if (!alone && config_.steer && steer_by_rules()) {
    steering_ = Steering::rules;
  } else if (can_spread) {
    rte_eth_dev_stop(number_);
    running_ = false;
    if (auto done = set_up(true); !done) return done;
  }
  if (steering_ != Steering::rules) steer();
  if (is_tap_ && config_.mtu_bytes != port_mtu_) {
    if (auto done = set_tap_mtu(); !done) return done;
  }
  rte_eth_dev_set_link_up(number_);
  // Neighbour discovery comes by multicast.
  if (rte_eth_allmulticast_enable(number_) != 0 && rte_eth_promiscuous_enable(number_) != 0)
    config_.warn("the port takes no multicast: IPv6 neighbours will not find it");
  return {};
}

// configure writes DPDK's own limit to the device; the kernel's is higher.
std::expected<void, std::string> Port::set_tap_mtu() {
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  interface_.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_mtu = static_cast<int>(config_.mtu_bytes);
  const bool done = socket >= 0 && ioctl(socket, SIOCSIFMTU, &request) == 0;
  const std::string why = std::strerror(errno);
  if (socket >= 0) close(socket);
  if (!done) return std::unexpected("MTU of " + interface_ + ": " + why);
  return {};
}

void Port::steer() {
  if (config_.lanes.lane_count == 1) {
    steering_ = Steering::none;
    return;
  }
  steering_ = Steering::hand_over;
  if (!config_.steer) {
    // Left alone, a tap device sends most frames where their answers come from.
    if (is_tap_) steer_tap(interface_, {.first = config_.lanes.first, .lane_count = 1});
    return;
  }
  if (hash_fields_ != 0 && steer_by_hash()) {
    steering_ = Steering::hash;
  } else if (is_tap_ && steer_tap(interface_, config_.lanes)) {
    steering_ = Steering::program;
  }
  if (steering_ == Steering::hand_over)
    config_.warn("the port cannot steer by destination port: lanes hand frames over to each other by copy");
}

bool Port::steer_by_rules() {
  std::vector<rte_flow*> made;
  bool whole = true;
  for (uint32_t lane = 0; lane < config_.lanes.lane_count && whole; ++lane) {
    for (const bool v4 : {true, false}) {
      if (v4 ? !config_.ipv4 : !config_.ipv6) continue;
      rte_flow_attr attributes{};
      attributes.ingress = 1;
      rte_flow_item_tcp port{}, mask{};
      port.hdr.dst_port = rte_cpu_to_be_16(static_cast<uint16_t>(config_.lanes.first + lane));
      mask.hdr.dst_port = UINT16_MAX;
      const rte_flow_item pattern[] = {
          {.type = RTE_FLOW_ITEM_TYPE_ETH, .spec = nullptr, .last = nullptr, .mask = nullptr},
          {.type = v4 ? RTE_FLOW_ITEM_TYPE_IPV4 : RTE_FLOW_ITEM_TYPE_IPV6,
           .spec = nullptr,
           .last = nullptr,
           .mask = nullptr},
          {.type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &port, .last = nullptr, .mask = &mask},
          {.type = RTE_FLOW_ITEM_TYPE_END, .spec = nullptr, .last = nullptr, .mask = nullptr}};
      const rte_flow_action_queue queue{.index = static_cast<uint16_t>(lane)};
      const rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &queue},
                                         {.type = RTE_FLOW_ACTION_TYPE_END, .conf = nullptr}};
      rte_flow_error error{};
      rte_flow* rule = nullptr;
      if (rte_flow_validate(number_, &attributes, pattern, actions, &error) == 0)
        rule = rte_flow_create(number_, &attributes, pattern, actions, &error);
      if (rule == nullptr) {
        if (config_.log)
          config_.log(std::string("the port takes no flow rules: ") + (error.message != nullptr ? error.message : ""));
        whole = false;
        break;
      }
      made.push_back(rule);
    }
  }
  if (!whole) {
    rte_flow_error error{};
    for (rte_flow* rule : made) rte_flow_destroy(number_, rule, &error);
  }
  return whole;
}

// Sets the table, then believes only what the port says it has.
bool Port::steer_by_hash() {
  if (table_size_ == 0 || key_bytes_ < 40 || !std::has_single_bit(table_size_)) return false;
  if (config_.ipv4 == config_.ipv6 && config_.log)
    config_.log("RSS can tell ports apart for one family: IPv6 is handed over");
  const auto bits = static_cast<uint32_t>(std::bit_width(table_size_) - 1);
  if (config_.lanes.lane_count > 1u << bits) return false;
  const std::vector<uint8_t> key = port_hash_key(config_.ipv4, bits, key_bytes_);
  const std::vector<uint16_t> queues = port_hash_table(bits, config_.lanes);
  const size_t groups = (table_size_ + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE;
  std::vector<rte_eth_rss_reta_entry64> table(groups);
  for (size_t i = 0; i < table_size_; ++i) {
    table[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ull << i % RTE_ETH_RETA_GROUP_SIZE;
    table[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = queues[i];
  }
  if (rte_eth_dev_rss_reta_update(number_, table.data(), table_size_) != 0) return false;

  std::vector<uint8_t> key_there(key_bytes_);
  rte_eth_rss_conf there{};
  there.rss_key = key_there.data();
  there.rss_key_len = key_bytes_;
  const uint64_t field = config_.ipv4 ? RTE_ETH_RSS_NONFRAG_IPV4_TCP : RTE_ETH_RSS_NONFRAG_IPV6_TCP;
  if (rte_eth_dev_rss_hash_conf_get(number_, &there) != 0 || (there.rss_hf & field) == 0) return false;
  std::vector<rte_eth_rss_reta_entry64> table_there(groups);
  for (auto& group : table_there) group.mask = UINT64_MAX;
  if (rte_eth_dev_rss_reta_query(number_, table_there.data(), table_size_) != 0) return false;

  // Each lane's port, from many places.
  const size_t input_bytes = config_.ipv4 ? 12 : 36;
  for (uint32_t lane = 0; lane < config_.lanes.lane_count; ++lane) {
    for (uint32_t round = 0; round < 64; ++round) {
      std::vector<uint8_t> input(input_bytes);
      for (size_t i = 0; i < input_bytes; ++i) input[i] = static_cast<uint8_t>(round * 37 + i * 101 + (round * i >> 2));
      input[input_bytes - 2] = static_cast<uint8_t>((config_.lanes.first + lane) >> 8);
      input[input_bytes - 1] = static_cast<uint8_t>(config_.lanes.first + lane);
      const uint32_t slot = toeplitz_hash(key_there, input) & (table_size_ - 1u);
      if (table_there[slot / RTE_ETH_RETA_GROUP_SIZE].reta[slot % RTE_ETH_RETA_GROUP_SIZE] != lane) return false;
    }
  }
  return true;
}

void Port::stop() {
  const std::lock_guard lock(control_);
  if (!open_) return;
  open_ = false;
  if (half_way()) return;
  rte_eth_dev_stop(number_);
  rte_eth_dev_close(number_);
}

std::string Port::table() const {
  const auto used = [](uint64_t offered, uint64_t taken, uint64_t bit) {
    return (taken & bit) != 0 ? "used" : (offered & bit) != 0 ? "offered, not used" : "not offered";
  };
  const auto line = [](const std::string& what, const std::string& value) {
    return what + std::string(what.size() < 28 ? 28 - what.size() : 1, ' ') + value + "\n";
  };
  char address[18];
  std::snprintf(address, sizeof address, "%02x:%02x:%02x:%02x:%02x:%02x", features_.address[0], features_.address[1],
                features_.address[2], features_.address[3], features_.address[4], features_.address[5]);
  std::string text = line("port", device_name(config_.device) + ", driver " + driver_ + ", " + address +
                                      (interface_.empty() ? "" : ", interface " + interface_) +
                                      (numa_node_ ? ", node " + std::to_string(*numa_node_) : ""));
  text += line("MTU", std::to_string(config_.mtu_bytes) +
                          (port_mtu_ != config_.mtu_bytes ? " received, " + std::to_string(port_mtu_) + " sent" : ""));
  text += line("receive checksums", used(receive_offered_, receive_offloads_, RTE_ETH_RX_OFFLOAD_TCP_CKSUM));
  text += line("receive scatter", used(receive_offered_, receive_offloads_, RTE_ETH_RX_OFFLOAD_SCATTER));
  text += line("receive buffer split", used(receive_offered_, receive_offloads_, RTE_ETH_RX_OFFLOAD_BUFFER_SPLIT));
  text += line("transmit checksums", used(transmit_offered_, transmit_offloads_, RTE_ETH_TX_OFFLOAD_TCP_CKSUM));
  text += line("transmit several pieces",
               std::string(used(transmit_offered_, transmit_offloads_, RTE_ETH_TX_OFFLOAD_MULTI_SEGS)) +
                   (multi_segment_ ? ", at most " + std::to_string(features_.pieces_max) : ""));
  text += line("transmit segmentation", used(transmit_offered_, transmit_offloads_, RTE_ETH_TX_OFFLOAD_TCP_TSO));
  text += line("descriptors",
               std::to_string(receive_descriptors_) + " received, " + std::to_string(transmit_descriptors_) + " sent");
  text += line("receive interrupts", interrupts_ ? "used" : "none: lanes look again after 50 us to 1 ms");
  text += line("steering", to_string(steering_));
  text += line("receive buffers", std::to_string(shape_.units * 4) + " KiB; payload behind " +
                                      std::to_string(config_.header_bytes) + " bytes of headers begins on " +
                                      std::to_string(shape_.alignment_bytes) + " bytes");
  return text;
}

PortStatistics Port::statistics() {
  const std::lock_guard lock(control_);
  rte_eth_stats counted{};
  rte_eth_link link{};
  if (!open_ || rte_eth_stats_get(number_, &counted) != 0) return {};
  rte_eth_link_get_nowait(number_, &link);
  return {.missed = counted.imissed,
          .no_buffer = counted.rx_nombuf,
          .receive_errors = counted.ierrors,
          .transmit_errors = counted.oerrors,
          .link_up = link.link_status == RTE_ETH_LINK_UP};
}

void Port::watch_link() {
  rte_eth_link link{};
  {
    const std::lock_guard lock(control_);
    if (!open_ || rte_eth_link_get_nowait(number_, &link) != 0) return;
  }
  const bool up = link.link_status == RTE_ETH_LINK_UP;
  if (link_up_ == up) return;
  link_up_ = up;
  if (up)
    config_.log("link is up, " + (link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN
                                      ? std::string("speed unknown")
                                      : std::to_string(link.link_speed) + " Mbit/s"));
  else
    config_.warn("link is down");
}

}  // namespace penstock
