// `penstock serve`: the node.
#pragma once

#include "tools/penstock/config.h"

namespace penstock {

// Runs until a signal ends it. The exit code: 0 after an orderly stop, 1 when it could not start or did not stop in
// time, 2 when the configuration does not fit this machine or data directory.
int serve(const Config& config);

}  // namespace penstock
