// DeleteRecords, versions 0 to 2: the log start of each partition moves up to the offset asked for, never down. The
// answer leaves when all of them are durable. `timeout_ms` bounds Kafka's wait for followers; there are none.
//
// A request that finds no room runs again from the start: what it has achieved is asked for once more, and is there.
#include "dataplane/kafka/messages/delete_records.h"

#include <algorithm>

#include "dataplane/base/mutation.h"
#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::DeleteRecordsRequest;
using kafka::DeleteRecordsResponse;
using kafka::ErrorCode;

namespace {

struct Attempt {
  bool busy = false;
  ErrorCode error = ErrorCode::NONE;
  int64_t low_watermark = -1;
  CommitSequence commit{};
};

Attempt failed(ErrorCode error) { return {.error = error}; }

Attempt delete_before(Broker& broker, const Located& located, int64_t asked) {
  if (located.error != ErrorCode::NONE) return failed(located.error);
  const TopicSettings& settings = located.topic->settings;
  if (settings.compacted && !settings.deletes) return failed(ErrorCode::POLICY_VIOLATION);
  const PartitionState& state = *located.state;
  const Offset before = asked == kafka::delete_records_high_watermark ? state.durable : Offset(asked);
  if (before < Offset(0) || before > state.durable) return failed(ErrorCode::OFFSET_OUT_OF_RANGE);
  const Deleted deleted = broker.log().delete_records(located.place->slot, before);
  switch (deleted.verdict) {
    case AppendVerdict::appended:
      return {.low_watermark = std::max(before, state.log_start).value,
              .commit = mutated(Mutation::delete_before_durable) ? CommitSequence{} : deleted.commit};
    case AppendVerdict::busy:
      return {.busy = true};
    case AppendVerdict::refused:
      break;
  }
  return failed(ErrorCode::KAFKA_STORAGE_ERROR);
}

}  // namespace

Outcome handle_delete_records(Broker& broker, RequestContext& context) {
  DeleteRecordsRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  DeleteRecordsResponse response;
  kafka::Scratch& scratch = broker.scratch();
  if (!scratch.make(request.topics.size(), response.topics)) return Outcome::malformed;
  CommitSequence commit{};
  for (uint32_t t = 0; t < request.topics.size(); ++t) {
    const DeleteRecordsRequest::Topic& topic = request.topics[t];
    DeleteRecordsResponse::Topic& answer = response.topics[t];
    answer.name = topic.name;
    if (!scratch.make(topic.partitions.size(), answer.partitions)) return Outcome::malformed;
    const TopicView* view = broker.view().find(topic.name);
    for (uint32_t p = 0; p < topic.partitions.size(); ++p) {
      const Located located =
          locate(broker, view, topic.partitions[p].index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
      const Attempt attempt = delete_before(broker, located, topic.partitions[p].offset);
      if (attempt.busy) {
        broker.block(context.connection_index, Blocked::room);
        return Outcome::blocked;
      }
      commit = std::max(commit, attempt.commit);
      answer.partitions[p] = {
          .index = topic.partitions[p].index, .low_watermark = attempt.low_watermark, .error_code = attempt.error};
    }
  }
  Response* sent = broker.respond(context, response);
  if (sent == nullptr) return broker.outcome_of(context, sent);
  for (const auto& topic : response.topics) {
    for (const auto& partition : topic.partitions) broker.count_error(partition.error_code);
  }
  if (commit.value > 0) broker.await_commit(*sent, commit);
  return Outcome::responded;
}

}  // namespace penstock
