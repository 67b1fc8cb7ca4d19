#include "dataplane/base/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace penstock {
namespace {

TEST(Mailbox, RefusesWhenFullAndKeepsOrder) {
  Mailbox<int> box(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(box.push(int{i}));
  EXPECT_FALSE(box.push(3));
  EXPECT_EQ(box.pop(), 0);
  EXPECT_TRUE(box.push(3));
  for (int i = 1; i < 4; ++i) EXPECT_EQ(box.pop(), i);
  EXPECT_EQ(box.pop(), std::nullopt);
}

TEST(Mailbox, CarriesEverythingFromOneThreadToAnother) {
  Mailbox<std::unique_ptr<int>> box(16);
  constexpr int count = 100'000;
  std::thread sender([&] {
    for (int i = 0; i < count; ++i) {
      auto message = std::make_unique<int>(i);
      while (!box.push(std::move(message))) std::this_thread::yield();
    }
  });
  for (int i = 0; i < count;) {
    auto message = box.pop();
    if (!message.has_value()) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(**message, i++);
  }
  sender.join();
}

}  // namespace
}  // namespace penstock
