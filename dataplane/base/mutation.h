// Defects that are built in on purpose, to show that a test catches them: `meson setup -Dmutation=NAME`. Without the
// option nothing of them is in the program, and no configuration brings one in.
#pragma once

#include <cstdint>

#ifndef PENSTOCK_MUTATION
#define PENSTOCK_MUTATION none
#endif

namespace penstock {

enum class Mutation : uint8_t {
  none,
  acknowledge_before_flush,   // a write that has completed counts as durable, and is never flushed
  flush_covers_later_writes,  // a flush also covers what was written while it was under way
  start_without_flush,        // what is found at start counts as durable as it lies there
};

inline constexpr Mutation built_in_mutation = Mutation::PENSTOCK_MUTATION;

constexpr bool mutated(Mutation mutation) { return built_in_mutation == mutation; }

}  // namespace penstock
