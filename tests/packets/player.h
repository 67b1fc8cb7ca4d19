// Plays one script against the stack, in virtual time.
#pragma once

#include <string>

#include "tests/packets/script.h"

namespace penstock::packets {

struct Outcome {
  bool passed = false;
  std::string report;  // why not, or with `trace` everything that happened
};
Outcome play(const Script& script, bool trace);

}  // namespace penstock::packets
