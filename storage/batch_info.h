// What the log remembers of a record batch: its entry in a commit header, in memory. Kafka's meaning of each field;
// storage does not read batches.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"

namespace penstock {

struct BatchInfo {
  PartitionNumber partition{};
  Offset base_offset{};  // assigned at append
  int32_t last_offset_delta = 0;
  int32_t record_count = 0;
  Milliseconds max_timestamp = -1;
  uint16_t attributes = 0;
  int32_t leader_epoch = 0;
  int64_t producer_id = -1;  // -1: not idempotent
  int16_t producer_epoch = -1;
  int32_t base_sequence = -1;
  uint32_t crc = 0;     // CRC32C of bytes 21 .. length - 1 of the batch
  uint32_t length = 0;  // bytes of the whole batch, from its base offset field on

  Offset last_offset() const { return base_offset + last_offset_delta; }
  Offset next_offset() const { return base_offset + last_offset_delta + 1; }
};

}  // namespace penstock
