#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <thread>

#include "tests/drivers/kernel_world.h"

namespace penstock::test {
namespace {

using ::testing::HasSubstr;

class KernelAcceptTest : public ::testing::TestWithParam<Kernel> {
 protected:
  RingConfig ring() const { return ring_like(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Kernels, KernelAcceptTest, ::testing::Values(Kernel::newest, Kernel::oldest));

TEST_P(KernelAcceptTest, ConnectionsOverTheLimitAreClosedAtOnce) {
  KernelStreamsConfig config = KernelWorld::small_config();
  config.streams_max = 2;
  KernelWorld world(config, ring());
  Client first = world.connect(), second = world.connect();
  Client third(world.streams->port());
  ASSERT_TRUE(world.run_until([&] { return world.streams->statistics().refused == 1; }));
  EXPECT_EQ(third.receive(1), "");
  EXPECT_EQ(world.streams->open_streams(), 2u);
  // A place that becomes free is used again, under a new generation.
  const StreamId old = world.last().id;
  second.close();
  ASSERT_TRUE(world.run_until([&] { return world.last().peer_finished; }));
  world.streams->close(old);
  ASSERT_TRUE(world.run_until([&] { return world.last().closed; }));
  Client fourth = world.connect();
  EXPECT_EQ(world.last().id.index, old.index);
  EXPECT_NE(world.last().id.generation, old.generation);
  EXPECT_EQ(world.streams->statistics().accepted, 4u);
}

TEST_P(KernelAcceptTest, PausesWhenDescriptorsRunOut) {
  // A limit from the start, since the kernel notes it with an accept; then every descriptor below it is taken.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{200, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  std::vector<std::string> lines;
  KernelStreamsConfig config = KernelWorld::small_config();
  config.warn = [&](std::string_view line) { lines.emplace_back(line); };
  KernelWorld world(config, ring());
  Client first = world.connect();
  Client second(world.streams->port());
  std::vector<int> taken;
  for (int copy = ::dup(0); copy >= 0; copy = ::dup(0)) taken.push_back(copy);

  world.run_for(350 * millisecond_ns);
  const uint64_t errors = world.streams->statistics().accept_errors;
  EXPECT_GE(errors, 1u);
  EXPECT_LE(errors, 6u);  // one try a pause
  EXPECT_EQ(lines.size(), 1u);
  if (!lines.empty()) {
    EXPECT_THAT(lines[0], HasSubstr("LimitNOFILE"));
  }
  for (const int copy : taken) ::close(copy);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(world.run_until([&] { return world.streams->open_streams() == 2; }));
}

TEST_P(KernelAcceptTest, StopsAccepting) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client first = world.connect();
  world.streams->stop_accepting();
  world.run_for(20 * millisecond_ns);
  Client second(world.streams->port());
  EXPECT_FALSE(second.connected());
  ASSERT_TRUE(first.send("still here"));
  EXPECT_TRUE(world.run_until([&] { return world.last().bytes == "still here"; }));
}

TEST(KernelAccept, ServesIpv6AndIpv4OnOnePort) {
  KernelWorld world;
  Client over_ipv4 = world.connect();
  EXPECT_THAT(to_string(world.last().local), HasSubstr("127.0.0.1:"));

  const int socket = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(world.streams->port());
  address.sin6_addr = in6addr_loopback;
  if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (socket >= 0) ::close(socket);
    GTEST_SKIP() << "no IPv6 loopback here";
  }
  EXPECT_TRUE(world.run_until([&] { return world.order.size() == 2; }));
  EXPECT_THAT(to_string(world.last().local), HasSubstr("[::1]:"));
  ::close(socket);
}

TEST(KernelAccept, ListensOnOneAddressAndSaysWhenItCannot) {
  KernelWorld first;
  KernelStreamsConfig config = KernelWorld::small_config();
  config.listen.address[10] = config.listen.address[11] = 0xff;
  config.listen.address[12] = 127;
  config.listen.address[15] = 2;  // 127.0.0.2
  KernelWorld second(config);
  config.listen.port = second.streams->port();
  const auto third = KernelStreams::create(*first.ring, first.memory.arena(), first.buffers, first.allocator, config);
  ASSERT_FALSE(third.has_value());
  EXPECT_THAT(third.error(), HasSubstr("cannot "));
  EXPECT_THAT(third.error(), HasSubstr("127.0.0.2:" + std::to_string(config.listen.port)));
  EXPECT_THAT(third.error(), HasSubstr("in use"));
}

TEST(KernelAccept, RefusesSettingsThatDoNotFit) {
  KernelWorld world;
  BufferAllocator tiny(0, 16);
  const auto too_many = KernelStreams::create(*world.ring, world.memory.arena(), world.buffers, tiny,
                                              {.streams_max = 4, .small_buffers = 64});
  ASSERT_FALSE(too_many.has_value());
  EXPECT_THAT(too_many.error(), HasSubstr("too small"));
  const auto odd = KernelStreams::create(*world.ring, world.memory.arena(), world.buffers, tiny,
                                         {.streams_max = 4, .small_buffers = 3});
  ASSERT_FALSE(odd.has_value());
  EXPECT_THAT(odd.error(), HasSubstr("power of two"));
}

}  // namespace
}  // namespace penstock::test
