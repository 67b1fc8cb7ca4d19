// /metrics: what all lanes count, in Prometheus' text format (version 0.0.4), one sample per lane.
#pragma once

#include <span>
#include <string>

#include "dataplane/metrics.h"

namespace penstock {

std::string metrics_page(std::span<const LaneMetrics* const> lanes);

}  // namespace penstock
