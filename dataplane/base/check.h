// check(): programmer errors, on in production too. A failed check prints both values and ends the process;
// what a peer or a drive does wrong is never a check, it is a value.
#pragma once

#include <cstdint>
#include <source_location>

namespace penstock {

[[noreturn, gnu::cold, gnu::noinline]] void check_failed(const char* what, long long left, long long right,
                                                         const std::source_location& where);

[[gnu::always_inline]] inline void check(bool condition, const char* what, long long left = 0, long long right = 0,
                                         const std::source_location& where = std::source_location::current()) {
  if (!condition) [[unlikely]]
    check_failed(what, left, right, where);
}

}  // namespace penstock
