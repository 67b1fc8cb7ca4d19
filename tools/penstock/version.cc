#include "tools/penstock/version.h"

namespace penstock {

std::string version_text() { return std::string("penstock ") + PENSTOCK_VERSION; }

}  // namespace penstock
