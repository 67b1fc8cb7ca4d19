// The seam of ordered bytes: what a lane asks of TCP, whoever does it (kernel sockets through io_uring, Penstock's own
// TCP over frames, the simulator). Nothing here does I/O.
//
// A stream is one accepted connection, named by an index that is reused after `closed`; a stream index and its
// generation together are unique.
//
// Receiving is by credit. allow(stream, n) lets the stream deliver n more bytes: for our own TCP it moves the right
// edge of the window, for a kernel socket it is an exact-length receive: small credits come in one small buffer,
// larger ones in buffers placed so that one ends and the next begins on a page edge. What has been allowed is never
// taken back. Every delivered piece holds its buffer once, as Holder::request.
//
// Credit of at most 4096 bytes brings whatever arrives first. Larger credit may wait until all of it is there, so it has
// to end where a request ends.
//
// Sending: send(stream, pieces) takes over one Holder::send reference per piece and lets go of it when the peer's TCP
// (or the kernel) has the bytes; `sent` events say how many bytes left.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"

namespace penstock {

struct StreamId {
  uint32_t index = 0;
  uint32_t generation = 0;
  constexpr bool operator==(const StreamId&) const = default;
};

// An IP address in its 16-byte form (IPv4 as ::ffff:a.b.c.d) and a port in host order.
struct Endpoint {
  uint8_t address[16] = {};
  uint16_t port = 0;
};

enum class StreamEventKind : uint8_t {
  opened,        // `local` and `peer` are set; no credit yet
  data,          // `piece`, in order
  sent,          // `bytes` of what send() took have left
  peer_finished, // the peer sends no more (FIN); what we send still goes out
  closed,        // gone, by us or by the peer (RST); no further event for this id
};

struct StreamEvent {
  StreamEventKind kind{};
  StreamId stream{};
  Piece piece{};
  uint64_t bytes = 0;
  Endpoint local{};
  Endpoint peer{};
};

// StreamHandler: void operator()(const StreamEvent&). Events are delivered from poll() only; the handler may call
// allow, send and close from inside.
template <class S>
concept Streams = requires(S streams, StreamId id, uint64_t count, std::span<const Piece> pieces, Nanoseconds now,
                           std::span<const BufferIndex> buffers) {
  // Delivers a burst of events, at most a few hundred; returns how many.
  { streams.poll(now, [](const StreamEvent&) {}) } -> std::convertible_to<uint32_t>;
  { streams.allow(id, count) };
  // Takes as many whole pieces as it has room for; returns how many pieces it took.
  { streams.send(id, pieces) } -> std::convertible_to<size_t>;
  // The stream has no partial request: what it keeps for one may go. Called before new credit.
  { streams.request_done(id) };
  // Delivers what has arrived of a long receive so far, so that progress shows.
  { streams.probe(id) };
  { streams.receive_cost(count) } -> std::convertible_to<uint64_t>;  // bytes of buffers that so much credit may occupy
  { streams.receive_free() } -> std::convertible_to<uint64_t>;      // bytes of receive buffers nobody holds
  { streams.close(id) };           // after all that was sent has left; then `closed`
  { streams.abort(id) };           // at once, with RST where there is one; then `closed`
  { streams.release(buffers) };    // buffers whose last holder let go
  { streams.stop_accepting() };
  { streams.next_deadline() } -> std::same_as<Nanoseconds>;
};

}  // namespace penstock
