#include "tools/penstock/lane_homes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/penstock/sync_directory.h"

namespace penstock {
namespace {

constexpr mode_t directory_mode = 0750;

std::unexpected<std::string> failed(const std::string& what, int error) {
  return std::unexpected(what + ": " + std::strerror(error));
}

std::string owner_text(const LaneHome& home) {
  return "directory " + std::to_string(home.directory_id) + "\nlane " + std::to_string(home.lane) + "\n";
}

std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }

// The directory itself, without the link to it. What an interrupted creation left is taken up again.
std::expected<void, std::string> make_directory(const std::string& path) {
  if (mkdir(path.c_str(), directory_mode) != 0) {
    if (errno != EEXIST) return failed("cannot create " + path, errno);
    std::error_code error;
    if (!std::filesystem::is_empty(path, error))
      return std::unexpected(path +
                             " is there already, with files in it; each data directory needs a place of its own");
  }
  if (!sync_directory(parent_of(path))) return failed("cannot write " + parent_of(path), errno);
  return {};
}

std::expected<void, std::string> make_lane(const LaneHome& home) {
  if (home.drive.empty()) return make_directory(home.path);
  std::error_code error;
  const std::string drive = std::filesystem::absolute(home.drive, error);
  if (!std::filesystem::is_directory(drive, error))
    return std::unexpected("drives: " + home.drive + " is not a directory; is the drive mounted?");
  const std::string target = drive + "/" + std::filesystem::path(home.path).filename().string();
  if (auto made = make_directory(target); !made) return made;
  if (symlink(target.c_str(), home.path.c_str()) != 0) return failed("cannot create the link " + home.path, errno);
  if (!sync_directory(parent_of(home.path))) return failed("cannot write " + parent_of(home.path), errno);
  return {};
}

std::expected<void, std::string> see_that_it_is_there(const LaneHome& home) {
  struct stat facts{};
  if (stat(home.path.c_str(), &facts) == 0) return {};
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(home.path, error);
  if (error) return failed("cannot open " + home.path, errno);
  return std::unexpected("the log of lane " + std::to_string(home.lane) + " is at " + target.string() +
                         ", which is not there; is its drive mounted?");
}

std::expected<void, std::string> see_whose_it_is(const LaneHome& home) {
  if (home.directory_id == 0) return {};
  const std::string path = home.path + "/owner";
  if (std::ifstream file(path); file) {
    std::ostringstream found;
    found << file.rdbuf();
    if (found.str() == owner_text(home)) return {};
    if (!found.str().empty())
      return std::unexpected(home.path + " is the log of another lane or data directory (its file 'owner' says '" +
                             found.str().substr(0, found.str().find('\n')) + "', this is '" +
                             owner_text(home).substr(0, owner_text(home).find('\n')) + "', lane " +
                             std::to_string(home.lane) + "); is another drive mounted in its place?");
  }
  std::ofstream file(path, std::ios::trunc);
  file << owner_text(home);
  if (!file.flush()) return failed("cannot write " + path, errno);
  return {};
}

}  // namespace

std::vector<size_t> nearest_drives(std::span<const LanePlace> places, std::span<const DrivePlace> drives) {
  std::vector<size_t> chosen;
  std::vector<uint32_t> lanes(drives.size());
  for (const LanePlace& place : places) {
    const auto cost = [&](size_t drive) {
      const bool near = !drives[drive].numa_node || *drives[drive].numa_node == place.numa_node;
      return std::pair(near ? 0 : 1, lanes[drive]);
    };
    size_t best = 0;
    for (size_t drive = 1; drive < drives.size(); ++drive) {
      if (cost(drive) < cost(best)) best = drive;
    }
    chosen.push_back(best);
    ++lanes[best];
  }
  return chosen;
}

std::expected<void, std::string> claim(const LaneHome& home) {
  struct stat facts{};
  if (lstat(home.path.c_str(), &facts) != 0) {
    if (errno != ENOENT) return failed("cannot open " + home.path, errno);
    if (home.in_use)
      return std::unexpected("the log of lane " + std::to_string(home.lane) + " is missing: " + home.path +
                             " was there and is not; put it back");
    if (auto made = make_lane(home); !made) return made;
  }
  if (auto there = see_that_it_is_there(home); !there) return there;
  return see_whose_it_is(home);
}

}  // namespace penstock
