// Bytes cut into pieces, for tests: what a request looks like that arrived in small segments.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "dataplane/base/piece.h"

namespace penstock::kafka {

// A copy of `bytes` in pieces of `sizes`, taken in turn. Every piece has its own allocation, so that a sanitizer sees
// a read across its edge.
class CutPieces {
 public:
  CutPieces(std::span<const std::byte> bytes, std::vector<size_t> sizes)
      : pool_(bytes.size() / PieceChunk::capacity + 1) {
    for (size_t turn = 0; !bytes.empty(); ++turn) {
      const size_t size = std::min(std::max<size_t>(sizes[turn % sizes.size()], 1), bytes.size());
      storage_.emplace_back(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
      storage_.back().shrink_to_fit();
      bytes = bytes.subspan(size);
      check(list_.push_back(pool_, {storage_.back().data(), static_cast<uint32_t>(size), no_buffer}), "pool too small");
    }
  }
  CutPieces(const CutPieces&) = delete;
  CutPieces& operator=(const CutPieces&) = delete;
  ~CutPieces() {
    list_.clear(pool_, [](BufferIndex) {});
  }
  PieceRange range() const { return list_.range(); }

 private:
  PiecePool pool_;
  PieceList list_;
  std::vector<std::vector<std::byte>> storage_;
};

inline std::vector<std::byte> joined(PieceRange range) {
  std::vector<std::byte> bytes(range.size());
  range.copy_out(0, bytes.data(), bytes.size());
  return bytes;
}

}  // namespace penstock::kafka
