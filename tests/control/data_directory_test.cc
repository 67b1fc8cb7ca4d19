#include "tools/penstock/data_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

struct DataDirectoryTest : testing::Test {
  std::filesystem::path parent;
  std::string path;

  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-directory-XXXXXX").string();
    parent = mkdtemp(pattern.data());
    path = parent / "a" / "b";
  }
  void TearDown() override { std::filesystem::remove_all(parent); }

  std::string error_of(DataDirectory::Wish wish = {}) const {
    const auto directory = DataDirectory::open(path, wish);
    return directory ? "" : directory.error();
  }
  void write_format(const char* text) const {
    std::filesystem::create_directories(path);
    std::ofstream(path + "/format") << text;
  }
};

TEST_F(DataDirectoryTest, IsCreatedOnceAndKeepsItsFormat) {
  {
    const auto directory = DataDirectory::open(path, {.lane_count_at_creation = 3, .id_at_creation = 9});
    ASSERT_TRUE(directory.has_value()) << directory.error();
    EXPECT_TRUE(directory->created());
    EXPECT_EQ(directory->format(), (DirectoryFormat{1, 3, uint64_t{256} << 20, 9}));
    EXPECT_EQ(directory->lane_path(7), path + "/lane-007");
  }
  const auto again = DataDirectory::open(path, {.lane_count_at_creation = 9});
  ASSERT_TRUE(again.has_value()) << again.error();
  EXPECT_FALSE(again->created());
  EXPECT_EQ(again->format().lane_count, 3u);
  EXPECT_EQ(DataDirectory::look(path).value(), again->format());
}

TEST_F(DataDirectoryTest, LanesAndSegmentsAreFixed) {
  {
    ASSERT_TRUE(DataDirectory::open(path, {.lane_count = 2, .segment_bytes = 16 << 20}));
  }
  EXPECT_EQ(error_of({.lane_count = 2, .segment_bytes = 16 << 20}), "");
  EXPECT_EQ(error_of({.lane_count = 4}),
            "data directory " + path + ": it was created with lanes = 2, which cannot be changed to 4");
  EXPECT_EQ(error_of({.segment_bytes = 1}),
            "data directory " + path + ": it was created with segment_bytes = 16777216, which cannot be changed to 1");
}

TEST_F(DataDirectoryTest, OneNodeAtATime) {
  const auto directory = DataDirectory::open(path, {});
  ASSERT_TRUE(directory.has_value());
  const std::string expected =
      "data directory " + path + ": another node is using it (process " + std::to_string(getpid()) + ")";
  EXPECT_EQ(error_of(), expected);
}

TEST_F(DataDirectoryTest, AKilledHolderLeavesNoLock) {
  const pid_t child = fork();
  if (child == 0) {
    const auto directory = DataDirectory::open(path, {});
    _exit(directory ? 0 : 1);  // as in a crash
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(error_of(), "");
}

TEST_F(DataDirectoryTest, ANewerFormatIsRefused) {
  write_format("penstock_format 2\nlanes as many as there are\n");
  EXPECT_EQ(error_of(), "data directory " + path +
                            ": file 'format': its version is 2, this program knows up to 1; a newer Penstock wrote it");
}

TEST_F(DataDirectoryTest, AFormatThatMakesNoSenseIsRefused) {
  for (const char* text : {"", "hello\n", "penstock_format 1\n", "penstock_format 1\nlanes 0\nsegment_bytes 5\n",
                           "penstock_format 1\nlanes 999\nsegment_bytes 5\n", "penstock_format 1\nlanes 2\n"}) {
    write_format(text);
    EXPECT_NE(error_of().find("file 'format'"), std::string::npos) << text;
  }
}

TEST_F(DataDirectoryTest, AForeignDirectoryIsNotTakenOver) {
  std::filesystem::create_directories(path);
  std::ofstream(path + "/letter.txt") << "dear";
  EXPECT_EQ(error_of(), "data directory " + path +
                            ": it is not empty ('letter.txt') and was not created by Penstock; give it a directory of "
                            "its own");
  std::filesystem::remove(path + "/letter.txt");
  std::ofstream(path + "/format.new") << "half";  // a creation that was interrupted
  std::filesystem::create_directory(path + "/lost+found");
  EXPECT_EQ(error_of(), "");
}

TEST_F(DataDirectoryTest, AFileInTheWayIsASentence) {
  std::ofstream(parent / "a") << "x";
  EXPECT_NE(error_of().find("cannot be created"), std::string::npos) << error_of();
}

TEST_F(DataDirectoryTest, LookingRequiresADataDirectory) {
  EXPECT_NE(DataDirectory::look(parent).error().find("not a Penstock data directory"), std::string::npos);
}

TEST_F(DataDirectoryTest, ADirectoryThatCannotBeWrittenIsASentence) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anything";
  std::filesystem::create_directories(path);
  chmod(path.c_str(), 0500);
  EXPECT_NE(error_of().find("it cannot be written"), std::string::npos) << error_of();
  chmod(path.c_str(), 0700);
}

}  // namespace
}  // namespace penstock
