#include "tools/penstock/log_batch.h"

#include <cstring>

#include "dataplane/kafka/record_batch.h"

namespace penstock {

const char* stored_batch_complaint(const disk::Entry& entry, std::span<std::byte> batch) {
  kafka::RecordBatchHeader header;
  std::memcpy(&header, batch.data(), sizeof header);
  const bool idempotent = header.producer_id >= 0;
  const bool same =
      entry.record_count == header.record_count && entry.last_offset_delta == header.last_offset_delta &&
      entry.attributes == header.attributes && entry.producer_id == header.producer_id &&
      (!idempotent || (entry.producer_epoch == header.producer_epoch && entry.base_sequence == header.base_sequence));
  if (!same) return "its header differs from its entry";

  // Set by the node, never by a client, whom check_contents() judges.
  header.attributes = static_cast<uint16_t>(header.attributes & ~kafka::attributes::log_append_time);
  PieceChunk chunk{.count = 1, .pieces = {{batch.data(), static_cast<uint32_t>(batch.size()), no_buffer}}};
  const auto judged = kafka::check_contents({PieceRange(&chunk, 0, 0, batch.size()), header},
                                            {.message_bytes_max = static_cast<uint32_t>(batch.size())});
  return judged ? nullptr : kafka::to_string(judged.error());
}

}  // namespace penstock
