#include "tools/penstock/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tools/penstock/config_page.h"
#include "tools/penstock/memory_plan.h"
#include "tools/penstock/settings.h"

namespace penstock {
namespace {

std::string error_of(std::string_view toml, const std::vector<std::string>& settings = {}) {
  const auto config = parse_config(toml, "p.toml", settings);
  return config ? "" : config.error();
}
Config good(std::string_view toml, const std::vector<std::string>& settings = {}) {
  const auto config = parse_config(toml, "p.toml", settings);
  EXPECT_TRUE(config.has_value()) << config.error();
  return config.value_or(Config{});
}

TEST(Config, DefaultsAreThoseOfTheTable) {
  const Config config = default_config();
  EXPECT_EQ(config.data_directory, "./data");
  EXPECT_EQ(config.port, 9092);
  EXPECT_EQ(config.memory_arena_bytes, 256 << 20);
  EXPECT_EQ(config.cores, std::vector<std::string>{"auto"});
  EXPECT_TRUE(config.advertised.empty());
  EXPECT_TRUE(config.auto_create_topics);
  EXPECT_EQ(config.message_bytes_max, 1'048'588);
}

TEST(Config, EveryKeyHasANameAMeaningAndAGoodDefault) {
  std::set<std::string> names;
  for (const ConfigKey& key : config_keys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_GT(std::string_view(key.meaning).size(), 5u) << key.name;
    EXPECT_EQ(std::string_view(key.meaning).back(), '.') << key.name;
    EXPECT_EQ(find_config_key(key.name), &key);
  }
}

TEST(Config, ReadsAFile) {
  const Config config = good(R"(
data_directory = "/var/lib/penstock"   # a comment
lanes = 4
cores = [2, 3, "8-11"]
advertised = ["a:1", "b:2"]
auto_create_topics = false
connections_max_idle_ms = "10 min"
io.measure = "off"
[memory]
arena_bytes = "512 MiB"
send_bytes = 33554432
)");
  EXPECT_EQ(config.data_directory, "/var/lib/penstock");
  EXPECT_EQ(config.lanes, 4);
  EXPECT_EQ(config.cores, (std::vector<std::string>{"2", "3", "8-11"}));
  EXPECT_EQ(config.advertised, (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_FALSE(config.auto_create_topics);
  EXPECT_EQ(config.connections_max_idle_ms, 600'000);
  EXPECT_EQ(config.io_measure, "off");
  EXPECT_EQ(config.memory_arena_bytes, 512 << 20);
  EXPECT_EQ(config.memory_send_bytes, 32 << 20);
}

TEST(Config, SetWinsOverTheFile) {
  const Config config = good("port = 1000\nlanes = 3\n", {"port=2000", " rack = a b ", "cores=[1, \"4-6\"]",
                                                          "memory.arena_bytes=128MiB", "port=2001"});
  EXPECT_EQ(config.port, 2001);
  EXPECT_EQ(config.lanes, 3);
  EXPECT_EQ(config.rack, "a b");
  EXPECT_EQ(config.cores, (std::vector<std::string>{"1", "4-6"}));
  EXPECT_EQ(config.memory_arena_bytes, 128 << 20);
}

struct ErrorCase {
  const char* toml;
  const char* expected;
};

TEST(Config, ErrorsNameTheLineTheKeyTheValueAndWhatIsAccepted) {
  const ErrorCase cases[] = {
      {"\nprot = 1\n", "p.toml:2: there is no key 'prot'; did you mean 'port'?"},
      {"[memory]\narena = 1\n", "p.toml:2: there is no key 'memory.arena'; did you mean 'memory.arena_bytes'?"},
      {"[storage]\nx = 1\n", "p.toml:1: there is no key 'storage'; did you mean"},
      {"port = 70000\n", "p.toml:1: port = 70000: must be 1 to 65535"},
      {"port = \"nine\"\n", "p.toml:1: port = nine: must be 1 to 65535"},
      {"port = 1.5\n", "p.toml:1: port: 1 to 65535 is expected here"},
      {"port = [1]\n", "p.toml:1: port: one value is expected here, not a list"},
      {"memory.arena_bytes = \"2 GiB\"\n", "memory.arena_bytes = 2 GiB: must be 64 MiB to 1 GiB"},
      {"memory.arena_bytes = \"128 MB\"\n", "memory.arena_bytes = 128 MB: must be 64 MiB to 1 GiB"},
      {"memory.arena_bytes = \"99999999999 GiB\"\n", "must be 64 MiB to 1 GiB"},
      {"poll = \"sometimes\"\n", "p.toml:1: poll = sometimes: must be one of wait, busy"},
      {"auto_create_topics = 1\n", "auto_create_topics = 1: must be true or false"},
      {"listen = \"localhost\"\n", "listen = localhost: must be an IPv4 or IPv6 address"},
      {"segment_bytes = \"17 MB\"\n", "segment_bytes"},
      {"segment_bytes = 17000000\n", "multiple of 1 MiB"},
      {"segment_bytes = \"1 MiB\"\n", "multiple of 1 MiB from 16 MiB"},
      {"cluster_id = \"a b\"\n", "cluster_id = a b: must be 1 to 64 characters"},
      {"data_directory = \"\"\n", "must not be empty"},
      {"dpdk.addresses = [\"192.0.2.10\"]\n", "dpdk.addresses = 192.0.2.10: must be addresses with their prefix"},
      {"dpdk.addresses = [\"192.0.2.10/33\"]\n", "must be addresses with their prefix"},
      {"dpdk.addresses = [\"2001:db8::10/129\"]\n", "must be addresses with their prefix"},
      {"dpdk.addresses = [\"192.0.2.10/24\", \"node/24\"]\n", "must be addresses with their prefix"},
      {"dpdk.addresses = [\"192.0.2.10/\"]\n", "must be addresses with their prefix"},
      {"dpdk.addresses = [\"192.0.2.10/-1\"]\n", "must be addresses with their prefix"},
      {"dpdk.mtu = 1279\n", "dpdk.mtu = 1279: must be 1280 to 65521"},
      {"dpdk.mtu = 65522\n", "must be 1280 to 65521"},
      {"dpdk.header_bytes = 53\n", "must be 54 to 90"},
      {"dpdk.receive_descriptors = 40000\n", "must be 0 to 32768"},
      {"dpdk.steering = \"rules\"\n", "must be one of auto, hand_over"},
      {"dpdk.interrupts = \"on\"\n", "must be one of auto, off"},
      {"dpdk.iova = \"dc\"\n", "must be one of auto, va, pa"},
      {"network = \"xdp\"\n", "must be one of kernel, dpdk"},
      {"cores = [[1]]\n", "cores: a list of numbers and strings is expected here"},
      {"lanes = \n", "p.toml:1: "},
      {"lanes = 1\nlanes = 2\n", "p.toml:2: "},
      {"memory.receive_bytes = \"200 MiB\"\n", "at least one eighth must be left"},
  };
  for (const ErrorCase& each : cases) {
    const std::string error = error_of(each.toml);
    EXPECT_NE(error.find(each.expected), std::string::npos) << each.toml << " -> " << error;
  }
}

TEST(Config, APortNeedsItsDeviceAndAddresses) {
  EXPECT_NE(error_of("network = \"dpdk\"\n").find("dpdk.device must name a port"), std::string::npos);
  EXPECT_NE(error_of("network = \"dpdk\"\n").find("dpdk.addresses must say"), std::string::npos);
  const Config config = good("network = \"dpdk\"\n[dpdk]\ndevice = \"0000:3b:00.0\"\n",
                             {"dpdk.addresses=192.0.2.10/24,2001:db8::10/64"});
  EXPECT_EQ(config.dpdk_device, "0000:3b:00.0");
  EXPECT_EQ(config.dpdk_addresses, (std::vector<std::string>{"192.0.2.10/24", "2001:db8::10/64"}));
  std::string many = "dpdk.addresses=192.0.2.1/24";
  for (int i = 2; i <= 17; ++i) many += ",192.0.2." + std::to_string(i) + "/24";
  EXPECT_NE(error_of("network = \"dpdk\"\ndpdk.device = \"net_tap0\"\n", {many}).find("at most 16 addresses"),
            std::string::npos);
}

TEST(Config, ErrorsOfSetNameIt) {
  EXPECT_EQ(error_of("", {"lanse=1"}), "--set: there is no key 'lanse'; did you mean 'lanes'?");
  EXPECT_EQ(error_of("", {"lanes"}), "--set lanes: key=value is expected");
  EXPECT_EQ(error_of("", {"lanes=-1"}), "--set: lanes = -1: must be 0 to 256");
}

TEST(Config, AllErrorsAreSaidAtOnce) {
  EXPECT_EQ(error_of("port = 0\npoll = \"x\"\n"),
            "p.toml:2: poll = x: must be one of wait, busy\np.toml:1: port = 0: must be 1 to 65535");
}

TEST(Config, AFileThatCannotBeReadIsAnError) {
  EXPECT_EQ(load_config("/nonexistent/p.toml", {}).error(), "/nonexistent/p.toml: the configuration cannot be read");
  EXPECT_EQ(load_config("/", {}).error(), "/: the configuration cannot be read");
  EXPECT_TRUE(load_config("", {}).has_value());
  EXPECT_TRUE(load_config("/dev/null", {}).has_value());
}

TEST(Config, WhatIsPrintedIsAConfigurationThatChangesNothing) {
  const std::string toml = config_as_toml();
  const Config printed = good(toml), config = default_config();
  EXPECT_EQ(printed.data_directory, config.data_directory);
  EXPECT_EQ(printed.cores, config.cores);
  EXPECT_EQ(printed.advertised, config.advertised);
  EXPECT_EQ(printed.memory_arena_bytes, config.memory_arena_bytes);
  EXPECT_EQ(printed.shutdown_deadline_ms, config.shutdown_deadline_ms);
  for (const ConfigKey& key : config_keys())
    EXPECT_NE(toml.find("\n" + std::string(key.name) + " = "), std::string::npos) << key.name;
}

TEST(Config, TheDocumentationIsThatOfTheTable) {
  std::ifstream page(std::string(PENSTOCK_SOURCE) + "/docs/CONFIGURATION.md");
  ASSERT_TRUE(page.is_open());
  const std::string text{std::istreambuf_iterator<char>(page), {}};
  EXPECT_EQ(text, config_as_markdown()) << "renew it: penstock config --markdown > docs/CONFIGURATION.md";
}

// ------------------------------------------------------------------------------------------------------- settings

TEST(Settings, AdvertisedAddresses) {
  using Lanes = std::vector<std::pair<std::string, uint16_t>>;
  const auto lanes = [](const std::vector<std::string>& advertised) {
    const auto result = advertised_lanes(advertised, 9092, 2);
    Lanes pairs;
    EXPECT_TRUE(result.has_value()) << result.error();
    if (result) {
      for (const AdvertisedLane& lane : *result) pairs.emplace_back(lane.host, lane.port);
    }
    return pairs;
  };
  EXPECT_EQ(lanes({}), (Lanes{{"", 9092}, {"", 9093}}));
  EXPECT_EQ(lanes({"h"}), (Lanes{{"h", 9092}, {"h", 9093}}));
  EXPECT_EQ(lanes({"h:19000"}), (Lanes{{"h", 19000}, {"h", 19001}}));
  EXPECT_EQ(lanes({"[::1]:19000"}), (Lanes{{"::1", 19000}, {"::1", 19001}}));
  EXPECT_EQ(lanes({"2001:db8::1"}), (Lanes{{"2001:db8::1", 9092}, {"2001:db8::1", 9093}}));
  EXPECT_EQ(lanes({"a:1", "[::2]:2"}), (Lanes{{"a", 1}, {"::2", 2}}));
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{{"h:"},
                                                                                   {":1"},
                                                                                   {"h:0"},
                                                                                   {"h:65536"},
                                                                                   {"h:65535"},
                                                                                   {"[::1"},
                                                                                   {"[::1]x"},
                                                                                   {"a:1", "b"},
                                                                                   {"a:1", "b:2", "c:3"}})
    EXPECT_FALSE(advertised_lanes(bad, 9092, 2).has_value()) << bad[0];
}

TEST(Settings, Addresses) {
  const Endpoint v4 = endpoint_of("192.0.2.7", 5);
  EXPECT_EQ(v4.port, 5);
  EXPECT_EQ(v4.address[10], 0xff);
  EXPECT_EQ(v4.address[15], 7);
  EXPECT_EQ(endpoint_of("::", 1).address[10], 0);
  EXPECT_EQ(endpoint_of("::1", 1).address[15], 1);
}

TEST(Settings, InterfaceAddresses) {
  const net::InterfaceAddress v4 = interface_address("192.0.2.10/24"), v6 = interface_address("2001:db8::10/64");
  EXPECT_EQ(v4.address, net::IpAddress::v4(192, 0, 2, 10));
  EXPECT_EQ(v4.prefix_bits, 24);
  EXPECT_FALSE(v6.address.is_v4());
  EXPECT_EQ(v6.address.bytes()[15], 0x10);
  EXPECT_EQ(v6.prefix_bits, 64);
}

TEST(Settings, PortsHaveRoomForEveryLane) {
  EXPECT_TRUE(check_ports(65535, 0, 1));
  EXPECT_EQ(check_ports(65535, 0, 2).error(), "port: 65535 leaves no room for 2 lanes");
  EXPECT_EQ(check_ports(9092, 9093, 2).error(), "admin_port: 9093 is the port of lane 1");
  EXPECT_TRUE(check_ports(9092, 9094, 2));
}

TEST(Settings, MemorySharesFillTheArena) {
  for (const uint64_t arena : {64 * MiB, 65 * MiB, 256 * MiB, 1024 * MiB}) {
    const MemoryPlan plan = plan_memory(arena, 0, 0, 0, 100 * MiB);
    EXPECT_EQ(plan.receive_bytes + plan.resident_bytes + plan.send_bytes + plan.log_bytes, plan.arena_bytes);
    EXPECT_GE(plan.log_bytes, plan.arena_bytes / 8);
    EXPECT_LE(2 * plan.request_bytes_max, plan.reservation_bytes());
    EXPECT_EQ(plan.small_buffer_count & (plan.small_buffer_count - 1), 0u);
    EXPECT_GE(plan.small_buffer_count, 256u);
  }
  EXPECT_EQ(plan_memory(256 * MiB, 0, 0, 0, 1 * MiB).request_bytes_max, 1 * MiB);
  EXPECT_EQ(plan_memory(256 * MiB, 32 * MiB, 16 * MiB, 8 * MiB, 1 * MiB).log_bytes, 200 * MiB);
}

// Everything that may be promised at once has its buffers.
TEST(Settings, FramePlansAddUp) {
  constexpr uint32_t connections_wanted = 10'000;
  for (const uint64_t arena : {64 * MiB, 256 * MiB, 1024 * MiB}) {
    const MemoryPlan plan = plan_memory(arena, 0, 0, 0, 100 * MiB);
    for (const uint32_t units : {1u, 3u, 17u}) {
      for (const uint32_t descriptors : {4u, 256u}) {
        const FramePlan frames = plan_frames(plan, units, descriptors, connections_wanted);
        const uint64_t buffer_bytes = uint64_t{units} * arena_unit_bytes;
        EXPECT_GT(frames.connections_max, 0u);
        EXPECT_LE(frames.connections_max, connections_wanted);
        EXPECT_LE(frames.brief_bytes * uint64_t{4}, buffer_bytes);
        // As TcpStack::receive_cost() has it.
        const auto cost = [&](uint64_t bytes) { return (bytes / frames.brief_bytes + 3) * buffer_bytes; };
        EXPECT_LE(2 * cost(frames.request_bytes_max), frames.reservation_bytes) << arena << " " << units;
        EXPECT_LE(frames.header_units * uint64_t{arena_unit_bytes} + frames.reservation_bytes +
                      (frames.connections_max + descriptors) * buffer_bytes,
                  plan.receive_bytes + plan.resident_bytes)
            << arena << " " << units;
      }
    }
  }
  // What docs/ARCHITECTURE.md tells operators, for MTU 1500, 9000 and 65521.
  const MemoryPlan plan = plan_memory(256 * MiB, 0, 0, 0, 100 * MiB);
  const FramePlan small = plan_frames(plan, 1, 4, connections_wanted), jumbo = plan_frames(plan, 3, 4, connections_wanted),
                  giant = plan_frames(plan, 17, 4, connections_wanted);
  EXPECT_EQ(small.connections_max, 5056u);
  EXPECT_EQ(small.request_bytes_max / 100'000, 71u);
  EXPECT_EQ(jumbo.connections_max, 1685u);
  EXPECT_EQ(jumbo.request_bytes_max / 100'000, 71u);
  EXPECT_EQ(giant.connections_max, 297u);
  EXPECT_EQ(giant.request_bytes_max / 100'000, 33u);
}

}  // namespace
}  // namespace penstock
