// The stack of one script with its memory, and an application that does as the script says. Virtual time only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/streams.h"
#include "dataplane/tcp/tcp_streams.h"
#include "tests/packets/memory_frames.h"
#include "tests/packets/settings.h"

namespace penstock::packets {

// What the application of every script sends, and what every peer sends: byte by position, so that a byte that is
// missing, doubled or out of place shows. `stream` tells streams and directions apart.
uint8_t content_at(uint32_t stream, uint64_t position);

class World {
 public:
  // Called for each event, from poll().
  using Handler = std::function<void(const StreamEvent&)>;

  explicit World(const Settings& settings);
  ~World();

  // Polls until nothing is left to do at `now`.
  void poll(Nanoseconds now, const Handler& handler);
  Nanoseconds next_deadline() const { return streams_->next_deadline(); }
  MemoryFrames& frames() { return *frames_; }
  TcpStreams<MemoryFrames>& streams() { return *streams_; }

  // Content of `stream` from `position` on, in pieces of at most `piece_bytes`; what the stack does not take at once is
  // offered again at each poll.
  void send(StreamId id, uint32_t stream, uint64_t position, uint64_t count, uint64_t piece_bytes);
  // What the stack has not taken of a stream that is gone.
  void forget_unsent(StreamId id);
  bool has_unsent() const { return !unsent_.empty(); }
  void release(const Piece& piece) { buffers_.release(piece.buffer, Holder::request); }

  // Empty: nothing is held by receiving. Otherwise who holds what.
  std::string receive_leaks() const;
  // Ends the stack; then nothing at all may be held.
  std::string end();

 private:
  struct Unsent {
    StreamId id;
    Piece piece;
  };
  struct Unmap {
    size_t bytes;
    void operator()(std::byte* at) const;
  };
  void offer_unsent();
  void give_back();

  Arena arena_;
  std::unique_ptr<std::byte, Unmap> memory_;
  BufferTable buffers_;
  BufferAllocator receive_, headers_, send_;
  std::unique_ptr<MemoryFrames> frames_;
  std::unique_ptr<TcpStreams<MemoryFrames>> streams_;
  std::deque<Unsent> unsent_;
};

}  // namespace penstock::packets
