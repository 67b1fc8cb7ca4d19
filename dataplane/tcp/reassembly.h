// Bytes that have arrived but cannot be delivered yet: behind a hole, or beyond the reader's credit. Each connection
// has a list of ranges in order of sequence; between two ranges is a hole, so ranges that come to touch become one. A
// range is a list of pieces.
//
//      delivered                                                      right edge
//          |        [ range: piece piece ]      [ range: piece ]          |
//          |  hole  ^first            end^ hole
//
// All connections share the entries, which are allocated at start; each connection's share is bounded too, and so is
// the work of an insertion: by the number of ranges.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/net/segment.h"
#include "dataplane/tcp/index_pool.h"

namespace penstock::tcp {

// One connection's.
struct Reassembly {
  uint32_t first_range = no_index;
  uint16_t range_count = 0;
  uint16_t piece_count = 0;
  uint32_t bytes = 0;
  uint32_t clock = 0;  // counts insertions: which range was touched last
  bool empty() const { return first_range == no_index; }
};

class ReassemblyPool {
 public:
  struct Bounds {
    uint32_t pieces = 0;      // all connections
    uint32_t pieces_max = 0;  // of one
    uint32_t ranges_max = 0;
  };
  enum class Verdict : uint8_t {
    stored,     // at least in part
    duplicate,  // all of it was there
    full,       // a bound was reached: what was left has been dropped
  };

  // A range has at least one piece; with ranges of a single piece everywhere there are as many of one as of the other.
  ReassemblyPool(const Bounds& bounds, BufferTable& buffers)
      : bounds_(bounds), buffers_(buffers), pieces_(bounds.pieces), ranges_(bounds.pieces) {}

  // Stores what is new of `piece`, which begins at `seq`. Takes one Holder::reassembly reference of the caller's for
  // `piece`, whatever the verdict. `duplicate`: the first run that was there already (RFC 2883), if first != end.
  Verdict insert(Reassembly& list, SeqNumber seq, const Piece& piece, net::SackBlock& duplicate);

  // The first piece, if it begins at `at`; its reference goes to the caller. At most `bytes_max` of it: then it is held
  // once more and its rest stays.
  bool take_front(Reassembly& list, SeqNumber at, uint64_t bytes_max, Piece& taken);

  // The end of the bytes without a hole from `at` on.
  SeqNumber contiguous_end(const Reassembly& list, SeqNumber at) const;
  // Where the first range begins; the list is not empty.
  SeqNumber first(const Reassembly& list) const { return ranges_[list.first_range].first; }
  // Ranges beyond `received`, the one touched last first (RFC 2018 4); returns how many.
  uint32_t sack_blocks(const Reassembly& list, SeqNumber received, std::span<net::SackBlock> blocks) const;
  // The range that holds `seq`; first == end: none.
  net::SackBlock range_at(const Reassembly& list, SeqNumber seq) const;

  void clear(Reassembly& list);
  void check_invariants(const Reassembly& list) const;
  uint32_t taken_pieces() const { return pieces_.taken_count(); }
  uint64_t memory_bytes() const { return pieces_.memory_bytes() + ranges_.memory_bytes(); }

 private:
  struct Range {
    SeqNumber first;
    SeqNumber end;
    uint32_t first_piece = no_index;
    uint32_t last_piece = no_index;
    uint32_t touched = 0;
    uint32_t next = no_index;
  };
  struct Waiting {
    Piece piece;
    uint32_t next = no_index;
  };
  // A range or piece entry, or no_index at a bound.
  bool append(Reassembly& list, Range& range, const Piece& piece);
  void join_next(Reassembly& list, uint32_t range);

  Bounds bounds_;
  BufferTable& buffers_;
  IndexPool<Waiting> pieces_;
  IndexPool<Range> ranges_;
};

}  // namespace penstock::tcp
