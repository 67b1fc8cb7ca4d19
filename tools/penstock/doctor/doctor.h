// penstock doctor: whether a machine has what an operator must have right, and what to type where it has not.
#pragma once

#include <string>

#include "tools/penstock/config.h"

namespace penstock {

struct DoctorOptions {
  std::string card;        // PCI address or interface; empty: the only one
  std::string root = "/";  // where /proc and /sys are
  bool bypass = false;     // the card is driven by the node itself
  bool json = false;
};

// Prints; the exit code is 0 when no check failed.
int run_doctor(const Config& config, const DoctorOptions& options);

}  // namespace penstock
