// The bytes of a record batch that its CRC does not cover, as its entry says: what every read from the drive puts right.
#pragma once

#include <cstddef>

#include "dataplane/base/byte_order.h"
#include "storage/format.h"

namespace penstock {

// `batch`: its first disk::batch_crc_from bytes.
inline void write_batch_front(const disk::Entry& entry, std::byte* batch) {
  store_big<int64_t>(batch + disk::batch_base_offset_at, entry.base_offset);
  store_big<uint32_t>(batch + disk::batch_length_at, entry.batch_bytes - 12);
  store_big<int32_t>(batch + disk::batch_leader_epoch_at, entry.leader_epoch);
  batch[disk::batch_magic_at] = std::byte{2};
  store_big<uint32_t>(batch + disk::batch_crc_at, entry.batch_crc);
}

}  // namespace penstock
