#include "tools/penstock/metrics_page.h"

#include <fmt/format.h>

#include <iterator>

#include "dataplane/kafka/api.h"
#include "dataplane/net/counters.h"

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
    {"penstock_drive_read_errors_total", "counter", "Reads for consumers that failed.", &LaneMetrics::read_errors},
    {"penstock_drive_reads_total", "counter", "Reads for consumers.", &LaneMetrics::reads},
    {"penstock_drive_read_bytes_total", "counter", "Bytes read for consumers.", &LaneMetrics::read_bytes},
    {"penstock_resident_hits_total", "counter", "Batches served to consumers from memory.",
     &LaneMetrics::resident_hits},
    {"penstock_segments", "gauge", "Segments of the log now.", &LaneMetrics::segments},
    {"penstock_segments_released_total", "counter", "Segments in which nothing was to be kept any more.",
     &LaneMetrics::segments_released},
    {"penstock_index_bytes", "gauge",
     "Memory for the index of segments whose footer is not durable, if all of it were used, and to find footers.",
     &LaneMetrics::index_bytes},
    {"penstock_footer_cache_bytes", "gauge", "Memory for blocks of footers.", &LaneMetrics::footer_cache_bytes},
    {"penstock_footer_cache_hits_total", "counter", "Blocks of footers that a look-up found in memory.",
     &LaneMetrics::footer_cache_hits},
    {"penstock_footer_cache_misses_total", "counter", "Blocks of footers that were read from the drive for look-ups.",
     &LaneMetrics::footer_cache_misses},
    {"penstock_footer_read_bytes_total", "counter", "Bytes of them, also in penstock_drive_read_bytes_total.",
     &LaneMetrics::footer_read_bytes},
    {"penstock_footer_blocks_damaged_total", "counter",
     "Blocks of footers that could not be read or were not what was written; look-ups that need one are refused.",
     &LaneMetrics::footer_blocks_damaged},
    {"penstock_footers_total", "counter", "Footers written to sealed segments; a segment without is read whole at start.",
     &LaneMetrics::footers},
    {"penstock_slots_recycled_total", "counter", "Slots of released segments that became spares as they are.",
     &LaneMetrics::slots_recycled},
    {"penstock_slots_prepared_total", "counter", "Slots that were created and written with zeros.",
     &LaneMetrics::slots_prepared},
    {"penstock_log_start_moves_total", "counter", "Log start offsets that moved, by retention or DeleteRecords.",
     &LaneMetrics::log_start_moves},
    {"penstock_retention_moves_total", "counter", "Log start offsets that retention moved.",
     &LaneMetrics::retention_moves},
    {"penstock_inflight_bytes", "gauge", "Bytes being written to the drive now.", &LaneMetrics::inflight_bytes},
    {"penstock_resident_bytes", "gauge", "Memory that holds recent records now, by buffer.",
     &LaneMetrics::resident_bytes},
    {"penstock_log_state", "gauge", "State of the log: 0 starting, 1 writable, 2 recovering, 3 read-only.",
     &LaneMetrics::log_state},
    {"penstock_log_trouble", "gauge",
     "Why: 0 nothing, 1 no space, 2 being written again, 3 writing failed twice, 4 flush at start failed, 5 damaged.",
     &LaneMetrics::log_trouble},
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

struct NetworkMetric {
  const char* name;
  const char* type;
  const char* help;
  Counter NetworkMetrics::* value;
};

constexpr NetworkMetric network_metrics[] = {
    {"penstock_frames_received_total", "counter", "Frames the lane's queue received.",
     &NetworkMetrics::frames_received},
    {"penstock_frame_bytes_received_total", "counter", "Their bytes, from the Ethernet header on.",
     &NetworkMetrics::frame_bytes_received},
    {"penstock_frames_sent_total", "counter", "Frames sent.", &NetworkMetrics::frames_sent},
    {"penstock_frame_bytes_sent_total", "counter", "Their bytes.", &NetworkMetrics::frame_bytes_sent},
    {"penstock_payload_bytes_sent_copied_total", "counter", "Of them, payload that was copied in order to be sent.",
     &NetworkMetrics::payload_bytes_sent_copied},
    {"penstock_frames_handed_out_total", "counter", "Frames of other lanes that arrived here and were copied to them.",
     &NetworkMetrics::frames_handed_out},
    {"penstock_frames_handed_in_total", "counter", "Frames of this lane that arrived at others.",
     &NetworkMetrics::frames_handed_in},
    {"penstock_payload_frames_total", "counter", "Frames with payload.", &NetworkMetrics::payload_frames},
    {"penstock_payload_frames_aligned_total", "counter",
     "Of them, those whose payload lay where the drive can take it (dpdk.header_bytes was right).",
     &NetworkMetrics::payload_frames_aligned},
    {"penstock_frame_cycles_total", "counter",
     "Cycles of the turns that received frames, with all they caused. Divided by frames received: cycles for a frame.",
     &NetworkMetrics::frame_cycles},
    {"penstock_frame_buffers_held", "gauge", "Receive buffers in use now.", &NetworkMetrics::buffers_held},
};

struct TcpMetric {
  const char* name;
  const char* help;
  TcpCount count;
};

constexpr TcpMetric tcp_metrics[] = {
    {"penstock_tcp_segments_retransmitted_total", "Segments sent again.", TcpCount::segments_retransmitted},
    {"penstock_tcp_retransmission_timeouts_total", "Timeouts after which segments were sent again.",
     TcpCount::retransmission_timeouts},
    {"penstock_tcp_segments_out_of_order_total", "Segments that arrived before one they follow.",
     TcpCount::segments_out_of_order},
    {"penstock_tcp_segments_fast_path_total", "Segments that were the next in order and nothing else.",
     TcpCount::segments_fast_path},
    {"penstock_tcp_bytes_copied_total", "Bytes of short segments, copied together.", TcpCount::bytes_copied},
    {"penstock_tcp_syn_cookies_sent_total", "SYNs answered without keeping anything.", TcpCount::syn_cookies_sent},
    {"penstock_tcp_syn_cookies_accepted_total", "Connections opened by such an answer coming back.",
     TcpCount::syn_cookies_accepted},
    {"penstock_tcp_resets_sent_total", "RST sent.", TcpCount::rst_sent},
    {"penstock_tcp_transmit_waits_total", "Times there was no memory or no room at the port to send.",
     TcpCount::transmit_memory_waits},
    {"penstock_address_conflicts_total", "Times another host claimed one of the node's addresses.",
     TcpCount::address_conflicts},
};
static_assert(static_cast<size_t>(TcpCount::count) <= tcp_count_slots);

void add_sample(std::string& page, const char* name, size_t lane, uint64_t value) {
  fmt::format_to(std::back_inserter(page), "{}{{lane=\"{}\"}} {}\n", name, lane, value);
}

void add_network(std::string& page, Lanes lanes) {
  for (const NetworkMetric& metric : network_metrics) {
    head(page, metric.name, metric.type, metric.help);
    for (size_t lane = 0; lane < lanes.size(); ++lane)
      add_sample(page, metric.name, lane, (lanes[lane]->network.*metric.value).get());
  }
  for (const TcpMetric& metric : tcp_metrics) {
    head(page, metric.name, "counter", metric.help);
    for (size_t lane = 0; lane < lanes.size(); ++lane)
      add_sample(page, metric.name, lane, lanes[lane]->network.tcp[static_cast<size_t>(metric.count)].get());
  }
}

// Every reason a frame did not reach a connection, those that occurred.
void add_drops(std::string& page, Lanes lanes) {
  constexpr const char* name = "penstock_frames_dropped_total";
  constexpr std::string_view prefix = "drop_";
  head(page, name, "counter", "Frames and segments dropped, by reason; each is sent again if somebody misses it.");
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    const NetworkMetrics& network = lanes[lane]->network;
    const auto add = [&](std::string_view reason, uint64_t count) {
      if (count > 0)
        fmt::format_to(std::back_inserter(page), "{}{{lane=\"{}\",reason=\"{}\"}} {}\n", name, lane, reason, count);
    };
    add("memory", network.frames_dropped_memory.get());
    add("hand_over", network.frames_dropped_hand_over.get());
    add("send", network.frames_dropped_send.get());
    for (size_t slot = 0; slot < static_cast<size_t>(TcpCount::count); ++slot) {
      const std::string_view reason = to_string(static_cast<TcpCount>(slot));
      if (reason.starts_with(prefix)) add(reason.substr(prefix.size()), network.tcp[slot].get());
    }
  }
}

void add_port(std::string& page, const PortCounts& port) {
  const auto add = [&](const char* name, const char* type, const char* help, uint64_t value) {
    head(page, name, type, help);
    fmt::format_to(std::back_inserter(page), "{} {}\n", name, value);
  };
  add("penstock_port_missed_total", "counter", "Frames the port dropped because a receive ring was full.", port.missed);
  add("penstock_port_no_buffer_total", "counter", "Times the port found no receive buffer.", port.no_buffer);
  add("penstock_port_receive_errors_total", "counter", "Frames the port received broken.", port.receive_errors);
  add("penstock_port_transmit_errors_total", "counter", "Frames the port could not send.", port.transmit_errors);
  add("penstock_port_link_up", "gauge", "Whether the link is up.", port.link_up ? 1 : 0);
}

void add_workers(std::string& page, std::span<const RingWorkers> workers) {
  const auto add = [&](const char* name, const char* type, const char* help, auto value) {
    head(page, name, type, help);
    for (size_t lane = 0; lane < workers.size(); ++lane)
      fmt::format_to(std::back_inserter(page), "{}{{lane=\"{}\"}} {}\n", name, lane, value(workers[lane]));
  };
  add("penstock_ring_workers", "gauge", "Kernel threads that io_uring has made for the lane, for what would block it.",
      [](const RingWorkers& each) { return each.threads; });
  add("penstock_ring_worker_wakes_total", "counter",
      "Their wake-ups, as far as was seen when somebody looked: operations that io_uring handed over to them.",
      [](const RingWorkers& each) { return each.wakes_total; });
}

}  // namespace

std::string metrics_page(Lanes lanes, std::span<const RingWorkers> workers, const PortCounts* port) {
  std::string page;
  for (const Metric& metric : metrics) add_plain(page, lanes, metric);
  add_errors(page, lanes);
  add_produce_latency(page, lanes);
  add_workers(page, workers);
  if (port != nullptr) {
    add_network(page, lanes);
    add_drops(page, lanes);
    add_port(page, *port);
  }
  return page;
}

}  // namespace penstock
