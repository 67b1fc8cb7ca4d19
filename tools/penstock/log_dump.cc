#include "tools/penstock/log_dump.h"

#include <algorithm>
#include <cstdio>

#include "drivers/uring/lane_directory.h"
#include "drivers/uring/segment_reader.h"
#include "storage/dump.h"
#include "tools/penstock/data_directory.h"

namespace penstock {
namespace {

int fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

int dump_lane(const std::string& path, uint32_t lane, bool verbose) {
  const auto directory = LaneDirectory::open(path, DirectoryAccess::look);
  if (!directory) return fail(directory.error());
  const auto files = DirectoryFiles::open(*directory);
  if (!files) return fail(files.error());
  std::printf("lane %u: %s\n", lane, path.c_str());
  const bool whole = dump(**files, {.lane = lane, .verbose = verbose}, [](std::string_view line) {
    std::printf("  %.*s\n", static_cast<int>(line.size()), line.data());
  });
  return whole ? 0 : 1;
}

}  // namespace

int log_dump(const LogDumpOptions& options) {
  const auto format = DataDirectory::look(options.directory);
  if (!format) return fail(format.error());
  if (options.lane && *options.lane >= format->lane_count)
    return fail("data directory " + options.directory + ": it has " + std::to_string(format->lane_count) +
                " lanes, so no lane " + std::to_string(*options.lane));
  std::printf("%s", to_text(*format).c_str());
  int worst = 0;
  for (uint32_t lane = options.lane.value_or(0); lane < (options.lane ? *options.lane + 1 : format->lane_count); ++lane)
    worst = std::max(worst, dump_lane(DataDirectory::lane_path(options.directory, lane), lane, options.verbose));
  return worst;
}

}  // namespace penstock
