// The table. Its order is the order of the page and of `penstock config`.
#include <algorithm>

#include "tools/penstock/config.h"

namespace penstock {
namespace {

constexpr int64_t kibi = 1024, mebi = 1024 * kibi, gibi = 1024 * mebi;
constexpr int64_t day_ms = 86'400'000;

const ConfigKey keys[] = {
    {"data_directory", ConfigType::text, "./data", 0, 0, "",
     "Where topics, records and the catalog are kept. Created when it is missing; one node at a time may use it.",
     &Config::data_directory},
    {"lanes", ConfigType::integer, "0", 0, 256, "",
     "How many lanes the data directory has, fixed when it is created. 0: as the directory has; on creation the number "
     "of cores, at most 16.",
     &Config::lanes},
    {"cores", ConfigType::list, "auto", 0, 0, "",
     "Which cores lanes run on, as the operating system numbers them: \"auto\" (one hardware thread of each core this "
     "process may use), or a list such as [2, 3, \"8-11\"]. Lane 0 takes the first; with more lanes than cores several "
     "share one.",
     &Config::cores},
    {"drives", ConfigType::list, "", 0, 0, "",
     "Directories for the lanes' logs, one on each drive. A new lane's log goes to the drive on its core's NUMA node, "
     "or with several of these in turn, and stays there; the data directory has a link to it. Empty: in the data "
     "directory.",
     &Config::drives},
    {"poll", ConfigType::choice, "wait", 0, 0, "wait busy",
     "What a lane does when there is nothing to do: \"wait\" sleeps until something happens, \"busy\" keeps looking, "
     "which takes the whole core and saves the time of waking up.",
     &Config::poll},

    {"network", ConfigType::choice, "kernel", 0, 0, "kernel dpdk",
     "Who does TCP for Kafka clients: \"kernel\", through sockets; \"dpdk\", Penstock itself over a network port it "
     "has "
     "to itself (see the keys below).",
     &Config::network},
    {"dpdk.device", ConfigType::text, "", 0, 0, "",
     "The port: a PCI address such as \"0000:3b:00.0\", bound to vfio-pci, or a virtual device as DPDK writes it, such "
     "as \"net_tap0,iface=tap0\".",
     &Config::dpdk_device},
    {"dpdk.addresses", ConfigType::list, "", 0, 0, "",
     "The port's own addresses with their prefix, IPv4 and IPv6: [\"192.0.2.10/24\", \"2001:db8::10/64\"]. All lanes "
     "share them. Clients must be on the same link or behind a router that is.",
     &Config::dpdk_addresses},
    {"dpdk.mtu", ConfigType::integer, "1500", 1280, 65521, "",
     "The largest IP packet the port takes. More is better: from 4180 on, full segments end where the drive can join "
     "them.",
     &Config::dpdk_mtu},
    {"dpdk.header_bytes", ConfigType::integer, "66", 54, 90, "",
     "What most frames with payload have in front of it; buffers are placed so that such payload lies where the drive "
     "can take it. 66: Ethernet, IPv4 and TCP with timestamps; 86: the same with IPv6; 54: without timestamps.",
     &Config::dpdk_header_bytes},
    {"dpdk.receive_descriptors", ConfigType::integer, "0", 0, 32768, "",
     "Of each queue. 0: 1024, on a tap device 4, as the port allows. At most a quarter of the receive buffers: a small "
     "arena gets fewer.", &Config::dpdk_receive_descriptors},
    {"dpdk.transmit_descriptors", ConfigType::integer, "0", 0, 32768, "", "Likewise.",
     &Config::dpdk_transmit_descriptors},
    {"dpdk.steering", ConfigType::choice, "auto", 0, 0, "auto hand_over",
     "How frames find their lane: \"auto\" is the best the port has (flow rules, RSS by destination port, a program of "
     "a tap device); \"hand_over\" leaves it to the lanes, which copy frames to each other, and is for comparison.",
     &Config::dpdk_steering},
    {"dpdk.interrupts", ConfigType::choice, "auto", 0, 0, "auto off",
     "How a lane without work learns of frames: by interrupts where the port has them, else by looking again after 50 "
     "us "
     "to 1 ms. Without meaning when poll is \"busy\".",
     &Config::dpdk_interrupts},
    {"dpdk.iova", ConfigType::choice, "auto", 0, 0, "auto va pa",
     "What the port takes for addresses: virtual ones, through an IOMMU, or physical ones.", &Config::dpdk_iova},

    {"listen", ConfigType::text, "::", 0, 0, "",
     "The local address for Kafka clients. \"::\" is every address, IPv4 and IPv6; \"0.0.0.0\" every IPv4 address. "
     "Without meaning when network is \"dpdk\".",
     &Config::listen},
    {"port", ConfigType::integer, "9092", 1, 65535, "",
     "The port of lane 0; lane i listens on port + i. Clients need only one of them to begin.", &Config::port},
    {"advertised", ConfigType::list, "", 0, 0, "",
     "What clients are told to connect to. Empty: the local address their connection arrived on. \"host\" or "
     "\"host:port\": lane i is at port + i. A list of \"host:port\", one per lane, in the order of lanes: exactly "
     "these.",
     &Config::advertised},
    {"admin_listen", ConfigType::text, "127.0.0.1", 0, 0, "",
     "The local address of the HTTP server for operators (/metrics, /v1/status/ready). It asks for no password.",
     &Config::admin_listen},
    {"admin_port", ConfigType::integer, "9644", 0, 65535, "", "Its port. 0: no HTTP server.", &Config::admin_port},

    {"node_id_base", ConfigType::integer, "-1", -1, 2'000'000'000, "",
     "Lane i is the broker with id node_id_base + i. -1: as the data directory has; on creation 0.",
     &Config::node_id_base},
    {"rack", ConfigType::text, "", 0, 0, "", "The rack or availability zone told to clients. Empty: none.",
     &Config::rack},
    {"cluster_id", ConfigType::text, "", 0, 0, "",
     "The cluster id told to clients, fixed when the data directory is created. Empty: as the directory has; on "
     "creation a random one.",
     &Config::cluster_id},

    {"memory.arena_bytes", ConfigType::bytes, "256 MiB", 64 * mebi, gibi, "",
     "Memory of each lane for everything that moves: receiving, waiting for the drive, recent records, sending. "
     "Locked, "
     "and all of it taken at start. 1 GiB is the most that one registered buffer may have.",
     &Config::memory_arena_bytes},
    {"memory.receive_bytes", ConfigType::bytes, "0", 0, gibi, "",
     "Of the arena, for requests being received or waiting for the drive. 0: three eighths. A request larger than half "
     "of it is refused.",
     &Config::memory_receive_bytes},
    {"memory.resident_bytes", ConfigType::bytes, "0", 0, gibi, "",
     "Of the arena, for the newest records, so that consumers who keep up read no drive. 0: a quarter.",
     &Config::memory_resident_bytes},
    {"memory.send_bytes", ConfigType::bytes, "0", 0, gibi, "",
     "Of the arena, for responses on their way out. 0: one sixteenth. One response may hold half of it, not counting "
     "records. What the three leave is for headers, copies of "
     "small batches and reads; at least one eighth must be left.",
     &Config::memory_send_bytes},
    {"hugepages", ConfigType::choice, "auto", 0, 0, "auto on off",
     "Huge pages for the arena: \"on\" refuses to start without, \"auto\" takes them when the system has them.",
     &Config::hugepages},

    {"segment_bytes", ConfigType::bytes, "0", 0, 16 * gibi, "",
     "Size of a segment file, fixed when the data directory is created; a multiple of 1 MiB, at least 16 MiB. 0: as "
     "the "
     "directory has; on creation 256 MiB.",
     &Config::segment_bytes},
    {"spare_segments", ConfigType::integer, "2", 2, 64, "",
     "How many segments each lane keeps written ahead of need, so that commits never wait for a new file. More are "
     "written when half or fewer are left. One of them is the reserve of a drive that is full.",
     &Config::spare_segments},
    {"io.writev_fixed", ConfigType::choice, "auto", 0, 0, "auto off",
     "Vectored writes from registered memory, where the kernel has them (6.15). \"off\" is for comparison.",
     &Config::io_writev_fixed},
    {"io.measure", ConfigType::choice, "auto", 0, 0, "auto force off",
     "The trial of about half a second that finds out how the drive likes to be written. \"auto\": once per drive, the "
     "result is kept; \"force\": at every start; \"off\": rely on what the kernel says of the drive.",
     &Config::io_measure},

    {"connections_max", ConfigType::integer, "10000", 1, 1'000'000, "",
     "Connections per lane; further ones are closed at once.", &Config::connections_max},
    {"connections_max_idle_ms", ConfigType::milliseconds, "600000", 1000, 365 * day_ms, "",
     "A connection without a request for this long is closed.", &Config::connections_max_idle_ms},
    {"request_bytes_max", ConfigType::bytes, "100 MiB", 4 * kibi, gibi, "",
     "The largest request; a larger one closes its connection. Bounded by half of memory.receive_bytes.",
     &Config::request_bytes_max},
    {"request_stall_ms", ConfigType::milliseconds, "30000", 100, day_ms, "",
     "A request of which nothing more arrives for this long closes its connection.", &Config::request_stall_ms},

    {"auto_create_topics", ConfigType::boolean, "true", 0, 0, "",
     "Create a topic when a client asks for metadata of one that does not exist and allows it.",
     &Config::auto_create_topics},
    {"num_partitions", ConfigType::integer, "1", 1, 100'000, "",
     "Partitions of a topic whose creator does not say how many.", &Config::num_partitions},
    {"accept_replication_factor", ConfigType::boolean, "false", 0, 0, "",
     "Accept a replication factor above 1 in CreateTopics and record 1, for tools that insist on it. This node keeps "
     "one replica of each partition either way.",
     &Config::accept_replication_factor},
    {"message_bytes_max", ConfigType::bytes, "1048588", 1 * kibi, 16 * mebi, "",
     "The largest record batch in topics without max.message.bytes of their own. The default is Kafka's.",
     &Config::message_bytes_max},

    {"shutdown_deadline_ms", ConfigType::milliseconds, "30000", 0, day_ms, "",
     "How long a stop may take to write and answer what is under way; then the node ends at once, with exit code 1.",
     &Config::shutdown_deadline_ms},
    {"log_level", ConfigType::choice, "info", 0, 0, "debug info warn error",
     "Which lines are written to standard error.", &Config::log_level},
};

}  // namespace

std::span<const ConfigKey> config_keys() { return keys; }

const ConfigKey* find_config_key(std::string_view name) {
  const auto found = std::ranges::find(keys, name, [](const ConfigKey& key) { return std::string_view(key.name); });
  return found == std::end(keys) ? nullptr : found;
}

}  // namespace penstock
