// Look-ups in the sealed segments whose footers are durable. Of such a segment 64 bytes are in memory; its rows are read
// through the FooterCache.
//
//   segments   |  1  |  2  |  3  |  4  | ...       how far a partition had come at the end of each: ascending, so the
//   partition  |  40 |  40 |  97 | 130 | ...       segment with a record is found in O(log n) of their rows; in it the
//                            ^ has 40 to 96        partition's row says which batches are its own, and the keys of
//                                                  their blocks in which block a batch lies
//
// A look-up goes as far as the blocks in memory carry it. What it has learned by then is kept with its token, so that it
// goes on from there when the block it wants has come, and wants one block at a time: it ends however small the cache is.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "storage/footer_cache.h"
#include "storage/index.h"

namespace penstock {

class SealedIndex {
 public:
  SealedIndex(const DriveUnits& units, const LogMemory& memory, uint64_t cache_bytes, LogStatistics* statistics);

  // A footer became durable, of a segment after all that are here; its blocks can be read directly.
  void add(const SealedSegment& segment);
  void remove(SegmentNumber segment);  // released
  bool holds(SegmentNumber segment) const;
  // -1: none, or not here.
  Milliseconds max_timestamp(SegmentNumber segment) const;

  enum class Verdict : uint8_t {
    found,
    none,
    reading,  // cache().done() will say `token`; ask again then
    busy,     // ask again later
    damaged,  // a block it needs cannot be read or is not what was written
  };
  // As LogIndex has them, for what lies at or beyond `begin`. A token asks one thing at a time.
  Verdict find(PartitionNumber partition, Offset begin, uint64_t token, IndexEntry& entry);
  Verdict find_time(PartitionNumber partition, Milliseconds timestamp, Offset begin, uint64_t token, IndexEntry& entry);
  // `largest`: there is none larger in the partition, at whatever offset.
  Verdict find_max_timestamp(PartitionNumber partition, Milliseconds largest, Offset begin, uint64_t token,
                             IndexEntry& entry);
  Verdict oldest_stretch(PartitionNumber partition, Offset begin, uint64_t token, LogIndex::Stretch& stretch);
  void cancel(uint64_t token);

  uint64_t bytes() const { return segments_.size() * sizeof(SealedSegment); }  // of memory, besides the cache's
  FooterCache& cache() { return cache_; }
  const FooterCache& cache() const { return cache_; }

 private:
  enum class Want : uint8_t { offset, time, max_timestamp, stretch };
  struct Question {
    Want want{};
    PartitionNumber partition{};
    Offset begin{};
    Milliseconds timestamp = -1;
    bool operator==(const Question&) const = default;
  };
  // Where the partition's batches lie in a segment, as its row there says.
  struct Row {
    Offset next{};
    Milliseconds max_timestamp = -1;       // up to here
    Milliseconds max_timestamp_here = -1;
    uint64_t bytes_up_to = 0;
    uint32_t first_batch = 0;
    uint32_t batch_count = 0;
  };
  struct Search {
    Question question;
    // Every segment up to `below` is too early, and `from` and all behind are not.
    SegmentNumber below{};
    SegmentNumber from{UINT64_MAX};
    SegmentNumber row_of{};   // 0: none
    Row row;                  // of `row_of`, which is not too early
    bool one_by_one = false;  // Want::max_timestamp: the largest is not there, so every segment is looked at
    bool next_first = false;  // look at the one after `below` before halving
    // A search over the keys of a segment, see locate().
    SegmentNumber keys_of{};  // 0: none under way
    uint32_t key_low = 0, key_high = 0;
    uint32_t batch_block = UINT32_MAX;  // of segment `from`, the next to look at
    std::optional<IndexEntry> best;
  };
  // The last row that a search by offset came to: whoever reads on needs it again.
  struct Hint {
    PartitionNumber partition{};
    SegmentNumber segment{};  // 0: none
    Offset begin{};           // offsets from here on are not in segments before
    Row row;
  };

  using Blocked = FooterCache::Verdict;

  Verdict ask(const Question& question, uint64_t token, IndexEntry& entry);
  Verdict ask(const Question& question, uint64_t token, Search& search);
  Search begin(const Question& question) const;
  Verdict advance(Search& search, uint64_t token);
  Blocked find_segment(Search& search, uint64_t token, const SealedSegment*& segment);
  Blocked read_row(Search& search, uint64_t token, const SealedSegment& segment, Row& row);
  Blocked look_in(Search& search, uint64_t token, const SealedSegment& segment, bool& found);
  bool take_rows(Search& search, const SealedSegment& segment, std::span<const disk::FooterBatch> rows, bool& found);
  template <class Holds>
  Blocked locate(Search& search, uint64_t token, const SealedSegment& segment, uint32_t first, uint32_t last,
                 Holds&& holds);
  static bool by_time(const Search& search);
  static bool late_enough(const Search& search, const Row& row);
  const SealedSegment* segment(SegmentNumber number) const;
  const Hint& hint(PartitionNumber partition) const { return hints_[partition.value % hints_.size()]; }
  size_t saved(uint64_t token) const;
  void forget(uint64_t token);

  std::vector<SealedSegment> segments_;  // by number
  FooterCache cache_;
  Bounded<Search> searches_{limits::footer_searches_max};  // that wait
  Bounded<uint64_t> tokens_{limits::footer_searches_max};  // whose they are
  std::vector<Hint> hints_;
};

}  // namespace penstock
