// What a log command was pointed at: a data directory, or the directory of one lane.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

struct LogLanes {
  struct Lane {
    uint32_t number = 0;
    std::string path;
  };
  std::string data_path;
  std::vector<Lane> lanes;

  // `lane`: only this one; for a lane's directory, the number it had if its name does not say.
  static std::expected<LogLanes, std::string> find(const std::string& path, std::optional<uint32_t> lane);
};

// Whether a node uses the data directory. While one of these is held that did not find a node, none starts.
class NodeAbsence {
 public:
  explicit NodeAbsence(const std::string& data_path);
  NodeAbsence(const NodeAbsence&) = delete;
  ~NodeAbsence();
  bool node_runs() const { return node_runs_; }

 private:
  int lock_;
  bool node_runs_ = false;
};

}  // namespace penstock
