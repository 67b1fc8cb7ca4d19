#include "tools/penstock/doctor/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tools/penstock/doctor/checks.h"

namespace penstock::doctor {
namespace {

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warn:
      return "warn";
    case Verdict::fail:
      return "fail";
  }
  return "";
}

int64_t count(const std::vector<Examined>& all, Verdict verdict) {
  return std::ranges::count(all, verdict, [](const Examined& each) { return each.finding.verdict; });
}

}  // namespace

std::vector<Examined> examine(const Situation& now) {
  std::vector<Examined> all;
  for (const Check& check : checks()) {
    if (auto finding = check.judge(now)) all.push_back({check.name, std::move(*finding)});
  }
  return all;
}

bool any_fail(const std::vector<Examined>& all) { return count(all, Verdict::fail) > 0; }

std::string as_lines(const std::vector<Examined>& all) {
  std::string text;
  for (const auto& [name, finding] : all) {
    fmt::format_to(std::back_inserter(text), "{:4}  {:20} {}{}{}\n", name_of(finding.verdict), name, finding.found,
                   finding.remedy.empty() ? "" : "  ->  ", finding.remedy);
  }
  fmt::format_to(std::back_inserter(text), "{} ok, {} warn, {} fail\n", count(all, Verdict::ok),
                 count(all, Verdict::warn), count(all, Verdict::fail));
  return text;
}

std::string as_json(const std::vector<Examined>& all) {
  nlohmann::ordered_json page{{"checks", nlohmann::ordered_json::array()}};
  for (const auto& [name, finding] : all) {
    page["checks"].push_back(
        {{"name", name}, {"verdict", name_of(finding.verdict)}, {"found", finding.found}, {"remedy", finding.remedy}});
  }
  for (const Verdict each : {Verdict::ok, Verdict::warn, Verdict::fail}) page[name_of(each)] = count(all, each);
  return page.dump(2) + "\n";
}

}  // namespace penstock::doctor
