// What one check of `penstock doctor` says.
#pragma once

#include <cstdint>
#include <string>

namespace penstock::doctor {

enum class Verdict : uint8_t { ok, warn, fail };

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string found;
  std::string remedy;  // a command to type, or a setting to change; empty when all is well
};

inline Finding ok(std::string found) { return {Verdict::ok, std::move(found), {}}; }
inline Finding warn(std::string found, std::string remedy) {
  return {Verdict::warn, std::move(found), std::move(remedy)};
}
inline Finding fail(std::string found, std::string remedy) {
  return {Verdict::fail, std::move(found), std::move(remedy)};
}

}  // namespace penstock::doctor
