// One Kafka connection, as a lane keeps it: what has been received and not yet cut into requests, what was promised to
// it, and the responses that wait to leave in request order. All are slots of fixed tables, named by index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/kafka/api.h"
#include "dataplane/session/reservations.h"
#include "dataplane/streams.h"
#include "storage/log.h"

namespace penstock {

inline constexpr uint32_t no_index = UINT32_MAX;
inline constexpr uint32_t responses_per_connection_max = 64;

enum class ConnectionState : uint8_t {
  free,
  open,
  closing,  // nothing more is read; closes when all responses have left
  gone,     // aborted by us; `closed` has not come yet
};

// Why the request at the front of `received` has not been answered or passed on. While it waits, nothing behind it is
// looked at, as in Kafka's broker.
enum class Blocked : uint8_t {
  no,
  room,     // the log or the send memory has no room; tried again when something finished
  fetch,    // not enough bytes yet; until data or the deadline
  read,     // needs a batch from the drive
  control,  // the control plane works on it
};

// The part of a fetch response that is not encoded bytes: durable batches of one partition.
struct FetchPart {
  uint32_t position = 0;  // goes in before this byte of the encoded response
  PartitionSlot slot{};
  PartitionNumber number{};  // the slot still holds the partition that was fetched
  Offset next{};             // first batch not sent yet
  uint64_t bytes_left = 0;
  uint32_t next_part = no_index;
};

// A response that has not left whole. Connections hold them in request order.
struct Response {
  uint32_t next = no_index;         // of the same connection; or of the free list
  uint32_t commit_next = no_index;  // in commit order, over all connections
  uint32_t connection = no_index;   // no_index: the connection is gone, only the commit is waited for
  bool ready = false;
  bool silent = false;  // acks=0: nothing is sent
  bool produce = false;
  kafka::ApiKey api{};
  kafka::Version version = 0;
  CommitSequence commit{};
  Reservations::Grant grant;  // memory the request holds until its commit is durable
  Nanoseconds received_at = 0;
  PieceList bytes;        // encoded, length prefix first; shrinks as it is sent
  uint32_t position = 0;  // bytes of it staged so far
  uint32_t first_part = no_index;
};

// What a request has achieved before it had to wait, one row per partition in request order.
struct ProgressRow {
  int64_t first = 0;   // Produce: base offset. ListOffsets: offset.
  int64_t second = 0;  // Produce: log append time. ListOffsets: timestamp.
  int32_t leader_epoch = -1;
  int16_t error = 0;
  int16_t unused = 0;
};
static_assert(sizeof(ProgressRow) == 24);

struct Progress {
  BufferIndex buffer = no_buffer;  // no_buffer: nothing saved
  uint32_t row_count = 0;
  CommitSequence commit{};
};

struct Connection {
  ConnectionState state = ConnectionState::free;
  Blocked blocked = Blocked::no;
  bool peer_finished = false;
  bool proven = false;          // has completed a reserved request
  bool topics_ensured = false;  // the waiting Metadata request has had its missing topics created
  bool wake_listed = false;
  bool pump_listed = false;
  bool reading = false;  // a drive read for the response at the front is under way
  StreamId stream;
  Endpoint local;
  Endpoint peer;

  PieceList received;
  uint64_t credit = 0;                 // bytes allowed and not delivered yet
  uint64_t awaited_bytes = 0;          // of the request at the front, when all of it is allowed: nothing to do before
  Reservations::Grant grant;           // for the request at the front of `received`
  Nanoseconds request_started_at = 0;  // when the first byte of the request at the front came
  Nanoseconds last_received_at = 0;
  Nanoseconds last_active_at = 0;  // a whole request came or a response left
  Nanoseconds last_sent_at = 0;    // bytes left, or the first response began to wait for that
  Nanoseconds probed_at = 0;       // the last time progress was asked for

  Progress progress;
  Nanoseconds deadline = 0;  // of a blocked fetch
  uint32_t look_ups = 0;     // of it, that waited for a footer
  uint32_t first_waiter = no_index;
  uint64_t control_token = 0;
  std::vector<std::string> asked_topics;  // those the waiting Metadata request has asked the control plane for
  uint32_t next_blocked = no_index;       // room list

  uint32_t first_response = no_index;
  uint32_t last_response = no_index;
  uint32_t response_count = 0;
  PieceList staged;     // Holder::send references, to be given to the stream
  uint64_t unsent = 0;  // bytes the stream has taken and not reported as sent
};

// A blocked fetch waits for each of its partitions with one of these.
struct Waiter {
  uint32_t connection = no_index;
  PartitionSlot slot{};
  uint32_t previous = no_index;  // in the partition's list
  uint32_t next = no_index;      // in the partition's list; or of the free list
  uint32_t next_of_connection = no_index;
};

// A fixed number of T, handed out by index. T must be default-constructible and have a `next`-like link in Link.
template <class T, uint32_t T::* Link>
class Pool {
 public:
  explicit Pool(uint32_t count) : items_(std::make_unique<T[]>(count)), count_(count) {
    for (uint32_t i = count; i-- > 0;) {
      items_[i].*Link = free_;
      free_ = i;
    }
    free_count_ = count;
  }
  uint32_t take() {
    const uint32_t index = free_;
    if (index == no_index) return no_index;
    free_ = items_[index].*Link;
    --free_count_;
    items_[index].*Link = no_index;
    return index;
  }
  void give(uint32_t index) {
    items_[index] = T{};
    items_[index].*Link = free_;
    free_ = index;
    ++free_count_;
  }
  T& operator[](uint32_t index) { return items_[index]; }
  const T& operator[](uint32_t index) const { return items_[index]; }
  uint32_t free_count() const { return free_count_; }
  uint32_t used() const { return count_ - free_count_; }

 private:
  std::unique_ptr<T[]> items_;
  uint32_t count_;
  uint32_t free_ = no_index;
  uint32_t free_count_ = 0;
};

}  // namespace penstock
