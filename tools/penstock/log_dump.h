// `penstock log dump`: what the segments of a data directory hold, for people. Reads only; the node may be running.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace penstock {

struct LogDumpOptions {
  std::string directory;
  std::optional<uint32_t> lane;  // none: all
  bool verbose = false;
};

int log_dump(const LogDumpOptions& options);  // the exit code

}  // namespace penstock
