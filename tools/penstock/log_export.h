// `penstock log export`: the log in Apache Kafka's format on disk, so that Kafka's tools can check what we stored and a
// Kafka broker can take it over.
//
//   TO/orders-3/00000000000000000000.log     record batches, by offset; the name is the first one's
//               00000000000000812345.log     the next segment
//               partition.metadata           the topic's id
//   TO/log-start-offset-checkpoint           where each partition begins, as in a broker's log directory
//
// Indexes, producer snapshots and leader epochs are not written: a broker rebuilds them from the batches when it finds
// a segment without its index.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace penstock {

struct LogExportOptions {
  std::string directory;  // of the data; no node may be running on it
  std::string to;         // created; empty if it exists
  std::string topic;      // empty: all
  std::optional<uint32_t> partition;
  uint64_t segment_bytes = uint64_t{1} << 30;  // Kafka's default of segment.bytes
};

// The exit code: 0 all of it, 1 without what is missing or damaged, 2 not at all.
int log_export(const LogExportOptions& options);

}  // namespace penstock
