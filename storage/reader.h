// Batches read back from the drive for consumers that fell behind.
//
// A read takes the commit's header first (it lists the batch's runs and its checksum), together with the batch itself
// when that lies near; then the rest. What comes back is compared with its entry, and bytes 0-20, which no checksum
// covers, are rewritten from it. A finished batch is kept while the budget lasts, so that it serves whoever asks next.
//
// A batch is read once for all who ask for it meanwhile. Each of them is told when it is there, and it stays until each
// has come for it or was cancelled; then it is cache. A token wants one batch at a time: asking for another lets go of
// the one before.
//
// Who reads on finds what lies behind in memory: the read after one that lies shortly before, and is still there, takes a
// window of twice its size, up to 256 KiB and as far as the segment goes, and serves every batch whose commit's header and
// bytes lie in it. Where windows serve little before they have to go, they become smaller.
//
// A read begins when the budget and the memory have room for all of its batch. What its runs take on the drive beyond
// that is known when the header is there; if that does not fit then, the read is given up and begins again when it does.
//
//   idle -> reading_header -> reading_runs -> ready
//                 |                |
//                 +------> damaged <
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "storage/bounded.h"
#include "storage/drive.h"
#include "storage/index.h"
#include "storage/limits.h"
#include "storage/log.h"
#include "storage/request_tag.h"

namespace penstock {

class LogReader {
 public:
  LogReader(const DriveUnits& units, const LogMemory& memory, uint64_t bytes_max, LogStatistics* statistics);
  ~LogReader();

  // As Log::fetch, of a batch that lies at `entry` in the file `slot`, which can be read up to `file_end` at least.
  Log::FetchVerdict fetch(const IndexEntry& entry, SegmentSlot slot, FilePosition file_end, uint64_t token,
                          PiecePool& pool, PieceList& to);
  std::span<const uint64_t> done() const { return done_.all(); }
  void forget_done() { done_.clear(); }
  void cancel(uint64_t token);

  const DriveRequest* next_request();
  void submitted();
  void completed(uint32_t index, int64_t result);

  // Lets go of finished batches that nobody waits for until `bytes` came free or none is left; returns what came free.
  uint64_t shed(uint64_t bytes);
  bool can_shed() const;
  bool uses(SegmentSlot slot) const;  // a read of it is not finished
  bool idle() const;  // no request in flight or waiting to go
  void release_all();

 private:
  struct Read;
  struct Want {
    uint64_t token = 0;
    Read* read = nullptr;
  };

  Read* find(const IndexEntry& entry);
  bool covers(const Read& read, const IndexEntry& entry) const;
  bool turn_to(Read& read, const IndexEntry& entry);
  Read* start(const IndexEntry& entry, SegmentSlot slot, FilePosition file_end);
  uint64_t window(const IndexEntry& entry, FilePosition file_end) const;
  Read* idle_read(const IndexEntry& entry);
  bool wants_full() const { return wants_.size() + done_.size() >= done_.capacity(); }  // so that all can be told
  bool want(Read& read, uint64_t token);
  void stop_wanting(uint64_t token, const Read* except = nullptr);
  bool begin(Read& read);
  bool begin(Read& read, uint64_t to, uint64_t later);
  bool add_extent(Read& read, uint64_t from, uint64_t to, bool contiguous);
  bool promise(Read& read, uint64_t bytes);
  void end_promise(Read& read);
  bool make_room(const Read& read, uint64_t bytes);
  bool take_buffers(Read& read, uint64_t bytes, bool contiguous);
  void release_memory(Read& read);
  void release(Read& read);

  void header_arrived(Read& read);
  const disk::CommitHeader& header_of(const Read& read) const;
  bool header_possible(const Read& read) const;
  bool header_whole(const Read& read) const;
  bool find_entry(Read& read);
  bool plan_extents(Read& read);
  void next_extent(Read& read);
  bool verify(Read& read);
  void finish(Read& read, bool whole);
  void give_up(Read& read, int64_t result);
  void tell(const Read& read);
  void give_way(Read& read);
  template <class Visit>
  void for_each_piece(const Read& read, Visit&& visit) const;
  bool hand_over(const Read& read, PiecePool& pool, PieceList& to);
  bool may_go(const Read& read) const;

  DriveUnits units_;
  LogMemory memory_;
  uint64_t bytes_max_;
  LogStatistics* statistics_;
  uint64_t bytes_ = 0;     // of buffers held, and promised
  uint64_t promised_ = 0;  // of these, promised
  std::vector<std::unique_ptr<Read>> reads_;
  uint32_t waiting_ = 0;  // reads with a request that waits to go
  uint32_t next_ = 0;     // where the search for such a one begins: round and round, so each gets its turn
  uint32_t last_used_ = 0;
  uint64_t asked_ = 0;    // how often batches were asked for
  Bounded<Want> wants_{limits::read_wants_max};
  Bounded<uint64_t> done_{limits::read_wants_max};
  DriveRequest request_;
};

}  // namespace penstock
