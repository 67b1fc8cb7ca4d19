#include "dataplane/metrics.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <deque>
#include <map>
#include <sstream>

#include "dataplane/net/counters.h"
#include "tools/penstock/admin_server.h"
#include "tools/penstock/metrics_page.h"
#include "tools/penstock/operator_log.h"

namespace penstock {
namespace {

// Samples by name with labels; also checks what Prometheus' text format asks of every line.
std::map<std::string, std::string> samples_of(const std::string& page) {
  std::map<std::string, std::string> samples;
  std::istringstream lines(page);
  std::string family;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      EXPECT_EQ(line.substr(7, family.size() + 1), family + " ") << "HELP and TYPE belong together";
      continue;
    }
    EXPECT_TRUE(line.starts_with(family)) << line;
    const size_t blank = line.rfind(' ');
    EXPECT_TRUE(samples.emplace(line.substr(0, blank), line.substr(blank + 1)).second) << "twice: " << line;
  }
  EXPECT_TRUE(page.ends_with('\n'));
  return samples;
}

TEST(Metrics, EveryLaneHasASampleOfEachMetric) {
  std::deque<LaneMetrics> lanes(2);
  lanes[1].payload_bytes.add(7);
  lanes[1].written_bytes.add(4096);
  lanes[0].connections.set(3);
  const auto samples = samples_of(metrics_page(std::vector<const LaneMetrics*>{&lanes[0], &lanes[1]}));
  EXPECT_EQ(samples.at("penstock_payload_bytes_total{lane=\"0\"}"), "0");
  EXPECT_EQ(samples.at("penstock_payload_bytes_total{lane=\"1\"}"), "7");
  EXPECT_EQ(samples.at("penstock_payload_bytes_copied_total{lane=\"1\"}"), "0");
  EXPECT_EQ(samples.at("penstock_written_bytes_total{lane=\"1\"}"), "4096");
  EXPECT_EQ(samples.at("penstock_connections{lane=\"0\"}"), "3");
  for (const char* name : {"penstock_commits_total", "penstock_drive_writes_total", "penstock_drive_flushes_total",
                           "penstock_inflight_bytes", "penstock_reserved_bytes", "penstock_reservations_waiting"})
    EXPECT_TRUE(samples.contains(std::string(name) + "{lane=\"0\"}")) << name;
}

TEST(Metrics, APortHasItsOwn) {
  std::deque<LaneMetrics> lanes(2);
  lanes[1].network.frames_received.set(7);
  lanes[1].network.payload_frames_aligned.set(6);
  lanes[0].network.frames_dropped_memory.set(3);
  lanes[0].network.tcp[static_cast<size_t>(TcpCount::segments_retransmitted)].set(2);
  lanes[1].network.tcp[static_cast<size_t>(TcpCount::drop_tcp_checksum)].set(5);
  const std::vector<const LaneMetrics*> both{&lanes[0], &lanes[1]};
  const PortCounts port{.missed = 11, .no_buffer = 12, .receive_errors = 13, .transmit_errors = 14, .link_up = true};
  const auto samples = samples_of(metrics_page(both, {}, &port));
  EXPECT_EQ(samples.at("penstock_frames_received_total{lane=\"1\"}"), "7");
  EXPECT_EQ(samples.at("penstock_frames_received_total{lane=\"0\"}"), "0");
  EXPECT_EQ(samples.at("penstock_payload_frames_aligned_total{lane=\"1\"}"), "6");
  EXPECT_EQ(samples.at("penstock_frames_dropped_total{lane=\"0\",reason=\"memory\"}"), "3");
  EXPECT_EQ(samples.at("penstock_frames_dropped_total{lane=\"1\",reason=\"tcp_checksum\"}"), "5");
  EXPECT_FALSE(samples.contains("penstock_frames_dropped_total{lane=\"0\",reason=\"tcp_checksum\"}"));
  EXPECT_EQ(samples.at("penstock_tcp_segments_retransmitted_total{lane=\"0\"}"), "2");
  EXPECT_EQ(samples.at("penstock_port_missed_total"), "11");
  EXPECT_EQ(samples.at("penstock_port_no_buffer_total"), "12");
  EXPECT_EQ(samples.at("penstock_port_receive_errors_total"), "13");
  EXPECT_EQ(samples.at("penstock_port_transmit_errors_total"), "14");
  EXPECT_EQ(samples.at("penstock_port_link_up"), "1");
  // Without a port there is nothing of it.
  const auto without = samples_of(metrics_page(both));
  EXPECT_FALSE(without.contains("penstock_port_link_up"));
  EXPECT_FALSE(without.contains("penstock_frames_received_total{lane=\"0\"}"));
}

TEST(Metrics, TheKernelsWorkersAreCountedByLane) {
  std::deque<LaneMetrics> lanes(2);
  const std::vector<RingWorkers> workers{{}, {.threads = 2, .wakes_total = 31}};
  const auto samples = samples_of(metrics_page(std::vector<const LaneMetrics*>{&lanes[0], &lanes[1]}, workers));
  EXPECT_EQ(samples.at("penstock_ring_workers{lane=\"0\"}"), "0");
  EXPECT_EQ(samples.at("penstock_ring_workers{lane=\"1\"}"), "2");
  EXPECT_EQ(samples.at("penstock_ring_worker_wakes_total{lane=\"1\"}"), "31");
}

TEST(Metrics, ErrorsHaveKafkasNames) {
  LaneMetrics lane;
  lane.errors[0].add(1);      // -1
  lane.errors[1].add(5);      // NONE is no error
  lane.errors[1 + 6].add(2);  // NOT_LEADER_OR_FOLLOWER
  const std::string page = metrics_page(std::vector<const LaneMetrics*>{&lane});
  const auto samples = samples_of(page);
  EXPECT_EQ(samples.at("penstock_errors_total{lane=\"0\",code=\"NOT_LEADER_OR_FOLLOWER\"}"), "2");
  EXPECT_EQ(samples.at("penstock_errors_total{lane=\"0\",code=\"UNKNOWN_SERVER_ERROR\"}"), "1");
  EXPECT_EQ(page.find("NONE"), std::string::npos);
}

TEST(Metrics, TheHistogramIsCumulativeAndInSeconds) {
  LaneMetrics lane;
  lane.produce_latency.add(500);               // below 1 us
  lane.produce_latency.add(3000);              // 3 us
  lane.produce_latency.add(3000);              //
  lane.produce_latency.add(1000 * second_ns);  // beyond the last bucket
  const auto samples = samples_of(metrics_page(std::vector<const LaneMetrics*>{&lane}));
  const auto bucket = [&](const char* edge) {
    return samples.at(std::string("penstock_produce_latency_seconds_bucket{lane=\"0\",le=\"") + edge + "\"}");
  };
  EXPECT_EQ(bucket("1e-06"), "1");
  EXPECT_EQ(bucket("2e-06"), "1");
  EXPECT_EQ(bucket("4e-06"), "3");
  EXPECT_EQ(bucket("67.108864"), "3");
  EXPECT_EQ(bucket("+Inf"), "4");
  EXPECT_EQ(samples.at("penstock_produce_latency_seconds_count{lane=\"0\"}"), "4");
  EXPECT_EQ(samples.at("penstock_produce_latency_seconds_sum{lane=\"0\"}"), "1000.000006");
}

TEST(AdminServer, ServesItsPages) {
  std::optional<std::string> reason = "lane 1 is read-only";
  auto admin =
      AdminServer::start("127.0.0.1", 0, {.metrics = [] { return "a 1\n"; }, .not_ready = [&] { return reason; }});
  ASSERT_TRUE(admin.has_value()) << admin.error();
  httplib::Client client("127.0.0.1", (*admin)->port());

  auto page = client.Get("/metrics");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->body, "a 1\n");
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");

  page = client.Get("/v1/status/ready");
  EXPECT_EQ(page->status, 503);
  EXPECT_EQ(page->body, "{\"ready\":false,\"reason\":\"lane 1 is read-only\"}\n");
  reason.reset();
  page = client.Get("/v1/status/ready");
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->body, "{\"ready\":true}\n");
  EXPECT_EQ(client.Get("/other")->status, 404);
}

TEST(AdminServer, APortInUseIsASentence) {
  const AdminPages pages{.metrics = [] { return ""; }, .not_ready = [] { return std::nullopt; }};
  auto first = AdminServer::start("127.0.0.1", 0, pages);
  ASSERT_TRUE(first.has_value());
  const auto second = AdminServer::start("127.0.0.1", (*first)->port(), pages);
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().find("cannot be listened on: Address already in use; choose another admin_port"),
            std::string::npos)
      << second.error();
}

TEST(LineLimit, LetsABurstThroughAndThenOneASecond) {
  LineLimit limit;
  int allowed = 0;
  for (int i = 0; i < 100; ++i) allowed += limit.allow(0);
  EXPECT_EQ(allowed, 20);
  EXPECT_EQ(limit.take_left_out(), 80u);
  EXPECT_EQ(limit.take_left_out(), 0u);
  EXPECT_TRUE(limit.allow(second_ns));
  EXPECT_FALSE(limit.allow(second_ns));
  allowed = 0;
  for (int i = 0; i < 100; ++i) allowed += limit.allow(1000 * second_ns);
  EXPECT_EQ(allowed, 20);
}

}  // namespace
}  // namespace penstock
