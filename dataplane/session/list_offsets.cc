// ListOffsets, versions 1 to 10: earliest, latest (the durable end), largest timestamp, and by time. By time finds the
// batch in the index and opens that one batch, from memory or from the drive, for the record; of a compressed batch,
// which is not opened, the answer is its first offset (documented departure: a consumer that starts there misses
// nothing). "Earliest local" is earliest; "latest tiered" is nothing, there are no tiers.
#include <algorithm>
#include <optional>

#include "dataplane/kafka/messages/list_offsets.h"
#include "dataplane/kafka/record_batch.h"
#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::ErrorCode;
using kafka::ListOffsetsRequest;
using kafka::ListOffsetsResponse;

namespace {

enum class Search : uint8_t { done, waiting, busy };

// Fills the record of `batch` that answers a search for `timestamp`.
Search open_batch(Broker& broker, const RequestContext& context, PartitionSlot slot, const StoredBatch& batch,
                  Milliseconds timestamp, ProgressRow& row) {
  PieceList bytes;
  const uint64_t token = broker.token_of(context.connection_index, Broker::ReadFor::request);
  const auto verdict = broker.log().fetch(slot, batch, token, broker.pieces(), bytes);
  if (verdict == Log::FetchVerdict::reading) return Search::waiting;
  if (verdict == Log::FetchVerdict::soon || verdict == Log::FetchVerdict::busy) return Search::busy;
  if (verdict == Log::FetchVerdict::damaged || verdict == Log::FetchVerdict::unreadable) {
    row.error = static_cast<int16_t>(ErrorCode::KAFKA_STORAGE_ERROR);
    return Search::done;
  }
  const Offset begin = broker.log().partition(slot)->log_start;  // may lie within the batch
  const auto record = kafka::find_by_timestamp(bytes.range(), timestamp, begin.value);
  row.first = record.has_value() ? record->offset : std::max(batch.base_offset, begin).value;
  row.second = record.has_value() ? record->timestamp : batch.max_timestamp;
  bytes.clear(broker.pieces(), [&](BufferIndex buffer) { broker.buffers().release(buffer, Holder::send); });
  return Search::done;
}

// What to do before a batch was found; nothing: it was found.
std::optional<Search> not_found(Broker& broker, Log::LookUp found, ProgressRow& row) {
  switch (found) {
    case Log::LookUp::found:
      return std::nullopt;
    case Log::LookUp::none:
      return Search::done;
    case Log::LookUp::reading:
      return Search::waiting;
    case Log::LookUp::busy:
      return Search::busy;
    case Log::LookUp::damaged:
      break;
  }
  broker.notice("a footer on the drive is damaged: a look-up by time is refused");
  row.error = static_cast<int16_t>(ErrorCode::KAFKA_STORAGE_ERROR);
  return Search::done;
}

Search look_up(Broker& broker, const RequestContext& context, kafka::Text topic,
               const ListOffsetsRequest::Partition& wanted, ProgressRow& row) {
  row = {.first = -1, .second = -1};
  const Located located =
      locate(broker, broker.view().find(topic), wanted.index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  ErrorCode error = located.error;
  if (error == ErrorCode::NONE) error = check_leader_epoch(*located.state, wanted.current_leader_epoch);
  row.error = static_cast<int16_t>(error);
  if (error != ErrorCode::NONE) return Search::done;
  const PartitionState& state = *located.state;
  row.leader_epoch = state.leader_epoch;
  const PartitionSlot slot = located.place->slot;
  const uint64_t token = broker.token_of(context.connection_index, Broker::ReadFor::request);
  StoredBatch batch;
  switch (wanted.timestamp) {
    case kafka::list_offsets_latest:
      row.first = state.durable.value;
      return Search::done;
    case kafka::list_offsets_earliest:
    case kafka::list_offsets_earliest_local:
      row.first = state.log_start.value;
      return Search::done;
    case kafka::list_offsets_latest_tiered:
      return Search::done;
    case kafka::list_offsets_max_timestamp: {
      const Log::LookUp found = broker.log().find_max_timestamp(slot, token, batch);
      if (const auto search = not_found(broker, found, row)) return *search;
      if (batch.max_timestamp < 0) return Search::done;
      return open_batch(broker, context, slot, batch, batch.max_timestamp, row);
    }
    default: {
      if (wanted.timestamp < 0) {
        row.error = static_cast<int16_t>(ErrorCode::UNSUPPORTED_VERSION);
        return Search::done;
      }
      const Log::LookUp found = broker.log().find_time(slot, wanted.timestamp, token, batch);
      if (found == Log::LookUp::none) row.leader_epoch = -1;
      if (const auto search = not_found(broker, found, row)) return *search;
      return open_batch(broker, context, slot, batch, wanted.timestamp, row);
    }
  }
}

}  // namespace

Outcome handle_list_offsets(Broker& broker, RequestContext& context) {
  ListOffsetsRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  uint32_t partition_count = 0;
  for (const auto& topic : request.topics) partition_count += topic.partitions.size();
  kafka::Scratch& scratch = broker.scratch();
  kafka::Slice<ProgressRow> rows;
  if (partition_count > BufferAllocator::order_max * 40'000u / 8 || !scratch.make(partition_count, rows)) {
    return Outcome::malformed;
  }
  const std::span<const ProgressRow> before = broker.progress_rows(*context.connection);
  std::copy(before.begin(), before.end(), rows.begin());
  uint32_t row_index = 0;
  for (const auto& topic : request.topics) {
    for (const auto& partition : topic.partitions) {
      if (row_index < before.size()) {
        ++row_index;
        continue;
      }
      const Search search = look_up(broker, context, topic.name, partition, rows[row_index]);
      if (search != Search::done) {
        if (!broker.save_progress(*context.connection, {rows.begin(), row_index}, {})) return Outcome::malformed;
        broker.block(context.connection_index, search == Search::waiting ? Blocked::read : Blocked::room);
        return Outcome::blocked;
      }
      broker.count_error(static_cast<ErrorCode>(rows[row_index].error));
      ++row_index;
    }
  }
  // While a batch was read another one may have become the answer.
  broker.log().cancel_read(broker.token_of(context.connection_index, Broker::ReadFor::request));

  ListOffsetsResponse response;
  if (!scratch.make(request.topics.size(), response.topics)) return Outcome::malformed;
  row_index = 0;
  for (uint32_t t = 0; t < request.topics.size(); ++t) {
    response.topics[t].name = request.topics[t].name;
    if (!scratch.make(request.topics[t].partitions.size(), response.topics[t].partitions)) return Outcome::malformed;
    for (uint32_t p = 0; p < request.topics[t].partitions.size(); ++p) {
      const ProgressRow& row = rows[row_index++];
      response.topics[t].partitions[p] = {.index = request.topics[t].partitions[p].index,
                                          .error_code = static_cast<ErrorCode>(row.error),
                                          .timestamp = row.second,
                                          .offset = row.first,
                                          .leader_epoch = row.leader_epoch};
    }
  }
  return broker.outcome_of(context, broker.respond(context, response));
}

}  // namespace penstock
