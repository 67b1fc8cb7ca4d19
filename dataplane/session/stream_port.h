// What sessions ask of the streams below them. A call or two per request, so a virtual call is affordable here;
// Lane<Streams, Drive> answers it with the real Streams.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/piece.h"
#include "dataplane/streams.h"

namespace penstock {

class StreamPort {
 public:
  virtual ~StreamPort() = default;
  virtual void allow(StreamId stream, uint64_t byte_count) = 0;
  // The stream has no partial request: what it keeps for one may go.
  virtual void request_done(StreamId stream) = 0;
  // Takes whole pieces, as many as it has room for; returns how many.
  virtual size_t send(StreamId stream, std::span<const Piece> pieces) = 0;
  virtual void close(StreamId stream) = 0;
  virtual void abort(StreamId stream) = 0;
  // Delivers what has arrived of a long receive so far, so that progress shows.
  virtual void probe(StreamId stream) = 0;
  // Bytes of buffers that `byte_count` bytes of credit may come to occupy.
  virtual uint64_t receive_cost(uint64_t byte_count) const = 0;
  // Bytes of receive buffers nobody holds now.
  virtual uint64_t receive_free() const = 0;
  virtual void stop_accepting() = 0;
};

}  // namespace penstock
