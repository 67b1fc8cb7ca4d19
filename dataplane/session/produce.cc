// Produce, versions 3 to 13: topic and partition looked up, each batch validated and appended where it lies; the
// response leaves when the commit that holds the last of them is durable. acks 1 and all mean the same here, acks 0
// answers nothing and, as Kafka does, closes the connection on an error.
//
// A request that finds no room in the log keeps its progress, one row per partition, and goes on from there later, so a
// batch is never appended twice. Kafka's `timeout_ms` bounds the wait for followers; there are none, so it is not used.
#include <algorithm>

#include "dataplane/base/mutation.h"
#include "dataplane/kafka/messages/produce.h"
#include "dataplane/kafka/record_batch.h"
#include "dataplane/session/handlers.h"
#include "storage/crc/crc32c.h"

namespace penstock {

using kafka::ErrorCode;
using kafka::ProduceRequest;
using kafka::ProduceResponse;

namespace {

// More than one buffer of progress rows can hold; a request of the largest size with the smallest batches has fewer.
constexpr uint32_t partitions_per_request_max = 40'000;

struct Attempt {
  bool busy = false;
  ErrorCode error = ErrorCode::NONE;
  Offset base_offset{-1};
  Milliseconds log_append_time = -1;
  CommitSequence commit{};
};

Attempt failed(ErrorCode error) { return {.error = error}; }

BatchInfo info_of(const kafka::ValidBatch& batch, const PartitionState& state) {
  BatchInfo info;
  info.partition = state.number;
  info.last_offset_delta = batch.last_offset_delta;
  info.record_count = batch.record_count;
  info.max_timestamp = batch.max_timestamp;
  info.attributes = batch.attributes;
  info.leader_epoch = state.leader_epoch;
  if (batch.idempotent()) {
    info.producer_id = batch.producer_id;
    info.producer_epoch = batch.producer_epoch;
    info.base_sequence = batch.base_sequence;
  }
  info.crc = batch.crc;
  info.length = batch.size();
  return info;
}

// One batch: checked, checksummed in one pass with the copy if it is small enough to be copied, appended.
Attempt append(Broker& broker, const RequestContext& context, const Located& located, const PieceRange& records) {
  Log& log = broker.log();
  if (log.state() == LogState::read_only) return failed(ErrorCode::KAFKA_STORAGE_ERROR);
  const auto topic_max = static_cast<uint64_t>(located.topic->settings.max_message_bytes);
  const kafka::TopicLimits limits{
      .message_bytes_max = static_cast<uint32_t>(std::min(topic_max, log.batch_bytes_max())),
      .compacted = located.topic->settings.compacted,
      .zstd_allowed = context.version >= 7};
  const auto envelope = kafka::check_envelope(records, limits);
  if (!envelope.has_value()) return failed(kafka::error_of(envelope.error()));
  const std::optional<StagedBatch> staged = log.stage(records);
  if (!staged.has_value()) return {.busy = true};
  // The checksum has just read every byte: what is judged now is in cache.
  auto batch =
      staged->crc == envelope->header.crc || mutated(Mutation::ignore_batch_crc)
          ? kafka::check_contents(*envelope, limits)
          : std::expected<kafka::ValidBatch, kafka::BatchVerdict>(std::unexpected(kafka::BatchVerdict::crc_mismatch));
  if (!batch.has_value()) {
    log.unstage();
    return failed(kafka::error_of(batch.error()));
  }
  const bool append_time = located.topic->settings.log_append_time;
  if (append_time) {
    const kafka::RecordBatchHeader header =
        kafka::with_log_append_time(*batch, context.wall_ms, crc32c, crc32c_combine);
    log.patch_staged(0, std::as_bytes(std::span(&header, 1)));
  }
  const BatchInfo info = info_of(*batch, *located.state);
  if (batch->idempotent()) {
    const SequenceCheck sequence = log.check_sequence(located.place->slot, info);
    if (sequence.verdict != SequenceVerdict::next && sequence.verdict != SequenceVerdict::unknown_producer) {
      log.unstage();
      switch (sequence.verdict) {
        case SequenceVerdict::duplicate:
          // As Kafka, the time of the original, where it is still known. In other topics Kafka says it as well; clients
          // then take it for the time of each record, so here they keep their own.
          return {.base_offset = sequence.base_offset,
                  .log_append_time = append_time ? sequence.max_timestamp : -1,
                  .commit = mutated(Mutation::answer_duplicate_early) ? CommitSequence{} : sequence.commit};
        case SequenceVerdict::duplicate_old:
          return failed(ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
        case SequenceVerdict::out_of_order:
          return failed(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        default:
          return failed(ErrorCode::INVALID_PRODUCER_EPOCH);
      }
    }
  }
  const Appended appended = log.append(located.place->slot, info, context.now);
  switch (appended.verdict) {
    case AppendVerdict::appended:
      break;
    case AppendVerdict::busy:
      log.unstage();
      return {.busy = true};
    case AppendVerdict::refused:
      log.unstage();
      return failed(ErrorCode::KAFKA_STORAGE_ERROR);
  }
  broker.metrics().records.add(static_cast<uint64_t>(batch->record_count));
  return {.base_offset = appended.base_offset,
          .log_append_time = append_time ? context.wall_ms : -1,
          .commit = appended.commit};
}

Attempt produce(Broker& broker, const RequestContext& context, const ProduceRequest& request,
                const ProduceRequest::Topic& topic, const ProduceRequest::Partition& partition) {
  if (request.acks < -1 || request.acks > 1) return failed(ErrorCode::INVALID_REQUIRED_ACKS);
  const bool by_id = context.version >= 13;
  const TopicView* view = by_id ? broker.view().find(topic.topic_id) : broker.view().find(topic.name);
  const Located located = locate(broker, view, partition.index,
                                 by_id ? ErrorCode::UNKNOWN_TOPIC_ID : ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  if (located.error != ErrorCode::NONE) return failed(located.error);
  return append(broker, context, located, partition.records.range());
}

// KIP-951: with NOT_LEADER_OR_FOLLOWER comes where the leader is.
ProduceResponse::Leader leader_of(Broker& broker, const RequestContext& context, const ProduceRequest::Topic& topic,
                                  int32_t partition) {
  const TopicView* view = context.version >= 13 ? broker.view().find(topic.topic_id) : broker.view().find(topic.name);
  if (view == nullptr || static_cast<size_t>(partition) >= view->partitions.size()) return {};
  const PartitionPlace& place = view->partitions[static_cast<size_t>(partition)];
  return {broker.view().brokers[place.lane].node_id, place.leader_epoch};
}

Outcome respond(Broker& broker, RequestContext& context, const ProduceRequest& request,
                std::span<const ProgressRow> rows, CommitSequence commit) {
  kafka::Scratch& scratch = broker.scratch();
  ProduceResponse response;
  if (!scratch.make(request.topics.size(), response.topics)) return Outcome::malformed;
  size_t row_index = 0;
  bool moved = false;
  for (uint32_t t = 0; t < request.topics.size(); ++t) {
    const ProduceRequest::Topic& topic = request.topics[t];
    ProduceResponse::Topic& answer = response.topics[t];
    answer.name = topic.name;
    answer.topic_id = topic.topic_id;
    if (!scratch.make(topic.partitions.size(), answer.partitions)) return Outcome::malformed;
    for (uint32_t p = 0; p < topic.partitions.size(); ++p) {
      const ProgressRow& row = rows[row_index++];
      ProduceResponse::Partition& partition = answer.partitions[p];
      partition.index = topic.partitions[p].index;
      partition.error_code = static_cast<ErrorCode>(row.error);
      partition.base_offset = row.first;
      partition.log_append_time_ms = row.second;
      partition.log_start_offset = row.error == 0 ? 0 : -1;
      if (partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER) {
        partition.current_leader = leader_of(broker, context, topic, partition.index);
        moved = true;
      }
    }
  }
  if (moved && context.version >= 10 && !name_endpoints(broker, context, response.node_endpoints)) {
    return Outcome::malformed;
  }
  Response* sent = broker.respond(context, response);
  if (sent == nullptr) return broker.outcome_of(context, sent);
  sent->produce = true;
  if (commit.value > 0 && !mutated(Mutation::acknowledge_when_appended)) broker.await_commit(*sent, commit);
  return Outcome::responded;
}

}  // namespace

Outcome handle_produce(Broker& broker, RequestContext& context) {
  ProduceRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  uint64_t partition_count = 0, name_bytes = 0;
  for (const auto& topic : request.topics) {
    partition_count += topic.partitions.size();
    name_bytes += topic.name.size() + 32;
  }
  if (partition_count > partitions_per_request_max) return Outcome::malformed;
  kafka::Slice<ProgressRow> rows;
  if (!broker.scratch().make(static_cast<uint32_t>(partition_count), rows)) return Outcome::malformed;

  // Once a batch is appended the request must be answered, so the answer's memory, and that of the progress, comes
  // first: 64 bytes a partition, and the endpoints that may go along.
  constexpr uint64_t partition_bytes = 64, endpoints_bytes = 4096;
  const uint64_t answer_bytes =
      partition_count * (partition_bytes + sizeof(ProgressRow)) + name_bytes + endpoints_bytes;
  if (!broker.may_be_answered(answer_bytes)) return Outcome::too_large;
  if (!broker.has_send_memory(answer_bytes)) {
    broker.block(context.connection_index, Blocked::room);
    return Outcome::blocked;
  }

  const std::span<const ProgressRow> before = broker.progress_rows(*context.connection);
  CommitSequence commit = context.connection->progress.commit;
  std::copy(before.begin(), before.end(), rows.begin());
  uint32_t row_index = 0;
  for (const auto& topic : request.topics) {
    for (const auto& partition : topic.partitions) {
      if (row_index < before.size()) {
        ++row_index;
        continue;
      }
      const Attempt attempt = produce(broker, context, request, topic, partition);
      if (attempt.busy) {
        // If there should be no memory even for this, the batches appended so far stay unanswered: the connection goes.
        if (!broker.save_progress(*context.connection, {rows.begin(), row_index}, commit)) return Outcome::malformed;
        broker.block(context.connection_index, Blocked::room);
        return Outcome::blocked;
      }
      broker.count_error(attempt.error);
      commit = std::max(commit, attempt.commit);
      rows[row_index++] = {.first = attempt.base_offset.value,
                           .second = attempt.log_append_time,
                           .error = static_cast<int16_t>(attempt.error)};
    }
  }
  const std::span<const ProgressRow> done{rows.begin(), rows.size()};
  if (request.acks != 0) {
    const Outcome outcome = respond(broker, context, request, done, commit);
    // No memory after all: what was appended must not be appended again.
    if (outcome == Outcome::blocked && !broker.save_progress(*context.connection, done, commit)) {
      return Outcome::malformed;
    }
    return outcome;
  }
  const bool all_well = std::ranges::all_of(done, [](const ProgressRow& row) { return row.error == 0; });
  if (!all_well) return Outcome::malformed;
  if (commit.value > 0 && !broker.respond_silently(context, commit)) {
    if (!broker.save_progress(*context.connection, done, commit)) return Outcome::malformed;
    broker.block(context.connection_index, Blocked::room);
    return Outcome::blocked;
  }
  return Outcome::responded;
}

}  // namespace penstock
