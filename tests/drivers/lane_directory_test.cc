#include "drivers/uring/lane_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "drivers/uring/segment_reader.h"
#include "tests/drivers/real_world.h"

namespace penstock::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void touch(const std::string& path, const std::string& text = "") { std::ofstream(path) << text; }

TEST(LaneDirectory, IsCreatedAndListsItsSlots) {
  const TestDirectory parent;
  const std::string path = parent.path() + "/lane-0";
  const auto directory = LaneDirectory::open(path, DirectoryAccess::own);
  ASSERT_TRUE(directory.has_value()) << directory.error();
  for (const char* name : {"segment-000017.log", "segment-000002.log", "segment-1234567.log", "segment-2.log",
                           "segment-000002.log.bak", "segment-.log", "segment--00001.log", "other"}) {
    touch(path + "/" + name);
  }
  const auto slots = directory->slots();
  ASSERT_TRUE(slots.has_value()) << slots.error();
  EXPECT_THAT(*slots, ElementsAre(SegmentSlot(2), SegmentSlot(17), SegmentSlot(1234567)));
  EXPECT_EQ(LaneDirectory::file_name(SegmentSlot(17)), "segment-000017.log");
}

TEST(LaneDirectory, BelongsToOneProcess) {
  const TestDirectory parent;
  const auto first = LaneDirectory::open(parent.path(), DirectoryAccess::own);
  ASSERT_TRUE(first.has_value());
  const auto second = LaneDirectory::open(parent.path(), DirectoryAccess::own);
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error(), HasSubstr("in use by another process"));
  EXPECT_TRUE(LaneDirectory::open(parent.path(), DirectoryAccess::look).has_value());
}

TEST(LaneDirectory, RefusesAFileInItsPlaceAndAMissingParent) {
  const TestDirectory parent;
  touch(parent.path() + "/file");
  EXPECT_FALSE(LaneDirectory::open(parent.path() + "/file", DirectoryAccess::own).has_value());
  EXPECT_FALSE(LaneDirectory::open(parent.path() + "/none/lane", DirectoryAccess::own).has_value());
  EXPECT_FALSE(LaneDirectory::open(parent.path() + "/none", DirectoryAccess::look).has_value());
}

TEST(LaneDirectory, RefusesWhatIsNotWritable) {
  // /proc is a file system on which nobody can create a file.
  const auto directory = LaneDirectory::open("/proc/self/task", DirectoryAccess::own);
  ASSERT_FALSE(directory.has_value());
  EXPECT_THAT(directory.error(), HasSubstr("not writable"));
}

TEST(LaneDirectory, RefusesAFileSystemWithoutDirectIo) {
  const std::string path = "/dev/shm/penstock-test-" + std::to_string(::getpid());
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  const auto directory = LaneDirectory::open(path, DirectoryAccess::own);
  ::rmdir(path.c_str());
  if (directory) GTEST_SKIP() << "this kernel's tmpfs takes direct I/O";
  EXPECT_THAT(directory.error(), HasSubstr("without direct I/O"));
  EXPECT_THAT(directory.error(), HasSubstr("ext4 or xfs"));
}

TEST(SegmentReader, ReadsAnyPositionAndSize) {
  const TestDirectory parent;
  const auto directory = LaneDirectory::open(parent.path(), DirectoryAccess::own);
  ASSERT_TRUE(directory.has_value());
  std::string content;
  for (int i = 0; i < 700'000; ++i) content += static_cast<char>('a' + i * 7 % 26);
  touch(parent.path() + "/segment-000001.log", content);

  const auto files = DirectoryFiles::open(*directory);
  ASSERT_TRUE(files.has_value()) << files.error();
  EXPECT_EQ((*files)->slot_count(), 2u);
  EXPECT_EQ((*files)->slot_bytes(SegmentSlot(0)), 0u);
  EXPECT_EQ((*files)->slot_bytes(SegmentSlot(1)), content.size());
  EXPECT_FALSE((*files)->read(SegmentSlot(0), FilePosition(0), {}).has_value());
  for (const size_t position : {0ul, 1ul, 4095ul, 4096ul, 100'001ul, 699'999ul, 700'000ul, 900'000ul}) {
    for (const size_t size : {1ul, 512ul, 5000ul, 650'000ul}) {
      std::string back(size, '?');
      const auto got = (*files)->read(SegmentSlot(1), FilePosition(position), std::as_writable_bytes(std::span(back)));
      ASSERT_TRUE(got.has_value()) << got.error();
      const std::string expected = position < content.size() ? content.substr(position, size) : "";
      EXPECT_EQ(*got, expected.size());
      EXPECT_TRUE(back.starts_with(expected)) << position << " " << size;
    }
  }
}

}  // namespace
}  // namespace penstock::test
