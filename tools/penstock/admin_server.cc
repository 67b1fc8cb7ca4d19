#include "tools/penstock/admin_server.h"

#include <httplib.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

namespace penstock {

struct AdminServer::Server {
  httplib::Server http;
  std::thread thread;
};

namespace {

constexpr size_t thread_count = 2;          // a slow reader does not keep the other one out
constexpr time_t patience_s = 5;            // for a request to arrive or a page to leave
constexpr size_t request_bytes_max = 4096;  // none of our pages takes a body

void set_routes(httplib::Server& http, AdminPages pages) {
  http.Get("/metrics", [page = std::move(pages.metrics)](const httplib::Request&, httplib::Response& response) {
    response.set_content(page(), "text/plain; version=0.0.4; charset=utf-8");
  });
  http.Get("/v1/status/ready",
           [not_ready = std::move(pages.not_ready)](const httplib::Request&, httplib::Response& response) {
             nlohmann::ordered_json body = {{"ready", true}};
             if (const std::optional<std::string> reason = not_ready()) {
               response.status = 503;
               body = {{"ready", false}, {"reason", *reason}};
             }
             response.set_content(body.dump() + "\n", "application/json");
           });
}

}  // namespace

AdminServer::AdminServer() : server_(std::make_unique<Server>()) {}

std::expected<std::unique_ptr<AdminServer>, std::string> AdminServer::start(const std::string& address, uint16_t port,
                                                                            AdminPages pages) {
  std::unique_ptr<AdminServer> admin(new AdminServer);
  httplib::Server& http = admin->server_->http;
  http.new_task_queue = [] { return new httplib::ThreadPool(thread_count); };
  http.set_read_timeout(patience_s);
  http.set_write_timeout(patience_s);
  http.set_payload_max_length(request_bytes_max);
  // The library's own options include SO_REUSEPORT, with which a second node would quietly share the port.
  http.set_socket_options([](auto socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  set_routes(http, std::move(pages));

  errno = 0;
  const int bound =
      port == 0 ? http.bind_to_any_port(address.c_str()) : (http.bind_to_port(address.c_str(), port) ? port : -1);
  if (bound < 0)
    return std::unexpected("admin HTTP: " + address + ":" + std::to_string(port) + " cannot be listened on" +
                           (errno != 0 ? std::string(": ") + std::strerror(errno) : "") +
                           "; choose another admin_port or admin_listen");
  admin->port_ = static_cast<uint16_t>(bound);
  admin->server_->thread = std::thread([&http] { http.listen_after_bind(); });
  // stop() has no effect before the server runs.
  while (!http.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return admin;
}

AdminServer::~AdminServer() {
  if (!server_->thread.joinable()) return;
  server_->http.stop();
  server_->thread.join();
}

}  // namespace penstock
