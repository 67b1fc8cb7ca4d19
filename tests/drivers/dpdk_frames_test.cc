// DpdkFrames over a real tap device in a network namespace of the test's own: every buffer comes back, memory that is
// short is survived, and no frame is slept over.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "drivers/dpdk/dpdk_frames.h"
#include "drivers/dpdk/eal.h"
#include "drivers/dpdk/frame_wait.h"
#include "drivers/uring/arena_memory.h"

namespace penstock {
namespace {

constexpr const char* interface = "penstock-t";

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

// One lane's, without a lane.
class DpdkFramesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNET) != 0 || access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "no network namespace or no /dev/net/tun";
    const auto started = start_eal({.device = "net_tap0", .huge_pages = false, .log = {}});
    ASSERT_TRUE(started) << started.error();
    // Somebody has to take the signals by which net_tap learns of frames: in the node it is the main thread.
    signals_ = std::jthread([](const std::stop_token& stop) {
      while (!stop.stop_requested()) usleep(1000);
    });
    joined_ = join_eal();
    ASSERT_TRUE(joined_);
    auto memory = ArenaMemory::map({.bytes = 32 * MiB, .huge_pages = HugePages::never});
    ASSERT_TRUE(memory) << memory.error();
    memory_.emplace(std::move(*memory));
    arena_ = memory_->arena();
    auto ring = Ring::create(arena_, {.register_arena = false});
    ASSERT_TRUE(ring) << ring.error();
    ring_ = std::move(*ring);
    buffers_ = std::make_unique<BufferTable>(arena_.unit_count());
    auto port = Port::open({.device = std::string("net_tap0,iface=") + interface,
                            .lanes = {9092, 1},
                            .log = [](std::string_view) {},
                            .warn = [](std::string_view) {}});
    ASSERT_TRUE(port) << port.error();
    port_ = std::move(*port);
    const auto too_small = port_->place(512, 100);
    ASSERT_FALSE(too_small);
    EXPECT_THAT(too_small.error(), testing::HasSubstr("holds 100 buffers of 4 KiB for an MTU of 1500, 256 are needed"));
    const auto placed = port_->place(512, pool_units);
    ASSERT_TRUE(placed) << placed.error();
    auto frames = DpdkFrames::create(*port_, {.lane = 0, .first_unit = 0, .unit_count = pool_units, .wake = {}}, arena_,
                                     *buffers_);
    ASSERT_TRUE(frames) << frames.error();
    frames_ = std::move(*frames);
    const auto up = port_->start();
    ASSERT_TRUE(up) << up.error();
    open_kernel_end();
    // What the kernel says of its own accord when a link comes up.
    const Nanoseconds until = clock_now() + 200 * millisecond_ns;
    while (clock_now() < until) receive();
    give_back();
  }

  void TearDown() override {
    if (kernel_ >= 0) close(kernel_);
    if (port_) port_->stop();
    if (frames_) {
      frames_->take_back();
      give_back();
      EXPECT_EQ(frames_->buffers_held(), 0U);
      EXPECT_EQ(buffers_->leak_report(), "");
    }
    frames_.reset();
    port_.reset();
    if (joined_) leave_eal();
  }

  void open_kernel_end() {
    kernel_ = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5));  // a type for experiments
    ASSERT_GE(kernel_, 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x88b5);
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    ASSERT_NE(address.sll_ifindex, 0);
    ASSERT_EQ(bind(kernel_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }

  std::vector<std::byte> frame(size_t bytes) {
    std::vector<std::byte> made(bytes);
    std::copy_n(reinterpret_cast<const std::byte*>(port_->features().address.data()), 6, made.begin());
    made[12] = std::byte{0x88};
    made[13] = std::byte{0xb5};
    for (size_t i = 14; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 7);
    return made;
  }
  void kernel_sends(size_t bytes) {
    const std::vector<std::byte> made = frame(bytes);
    ASSERT_EQ(write(kernel_, made.data(), made.size()), static_cast<ssize_t>(made.size()));
  }

  // One poll; frames of the test's type are kept as `held_`, others let go of.
  uint32_t receive() {
    uint32_t ours = 0;
    frames_->poll(clock_now(), [&](const ReceivedFrame& received) {
      const Piece& first = received.pieces.front();
      const bool mine = first.data[12] == std::byte{0x88} && first.data[13] == std::byte{0xb5};
      ours += mine;
      for (const Piece& piece : received.pieces) {
        if (mine)
          held_.push_back(piece.buffer);
        else
          buffers_->release(piece.buffer, Holder::device);
      }
      last_length_ = first.length;
    });
    return ours;
  }
  void let_go() {
    for (const BufferIndex buffer : held_) buffers_->release(buffer, Holder::device);
    held_.clear();
    give_back();
  }
  void give_back() {
    frames_->release(buffers_->released());
    buffers_->forget_released();
  }
  // Frames of ours held; the driver learns of a frame by a signal, which takes its time on a busy machine.
  void receive_until(size_t held) {
    for (const Nanoseconds end = clock_now() + 5 * second_ns; held_.size() < held && clock_now() < end;) receive();
  }
  // Until nothing has come for 100 ms.
  void drain() {
    for (Nanoseconds last = clock_now(); clock_now() < last + 100 * millisecond_ns;) {
      receive();
      if (frames_->busy()) last = clock_now();
    }
  }
  // As a lane does: look, and sleep when there is nothing. Frames of ours seen until `until`.
  uint32_t turn_until(uint32_t wanted, Nanoseconds patience, FrameWait<DpdkFrames>& wait) {
    uint32_t seen = 0;
    const Nanoseconds end = clock_now() + patience;
    while (seen < wanted && clock_now() < end) {
      const Nanoseconds now = clock_now();
      seen += receive();
      if (frames_->busy())
        wait.worked(true);
      else
        slept_ += wait.idle(now, end);
    }
    return seen;
  }

  static constexpr uint32_t pool_units = 1024;
  std::jthread signals_;
  bool joined_ = false;
  std::optional<ArenaMemory> memory_;
  Arena arena_;
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<BufferTable> buffers_;
  std::unique_ptr<Port> port_;
  std::unique_ptr<DpdkFrames> frames_;
  int kernel_ = -1;
  std::vector<BufferIndex> held_;
  uint32_t last_length_ = 0;
  uint32_t slept_ = 0;
};

// A process has one DPDK environment and this port one name, so the cases share a port, in turn.
TEST_F(DpdkFramesTest, OverATapDevice) {
  {
    SCOPED_TRACE("a frame that comes between the last look and falling asleep is not slept over");
    FrameWait<DpdkFrames> wait(*frames_, *ring_);
    for (int round = 0; round < 200; ++round) {
      while (receive() > 0 || frames_->busy()) let_go();
      kernel_sends(100);  // after the last look, before the interrupt is armed
      const Nanoseconds before = clock_now();
      ASSERT_EQ(turn_until(1, 5 * second_ns, wait), 1U) << round;
      ASSERT_LT(clock_now() - before, 2 * second_ns) << round;
      let_go();
    }
  }
  {
    SCOPED_TRACE("asleep it costs nothing, and a frame ends the sleep");
    FrameWait<DpdkFrames> wait(*frames_, *ring_);
    std::thread sender([&] {
      usleep(300'000);
      kernel_sends(100);
    });
    slept_ = 0;
    EXPECT_EQ(turn_until(1, 10 * second_ns, wait), 1U);
    EXPECT_LT(slept_, 50U);
    sender.join();
    let_go();
  }
  {
    SCOPED_TRACE("memory runs short: long frames are dropped, short ones arrive, and all is well again afterwards");
    const uint64_t free_before = frames_->receive_free();
    for (uint32_t i = 0; i < 3000; ++i) {
      kernel_sends(1400);
      for (int looks = 0; looks < 3; ++looks) receive();
    }
    drain();  // the tap's queue is full and would drop the short one
    EXPECT_GT(frames_->statistics().dropped_reserve, 0U);
    EXPECT_EQ(frames_->receive_free(), 0U);
    const size_t long_ones = held_.size();
    kernel_sends(100);
    receive_until(long_ones + 1);
    EXPECT_EQ(held_.size(), long_ones + 1);
    let_go();
    frames_->poll(clock_now(), [](const ReceivedFrame&) {});
    EXPECT_EQ(frames_->receive_free(), free_before);
    kernel_sends(1400);
    receive_until(1);
    EXPECT_EQ(held_.size(), 1U);
    EXPECT_EQ(last_length_, 1400U);
    let_go();
  }
  {
    SCOPED_TRACE("what is sent arrives as it was, from where it lay, and its buffers come back");
    constexpr uint32_t first_send_unit = 2000, payload_bytes = 1200;
    const std::vector<std::byte> whole = frame(14 + 2 * payload_bytes / 2);
    const BufferIndex headers(first_send_unit), payload(first_send_unit + 1), more(first_send_unit + 2);
    for (int round = 0; round < 100; ++round) {
      for (const BufferIndex buffer : {headers, payload, more}) buffers_->open(buffer, 0, Holder::send);
      std::copy_n(whole.begin(), 14, arena_.at(headers));
      std::copy_n(whole.begin() + 14, payload_bytes / 2, arena_.at(payload));
      std::copy_n(whole.begin() + 14 + payload_bytes / 2, payload_bytes / 2, arena_.at(more));
      const Piece pieces[] = {{arena_.at(headers), 14, headers},
                              {arena_.at(payload), payload_bytes / 2, payload},
                              {arena_.at(more), payload_bytes / 2, more}};
      ASSERT_TRUE(frames_->transmit({.pieces = pieces}));
      frames_->flush();
      std::vector<std::byte> got(4096);
      ssize_t length = -1;
      for (int looks = 0; looks < 1000 && length < 0; ++looks) length = read(kernel_, got.data(), got.size());
      ASSERT_EQ(length, static_cast<ssize_t>(14 + payload_bytes));
      got.resize(static_cast<size_t>(length));
      EXPECT_EQ(got, whole);
      EXPECT_EQ(buffers_->held(Holder::send), 0U);
      buffers_->forget_released();  // they were never the pool's
    }
    EXPECT_EQ(frames_->statistics().sent_copied_bytes, 0U);
  }
}

}  // namespace
}  // namespace penstock
