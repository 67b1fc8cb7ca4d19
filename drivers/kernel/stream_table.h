// The streams of a lane: a fixed table, and lists through it (who waits for memory, who has something to arm, who has
// ended). An index is reused under a new generation.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/base/piece.h"
#include "dataplane/streams.h"
#include "drivers/kernel/receive_plan.h"

namespace penstock {

enum class WaitsFor : uint8_t { nothing, small_buffer, page_runs };

// What the kernel is doing for a stream's receiving side.
enum class Receiving : uint8_t { nothing, small, readable, tail, exact };

enum class Ending : uint8_t {
  no,
  after_sent,  // close(): when all that was queued has left
  at_once,     // abort(), or the connection failed: when the kernel has let go of our buffers
};

// A place in one of the table's lists.
struct StreamLink {
  static constexpr uint32_t unlinked = UINT32_MAX, end = UINT32_MAX - 1;
  uint32_t next = unlinked;
  uint32_t previous = unlinked;
  bool linked() const { return next != unlinked; }
};
enum class ListKind : uint8_t { waiting, touched, ended, count };

struct Stream {
  int descriptor = -1;  // -1: the slot is free
  uint32_t generation = 0;
  Ending ending = Ending::no;
  bool reset = false;  // close with RST

  // receive
  Receiving receiving = Receiving::nothing;
  WaitsFor waits_for = WaitsFor::nothing;
  bool cancelling = false;       // the receive in flight has been asked to stop
  bool likely_readable = false;  // try before waiting for data
  bool exact = false;            // the present credit ends with a request: receive it whole
  bool tail_unwanted = false;    // request_done() came while a receive into the tail was in flight
  bool peer_finished = false;
  uint64_t credit = 0;     // bytes allowed and not delivered
  uint64_t delivered = 0;  // bytes, over the stream's life
  ReceivePlan plan;
  msghdr receive_header{};  // the kernel writes to it when the receive completes

  // send
  bool sending = false;
  bool send_cancelling = false;
  uint32_t send_pieces = 0;
  PieceList send_queue;

  std::array<StreamLink, static_cast<size_t>(ListKind::count)> links;
};

class StreamTable {
 public:
  explicit StreamTable(uint32_t capacity);

  Stream* open(int descriptor);  // nullptr: full
  void close(Stream& stream);    // the slot is free again; its descriptor is the caller's to close
  Stream& at(uint32_t index) { return streams_[index]; }
  // nullptr unless the stream is open.
  Stream* find(StreamId id) {
    if (id.index >= capacity_) return nullptr;
    Stream& stream = streams_[id.index];
    return stream.descriptor >= 0 && stream.generation == id.generation ? &stream : nullptr;
  }
  const Stream* find(StreamId id) const { return const_cast<StreamTable*>(this)->find(id); }
  uint32_t index_of(const Stream& stream) const { return static_cast<uint32_t>(&stream - streams_.get()); }
  uint32_t capacity() const { return capacity_; }
  uint32_t open_count() const { return open_count_; }

  // A first-in first-out list through the table.
  class List {
   public:
    explicit List(ListKind kind) : kind_(static_cast<size_t>(kind)) {}
    bool empty() const { return head_ == StreamLink::end; }
    void add(StreamTable& table, Stream& stream);     // no effect when already in it
    void remove(StreamTable& table, Stream& stream);  // no effect when not in it
    Stream* front(StreamTable& table) { return empty() ? nullptr : &table.at(head_); }
    Stream* take_front(StreamTable& table);

   private:
    size_t kind_;
    uint32_t head_ = StreamLink::end;
    uint32_t tail_ = StreamLink::end;
  };
  List waiting_for_small{ListKind::waiting};
  List waiting_for_runs{ListKind::waiting};
  List touched{ListKind::touched};
  List ended{ListKind::ended};

 private:
  uint32_t capacity_;
  uint32_t open_count_ = 0;
  std::unique_ptr<Stream[]> streams_;
  std::unique_ptr<uint32_t[]> free_;  // a stack of indexes
};

}  // namespace penstock
