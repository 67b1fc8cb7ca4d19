// What the node checked when it took in a batch, checked again on what it stored.
#pragma once

#include <span>

#include "storage/format.h"

namespace penstock {

// A few words when the batch's header differs from its entry, or its records from its header; else nullptr. The records
// of compressed batches are not opened, as the node did not open them.
const char* stored_batch_complaint(const disk::Entry& entry, std::span<std::byte> batch);

}  // namespace penstock
