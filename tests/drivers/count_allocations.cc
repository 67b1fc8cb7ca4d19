#include "tests/drivers/count_allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {
thread_local uint64_t count = 0;
}

uint64_t penstock::test::allocations_of_this_thread() { return count; }

// The thread sanitizer brings its own operator new; there nothing is counted.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENSTOCK_COUNTS_NOTHING
#endif
#endif
#if !defined(PENSTOCK_COUNTS_NOTHING) && !defined(__SANITIZE_THREAD__)

// In a source of its own, so that no caller sees both ends and takes new and free for a mismatch.
void* operator new(size_t size) {
  ++count;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

#endif
