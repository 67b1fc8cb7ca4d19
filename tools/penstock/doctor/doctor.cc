#include "tools/penstock/doctor/doctor.h"

#include <cstdio>

#include "tools/penstock/doctor/report.h"

namespace penstock {

int run_doctor(const Config& config, const DoctorOptions& options) {
  auto now =
      doctor::look_around(doctor::RootFiles(options.root),
                          doctor::ask_system(doctor::existing_part(config.data_directory)), config, options.card,
                          options.bypass);
  if (!now) {
    std::fprintf(stderr, "%s\n", now.error().c_str());
    return 1;
  }
  const std::vector<doctor::Examined> all = doctor::examine(*now);
  std::fputs((options.json ? doctor::as_json(all) : doctor::as_lines(all)).c_str(), stdout);
  return doctor::any_fail(all) ? 1 : 0;
}

}  // namespace penstock
