#include "tools/penstock/log_export.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "dataplane/control/catalog.h"
#include "drivers/uring/lane_directory.h"
#include "drivers/uring/segment_reader.h"
#include "storage/export.h"
#include "storage/recovery.h"
#include "tools/penstock/log_lanes.h"
#include "tools/penstock/log_topics.h"

namespace penstock {
namespace {

constexpr int exit_complete = 0, exit_damaged = 1, exit_failed = 2;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// The directory of one partition. An error sticks, and is a sentence.
class KafkaPartition {
 public:
  KafkaPartition(std::string path, const kafka::Uuid& topic_id, uint64_t segment_bytes)
      : path_(std::move(path)), segment_bytes_max_(segment_bytes) {
    std::error_code error;
    std::filesystem::create_directory(path_, error);
    if (error) fail(path_, error.value());
    const std::string text = "version: 0\ntopic_id: " + base64(topic_id) + "\n";
    open("partition.metadata");
    write(text.data(), text.size());
  }

  bool append(const BatchPlace& place, std::span<const std::byte> batch) {
    if (base_ < 0 || !fits(place, batch.size())) begin_segment(place.base_offset);
    write(batch.data(), batch.size());
    bytes_ += batch.size();
    return error_.empty();
  }

  // A partition without batches still has a segment, whose name keeps its next offset.
  std::string finish(Offset next) {
    if (base_ < 0) begin_segment(next);
    close();
    return error_;
  }

 private:
  // Kafka's indexes hold offsets relative to the segment's in 31 bits.
  bool fits(const BatchPlace& place, size_t bytes) const {
    return bytes_ + bytes <= segment_bytes_max_ && static_cast<int64_t>(place.next_offset.value) - base_ <= INT32_MAX;
  }
  void begin_segment(Offset base) {
    base_ = static_cast<int64_t>(base.value);
    bytes_ = 0;
    char name[32];
    std::snprintf(name, sizeof name, "%020" PRId64 ".log", base_);
    open(name);
  }

  void open(const std::string& name) {
    close();
    if (!error_.empty()) return;
    name_ = path_ + "/" + name;
    file_.reset(std::fopen(name_.c_str(), "wbxe"));
    if (file_ == nullptr) fail(name_, errno);
  }
  void write(const void* data, size_t size) {
    if (error_.empty() && std::fwrite(data, 1, size, file_.get()) != size) fail(name_, errno);
  }
  void close() {
    if (file_ != nullptr && std::fclose(file_.release()) != 0) fail(name_, errno);
  }
  void fail(const std::string& path, int error) {
    if (error_.empty()) error_ = "cannot write " + path + ": " + std::strerror(error);
  }

  // As Kafka writes ids: 22 characters of the URL alphabet, without padding.
  static std::string base64(const kafka::Uuid& id) {
    constexpr const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string text;
    uint32_t bits = 0, count = 0;
    for (const uint8_t byte : id.bytes) {
      bits = bits << 8 | byte;
      for (count += 8; count >= 6; count -= 6) text += alphabet[bits >> (count - 6) & 63];
    }
    return text + alphabet[bits << (6 - count) & 63];
  }

  std::string path_, name_, error_;
  uint64_t segment_bytes_max_;
  File file_;
  int64_t base_ = -1;  // of the open segment; -1: none yet
  uint64_t bytes_ = 0;
};

class LogExport {
 public:
  LogExport(const LogExportOptions& options, const LogTopics& topics) : options_(options), topics_(topics) {}

  // The error is a sentence; damage is not one.
  std::string lane(const LogLanes::Lane& lane);
  std::string write_log_starts() const;
  int report() const;

 private:
  bool wanted(const TopicPlace& place) const;
  std::string partition(SegmentFiles& files, const RecoveredPartition& partition, const TopicPlace& place,
                        std::span<const BatchPlace> ordered);

  const LogExportOptions& options_;
  const LogTopics& topics_;
  std::vector<std::string> log_starts_;  // of each partition that was written
  uint64_t batches_ = 0, bytes_ = 0;
  bool damaged_ = false;
};

bool LogExport::wanted(const TopicPlace& place) const {
  if (topic_name_complaint(place.topic)) return false;  // the name becomes a path
  const bool of_topic = options_.topic.empty() || place.topic == options_.topic;
  return of_topic && options_.partition.value_or(place.index) == place.index;
}

std::string LogExport::lane(const LogLanes::Lane& lane) {
  const auto directory = LaneDirectory::open(lane.path, DirectoryAccess::look);
  if (!directory) return directory.error();
  const auto files = DirectoryFiles::open(*directory);
  if (!files) return files.error();
  LogIndex index(1024, 0, 1024);
  ProducerTable producers(1024);
  const RecoveredLog log = recover(**files, {.lane = lane.number, .verify_sealed_payload = false}, index, producers);
  if (log.read_only) {
    damaged_ = true;
    std::fprintf(stderr, "lane %u is damaged; `penstock log verify` names what\n", lane.number);
  }
  const std::vector<BatchPlace> ordered = batches_in_order(**files, log);
  // The catalog says which there are: a deleted one is still in the log, and one without records is not.
  for (const auto& [number, place] : topics_.places()) {
    if (place.lane != lane.number || !wanted(place)) continue;
    const auto found = std::ranges::lower_bound(log.partitions, number, {}, &RecoveredPartition::number);
    const bool has_records = found != log.partitions.end() && found->number == number;
    const RecoveredPartition each = has_records ? *found : RecoveredPartition{.number = number};
    if (const std::string error = partition(**files, each, place, ordered); !error.empty()) return error;
  }
  return {};
}

std::string LogExport::partition(SegmentFiles& files, const RecoveredPartition& partition, const TopicPlace& place,
                                 std::span<const BatchPlace> ordered) {
  const std::string name = place.topic + "-" + std::to_string(place.index);
  KafkaPartition to(options_.to + "/" + name, place.topic_id, options_.segment_bytes);
  const auto missing = export_partition(files, partition, ordered, [&](const BatchPlace& at, auto batch) {
    ++batches_;
    bytes_ += batch.size();
    return to.append(at, batch);
  });
  for (const LostOffsets& lost : missing) {
    damaged_ = true;
    std::fprintf(stderr, "%s: offsets %" PRIu64 " to %" PRIu64 " are missing\n", name.c_str(), lost.begin.value,
                 lost.end.value - 1);
  }
  log_starts_.push_back(place.topic + " " + std::to_string(place.index) + " " +
                        std::to_string(partition.log_start.value));
  return to.finish(partition.next);
}

// Kafka's checkpoint format: version, count, one line each.
std::string LogExport::write_log_starts() const {
  const std::string path = options_.to + "/log-start-offset-checkpoint";
  std::string text = "0\n" + std::to_string(log_starts_.size()) + "\n";
  for (const std::string& line : log_starts_) text += line + "\n";
  File file(std::fopen(path.c_str(), "wbxe"));
  const bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file.get()) == text.size() &&
                    std::fclose(file.release()) == 0;
  return good ? std::string() : "cannot write " + path + ": " + std::strerror(errno);
}

int LogExport::report() const {
  std::printf("%zu partitions, %" PRIu64 " batches of %" PRIu64 " bytes in %s%s\n", log_starts_.size(), batches_,
              bytes_, options_.to.c_str(), damaged_ ? ", without what is missing or damaged" : "");
  return damaged_ ? exit_damaged : exit_complete;
}

int fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return exit_failed;
}

}  // namespace

int log_export(const LogExportOptions& options) {
  const auto log = LogLanes::find(options.directory, std::nullopt);
  if (!log) return fail(log.error());
  const NodeAbsence absence(log->data_path);
  if (absence.node_runs()) return fail("a node is running on " + log->data_path + "; stop it first");
  const auto topics = LogTopics::read(log->data_path);
  if (!topics) return fail(topics.error());
  if (!options.topic.empty() && !topics->has(options.topic)) return fail("there is no topic '" + options.topic + "'");
  std::error_code error;
  std::filesystem::create_directories(options.to, error);
  if (error) return fail("cannot create " + options.to + ": " + error.message());
  if (!std::filesystem::is_empty(options.to, error) || error) return fail(options.to + " is not empty");

  LogExport run(options, *topics);
  for (const LogLanes::Lane& lane : log->lanes) {
    if (const std::string why = run.lane(lane); !why.empty()) return fail(why);
  }
  if (const std::string why = run.write_log_starts(); !why.empty()) return fail(why);
  return run.report();
}

}  // namespace penstock
