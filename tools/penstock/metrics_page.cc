#include "tools/penstock/metrics_page.h"

#include <fmt/format.h>

#include <iterator>

#include "dataplane/kafka/api.h"

namespace penstock {
namespace {

struct Metric {
  const char* name;
  const char* type;
  const char* help;
  Counter LaneMetrics::* value;
};

// Names end in their unit, counters in _total. What the three byte counters mean together: docs/DURABILITY.md.
constexpr Metric metrics[] = {
    {"penstock_payload_bytes_total", "counter", "Record batch bytes appended to the log.", &LaneMetrics::payload_bytes},
    {"penstock_payload_bytes_copied_total", "counter",
     "Of the payload, bytes copied after the kernel's or the card's own receive.", &LaneMetrics::payload_bytes_copied},
    {"penstock_written_bytes_total", "counter", "Bytes written to the drive: headers, payload, rounding and padding.",
     &LaneMetrics::written_bytes},
    {"penstock_commits_total", "counter", "Commits that became durable.", &LaneMetrics::commits},
    {"penstock_drive_writes_total", "counter", "Writes the drive completed.", &LaneMetrics::writes},
    {"penstock_drive_flushes_total", "counter", "Flushes the drive completed.", &LaneMetrics::flushes},
    {"penstock_drive_write_errors_total", "counter", "Writes and flushes that failed.", &LaneMetrics::write_errors},
    {"penstock_drive_reads_total", "counter", "Reads for consumers.", &LaneMetrics::reads},
    {"penstock_drive_read_bytes_total", "counter", "Bytes read for consumers.", &LaneMetrics::read_bytes},
    {"penstock_resident_hits_total", "counter", "Batches served to consumers from memory.",
     &LaneMetrics::resident_hits},
    {"penstock_inflight_bytes", "gauge", "Bytes being written to the drive now.", &LaneMetrics::inflight_bytes},
    {"penstock_resident_bytes", "gauge", "Memory that holds recent records now, by buffer.",
     &LaneMetrics::resident_bytes},
    {"penstock_log_state", "gauge", "State of the log: 0 starting, 1 writable, 2 recovering, 3 read-only.",
     &LaneMetrics::log_state},
    {"penstock_connections", "gauge", "Connections open now.", &LaneMetrics::connections},
    {"penstock_connections_accepted_total", "counter", "Connections accepted.", &LaneMetrics::connections_accepted},
    {"penstock_connections_refused_total", "counter", "Connections closed because connections_max was reached.",
     &LaneMetrics::connections_refused},
    {"penstock_connections_closed_idle_total", "counter", "Connections closed after connections_max_idle_ms.",
     &LaneMetrics::connections_closed_idle},
    {"penstock_connections_closed_stalled_total", "counter", "Connections closed after request_stall_ms.",
     &LaneMetrics::connections_closed_stalled},
    {"penstock_connections_closed_slow_total", "counter",
     "Connections closed because they took nothing while others waited for the memory of their responses.",
     &LaneMetrics::connections_closed_slow},
    {"penstock_connections_closed_malformed_total", "counter", "Connections closed because of a malformed request.",
     &LaneMetrics::connections_closed_malformed},
    {"penstock_requests_total", "counter", "Requests handled.", &LaneMetrics::requests},
    {"penstock_records_total", "counter", "Records appended to the log.", &LaneMetrics::records},
    {"penstock_fetch_bytes_total", "counter", "Record bytes sent to consumers.", &LaneMetrics::fetch_bytes},
    {"penstock_reserved_bytes", "gauge", "Memory reserved for requests now, by buffer.", &LaneMetrics::reserved_bytes},
    {"penstock_reservations_waiting", "gauge", "Requests that wait for memory now.",
     &LaneMetrics::reservations_waiting},
    {"penstock_receive_bytes_held", "gauge",
     "Receive memory in use now, by buffer: requests, what waits for the drive, and the newest records.",
     &LaneMetrics::receive_bytes_held},
    {"penstock_polls_total", "counter", "Turns of the lane's loop.", &LaneMetrics::polls},
    {"penstock_idle_waits_total", "counter", "Turns after which the lane slept.", &LaneMetrics::idle_waits},
};

using Lanes = std::span<const LaneMetrics* const>;

void head(std::string& page, const char* name, const char* type, const char* help) {
  fmt::format_to(std::back_inserter(page), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void add_plain(std::string& page, Lanes lanes, const Metric& metric) {
  head(page, metric.name, metric.type, metric.help);
  for (size_t lane = 0; lane < lanes.size(); ++lane)
    fmt::format_to(std::back_inserter(page), "{}{{lane=\"{}\"}} {}\n", metric.name, lane,
                   (lanes[lane]->*metric.value).get());
}

// Only codes that occurred; NONE is no error.
void add_errors(std::string& page, Lanes lanes) {
  constexpr const char* name = "penstock_errors_total";
  head(page, name, "counter", "Responses with an error, by Kafka's name of its code.");
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    for (size_t slot = 0; slot < error_code_slots; ++slot) {
      const auto code = static_cast<kafka::ErrorCode>(static_cast<int>(slot) - 1);
      const uint64_t count = lanes[lane]->errors[slot].get();
      if (count > 0 && code != kafka::ErrorCode::NONE)
        fmt::format_to(std::back_inserter(page), "{}{{lane=\"{}\",code=\"{}\"}} {}\n", name, lane,
                       kafka::to_string(code), count);
    }
  }
}

// Buckets are cumulative, and the count is that of the last one, so that a page is consistent while the lane goes on.
void add_produce_latency(std::string& page, Lanes lanes) {
  constexpr const char* name = "penstock_produce_latency_seconds";
  head(page, name, "histogram", "From a complete produce request to its response, durable, handed to the connection.");
  const auto out = std::back_inserter(page);
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    const LatencyHistogram& histogram = lanes[lane]->produce_latency;
    uint64_t count = 0;
    for (size_t bucket = 0; bucket < LatencyHistogram::bucket_count; ++bucket) {
      count += histogram.buckets[bucket].get();
      if (bucket + 1 < LatencyHistogram::bucket_count)
        fmt::format_to(out, "{}_bucket{{lane=\"{}\",le=\"{}\"}} {}\n", name, lane,
                       static_cast<double>(uint64_t{1} << bucket) / 1e6, count);
    }
    fmt::format_to(out, "{}_bucket{{lane=\"{}\",le=\"+Inf\"}} {}\n", name, lane, count);
    fmt::format_to(out, "{}_sum{{lane=\"{}\"}} {}\n", name, lane, static_cast<double>(histogram.sum_us.get()) / 1e6);
    fmt::format_to(out, "{}_count{{lane=\"{}\"}} {}\n", name, lane, count);
  }
}

}  // namespace

std::string metrics_page(Lanes lanes) {
  std::string page;
  for (const Metric& metric : metrics) add_plain(page, lanes, metric);
  add_errors(page, lanes);
  add_produce_latency(page, lanes);
  return page;
}

}  // namespace penstock
