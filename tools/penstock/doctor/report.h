// The checks' findings, for people and for machines.
#pragma once

#include <string>
#include <vector>

#include "tools/penstock/doctor/finding.h"
#include "tools/penstock/doctor/situation.h"

namespace penstock::doctor {

struct Examined {
  std::string name;  // of the check
  Finding finding;
};

std::vector<Examined> examine(const Situation& now);

bool any_fail(const std::vector<Examined>& all);
std::string as_lines(const std::vector<Examined>& all);
// {"checks": [{"name", "verdict", "found", "remedy"}], "ok": n, "warn": n, "fail": n}
std::string as_json(const std::vector<Examined>& all);

}  // namespace penstock::doctor
