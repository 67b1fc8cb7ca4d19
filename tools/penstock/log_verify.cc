#include "tools/penstock/log_verify.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "drivers/uring/lane_directory.h"
#include "drivers/uring/segment_reader.h"
#include "storage/verify.h"
#include "tools/penstock/log_batch.h"
#include "tools/penstock/log_lanes.h"
#include "tools/penstock/log_topics.h"

namespace penstock {
namespace {

constexpr int exit_whole = 0, exit_damaged = 1, exit_unreadable = 2;

struct LaneResult {
  LogLanes::Lane lane;
  Verified verified;
};

struct Outcome {
  std::vector<LaneResult> lanes;
  LogTopics topics;
  double seconds = 0;
  int exit_code = exit_whole;

  uint64_t bytes_read() const {
    uint64_t sum = 0;
    for (const LaneResult& lane : lanes) sum += lane.verified.bytes_read;
    return sum;
  }
  const char* verdict() const {
    return exit_code == exit_whole ? "whole" : exit_code == exit_damaged ? "damaged" : "cannot be judged";
  }
};

int fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return exit_unreadable;
}

// What the kernel has in memory says nothing about the drive.
std::expected<void, std::string> drop_cached(const LaneDirectory& directory) {
  const auto slots = directory.slots();
  if (!slots) return std::unexpected(slots.error());
  for (const SegmentSlot slot : *slots) {
    const int file = directory.open_slot(slot);
    if (file < 0) continue;  // DirectoryFiles says why
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
  return {};
}

std::expected<Verified, std::string> verify_once(const LogLanes::Lane& lane) {
  const auto directory = LaneDirectory::open(lane.path, DirectoryAccess::look);
  if (!directory) return std::unexpected(directory.error());
  if (const auto dropped = drop_cached(*directory); !dropped) return std::unexpected(dropped.error());
  const auto files = DirectoryFiles::open(*directory);
  if (!files) return std::unexpected(files.error());
  return verify(**files, lane.number, stored_batch_complaint);
}

std::expected<Verified, std::string> verify_lane(const LogLanes& log, const LogLanes::Lane& lane) {
  auto first = verify_once(lane);
  if (!first || !first->damaged() || !NodeAbsence(log.data_path).node_runs()) return first;
  auto second = verify_once(lane);
  if (!second) return second;
  return found_by_both(*first, std::move(*second));
}

// ---- as text ----

void print_bytes(FilePosition begin, FilePosition end) {
  if (end > begin) std::printf(", bytes %" PRIu64 " to %" PRIu64, begin.value, end.value - 1);
}

void print(const Found& found) {
  const bool damage = consequence_of(found.finding) == Consequence::read_only;
  std::printf("  %s: %s", damage ? "DAMAGED" : "note", LaneDirectory::file_name(found.slot).c_str());
  if (found.segment.value != 0) std::printf(", segment %" PRIu64, found.segment.value);
  std::printf(": %s", to_string(found.finding));
  if (found.first.value != 0) {
    std::printf(", commit %" PRIu64, found.first.value);
    if (found.last > found.first) std::printf(" to %" PRIu64, found.last.value);
  }
  print_bytes(found.begin, found.end);
  std::printf("%s\n", found.detail.empty() ? "" : (" (" + found.detail + ")").c_str());
}

void print(const DamagedBatch& batch, const LogTopics& topics) {
  std::printf("  DAMAGED: %s, segment %" PRIu64 ": a batch of %s, offsets %" PRIu64 " to %" PRIu64 ", commit %" PRIu64,
              LaneDirectory::file_name(batch.slot).c_str(), batch.segment.value, topics.name(batch.partition).c_str(),
              batch.first.value, batch.last.value, batch.commit.value);
  print_bytes(batch.begin, batch.end);
  std::printf(": %s\n", batch.what.c_str());
}

void print(const LaneResult& result, const LogTopics& topics) {
  const Verified& verified = result.verified;
  std::printf("lane %u: %s\n", result.lane.number, result.lane.path.c_str());
  for (const Found& found : verified.found) print(found);
  for (const DamagedBatch& batch : verified.batches) print(batch, topics);
  for (const LostOffsets& lost : verified.lost) {
    std::printf("  LOST: %s, offsets %" PRIu64 " to %" PRIu64 "\n", topics.name(lost.partition).c_str(),
                lost.begin.value, lost.end.value - 1);
  }
  std::printf("  %zu segments, %" PRIu64 " commits, %" PRIu64 " batches of %" PRIu64 " bytes, %" PRIu64
              " records, %zu partitions\n",
              verified.log.segments.size(), verified.log.commits, verified.batch_count, verified.batch_bytes,
              verified.record_count, verified.log.partitions.size());
}

void print(const Outcome& outcome) {
  for (const LaneResult& lane : outcome.lanes) print(lane, outcome.topics);
  const double megabytes = static_cast<double>(outcome.bytes_read()) / 1e6;
  std::printf("%s; read %.1f MB in %.2f s, %.0f MB/s\n", outcome.verdict(), megabytes, outcome.seconds,
              megabytes / std::max(outcome.seconds, 1e-6));
}

// ---- as JSON ----

using Json = nlohmann::ordered_json;

Json partition_json(PartitionNumber partition, const LogTopics& topics) {
  Json json{{"partition_number", partition.value}};
  if (const TopicPlace* place = topics.find(partition)) {
    json["topic"] = place->topic;
    json["partition"] = place->index;
  }
  return json;
}

// Ranges are inclusive, and left out when they are not known.
template <class Position>
void add_range(Json& json, const char* what, Position begin, Position last) {
  json[std::string("first_") + what] = begin.value;
  json[std::string("last_") + what] = last.value;
}

Json to_json(const Found& found) {
  Json json{{"damage", consequence_of(found.finding) == Consequence::read_only},
            {"file", LaneDirectory::file_name(found.slot)},
            {"what", to_string(found.finding)}};
  if (found.segment.value != 0) json["segment"] = found.segment.value;
  if (found.first.value != 0) add_range(json, "commit", found.first, std::max(found.first, found.last));
  if (found.end > found.begin) add_range(json, "byte", found.begin, found.end - 1);
  if (!found.detail.empty()) json["detail"] = found.detail;
  return json;
}

Json to_json(const DamagedBatch& batch, const LogTopics& topics) {
  Json json = partition_json(batch.partition, topics);
  add_range(json, "offset", batch.first, batch.last);
  json["file"] = LaneDirectory::file_name(batch.slot);
  json["segment"] = batch.segment.value;
  json["commit"] = batch.commit.value;
  add_range(json, "byte", batch.begin, batch.end - 1);
  json["what"] = batch.what;
  return json;
}

Json to_json(const LaneResult& result, const LogTopics& topics) {
  const Verified& verified = result.verified;
  Json found = Json::array(), batches = Json::array(), lost = Json::array();
  for (const Found& each : verified.found) found.push_back(to_json(each));
  for (const DamagedBatch& each : verified.batches) batches.push_back(to_json(each, topics));
  for (const LostOffsets& each : verified.lost) {
    lost.push_back(partition_json(each.partition, topics));
    add_range(lost.back(), "offset", each.begin, each.end - 1);
  }
  return {{"lane", result.lane.number},
          {"directory", result.lane.path},
          {"findings", found},
          {"damaged_batches", batches},
          {"lost", lost},
          {"segments", verified.log.segments.size()},
          {"commits", verified.log.commits},
          {"batches", verified.batch_count},
          {"batch_bytes", verified.batch_bytes},
          {"records", verified.record_count},
          {"partitions", verified.log.partitions.size()}};
}

void print_json(const Outcome& outcome) {
  Json lanes = Json::array();
  for (const LaneResult& lane : outcome.lanes) lanes.push_back(to_json(lane, outcome.topics));
  const Json json{{"verdict", outcome.verdict()},
                  {"bytes_read", outcome.bytes_read()},
                  {"seconds", outcome.seconds},
                  {"lanes", lanes}};
  std::printf("%s\n", json.dump(2).c_str());
}

}  // namespace

int log_verify(const LogVerifyOptions& options) {
  const auto log = LogLanes::find(options.directory, options.lane);
  if (!log) return fail(log.error());
  Outcome outcome;
  if (auto topics = LogTopics::read(log->data_path)) {
    outcome.topics = std::move(*topics);
  } else {
    std::fprintf(stderr, "%s; partitions have numbers instead of names\n", topics.error().c_str());
  }

  const auto began = std::chrono::steady_clock::now();
  for (const LogLanes::Lane& lane : log->lanes) {
    auto verified = verify_lane(*log, lane);
    if (!verified) return fail(verified.error());
    if (verified->damaged()) outcome.exit_code = std::max(outcome.exit_code, exit_damaged);
    if (verified->unknown_version()) outcome.exit_code = exit_unreadable;
    outcome.lanes.push_back({lane, std::move(*verified)});
  }
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  options.json ? print_json(outcome) : print(outcome);
  return outcome.exit_code;
}

}  // namespace penstock
