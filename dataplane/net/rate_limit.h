// At most so many a second, so many at once.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"

namespace penstock::net {

class RateLimit {
 public:
  explicit RateLimit(uint32_t per_second) : left_(per_second), per_second_(per_second) {}
  [[nodiscard]] bool take(Nanoseconds now) {
    if (now - since_ >= second_ns) {
      since_ = now;
      left_ = per_second_;
    }
    if (left_ == 0) return false;
    --left_;
    return true;
  }

 private:
  Nanoseconds since_ = 0;
  uint32_t left_;
  uint32_t per_second_;
};

}  // namespace penstock::net
