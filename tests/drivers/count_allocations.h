// Linking count_allocations.cc replaces operator new by one that counts.
#pragma once

#include <cstdint>

namespace penstock::test {
uint64_t allocations_of_this_thread();
}
