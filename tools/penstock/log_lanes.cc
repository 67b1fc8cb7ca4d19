#include "tools/penstock/log_lanes.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "drivers/uring/lane_directory.h"
#include "tools/penstock/data_directory.h"

namespace penstock {
namespace {

std::optional<uint32_t> lane_of(const std::string& name) {
  uint32_t lane = 0;
  int used = 0;
  const bool good = std::sscanf(name.c_str(), "lane-%u%n", &lane, &used) == 1 && used == static_cast<int>(name.size());
  return good ? std::optional(lane) : std::nullopt;
}

bool is_lane_directory(const std::string& path) {
  const auto directory = LaneDirectory::open(path, DirectoryAccess::look);
  if (!directory) return false;
  const auto slots = directory->slots();
  return slots && !slots->empty();
}

}  // namespace

std::expected<LogLanes, std::string> LogLanes::find(const std::string& path, std::optional<uint32_t> lane) {
  const auto format = DataDirectory::look(path);
  if (!format && is_lane_directory(path)) {
    const std::filesystem::path whole = std::filesystem::weakly_canonical(path);
    const std::optional<uint32_t> named = lane ? lane : lane_of(whole.filename());
    if (!named) return std::unexpected(path + ": its name does not say which lane it is, so --lane must");
    return LogLanes{whole.parent_path(), {{*named, path}}};
  }
  if (!format) return std::unexpected(format.error());
  if (lane && *lane >= format->lane_count)
    return std::unexpected("data directory " + path + ": it has " + std::to_string(format->lane_count) +
                           " lanes, so no lane " + std::to_string(*lane));
  LogLanes found{path, {}};
  for (uint32_t number = 0; number < format->lane_count; ++number)
    if (!lane || *lane == number) found.lanes.push_back({number, DataDirectory::lane_path(path, number)});
  return found;
}

NodeAbsence::NodeAbsence(const std::string& data_path)
    : lock_(::open((data_path + "/penstock.lock").c_str(), O_RDONLY | O_CLOEXEC)) {
  if (lock_ >= 0) node_runs_ = flock(lock_, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

NodeAbsence::~NodeAbsence() {
  if (lock_ >= 0) close(lock_);
}

}  // namespace penstock
