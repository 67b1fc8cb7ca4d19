#include "storage/reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "storage/batch_front.h"
#include "storage/crc/crc32c.h"
#include "storage/format.h"
#include "storage/limits.h"

namespace penstock {
namespace {

// What the first request of a read takes at most.
constexpr uint64_t window_bytes_max = 256 * KiB;
// Of a header whose batch is far: most headers are shorter.
constexpr uint64_t header_guess_bytes = 16 * KiB;

bool same_batch(const IndexEntry& a, const IndexEntry& b) {
  return a.segment == b.segment && a.commit == b.commit && a.ordinal == b.ordinal;
}

}  // namespace

struct LogReader::Read {
  enum class State : uint8_t { idle, reading_header, reading_runs, ready, damaged, unreadable } state = State::idle;
  enum class Request : uint8_t { none, waiting, in_flight } request = Request::none;
  uint32_t wanters = 0;  // of `wants_`: have not come for it yet
  IndexEntry entry;
  SegmentSlot slot{};
  FilePosition base{};  // of the block that the commit begins in, of the batch it was begun for
  uint64_t window = 0;  // what may be taken with it, from its commit on
  uint64_t served = 0;    // batches, each time that one was asked for
  uint64_t asked_at = 0;  // the last time that somebody asked for it, by the count of them
  uint32_t retries = 0;
  // What the first request takes, and what did not come with it, once that is known. Kept while idle.
  uint64_t header_bytes = 0, runs_bytes = 0;

  // Bytes [from, to) from `base` on, in buffers [first_buffer, ..) of this read.
  struct Extent {
    uint64_t from = 0, to = 0;
    size_t first_buffer = 0;
  };
  Bounded<Extent> extents{limits::read_extents_max + 1};  // 0: the header's
  const disk::Entry* batch = nullptr;                     // in the header
  std::span<const disk::Run> runs;
  size_t extent = 0;     // being read
  uint64_t arrived = 0;  // bytes of it
  Bounded<BufferIndex> buffers{limits::read_buffers_max};
  uint64_t bytes = 0;     // of buffers
  uint64_t promised = 0;  // bytes of the budget that are kept for buffers to come
  iovec vectors[limits::read_buffers_max];

  // From there to the commit of the batch it is turned to now.
  uint64_t lead() const { return entry.commit - base; }
};

LogReader::LogReader(const DriveUnits& units, const LogMemory& memory, uint64_t bytes_max, LogStatistics* statistics)
    : units_(units), memory_(memory), bytes_max_(bytes_max), statistics_(statistics) {
  for (uint32_t i = 0; i < limits::reads_max; ++i) reads_.push_back(std::make_unique<Read>());
}

LogReader::~LogReader() = default;

Log::FetchVerdict LogReader::fetch(const IndexEntry& entry, SegmentSlot slot, FilePosition file_end, uint64_t token,
                                   PiecePool& pool, PieceList& to) {
  Read* read = find(entry);
  stop_wanting(token, read);
  if (read == nullptr) read = start(entry, slot, file_end);
  if (read == nullptr) return Log::FetchVerdict::busy;
  read->asked_at = ++asked_;
  switch (read->state) {
    case Read::State::ready:
      if (!hand_over(*read, pool, to)) return Log::FetchVerdict::busy;
      ++read->served;
      stop_wanting(token);
      return Log::FetchVerdict::ready;
    case Read::State::damaged:
      stop_wanting(token);
      return Log::FetchVerdict::damaged;
    case Read::State::unreadable:
      stop_wanting(token);
      return Log::FetchVerdict::unreadable;
    default:
      return want(*read, token) ? Log::FetchVerdict::reading : Log::FetchVerdict::busy;
  }
}

LogReader::Read* LogReader::find(const IndexEntry& entry) {
  for (const auto& each : reads_) {
    Read& read = *each;
    if (read.state != Read::State::idle && same_batch(read.entry, entry)) return &read;
  }
  for (const auto& each : reads_) {
    if (covers(*each, entry) && turn_to(*each, entry)) return each.get();
  }
  return nullptr;
}

// Does it have the whole batch with its commit's header, or will have? Of a batch in several runs that is seen when the
// header is there.
bool LogReader::covers(const Read& read, const IndexEntry& entry) const {
  const bool ready = read.state == Read::State::ready;
  const bool may = ready || (read.state == Read::State::reading_header && read.window > 0 && entry.direct);
  if (!may || entry.segment != read.entry.segment || entry.commit < read.base) return false;
  const uint64_t end = uint64_t{entry.first_position} + (entry.direct ? entry.bytes : 0);
  return entry.commit - read.base + end <= read.extents[0].to;
}

// A finished read serves another batch of its window from now on, if the drive had that already when it was read.
bool LogReader::turn_to(Read& read, const IndexEntry& entry) {
  if (read.state != Read::State::ready) return true;
  const IndexEntry before = std::exchange(read.entry, entry);
  const auto lies_here = [&](const disk::Run& run) {
    return read.lead() + run.position + run.length <= read.extents[0].to;
  };
  if (header_possible(read) && header_whole(read) && find_entry(read) && std::ranges::all_of(read.runs, lies_here) &&
      verify(read)) {
    return true;
  }
  read.entry = before;
  find_entry(read);
  return false;
}

// False: too many wait already.
bool LogReader::want(Read& read, uint64_t token) {
  const auto same = [&](const Want& each) { return each.token == token; };
  if (std::ranges::any_of(wants_.all(), same)) return true;  // of this read: others were let go of
  if (wants_full()) return false;
  wants_.push_back({token, &read});
  ++read.wanters;
  return true;
}

// A read that nobody wants any more goes, unless it is whole or the drive writes into it.
void LogReader::stop_wanting(uint64_t token, const Read* except) {
  for (size_t i = 0; i < wants_.size(); ++i) {
    const Want gone = wants_[i];
    if (gone.token != token || gone.read == except) continue;
    wants_[i] = wants_.back();
    wants_.truncate(wants_.size() - 1);
    Read& read = *gone.read;
    if (--read.wanters == 0 && read.state != Read::State::ready && read.request != Read::Request::in_flight) {
      release(read);
    }
    return;
  }
}

// What is read of the file from the commit on: more than the batch if what lies before is still in memory. Twice as much as
// was taken there, or half of it if that has saved less than it took.
uint64_t LogReader::window(const IndexEntry& entry, FilePosition file_end) const {
  const Read* before = nullptr;
  for (const auto& read : reads_) {
    const bool lies_before = read->state == Read::State::ready && read->entry.segment == entry.segment &&
                             read->base <= entry.commit && entry.commit - read->base <= window_bytes_max;
    if (lies_before && (before == nullptr || read->base > before->base)) before = read.get();
  }
  if (before == nullptr || file_end <= entry.commit) return 0;
  const uint64_t taken = before->extents[0].to;
  const bool of_use = taken <= before->served * limits::read_gap_bytes_max;
  return std::min({of_use ? 2 * taken : taken / 2, window_bytes_max, bytes_max_ / 16, uint64_t{file_end - entry.commit}});
}

LogReader::Read* LogReader::start(const IndexEntry& entry, SegmentSlot slot, FilePosition file_end) {
  if (wants_full()) return nullptr;
  Read* read = idle_read(entry);
  if (read == nullptr && shed(1) > 0) read = idle_read(entry);
  if (read == nullptr) return nullptr;
  if (!same_batch(read->entry, entry)) {
    // The header ends before the first run begins.
    read->header_bytes = std::min<uint64_t>(entry.first_position, header_guess_bytes);
    read->runs_bytes = 0;
  }
  read->window = window(entry, file_end);
  read->served = 0;
  read->state = Read::State::reading_header;
  read->entry = entry;
  read->base = FilePosition(round_down(entry.commit.value, units_.block));
  read->slot = slot;
  read->retries = 0;
  if (begin(*read)) return read;
  release(*read);
  return nullptr;
}

// The one that read this batch before, if it is there: it knows what the batch takes.
LogReader::Read* LogReader::idle_read(const IndexEntry& entry) {
  const auto idle = [](const Read& read) { return read.state == Read::State::idle; };
  for (const auto& each : reads_) {
    if (idle(*each) && same_batch(each->entry, entry)) return each.get();
  }
  for (uint32_t i = 0; i < reads_.size(); ++i) {
    last_used_ = (last_used_ + 1) % static_cast<uint32_t>(reads_.size());
    if (idle(*reads_[last_used_])) return reads_[last_used_].get();
  }
  return nullptr;
}

// The first request: the header, in one buffer, and with it a batch that ends near, and what may lie behind.
bool LogReader::begin(Read& read) {
  const uint64_t batch_end = uint64_t{read.entry.first_position} + read.entry.bytes;
  const bool near = read.entry.direct && batch_end <= window_bytes_max &&
                    read.entry.first_position <= limits::read_gap_bytes_max;
  const uint64_t batch_bytes = round_up(read.entry.bytes, arena_unit_bytes) + arena_unit_bytes;  // at both edges
  if (read.window > batch_end && begin(read, read.window, read.entry.direct ? 0 : batch_bytes)) return true;
  read.window = 0;
  return near ? begin(read, batch_end, 0) : begin(read, read.header_bytes, std::max(batch_bytes, read.runs_bytes));
}

bool LogReader::begin(Read& read, uint64_t to, uint64_t later) {
  if (!promise(read, round_up(read.lead() + to, arena_unit_bytes) + later)) return false;
  if (!add_extent(read, 0, to, true)) {
    end_promise(read);
    return false;
  }
  read.extent = 0;
  read.arrived = 0;
  read.request = Read::Request::waiting;
  ++waiting_;
  return true;
}

bool LogReader::add_extent(Read& read, uint64_t from, uint64_t to, bool contiguous) {
  Read::Extent extent{.from = round_down(read.lead() + from, units_.block),
                      .to = round_up(read.lead() + to, units_.block),
                      .first_buffer = read.buffers.size()};
  if (!take_buffers(read, extent.to - extent.from, contiguous)) return false;
  read.extents.push_back(extent);
  return true;
}

bool LogReader::promise(Read& read, uint64_t bytes) {
  if (!make_room(read, bytes) || !memory_.allocator->has(promised_ + bytes)) return false;
  read.promised += bytes;
  promised_ += bytes;
  bytes_ += bytes;
  return true;
}

void LogReader::end_promise(Read& read) {
  promised_ -= read.promised;
  bytes_ -= std::exchange(read.promised, 0);
}

// For `bytes` more, within the budget; but one batch can always be read, however large.
bool LogReader::make_room(const Read& read, uint64_t bytes) {
  if (bytes_ + bytes > bytes_max_) shed(bytes_ + bytes - bytes_max_);
  return bytes_ + bytes <= bytes_max_ || bytes_ == read.bytes + read.promised;
}

// Out of what was promised, and beyond that if there is room.
bool LogReader::take_buffers(Read& read, uint64_t bytes, bool contiguous) {
  const uint64_t rounded = round_up(bytes, arena_unit_bytes);
  if (rounded > read.promised && !make_room(read, rounded - read.promised)) return false;
  for (uint64_t taken = 0; taken < bytes;) {
    if (read.buffers.full()) {  // free memory lies in pieces too small
      memory_.allocator->refused(bytes - taken);
      return false;
    }
    const uint8_t order = BufferAllocator::order_for(bytes - taken);
    uint8_t got = order;
    const BufferIndex buffer =
        contiguous ? memory_.allocator->allocate(order) : memory_.allocator->allocate_at_most(order, &got);
    if (buffer == no_buffer) return false;
    memory_.buffers->open(buffer, got, Holder::read);
    read.buffers.push_back(buffer);
    const uint64_t length = memory_.buffers->bytes(buffer);
    const uint64_t of_promise = std::min(length, read.promised);
    read.promised -= of_promise;
    promised_ -= of_promise;
    read.bytes += length;
    bytes_ += length - of_promise;
    taken += length;
  }
  return true;
}

void LogReader::release(Read& read) {
  check(read.wanters == 0, "read released that somebody wants", read.wanters);
  release_memory(read);
  read.state = Read::State::idle;
}

void LogReader::release_memory(Read& read) {
  check(read.request != Read::Request::in_flight, "read released while the drive writes into it");
  if (read.request == Read::Request::waiting) --waiting_;
  end_promise(read);
  for (const BufferIndex buffer : read.buffers.all()) memory_.buffers->release(buffer, Holder::read);
  bytes_ -= read.bytes;
  read.bytes = 0;
  read.buffers.clear();
  read.extents.clear();
  read.request = Read::Request::none;
}

// ---- the drive ----

const DriveRequest* LogReader::next_request() {
  if (waiting_ == 0) return nullptr;
  while (reads_[next_]->request != Read::Request::waiting) next_ = (next_ + 1) % static_cast<uint32_t>(reads_.size());
  Read& read = *reads_[next_];
  const Read::Extent& extent = read.extents[read.extent];
  const uint64_t length = extent.to - extent.from;
  size_t count = 0;
  uint64_t skip = read.arrived, left = length - read.arrived;
  for (size_t i = extent.first_buffer; left > 0; ++i) {
    const uint64_t bytes = memory_.buffers->bytes(read.buffers[i]);
    if (skip >= bytes) {
      skip -= bytes;
      continue;
    }
    const uint64_t here = std::min(left, bytes - skip);
    read.vectors[count++] = iovec{memory_.arena.at(read.buffers[i]) + skip, here};
    left -= here;
    skip = 0;
  }
  request_ = DriveRequest{.op = DriveOp::read,
                          .slot = read.slot,
                          .position = read.base + extent.from + read.arrived,
                          .vectors = {read.vectors, count},
                          .tag = RequestTag{RequestKind::read, next_}.pack()};
  return &request_;
}

void LogReader::submitted() {
  Read& read = *reads_[RequestTag::unpack(request_.tag).index];
  check(read.request == Read::Request::waiting, "submitted a read that does not wait");
  read.request = Read::Request::in_flight;
  --waiting_;
}

void LogReader::completed(uint32_t index, int64_t result) {
  Read& read = *reads_[index];
  check(read.request == Read::Request::in_flight, "completion of a read that is not in flight", index);
  read.request = Read::Request::none;
  if (read.wanters == 0) return release(read);  // cancelled meanwhile: nobody reads the buffers now
  const Read::Extent& extent = read.extents[read.extent];
  const uint64_t left = extent.to - extent.from - read.arrived;
  check(result <= static_cast<int64_t>(left), "the drive read more than was asked for", result,
        static_cast<long long>(left));
  if (result > 0) {
    statistics_->read_bytes += static_cast<uint64_t>(result);
    ++statistics_->reads;
  }
  if (result == static_cast<int64_t>(left)) {
    read.retries = 0;
    if (read.state == Read::State::reading_header) {
      header_arrived(read);
    } else {
      next_extent(read);
    }
    return;
  }
  // Resumed at a whole block; what keeps coming back empty is an error like any other.
  if (result < 0 && result != -EINTR && result != -EAGAIN) return give_up(read, result);
  const uint64_t progress = result > 0 ? round_down(static_cast<uint64_t>(result), units_.block) : 0;
  read.arrived += progress;
  read.retries = progress > 0 ? 0 : read.retries + 1;
  if (read.retries > limits::write_retries_max) return give_up(read, -EIO);
  read.request = Read::Request::waiting;
  ++waiting_;
}

// ---- what arrived ----

// The header is checked before anything in it is believed; then the runs that did not come with it are read.
void LogReader::header_arrived(Read& read) {
  if (!header_possible(read)) return finish(read, false);
  const uint64_t header_bytes = header_of(read).header_bytes;
  if (read.lead() + header_bytes > read.extents[0].to) {  // longer than guessed: once more, whole
    release_memory(read);
    read.header_bytes = header_bytes;
    if (!begin(read)) give_way(read);
    return;
  }
  if (!header_whole(read)) return finish(read, false);
  if (!find_entry(read)) return finish(read, false);
  read.state = Read::State::reading_runs;
  if (!plan_extents(read)) return give_way(read);
  end_promise(read);
  read.extent = 0;
  next_extent(read);
}

const disk::CommitHeader& LogReader::header_of(const Read& read) const {
  return *reinterpret_cast<const disk::CommitHeader*>(memory_.arena.at(read.buffers[0]) + read.lead());
}

bool LogReader::header_possible(const Read& read) const {
  const disk::CommitHeader& header = header_of(read);
  return header.magic == disk::commit_magic && header.version == disk::format_version &&
         header.position == read.entry.commit.value && header.header_bytes >= sizeof header &&
         header.header_bytes <= read.entry.first_position && read.entry.ordinal < header.entry_count;
}

bool LogReader::header_whole(const Read& read) const {
  const disk::CommitHeader& header = header_of(read);
  const auto* bytes = reinterpret_cast<const std::byte*>(&header);
  return crc32c(0, bytes + disk::crc_from, header.header_bytes - disk::crc_from) == header.crc;
}

// Finds the batch in its commit's header and checks that it is the one the index means.
bool LogReader::find_entry(Read& read) {
  const auto* at = reinterpret_cast<const std::byte*>(&header_of(read));
  const std::byte* end = at + reinterpret_cast<const disk::CommitHeader*>(at)->header_bytes;
  at += sizeof(disk::CommitHeader);
  for (uint32_t ordinal = 0;; ++ordinal) {
    const auto& prefix = *reinterpret_cast<const disk::EntryPrefix*>(at);
    if (static_cast<size_t>(end - at) < sizeof prefix || prefix.entry_bytes < sizeof prefix ||
        prefix.entry_bytes > static_cast<size_t>(end - at)) {
      return false;
    }
    if (ordinal < read.entry.ordinal) {
      at += prefix.entry_bytes;
      continue;
    }
    if (prefix.entry_bytes < sizeof(disk::Entry) + prefix.run_count * sizeof(disk::Run)) return false;
    read.batch = reinterpret_cast<const disk::Entry*>(at);
    read.runs = {reinterpret_cast<const disk::Run*>(at + sizeof(disk::Entry)), prefix.run_count};
    break;
  }
  uint64_t bytes = 0;
  for (const disk::Run& run : read.runs) bytes += run.length;
  return read.batch->partition == read.entry.partition.value && bytes == read.entry.bytes &&
         read.batch->base_offset == read.entry.base_offset.value && read.batch->batch_bytes == bytes &&
         bytes >= disk::batch_header_bytes;
}

// Runs that lie close together are read together. Copied runs of a batch follow each other, so do gathered ones: there
// are two places. What has more than read_extents_max is read from the first byte to the last.
bool LogReader::plan_extents(Read& read) {
  Read::Extent places[limits::read_extents_max];
  size_t count = 0;
  const uint64_t here = read.extents[0].to - read.lead();
  for (const disk::Run& run : read.runs) {
    const uint64_t from = run.position, to = from + run.length;
    if (to <= here) continue;
    size_t place = 0;
    while (place < count && (from + limits::read_gap_bytes_max < places[place].from ||
                             from > places[place].to + limits::read_gap_bytes_max)) {
      ++place;
    }
    if (place == limits::read_extents_max) place = 0;
    if (place == count) places[count++] = Read::Extent{.from = from, .to = to};
    places[place].from = std::min(places[place].from, from);
    places[place].to = std::max(places[place].to, to);
  }
  read.runs_bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    read.runs_bytes += round_up(places[i].to - places[i].from + 2 * units_.block, arena_unit_bytes);
  }
  for (size_t i = 0; i < count; ++i) {
    if (!add_extent(read, places[i].from, places[i].to, false)) return false;
  }
  return true;
}

// The next extent goes to the drive; after the last one the batch is there.
void LogReader::next_extent(Read& read) {
  if (read.extent + 1 < read.extents.size()) {
    ++read.extent;
    read.arrived = 0;
    read.request = Read::Request::waiting;
    ++waiting_;
  } else {
    finish(read, verify(read));
  }
}

// Length was compared with the entry; now the checksum. Then bytes 0-20 are made what the entry says.
bool LogReader::verify(Read& read) {
  uint32_t crc = 0;
  uint64_t done = 0;
  std::byte head[disk::batch_crc_from];
  write_batch_front(*read.batch, head);
  for_each_piece(read, [&](const Piece& piece) {
    std::byte* data = piece.data;
    uint32_t length = piece.length;
    if (done < disk::batch_crc_from) {
      const auto here = static_cast<uint32_t>(std::min<uint64_t>(length, disk::batch_crc_from - done));
      std::memcpy(data, head + done, here);
      data += here;
      length -= here;
      done += here;
    }
    crc = crc32c(crc, data, length);
    done += length;
  });
  return done == read.entry.bytes && crc == read.batch->batch_crc;
}

// The batch's bytes where they lie, in order. Every run lies in one extent.
template <class Visit>
void LogReader::for_each_piece(const Read& read, Visit&& visit) const {
  for (const disk::Run& run : read.runs) {
    const uint64_t from = read.lead() + run.position;
    uint64_t left = run.length;
    for (const Read::Extent& extent : read.extents.all()) {
      if (from < extent.from || from + left > extent.to) continue;
      uint64_t skip = from - extent.from;
      for (size_t i = extent.first_buffer; left > 0; ++i) {
        const uint64_t bytes = memory_.buffers->bytes(read.buffers[i]);
        if (skip >= bytes) {
          skip -= bytes;
          continue;
        }
        const uint64_t here = std::min(left, bytes - skip);
        visit(Piece{memory_.arena.at(read.buffers[i]) + skip, static_cast<uint32_t>(here), read.buffers[i]});
        left -= here;
        skip = 0;
      }
      break;
    }
  }
}

void LogReader::finish(Read& read, bool whole) {
  read.state = whole ? Read::State::ready : Read::State::damaged;
  tell(read);
}

void LogReader::give_up(Read& read, int64_t result) {
  ++statistics_->read_errors;
  statistics_->read_error = static_cast<uint64_t>(-result);
  read.state = Read::State::unreadable;
  tell(read);
}

void LogReader::tell(const Read& read) {
  for (const Want& want : wants_.all()) {
    if (want.read == &read) done_.push_back(want.token);
  }
}

// No memory now: whoever waits comes again and finds it busy.
void LogReader::give_way(Read& read) {
  tell(read);
  size_t kept = 0;
  for (const Want& want : wants_.all()) {
    if (want.read != &read) wants_[kept++] = want;
  }
  wants_.truncate(kept);
  read.wanters = 0;
  release(read);
}

// False: not enough pieces in the pool.
bool LogReader::hand_over(const Read& read, PiecePool& pool, PieceList& to) {
  size_t pieces = 0;
  for_each_piece(read, [&](const Piece&) { ++pieces; });
  if (pool.free_count() < pieces / PieceChunk::capacity + 1) return false;
  for_each_piece(read, [&](const Piece& piece) {
    memory_.buffers->hold(piece.buffer, Holder::send);
    check(to.push_back(pool, piece), "piece pool ran dry within a batch");
  });
  return true;
}

void LogReader::cancel(uint64_t token) {
  stop_wanting(token);
  size_t kept = 0;
  for (const uint64_t each : done_.all()) {
    if (each != token) done_[kept++] = each;
  }
  done_.truncate(kept);
}

// What was not asked for for longest goes first.
uint64_t LogReader::shed(uint64_t bytes) {
  const uint64_t before = bytes_;
  while (before - bytes_ < bytes) {
    Read* oldest = nullptr;
    for (const auto& each : reads_) {
      if ((oldest == nullptr || each->asked_at < oldest->asked_at) && may_go(*each)) oldest = each.get();
    }
    if (oldest == nullptr) break;
    release(*oldest);
  }
  return before - bytes_;
}

bool LogReader::can_shed() const {
  return std::ranges::any_of(reads_, [&](const auto& each) { return may_go(*each); });
}

// Nobody waits for it and nobody sends from it any more.
bool LogReader::may_go(const Read& read) const {
  return read.state == Read::State::ready && read.wanters == 0 &&
         std::ranges::all_of(read.buffers.all(),
                             [&](BufferIndex buffer) { return memory_.buffers->holders(buffer) == 1; });
}

bool LogReader::uses(SegmentSlot slot) const {
  return std::ranges::any_of(reads_, [&](const auto& read) {
    const bool reads = read->state == Read::State::reading_header || read->state == Read::State::reading_runs;
    return (reads || read->request != Read::Request::none) && read->slot == slot;
  });
}

bool LogReader::idle() const {
  return std::all_of(reads_.begin(), reads_.end(),
                     [](const auto& read) { return read->request == Read::Request::none; });
}

// At shutdown: everything, also what is still being sent (by references of the sender).
void LogReader::release_all() {
  wants_.clear();
  for (const auto& read : reads_) {
    read->wanters = 0;
    if (read->state != Read::State::idle) release(*read);
  }
}

}  // namespace penstock
