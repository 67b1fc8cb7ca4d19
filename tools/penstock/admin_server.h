// The HTTP server for operators: /metrics and /v1/status/ready. It has threads of its own and touches nothing of a lane
// but its counters.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace penstock {

struct AdminPages {
  std::function<std::string()> metrics;
  std::function<std::optional<std::string>()> not_ready;  // why the node is not ready; nothing: it is
};

class AdminServer {
 public:
  // `port` 0: any; the error is for the operator.
  static std::expected<std::unique_ptr<AdminServer>, std::string> start(const std::string& address, uint16_t port,
                                                                        AdminPages pages);
  ~AdminServer();
  uint16_t port() const { return port_; }

 private:
  struct Server;
  AdminServer();
  std::unique_ptr<Server> server_;
  uint16_t port_ = 0;
};

}  // namespace penstock
