// What becomes possible later: acknowledgements when commits are durable, fetches when data is there, requests that
// waited for room, answers of the control plane, the end.
#include <algorithm>
#include <string>
#include <utility>

#include "dataplane/kafka/messages/delete_records.h"
#include "dataplane/kafka/messages/produce.h"
#include "dataplane/session/broker.h"

namespace penstock {

namespace {
constexpr int32_t producer_ids_low = 100;  // ask for the next block before this one ends

// A topic that is only compacted keeps everything, as long as nothing is compacted here.
RetentionPolicy retention_of(const TopicSettings& settings) {
  if (!settings.deletes) return {};
  return {.age_max = settings.retention_ms, .bytes_max = settings.retention_bytes};
}
}

uint32_t Broker::work(Nanoseconds now, Milliseconds wall_ms) {
  now_ = now;
  wall_ms_ = wall_ms;
  uint32_t done = acknowledge();
  done += resume_reads();
  done += wake_fetches();
  done += retry_room();
  grant_waiting();
  sweep();
  if (room_first_ != no_index && !has_send_memory(send_buffers_.bytes() / 8)) send_pressure_ = true;
  relieve();

  // Receive buffers are never so short that small requests cannot come in: the newest data gives way.
  const uint64_t free = port_.receive_free(), low = config_.receive_bytes / 8;
  if (free < low) log_.shed_resident(low - free);

  pump_next_.swap(pump_list_);
  for (const uint32_t index : pump_next_) connections_[index].pump_listed = false;
  for (const uint32_t index : pump_next_) pump(index);
  pump_next_.clear();

  while (!control_backlog_.empty() && control_.push(std::move(control_backlog_.front()))) {
    control_backlog_.erase(control_backlog_.begin());
  }
  if (stopping_ && !stopped_) drain();
  metrics_.reserved_bytes.set(reservations_.used());
  metrics_.reservations_waiting.set(reservations_.waiting());
  metrics_.receive_bytes_held.set(receive_bytes_all_ - std::min(receive_bytes_all_, port_.receive_free()));
  return done;
}

Nanoseconds Broker::next_deadline() const {
  Nanoseconds deadline = std::min(fetch_timers_.next_deadline(), open_count_ > 0 ? next_sweep_ : never_ns);
  // What did not find room or memory is looked at again soon even if no completion comes.
  if (!pump_list_.empty() || room_first_ != no_index) deadline = std::min(deadline, now_ + millisecond_ns);
  return deadline;
}

// Produce responses whose commit is durable become ready; those whose commit was lost say so.
uint32_t Broker::acknowledge() {
  const CommitSequence durable = log_.durable_commit(), lost = log_.lost_up_to();
  uint32_t count = 0;
  while (commit_first_ != no_index) {
    const uint32_t index = commit_first_;
    Response& response = responses_[index];
    if (response.commit > durable && response.commit > lost) break;
    commit_first_ = response.commit_next;
    if (commit_first_ == no_index) commit_last_ = no_index;
    ++count;
    reservations_.release(std::exchange(response.grant, {}));
    if (response.connection == no_index) {
      free_response(index);
      continue;
    }
    if (response.commit > durable) fail_lost(response);
    response.ready = true;
    list_pump(response.connection);
  }
  return count;
}

// The response said what was done; it is undone. Its own description reads it back, the errors go in, and it is encoded
// again.
void Broker::fail_lost(Response& response) {
  if (response.silent) return abort(response.connection);  // acks=0: Kafka's only way to say it
  if (response.api == kafka::ApiKey::delete_records) {
    return fail_lost<kafka::DeleteRecordsResponse>(response, [](auto& partition) { partition.low_watermark = -1; });
  }
  fail_lost<kafka::ProduceResponse>(response, [](auto& partition) { partition.base_offset = -1; });
}

template <class Message, class Undo>
void Broker::fail_lost(Response& response, Undo&& undo) {
  Connection& connection = connections_[response.connection];
  Message message;
  int32_t correlation_id = 0;
  scratch_.reset();
  const PieceRange frame = response.bytes.range();
  const auto status =
      kafka::decode_response(frame.slice(kafka::frame_length_bytes, frame.size() - kafka::frame_length_bytes),
                             response.version, scratch_, correlation_id, message);
  check(status == kafka::DecodeStatus::ok, "our own response does not decode", static_cast<int>(status));
  for (auto& topic : message.topics) {
    for (auto& partition : topic.partitions) {
      if (partition.error_code != kafka::ErrorCode::NONE) continue;
      partition.error_code = kafka::ErrorCode::KAFKA_STORAGE_ERROR;
      undo(partition);
      count_error(partition.error_code);
    }
  }
  const auto encoded = kafka::encode_response(correlation_id, message, response.version,
                                              std::span<std::byte>(encode_memory_.get(), encode_bytes));
  check(encoded.has_value(), "a response grew when its errors were set");
  response.bytes.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::send); });
  if (!encode_to_pieces(encoded->bytes, response.bytes)) abort(static_cast<uint32_t>(&connection - connections_.get()));
}

void Broker::wait_for(uint32_t connection_index, PartitionSlot slot) {
  const uint32_t index = waiters_.take();
  if (index == no_index) return;  // then only the deadline ends the wait
  Connection& connection = connections_[connection_index];
  PartitionState* state = log_.partition(slot);
  Waiter& waiter = waiters_[index];
  waiter.connection = connection_index;
  waiter.slot = slot;
  waiter.next = state->first_waiter;
  if (waiter.next != no_index) waiters_[waiter.next].previous = index;
  state->first_waiter = index;
  waiter.next_of_connection = connection.first_waiter;
  connection.first_waiter = index;
}

void Broker::drop_waiters(uint32_t index) {
  Connection& connection = connections_[index];
  fetch_timers_.clear(index);
  while (connection.first_waiter != no_index) {
    const uint32_t waiter_index = connection.first_waiter;
    Waiter& waiter = waiters_[waiter_index];
    connection.first_waiter = waiter.next_of_connection;
    if (waiter.next != no_index) waiters_[waiter.next].previous = waiter.previous;
    if (waiter.previous != no_index) {
      waiters_[waiter.previous].next = waiter.next;
    } else if (PartitionState* state = log_.partition(waiter.slot); state != nullptr) {
      state->first_waiter = waiter.next;
    }
    waiters_.give(waiter_index);
  }
}

uint32_t Broker::wake_fetches() {
  for (const PartitionSlot slot : log_.advanced()) {
    const PartitionState* state = log_.partition(slot);
    if (state == nullptr) continue;
    for (uint32_t waiter = state->first_waiter; waiter != no_index; waiter = waiters_[waiter].next) {
      const uint32_t index = waiters_[waiter].connection;
      if (!std::exchange(connections_[index].wake_listed, true)) wake_list_.push_back(index);
    }
  }
  log_.forget_advanced();
  fetch_timers_.expire(now_, [&](uint32_t index) {
    if (!std::exchange(connections_[index].wake_listed, true)) wake_list_.push_back(index);
  });
  const auto count = static_cast<uint32_t>(wake_list_.size());
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t index = wake_list_[i];
    connections_[index].wake_listed = false;
    if (connections_[index].blocked == Blocked::fetch) unblock(index);
  }
  wake_list_.erase(wake_list_.begin(), wake_list_.begin() + count);
  return count;
}

uint32_t Broker::resume_reads() {
  const std::span<const uint64_t> tokens = log_.reads_done();
  reads_done_.assign(tokens.begin(), tokens.end());  // who is woken may read, or give up a read
  log_.forget_reads_done();
  for (const uint64_t token : reads_done_) {
    const auto index = static_cast<uint32_t>(token & UINT32_MAX) >> 1;
    const auto what = static_cast<ReadFor>(token & 1);
    if (index >= config_.connections_max || token_of(index, what) != token) continue;
    Connection& connection = connections_[index];
    if (connection.state == ConnectionState::free) continue;
    if (what == ReadFor::response && std::exchange(connection.reading, false)) list_pump(index);
    if (what == ReadFor::request && connection.blocked == Blocked::read) unblock(index);
  }
  return static_cast<uint32_t>(reads_done_.size());
}

void Broker::block(uint32_t connection_index, Blocked why) {
  Connection& connection = connections_[connection_index];
  connection.blocked = why;
  if (why == Blocked::fetch) fetch_timers_.set(connection_index, connection.deadline);
  if (why != Blocked::room) return;
  connection.next_blocked = no_index;
  (room_last_ == no_index ? room_first_ : connections_[room_last_].next_blocked) = connection_index;
  room_last_ = connection_index;
}

// The request at the front is tried again.
void Broker::unblock(uint32_t index) {
  Connection& connection = connections_[index];
  drop_waiters(index);
  connection.blocked = Blocked::no;
  advance(index);
}

void Broker::leave_room_list(uint32_t index) {
  uint32_t previous = no_index;
  for (uint32_t at = room_first_; at != no_index; previous = at, at = connections_[at].next_blocked) {
    if (at != index) continue;
    (previous == no_index ? room_first_ : connections_[previous].next_blocked) = connections_[at].next_blocked;
    if (room_last_ == index) room_last_ = previous;
    connections_[at].next_blocked = no_index;
    return;
  }
}

// In the order in which they were refused, until one is refused again.
uint32_t Broker::retry_room() {
  uint32_t count = 0;
  const uint32_t last = room_last_;
  while (room_first_ != no_index) {
    const uint32_t index = room_first_;
    Connection& connection = connections_[index];
    room_first_ = connection.next_blocked;
    if (room_first_ == no_index) room_last_ = no_index;
    connection.next_blocked = no_index;
    if (connection.blocked == Blocked::room) {
      unblock(index);
      ++count;
      if (connection.blocked == Blocked::room) {
        // It went to the end; it was the first, so it goes back to the front.
        if (room_first_ != index) {
          uint32_t previous = room_first_;
          while (connections_[previous].next_blocked != index) previous = connections_[previous].next_blocked;
          connections_[previous].next_blocked = no_index;
          room_last_ = previous;
          connection.next_blocked = room_first_;
          room_first_ = index;
        }
        return count - 1;
      }
    }
    if (index == last) break;
  }
  return count;
}

void Broker::ask_control(uint32_t connection_index, ToControl&& message) {
  Connection& connection = connections_[connection_index];
  connection.control_token = next_token_++ & UINT32_MAX;
  message.token = connection.control_token << 32 | connection_index;
  tell_control(std::move(message));
}

std::optional<int64_t> Broker::take_producer_id(uint32_t connection_index) {
  if (producer_ids_.empty()) producer_ids_ = std::exchange(producer_ids_behind_, {});
  const bool low = producer_ids_.end - producer_ids_.next < producer_ids_low && producer_ids_behind_.empty();
  if (low && !producer_ids_asked_ && !no_producer_ids_) {
    producer_ids_asked_ = true;
    ToControl message;
    message.kind = ToControlKind::producer_id_block;
    tell_control(std::move(message));
  }
  if (!producer_ids_.empty()) return producer_ids_.next++;
  if (!no_producer_ids_) producer_id_waiters_.push_back(connection_index);
  return std::nullopt;
}

void Broker::tell_control(ToControl&& message) {
  message.lane = config_.lane;
  if (!control_backlog_.empty() || !control_.push(std::move(message))) control_backlog_.push_back(std::move(message));
}

void Broker::on_control(ToLane&& message, Nanoseconds now, Milliseconds wall_ms) {
  now_ = now;
  wall_ms_ = wall_ms;
  switch (message.kind) {
    case ToLaneKind::view:
      return apply_view(std::move(message.view));
    case ToLaneKind::stop:
      stopping_ = true;
      port_.stop_accepting();
      return;
    case ToLaneKind::producer_id_block: {
      producer_ids_asked_ = false;
      const ProducerIds block{message.first_producer_id, message.first_producer_id + message.producer_id_count};
      (producer_ids_.empty() ? producer_ids_ : producer_ids_behind_) = block;
      std::vector<uint32_t> waiting;
      waiting.swap(producer_id_waiters_);
      no_producer_ids_ = block.empty();  // the catalog could not give any: those who wait are told so
      for (const uint32_t index : waiting) {
        if (connections_[index].blocked == Blocked::control) unblock(index);
      }
      no_producer_ids_ = false;
      return;
    }
    case ToLaneKind::admin_reply:
    case ToLaneKind::topics_ensured:
      break;
  }
  const auto index = static_cast<uint32_t>(message.token & UINT32_MAX);
  if (index >= config_.connections_max) return;
  Connection& connection = connections_[index];
  if (connection.blocked != Blocked::control || connection.control_token != message.token >> 32) return;
  if (message.kind == ToLaneKind::topics_ensured) {
    connection.topics_ensured = true;
    ensured_errors_ = message.errors;
    unblock(index);
    ensured_errors_ = {};
    return;
  }
  if (message.bytes.empty()) return close_malformed(index, "malformed request");
  // The answer is whole but for its length prefix; the handler runs again and finds it.
  control_answer_ = message.bytes;
  unblock(index);
  control_answer_ = {};
}

void Broker::apply_view(std::shared_ptr<const CatalogView> view) {
  // Deleted first: their slots may be others' now, and their fetches must wake and learn of it.
  for (const auto& topic : view_->topics) {
    const TopicView* now_there = view->find(topic->id);
    for (size_t i = 0; i < topic->partitions.size(); ++i) {
      const PartitionPlace& place = topic->partitions[i];
      if (place.lane != config_.lane) continue;
      if (now_there != nullptr && i < now_there->partitions.size()) continue;
      PartitionState* state = log_.partition(place.slot);
      if (state == nullptr) continue;
      for (uint32_t waiter = state->first_waiter; waiter != no_index; waiter = waiters_[waiter].next) {
        const uint32_t index = waiters_[waiter].connection;
        if (!std::exchange(connections_[index].wake_listed, true)) wake_list_.push_back(index);
      }
      for (uint32_t waiter = state->first_waiter; waiter != no_index;) {
        Waiter& gone = waiters_[waiter];
        waiter = gone.next;
        drop_waiters(gone.connection);
        waiter = state->first_waiter;
      }
      log_.delete_partition(place.slot);
    }
  }
  for (const auto& topic : view->topics) {
    for (const PartitionPlace& place : topic->partitions) {
      if (place.lane != config_.lane) continue;
      log_.open_partition(place.slot, place.number, place.leader_epoch);
      log_.set_retention(place.slot, retention_of(topic->settings));
    }
  }
  log_.catalog_known();
  view_ = std::move(view);
  ToControl message;
  message.kind = ToControlKind::view_applied;
  message.version = view_->version;
  tell_control(std::move(message));
}

// Stopping: what is whole is answered, then connections close; done when the log has nothing in flight.
void Broker::drain() {
  for (uint32_t index = 0; index < index_end_; ++index) {
    Connection& connection = connections_[index];
    if (!live(connection) || held_back(connection)) continue;
    if (connection.blocked == Blocked::no || connection.blocked == Blocked::fetch) begin_close(index);
  }
  if (open_count_ > 0 || commit_first_ != no_index || !log_.drained()) return;
  stopped_ = true;
  ToControl message;
  message.kind = ToControlKind::lane_stopped;
  tell_control(std::move(message));
}

std::string Broker::pending_report() const {
  static constexpr const char* states[] = {"free", "open", "closing", "gone"};
  static constexpr const char* blocks[] = {"", ", no room", ", fetch waits", ", drive read", ", control plane"};
  std::string report = std::to_string(open_count_) + " connections";
  int shown = 0;
  for (uint32_t index = 0; index < index_end_ && shown < 5; ++index) {
    const Connection& connection = connections_[index];
    if (connection.state == ConnectionState::free) continue;
    ++shown;
    report += "; " + std::to_string(index) + ": " + states[static_cast<size_t>(connection.state)] +
              blocks[static_cast<size_t>(connection.blocked)] + ", " + std::to_string(connection.response_count) +
              " responses, " + std::to_string(connection.received.size()) + " bytes received, " +
              std::to_string(connection.staged.size() + connection.unsent) + " unsent" +
              (connection.reading ? ", reading" : "");
  }
  if (commit_first_ != no_index) report += "; responses wait for a commit";
  if (!log_.drained()) report += "; the log has work in flight";
  return report;
}

void Broker::release_all() {
  for (uint32_t index = 0; index < index_end_; ++index) {
    if (connections_[index].state != ConnectionState::free) forget(index);
  }
  while (commit_first_ != no_index) {
    const uint32_t index = commit_first_;
    commit_first_ = responses_[index].commit_next;
    free_response(index);
  }
  commit_last_ = no_index;
}

}  // namespace penstock
