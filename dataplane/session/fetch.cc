// Fetch, versions 4 to 17: durable batches, whole, from the one that contains the fetch offset on.
//
// The response names log positions (FetchPart); send.cc takes the bytes as the stream has room. With less than
// min_bytes the connection waits for its partitions, until max_wait_ms. A fetch between the durable and the appended
// offset is empty; beyond it is OFFSET_OUT_OF_RANGE. Fetch sessions (KIP-227) are not kept: every answer has session id
// 0, which tells clients to send whole requests. There are no transactions, so both isolation levels see the same.
#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/base/mutation.h"
#include "dataplane/kafka/messages/fetch.h"
#include "dataplane/session/handlers.h"

namespace penstock {

using kafka::ErrorCode;
using kafka::FetchRequest;
using kafka::FetchResponse;

namespace {

constexpr uint64_t fetch_bytes_max = 55 * MiB;  // Kafka's default of fetch.max.bytes for brokers
constexpr uint32_t parts_per_response_max = 4096;
// An answer that has some bytes waits for so many footers' blocks at most, and not if it has so many bytes.
constexpr uint32_t waits_max = 16;
constexpr uint64_t bytes_worth_an_answer = 1 * MiB;

struct Taken {
  uint64_t bytes = 0;
  Log::LookUp stopped = Log::LookUp::none;  // what the last look-up said, if not that there is room for no more
};

// Bytes of whole batches from `from` on, at most `limit`, but at least one batch if `at_least_one`.
Taken take(Log& log, uint64_t token, PartitionSlot slot, Offset from, uint64_t limit, bool at_least_one) {
  Taken taken;
  while (taken.bytes < limit) {
    StoredBatch batch;
    const Log::LookUp found = log.find(slot, from, token, batch);
    if (found != Log::LookUp::found) {
      taken.stopped = found;
      break;
    }
    const bool first = at_least_one && taken.bytes == 0;
    if (!first && taken.bytes + batch.length > limit) break;
    taken.bytes += batch.length;
    from = batch.next_offset;
  }
  return taken;
}

ErrorCode check_range(const PartitionState& state, int64_t fetch_offset) {
  return fetch_offset < state.log_start.value || fetch_offset > state.appended.value ? ErrorCode::OFFSET_OUT_OF_RANGE
                                                                                     : ErrorCode::NONE;
}

// The parts of the response, linked in order. There are enough: they were counted before.
void link_parts(Broker& broker, Response& response, std::span<const kafka::Splice> spliced,
                std::span<const FetchPart> wanted) {
  uint32_t last = no_index;
  for (size_t i = 0; i < spliced.size(); ++i) {
    const uint32_t index = broker.take_part();
    check(index != no_index, "fetch parts ran out after they were counted");
    FetchPart& part = broker.part(index);
    part = wanted[i];
    part.position = spliced[i].position;
    check(part.bytes_left == spliced[i].size, "fetch part and splice differ", static_cast<long long>(part.bytes_left),
          static_cast<long long>(spliced[i].size));
    (last == no_index ? response.first_part : broker.part(last).next_part) = index;
    last = index;
  }
}

}  // namespace

Outcome handle_fetch(Broker& broker, RequestContext& context) {
  FetchRequest request;
  if (!decode(broker, context, request)) return Outcome::malformed;
  Connection& connection = *context.connection;
  const bool by_id = context.version >= 13;
  const bool waited = connection.deadline != 0;
  if (!waited) {
    connection.deadline = context.now + std::clamp<int64_t>(request.max_wait_ms, 0, INT32_MAX) * millisecond_ns;
  }

  kafka::Scratch& scratch = broker.scratch();
  FetchResponse response;
  if (!scratch.make(request.topics.size(), response.topics)) return Outcome::malformed;
  kafka::Slice<FetchPart> parts;
  uint64_t partition_count = 0;
  for (const auto& topic : request.topics) partition_count += topic.partitions.size();
  const auto parts_max =
      static_cast<uint32_t>(std::min<uint64_t>({partition_count, parts_per_response_max, broker.parts_left()}));
  if (!scratch.make(parts_max, parts)) return Outcome::malformed;
  uint32_t part_count = 0;
  uint64_t budget = std::min<uint64_t>(static_cast<uint64_t>(std::max(request.max_bytes, 0)), fetch_bytes_max);
  uint64_t total = 0;
  bool any_error = false, moved = false;
  // A partition whose batches are not known before a footer is read: those behind it come with another request, unless
  // there is nothing to answer yet.
  const uint64_t token = broker.token_of(context.connection_index, Broker::ReadFor::request);
  Log::LookUp waits_for = Log::LookUp::none;

  for (uint32_t t = 0; t < request.topics.size(); ++t) {
    const FetchRequest::Topic& topic = request.topics[t];
    FetchResponse::Topic& answer = response.topics[t];
    answer.name = topic.name;
    answer.topic_id = topic.topic_id;
    if (!scratch.make(topic.partitions.size(), answer.partitions)) return Outcome::malformed;
    const TopicView* view = by_id ? broker.view().find(topic.topic_id) : broker.view().find(topic.name);
    for (uint32_t p = 0; p < topic.partitions.size(); ++p) {
      const FetchRequest::Partition& wanted = topic.partitions[p];
      FetchResponse::Partition& partition = answer.partitions[p];
      partition.index = wanted.index;
      partition.records = kafka::Records::external(0);
      partition.high_watermark = -1;
      const Located located = locate(broker, view, wanted.index,
                                     by_id ? ErrorCode::UNKNOWN_TOPIC_ID : ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
      partition.error_code = located.error;
      if (located.state != nullptr) {
        const PartitionState& state = *located.state;
        partition.error_code = check_leader_epoch(state, wanted.current_leader_epoch);
        if (partition.error_code == ErrorCode::NONE) {
          partition.error_code = check_range(state, wanted.fetch_offset);
        }
        const Offset end = mutated(Mutation::high_watermark_early) ? state.appended : state.durable;
        partition.high_watermark = partition.last_stable_offset = end.value;
        partition.log_start_offset = state.log_start.value;
      }
      if (partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER ||
          partition.error_code == ErrorCode::FENCED_LEADER_EPOCH) {
        partition.current_leader = {broker.view().brokers[located.place->lane].node_id, located.place->leader_epoch};
        moved = true;
      }
      if (partition.error_code != ErrorCode::NONE) {
        any_error = true;
        continue;
      }
      if (part_count == parts_max || wanted.fetch_offset >= located.state->durable.value) continue;
      if (waits_for != Log::LookUp::none) continue;
      const uint64_t limit = std::min<uint64_t>(budget, static_cast<uint64_t>(std::max(wanted.partition_max_bytes, 0)));
      const auto [taken, stopped] = take(broker.log(), token, located.place->slot, Offset(wanted.fetch_offset),
                                         std::max<uint64_t>(limit, total == 0 ? 1 : 0), total == 0);
      if (stopped == Log::LookUp::reading || stopped == Log::LookUp::busy) waits_for = stopped;
      if (stopped == Log::LookUp::damaged && taken == 0) {
        broker.notice("a footer on the drive is damaged: fetch refused");
        partition.error_code = ErrorCode::KAFKA_STORAGE_ERROR;
        any_error = true;
      }
      if (taken == 0) continue;
      partition.records = kafka::Records::external(taken);
      parts[part_count++] = {.slot = located.place->slot,
                             .number = located.place->number,
                             .next = Offset(wanted.fetch_offset),
                             .bytes_left = taken};
      total += taken;
      budget -= std::min(budget, taken);
    }
  }

  const bool time_is_up = context.now >= connection.deadline;
  const bool enough = total >= static_cast<uint64_t>(std::max(request.min_bytes, 0)) || time_is_up;
  const bool more_is_better = !time_is_up && total < bytes_worth_an_answer && connection.look_ups < waits_max;
  if (waits_for != Log::LookUp::none && (total == 0 || more_is_better)) {
    ++connection.look_ups;
    broker.block(context.connection_index, waits_for == Log::LookUp::reading ? Blocked::read : Blocked::room);
    return Outcome::blocked;
  }
  if (std::exchange(connection.look_ups, 0) > 0 || waits_for != Log::LookUp::none) broker.log().cancel_read(token);
  const bool satisfied = enough || any_error || request.topics.empty();
  if (!satisfied && !broker.stopping()) {
    for (const auto& topic : request.topics) {
      const TopicView* view = by_id ? broker.view().find(topic.topic_id) : broker.view().find(topic.name);
      for (const auto& partition : topic.partitions) {
        const Located located = locate(broker, view, partition.index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        if (located.state != nullptr) broker.wait_for(context.connection_index, located.place->slot);
      }
    }
    broker.block(context.connection_index, Blocked::fetch);
    return Outcome::blocked;
  }

  if (moved && context.version >= 16 && !name_endpoints(broker, context, response.node_endpoints)) {
    return Outcome::malformed;
  }
  kafka::Slice<kafka::Splice> splices;
  if (!scratch.make(part_count, splices)) return Outcome::malformed;
  std::span<const kafka::Splice> spliced;
  Response* sent = broker.respond(context, response, {splices.begin(), splices.size()}, &spliced);
  if (sent == nullptr) return broker.outcome_of(context, sent);
  link_parts(broker, *sent, spliced, {parts.begin(), part_count});
  connection.deadline = 0;
  for (const auto& topic : response.topics) {
    for (const auto& partition : topic.partitions) broker.count_error(partition.error_code);
  }
  return Outcome::responded;
}

}  // namespace penstock
