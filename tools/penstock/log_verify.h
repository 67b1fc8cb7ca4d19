// `penstock log verify`: reads every byte of the log that counts and names what is missing or damaged. Reads only; the
// node may be running.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace penstock {

struct LogVerifyOptions {
  std::string directory;         // of the data, or of one lane
  std::optional<uint32_t> lane;  // none: all
  bool json = false;
};

// The exit code: 0 whole, 1 missing or damaged, 2 cannot be read or judged.
int log_verify(const LogVerifyOptions& options);

}  // namespace penstock
