#include "tools/penstock/version.h"

#include "dataplane/base/mutation.h"

namespace penstock {

std::string version_text() {
  const bool whole = built_in_mutation == Mutation::none;
  return std::string("penstock ") + PENSTOCK_VERSION + (whole ? "" : " with a defect built in on purpose");
}

}  // namespace penstock
