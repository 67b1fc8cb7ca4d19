// Responses leave in request order. A fetch response names log positions; its batches are taken, from memory or from
// the drive, only as the stream has room, so a slow consumer holds a response header and nothing else.
#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/base/mutation.h"
#include "dataplane/session/broker.h"

namespace penstock {

namespace {
// What an answer takes, and a little that stays free.
uint64_t memory_for(uint64_t byte_count) { return round_up(byte_count, arena_unit_bytes) + 2 * arena_unit_bytes; }
}  // namespace

bool Broker::has_send_memory(uint64_t byte_count) const {
  return send_buffers_.free_bytes() >= memory_for(byte_count) && pieces_.free_count() > 64;
}

bool Broker::may_be_answered(uint64_t byte_count) const {
  return memory_for(byte_count) <= send_buffers_.bytes() - send_buffers_.bytes() / 2;
}

// Copies encoded bytes into send buffers; all or nothing.
bool Broker::encode_to_pieces(std::span<const std::byte> frame, PieceList& to) {
  if (!has_send_memory(frame.size())) return false;
  while (!frame.empty()) {
    uint8_t order = 0;
    const BufferIndex buffer =
        send_buffers_.allocate_at_most(BufferAllocator::order_for(std::min<size_t>(frame.size(), 64 * KiB)), &order);
    bool taken = buffer != no_buffer;
    if (taken) {
      buffers_.open(buffer, order, Holder::send);
      const size_t count = std::min<size_t>(frame.size(), buffers_.bytes(buffer));
      std::memcpy(arena_.at(buffer), frame.data(), count);
      taken = to.push_back(pieces_, {arena_.at(buffer), static_cast<uint32_t>(count), buffer});
      if (!taken) release(buffer, Holder::send);
      frame = frame.subspan(count);
    }
    if (!taken) {
      to.clear(pieces_, [&](BufferIndex held) { release(held, Holder::send); });
      return false;
    }
  }
  return true;
}

Response* Broker::respond_unprefixed(RequestContext& context, std::span<const std::byte> header_and_body) {
  if (header_and_body.size() > encode_bytes - kafka::frame_length_bytes) return nullptr;
  store_big(encode_memory_.get(), static_cast<int32_t>(header_and_body.size()));
  std::memcpy(encode_memory_.get() + kafka::frame_length_bytes, header_and_body.data(), header_and_body.size());
  return respond_encoded(context, {encode_memory_.get(), kafka::frame_length_bytes + header_and_body.size()});
}

Response* Broker::respond_encoded(RequestContext& context, std::span<const std::byte> frame) {
  if (!may_be_answered(frame.size())) {
    context.too_large = true;
    return nullptr;
  }
  PieceList bytes;
  if (!encode_to_pieces(frame, bytes)) return nullptr;
  Response* response = append_response(context, std::move(bytes));
  if (response == nullptr) bytes.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::send); });
  return response;
}

bool Broker::respond_silently(RequestContext& context, CommitSequence commit) {
  Response* response = append_response(context, PieceList());
  if (response == nullptr) return false;
  response->silent = true;
  await_commit(*response, commit);
  return true;
}

// `bytes` is only taken when there is a slot for the response.
Response* Broker::append_response(RequestContext& context, PieceList&& bytes) {
  Connection& connection = *context.connection;
  // Every connection can always have one response; more only while that stays true for all others.
  if (connection.response_count > 0 && responses_.free_count() <= config_.connections_max) return nullptr;
  const uint32_t index = responses_.take();
  if (index == no_index) return nullptr;
  Response& response = responses_[index];
  response.bytes = std::move(bytes);
  response.connection = context.connection_index;
  response.api = context.request.api->key;
  response.version = context.version;
  response.received_at = connection.request_started_at;
  response.ready = true;
  (connection.last_response == no_index ? connection.first_response : responses_[connection.last_response].next) =
      index;
  connection.last_response = index;
  ++connection.response_count;
  list_pump(context.connection_index);
  return &response;
}

// The response leaves when `commit` is durable; until then the request's reservation stays with it.
void Broker::await_commit(Response& response, CommitSequence commit) {
  response.produce = response.api == kafka::ApiKey::produce;
  response.grant = std::exchange(connections_[response.connection].grant, {});
  if (response.grant.cost > 0) connections_[response.connection].proven = true;
  if (commit <= log_.durable_commit()) {  // a duplicate, whatever becomes of those that wait
    reservations_.release(std::exchange(response.grant, {}));
    return;
  }
  response.ready = false;
  const auto index = connections_[response.connection].last_response;
  // A duplicate may wait for an older commit than those before it in the list: a little longer than it must.
  response.commit = commit;
  (commit_last_ == no_index ? commit_first_ : responses_[commit_last_].commit_next) = index;
  commit_last_ = index;
}

void Broker::list_pump(uint32_t index) {
  if (std::exchange(connections_[index].pump_listed, true)) return;
  pump_list_.push_back(index);
}

// Gives the stream whatever can leave now.
void Broker::pump(uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.state == ConnectionState::free || connection.state == ConnectionState::gone) return;
  const bool was_full = connection.response_count >= responses_per_connection_max;
  do {
    if (!offer(index)) break;
  } while (connection.unsent < unsent_per_connection_max && unsent_bytes_ < config_.send_bytes && stage_next(index));
  // Stopped by what all connections share, not by its own stream: it gets its turn again.
  if (unsent_bytes_ >= config_.send_bytes && connection.first_response != no_index) {
    send_pressure_ = true;
    list_pump(index);
  }
  if (connection.state == ConnectionState::closing && connection.first_response == no_index &&
      connection.staged.empty()) {
    connection.state = ConnectionState::gone;
    port_.close(connection.stream);
    return;
  }
  if (was_full && connection.response_count < responses_per_connection_max) advance(index);
}

// Staged pieces to the stream; false while it has no room for all.
bool Broker::offer(uint32_t index) {
  Connection& connection = connections_[index];
  while (!connection.staged.empty()) {
    std::array<Piece, 32> pieces;
    size_t count = 0;
    PieceRange left = connection.staged.range();
    while (!left.empty() && count < pieces.size()) {
      pieces[count] = left.front();
      left.drop_front(pieces[count++].length);
    }
    const size_t taken = port_.send(connection.stream, {pieces.data(), count});
    uint64_t bytes = 0;
    for (size_t i = 0; i < taken; ++i) bytes += pieces[i].length;
    connection.staged.drop_front(pieces_, bytes, [](BufferIndex) {});  // the stream has the references now
    if (connection.unsent == 0) connection.last_sent_at = now_;
    connection.unsent += bytes;
    unsent_bytes_ += bytes;
    connection.last_active_at = now_;
    if (taken < count) return false;
  }
  return true;
}

// Moves the next stretch of the response at the front to `staged`; false when there is nothing, or not yet.
bool Broker::stage_next(uint32_t index) {
  Connection& connection = connections_[index];
  const uint32_t response_index = connection.first_response;
  if (response_index == no_index || connection.reading) return false;
  Response& response = responses_[response_index];
  if (mutated(Mutation::overtake_responses) && !response.ready && response.next != no_index &&
      responses_[response.next].ready) {
    responses_[connection.last_response].next = response_index;
    connection.last_response = response_index;
    connection.first_response = std::exchange(response.next, no_index);
    return true;
  }
  if (!response.ready) return false;

  const uint32_t part_index = response.first_part;
  const uint64_t literal =
      part_index == no_index ? response.bytes.size() : parts_[part_index].position - response.position;
  if (literal > 0) {
    // A piece that is cut in two is held twice.
    uint64_t moved = 0;
    bool whole = true;
    response.bytes.slice(0, literal).for_each([&](const Piece& piece) {
      if (!whole) return;
      whole = connection.staged.push_back(pieces_, piece);
      if (!whole) return;
      buffers_.hold(piece.buffer, Holder::send);
      moved += piece.length;
    });
    response.bytes.drop_front(pieces_, moved, [&](BufferIndex buffer) { release(buffer, Holder::send); });
    response.position += static_cast<uint32_t>(moved);
    return moved > 0;
  }
  if (part_index != no_index) {
    FetchPart& part = parts_[part_index];
    if (part.bytes_left == 0) {
      response.first_part = part.next_part;
      parts_.give(part_index);
      return true;
    }
    const PartitionState* state = log_.partition(part.slot);
    const uint64_t token = token_of(index, ReadFor::response);
    StoredBatch batch;
    const bool there = state != nullptr && state->number == part.number;
    const Log::LookUp found = there ? log_.find(part.slot, part.next, token, batch) : Log::LookUp::none;
    if (found == Log::LookUp::reading || found == Log::LookUp::busy) {
      connection.reading = found == Log::LookUp::reading;
      if (!connection.reading) list_pump(index);
      return false;
    }
    if (found == Log::LookUp::damaged) {
      notice("a footer on the drive is damaged: fetch refused, connection closed");
      abort(index);
      return false;
    }
    // Damage may have left a hole, which the promise knew of; what was deleted is below the log start.
    const bool deleted = found != Log::LookUp::none && batch.base_offset > part.next && part.next < state->log_start;
    if (found == Log::LookUp::none || deleted || batch.length > part.bytes_left) {
      // Deleted under the consumer's feet: its bytes were promised, so only the connection can be given up.
      notice(state == nullptr || state->number != part.number
                 ? "a partition was deleted while it was being fetched: connection closed"
                 : "records were deleted while they were being fetched: connection closed");
      abort(index);
      return false;
    }
    switch (log_.fetch(part.slot, batch, token, pieces_, connection.staged)) {
      case Log::FetchVerdict::ready:
        part.next = batch.next_offset;
        part.bytes_left -= batch.length;
        metrics_.fetch_bytes.add(batch.length);
        return true;
      case Log::FetchVerdict::reading:
        connection.reading = true;
        return false;
      case Log::FetchVerdict::soon:
        list_pump(index);
        return false;
      case Log::FetchVerdict::busy:
        send_pressure_ = true;  // what was read for readers that do not take it may be all that can be read
        list_pump(index);
        return false;
      case Log::FetchVerdict::damaged:
        return cannot_serve(index, part, "does not match its checksum", kafka::ErrorCode::CORRUPT_MESSAGE);
      case Log::FetchVerdict::unreadable:
        return cannot_serve(index, part, "cannot be read from the drive", kafka::ErrorCode::KAFKA_STORAGE_ERROR);
    }
  }
  // All of it is staged.
  if (response.produce && !response.silent) metrics_.produce_latency.add(now_ - response.received_at);
  connection.first_response = response.next;
  if (connection.first_response == no_index) connection.last_response = no_index;
  --connection.response_count;
  free_response(response_index);
  return true;
}

// Its bytes were promised, so only the connection can be given up. The error is counted as what it is.
bool Broker::cannot_serve(uint32_t index, const FetchPart& part, const char* why, kafka::ErrorCode error) {
  notice("partition number " + std::to_string(part.number.value) + ", offset " + std::to_string(part.next.value) +
         ": the batch " + why + "; not served, connection closed");
  count_error(error);
  abort(index);
  return false;
}

void Broker::free_response(uint32_t response_index) {
  Response& response = responses_[response_index];
  response.bytes.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::send); });
  reservations_.release(std::exchange(response.grant, {}));
  free_parts(response.first_part);
  responses_.give(response_index);
}

void Broker::free_parts(uint32_t part_index) {
  while (part_index != no_index) {
    const uint32_t next = parts_[part_index].next_part;
    parts_.give(part_index);
    part_index = next;
  }
}

bool Broker::save_progress(Connection& connection, std::span<const ProgressRow> rows, CommitSequence commit) {
  drop_progress(connection);
  if (rows.empty()) return true;
  const uint8_t order = BufferAllocator::order_for(rows.size_bytes());
  if (progress_bytes_ + (arena_unit_bytes << order) > send_buffers_.bytes() / 2) return false;
  const BufferIndex buffer = send_buffers_.allocate(order);
  if (buffer == no_buffer) return false;
  buffers_.open(buffer, order, Holder::send);
  progress_bytes_ += buffers_.bytes(buffer);
  check(rows.size_bytes() <= buffers_.bytes(buffer), "progress larger than a buffer",
        static_cast<long long>(rows.size_bytes()));
  std::memcpy(arena_.at(buffer), rows.data(), rows.size_bytes());
  connection.progress = {buffer, static_cast<uint32_t>(rows.size()), commit};
  return true;
}

std::span<const ProgressRow> Broker::progress_rows(const Connection& connection) const {
  if (connection.progress.buffer == no_buffer) return {};
  return {reinterpret_cast<const ProgressRow*>(arena_.at(connection.progress.buffer)), connection.progress.row_count};
}

void Broker::drop_progress(Connection& connection) {
  if (connection.progress.buffer != no_buffer) {
    progress_bytes_ -= buffers_.bytes(connection.progress.buffer);
    release(connection.progress.buffer, Holder::send);
  }
  connection.progress = {};
}

}  // namespace penstock
