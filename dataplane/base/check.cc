#include "dataplane/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace penstock {

void check_failed(const char* what, long long left, long long right, const std::source_location& where) {
  std::fprintf(stderr, "penstock: check failed: %s (%lld, %lld) at %s:%u in %s\n", what, left, right, where.file_name(),
               static_cast<unsigned>(where.line()), where.function_name());
  std::fflush(stderr);
  std::abort();
}

}  // namespace penstock
