#include "tools/penstock/version.h"

#include "dataplane/base/mutation.h"

namespace penstock {

std::string version_text() {
  return std::string("penstock ") + PENSTOCK_VERSION + (mutations_built_in ? " with defects built in on purpose" : "");
}

}  // namespace penstock
