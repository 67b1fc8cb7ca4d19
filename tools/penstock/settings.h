// From the configuration's texts and numbers to what the parts of the node take, where more than a copy is needed.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "dataplane/control/control.h"
#include "dataplane/net/ip.h"
#include "dataplane/streams.h"
#include "tools/penstock/config.h"

namespace penstock {

// An IPv4 or IPv6 address in text; checked when the configuration was read.
Endpoint endpoint_of(const std::string& address, uint16_t port);

// "192.0.2.10/24"; checked likewise.
net::InterfaceAddress interface_address(const std::string& text);

// What clients are told, by lane: from "", "host", "host:port", "[v6]:port" or one "host:port" per lane.
std::expected<std::vector<AdvertisedLane>, std::string> advertised_lanes(const std::vector<std::string>& advertised,
                                                                         uint16_t port, uint32_t lane_count);

// Whether every lane has a port: the base port leaves room for all of them.
std::expected<void, std::string> check_ports(int64_t port, int64_t admin_port, uint32_t lane_count);

}  // namespace penstock
