// What this program is.
#pragma once

#include <string>

namespace penstock {

std::string version_text();  // "penstock 0.1.0"

}  // namespace penstock
