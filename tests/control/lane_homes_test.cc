#include "tools/penstock/lane_homes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

namespace files = std::filesystem;

TEST(NearestDrives, TheLanesNodeFirstThenInTurn) {
  const std::vector<LanePlace> places = {{0, 0, 0}, {1, 1, 0}, {2, 8, 1}, {3, 9, 1}};
  EXPECT_EQ(nearest_drives(places, std::vector<DrivePlace>{{"/a", 0}, {"/b", 1}}), (std::vector<size_t>{0, 0, 1, 1}));
  EXPECT_EQ(nearest_drives(places, std::vector<DrivePlace>{{"/a", 1}, {"/b", 1}}), (std::vector<size_t>{0, 1, 0, 1}));
  EXPECT_EQ(nearest_drives(places, std::vector<DrivePlace>{{"/a", {}}, {"/b", {}}}), (std::vector<size_t>{0, 1, 0, 1}));
  EXPECT_EQ(nearest_drives(places, std::vector<DrivePlace>{{"/a", 0}, {"/b", 1}, {"/c", 1}}),
            (std::vector<size_t>{0, 0, 1, 2}));
  EXPECT_EQ(nearest_drives(places, std::vector<DrivePlace>{{"/a", 7}}), (std::vector<size_t>{0, 0, 0, 0}));
}

struct LaneHomesTest : testing::Test {
  files::path parent;
  LaneHome home;

  void SetUp() override {
    std::string pattern = (files::temp_directory_path() / "penstock-lane-homes-XXXXXX").string();
    parent = mkdtemp(pattern.data());
    for (const char* name : {"data", "drive", "other"}) files::create_directory(parent / name);
    home = {.path = parent / "data/lane-001", .lane = 1, .directory_id = 77, .in_use = false, .drive = {}};
  }
  void TearDown() override { files::remove_all(parent); }
  std::string error() const {
    const auto done = claim(home);
    return done ? "" : done.error();
  }
  bool refused(const std::string& words) const { return error().find(words) != std::string::npos; }
};

TEST_F(LaneHomesTest, IsMadeOnceAndFoundAgain) {
  EXPECT_EQ(error(), "");
  EXPECT_TRUE(files::is_directory(parent / "data/lane-001"));
  home.in_use = true;
  EXPECT_EQ(error(), "");
}

TEST_F(LaneHomesTest, OnADriveOfItsOwnItIsALink) {
  home.drive = parent / "drive";
  EXPECT_EQ(error(), "");
  EXPECT_EQ(files::read_symlink(home.path), parent / "drive/lane-001");
  home.in_use = true;
  home.drive = parent / "other";  // it stays where it is
  EXPECT_EQ(error(), "");
  EXPECT_EQ(files::read_symlink(home.path), parent / "drive/lane-001");

  files::rename(parent / "drive", parent / "unmounted");
  EXPECT_TRUE(refused("the log of lane 1 is at " + (parent / "drive/lane-001").string() +
                      ", which is not there; is its drive mounted?"))
      << error();
  files::create_directories(parent / "drive/lane-001");
  std::ofstream(parent / "drive/lane-001/owner") << "directory 78\nlane 1\n";
  EXPECT_TRUE(refused("is the log of another lane or data directory")) << error();
}

TEST_F(LaneHomesTest, AnInterruptedCreationIsTakenUpAgainAndAnOccupiedPlaceIsNot) {
  home.drive = parent / "drive";
  files::create_directory(parent / "drive/lane-001");
  std::ofstream(parent / "drive/lane-001/segment-000000.log") << "x";
  EXPECT_TRUE(refused("is there already, with files in it")) << error();
  files::remove(parent / "drive/lane-001/segment-000000.log");
  EXPECT_EQ(error(), "");
}

TEST_F(LaneHomesTest, AMissingLaneOfADirectoryInUseIsNotMadeAnew) {
  home.in_use = true;
  EXPECT_TRUE(refused("the log of lane 1 is missing")) << error();
}

TEST_F(LaneHomesTest, AnotherLanesLogIsNoticed) {
  EXPECT_EQ(error(), "");
  home.lane = 0;
  EXPECT_TRUE(refused("is the log of another lane or data directory")) << error();
  home.directory_id = 0;  // made before directories had numbers
  EXPECT_EQ(error(), "");
}

TEST_F(LaneHomesTest, ADriveThatIsNotThere) {
  home.drive = parent / "absent";
  EXPECT_TRUE(refused("is not a directory; is the drive mounted?")) << error();
}

}  // namespace
}  // namespace penstock
