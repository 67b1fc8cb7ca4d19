#include "tools/penstock/operator_log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <memory>
#include <string>

namespace penstock {

void start_operator_log(std::string_view level) {
  auto logger = std::make_shared<spdlog::logger>("penstock", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %-5l %v");
  logger->set_level(spdlog::level::from_str(std::string(level)));
  spdlog::set_default_logger(std::move(logger));
}

void log_lines(std::string_view report, std::string_view prefix, spdlog::level::level_enum level) {
  while (!report.empty()) {
    const size_t end = std::min(report.find('\n'), report.size());
    if (end > 0) spdlog::log(level, "{}{}", prefix, report.substr(0, end));
    report.remove_prefix(std::min(end + 1, report.size()));
  }
}

}  // namespace penstock
