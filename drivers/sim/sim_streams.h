// Streams of the simulated world: ordered bytes in virtual time, from a seed, delivered as a network would: in many
// small pieces, each in a buffer of its own, mostly a full segment of 1448 bytes. Memory shortage, delays, resets and
// peers that stop reading happen as the seed or the test wants.
//
// The other side of each stream is a peer: connect(), write(), read(), finish(), reset() are what a simulated client
// uses. Both sides are driven by the same virtual time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/streams.h"
#include "drivers/sim/random.h"

namespace penstock {

struct SimStreamsConfig {
  uint64_t seed = 1;
  uint32_t streams_max = 64;
  uint32_t segment_bytes = 1448;              // of a piece; some are smaller
  Nanoseconds delay_max_ns = millisecond_ns;  // one way, for each write
  uint64_t send_window_bytes = 64 * KiB;      // sent and not yet taken by the peer
};

class SimStreams {
 public:
  SimStreams(const SimStreamsConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& allocator);
  ~SimStreams();

  // ---- concept Streams ----
  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    now_ = now;
    uint32_t delivered = 0;
    StreamEvent event;
    while (delivered < events_per_poll && next_event(event)) {
      handler(event);
      ++delivered;
    }
    return delivered;
  }
  void allow(StreamId id, uint64_t byte_count);
  void request_done(StreamId) {}
  void probe(StreamId) {}
  size_t send(StreamId id, std::span<const Piece> pieces);
  void close(StreamId id);
  void abort(StreamId id);
  uint64_t receive_cost(uint64_t byte_count) const;
  uint64_t receive_free() const { return allocator_.free_bytes(); }
  void release(std::span<const BufferIndex> buffers);
  void stop_accepting() { accepting_ = false; }
  Nanoseconds next_deadline() const;

  // ---- the peers ----
  // An index for the calls below; UINT32_MAX when nobody accepts or the table is full.
  uint32_t connect(Nanoseconds now, uint16_t local_port);
  void write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds now);
  // Appends what has arrived at the peer to `to`.
  void read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds now);
  void finish(uint32_t peer);
  void reset(uint32_t peer);
  // Nothing more comes: the node has closed or aborted.
  bool ended(uint32_t peer, Nanoseconds now) const;
  void stop_reading(uint32_t peer, bool stopped) { streams_[peer].reader_stopped = stopped; }
  // When something will have arrived at any peer.
  Nanoseconds next_arrival() const;
  // The peer is done with this stream; its index may be used again.
  void forget(uint32_t peer);

 private:
  static constexpr uint32_t events_per_poll = 64;
  struct Chunk {
    Nanoseconds arrives = 0;
    std::vector<std::byte> bytes;
    size_t taken = 0;
  };
  struct Stream {
    bool used = false;
    bool opened = false;        // the node has been told
    bool closed_told = false;   // the node has been told that it is over
    bool node_closing = false;  // close(): after all has left
    bool node_gone = false;     // closed or aborted by the node
    bool peer_finished = false;
    bool peer_finished_told = false;
    bool peer_reset = false;
    bool peer_forgotten = false;
    bool reader_stopped = false;
    uint32_t generation = 0;
    uint16_t local_port = 0;
    uint64_t credit = 0;
    std::deque<Chunk> to_node;
    std::deque<Chunk> to_peer;
    uint64_t unread = 0;        // bytes in to_peer
    std::deque<Piece> sending;  // one for each chunk of to_peer, until the peer has taken it
    uint32_t taken_by_peer = 0;
  };

  bool next_event(StreamEvent& event);
  bool event_of(uint32_t index, StreamEvent& event);
  void drop_all(Stream& stream);
  Nanoseconds delay() {
    return static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(config_.delay_max_ns) + 1));
  }
  Stream* find(StreamId id);

  const SimStreamsConfig config_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  SimRandom random_;
  std::vector<Stream> streams_;
  uint32_t streams_end_ = 0;  // none from here on was ever used
  uint32_t next_index_ = 0;
  bool accepting_ = true;
  Nanoseconds now_ = 0;
};

}  // namespace penstock
