#include "tools/penstock/settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace penstock {
namespace {

constexpr int64_t port_max = 65535;

struct HostAndPort {
  std::string host;
  std::optional<int64_t> port;
};

// "host", "host:port", "[v6]", "[v6]:port"; a bare IPv6 address has more than one colon and no port.
std::optional<HostAndPort> split(const std::string& text) {
  std::string host = text, port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && !port.starts_with(':')) return std::nullopt;
    if (!port.empty()) port.erase(0, 1);
  } else if (std::ranges::count(text, ':') == 1) {
    host = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
    if (port.empty()) return std::nullopt;
  }
  if (host.empty()) return std::nullopt;
  if (port.empty()) return HostAndPort{host, std::nullopt};
  int64_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 1 || number > port_max) return std::nullopt;
  return HostAndPort{host, number};
}

}  // namespace

Endpoint endpoint_of(const std::string& address, uint16_t port) {
  Endpoint endpoint{.port = port};
  in_addr v4;
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    endpoint.address[10] = endpoint.address[11] = 0xff;
    std::memcpy(endpoint.address + 12, &v4, sizeof v4);
  } else {
    inet_pton(AF_INET6, address.c_str(), endpoint.address);
  }
  return endpoint;
}

net::InterfaceAddress interface_address(const std::string& text) {
  const size_t slash = text.find('/');
  const Endpoint endpoint = endpoint_of(text.substr(0, slash), 0);
  net::InterfaceAddress address{.address = net::IpAddress::from_v6(endpoint.address)};
  if (slash != std::string::npos)
    std::from_chars(text.data() + slash + 1, text.data() + text.size(), address.prefix_bits);
  return address;
}

std::expected<std::vector<AdvertisedLane>, std::string> advertised_lanes(const std::vector<std::string>& advertised,
                                                                         uint16_t port, uint32_t lane_count) {
  const auto malformed = [](const std::string& text) {
    return std::unexpected("advertised: '" + text + "' is neither \"host\" nor \"host:port\"");
  };
  std::vector<AdvertisedLane> lanes(lane_count);
  if (advertised.size() <= 1) {
    HostAndPort base{"", port};
    if (!advertised.empty()) {
      const std::optional<HostAndPort> given = split(advertised[0]);
      if (!given) return malformed(advertised[0]);
      base = {given->host, given->port.value_or(port)};
    }
    for (uint32_t lane = 0; lane < lane_count; ++lane) {
      if (*base.port + lane > port_max)
        return std::unexpected("advertised: port " + std::to_string(*base.port) + " leaves no room for " +
                               std::to_string(lane_count) + " lanes");
      lanes[lane] = {base.host, static_cast<uint16_t>(*base.port + lane)};
    }
    return lanes;
  }
  if (advertised.size() != lane_count)
    return std::unexpected("advertised: " + std::to_string(advertised.size()) + " addresses are given, but there are " +
                           std::to_string(lane_count) + " lanes");
  for (uint32_t lane = 0; lane < lane_count; ++lane) {
    const std::optional<HostAndPort> given = split(advertised[lane]);
    if (!given) return malformed(advertised[lane]);
    if (!given->port) return std::unexpected("advertised: '" + advertised[lane] + "' needs a port, as one of several");
    lanes[lane] = {given->host, static_cast<uint16_t>(*given->port)};
  }
  return lanes;
}

std::expected<void, std::string> check_ports(int64_t port, int64_t admin_port, uint32_t lane_count) {
  const int64_t last = port + lane_count - 1;
  if (last > port_max)
    return std::unexpected("port: " + std::to_string(port) + " leaves no room for " + std::to_string(lane_count) +
                           " lanes");
  if (admin_port >= port && admin_port <= last)
    return std::unexpected("admin_port: " + std::to_string(admin_port) + " is the port of lane " +
                           std::to_string(admin_port - port));
  return {};
}

}  // namespace penstock
