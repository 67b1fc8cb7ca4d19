// /metrics: what all lanes count, in Prometheus' text format (version 0.0.4), one sample per lane.
#pragma once

#include <span>
#include <string>

#include "dataplane/metrics.h"
#include "drivers/uring/ring_workers.h"

namespace penstock {

// What a port counts that no lane does.
struct PortCounts {
  uint64_t missed = 0, no_buffer = 0, receive_errors = 0, transmit_errors = 0;
  bool link_up = false;
};

// `workers`: by lane. `port`: nullptr when there is none.
std::string metrics_page(std::span<const LaneMetrics* const> lanes, std::span<const RingWorkers> workers = {},
                         const PortCounts* port = nullptr);

}  // namespace penstock
