#include "drivers/uring/ring_workers.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

const std::filesystem::path tasks = "/proc/self/task";

std::string name_of(const std::filesystem::path& task) {
  std::ifstream file(task / "comm");
  std::string name;
  std::getline(file, name);
  return name;
}

std::optional<pid_t> number_in(std::string_view text) {
  pid_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

// A task ends whenever it likes: what cannot be read is not there.
template <class Visit>
void each_worker(Visit&& visit) {
  constexpr std::string_view prefix = "iou-wrk-";
  std::error_code error;
  for (std::filesystem::directory_iterator at(tasks, error), end; !error && at != end; at.increment(error)) {
    const std::string name = name_of(at->path());
    if (!name.starts_with(prefix)) continue;
    const auto worker = number_in(at->path().filename().native());
    const auto submitter = number_in(std::string_view(name).substr(prefix.size()));
    if (worker && submitter) visit(*worker, *submitter);
  }
}

uint64_t wakes_of(pid_t worker) {
  constexpr std::string_view key = "voluntary_ctxt_switches:";
  std::ifstream file(tasks / std::to_string(worker) / "status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size()));
  }
  return 0;
}

}  // namespace

std::map<std::string, RingWorkers> RingWorkerWatch::look() {
  const std::lock_guard lock(mutex_);
  for (auto& [name, workers] : workers_) workers.threads = 0;
  std::map<pid_t, uint64_t> seen;
  each_worker([&](pid_t worker, pid_t submitter) {
    RingWorkers& workers = workers_[name_of(tasks / std::to_string(submitter))];
    const uint64_t wakes = wakes_of(worker);
    const auto before = wakes_.find(worker);
    // A number that was given to another thread since begins anew.
    workers.wakes_total += before != wakes_.end() && before->second <= wakes ? wakes - before->second : wakes;
    ++workers.threads;
    seen[worker] = wakes;
  });
  wakes_ = std::move(seen);
  return workers_;
}

std::vector<pid_t> ring_workers_of(pid_t submitter) {
  std::vector<pid_t> found;
  each_worker([&](pid_t worker, pid_t of) {
    if (of == submitter) found.push_back(worker);
  });
  return found;
}

}  // namespace penstock
