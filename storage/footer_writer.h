// Writes the footer of a sealed segment: takes rows, makes blocks of them in one buffer, and sends one block at a time,
// then a flush, then the head. Knows nothing of where the rows come from.
//
//   begin()   put() put() .. end_section()   put() .. end_section()   put() .. end_section()
//
// put() and end_section() only while takes_rows(): not while a block is on its way. After the third section the rest
// goes by itself: the keys of its blocks, the flush and the head. A footer that cannot be written is given up: the segment is read whole at the next start.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "storage/footer.h"
#include "storage/log.h"

namespace penstock {

class FooterWriter {
 public:
  FooterWriter(const LogConfig& config, const DriveUnits& units, const LogMemory& memory, LogStatistics* statistics);

  // False: there is no room for it behind the segment's end. `rows` are the most that will come.
  [[nodiscard]] bool begin(const SegmentEnd& end, const FooterRows& rows, Milliseconds max_timestamp);
  // Takes a footer away, durably: the next start reads the segment whole. False: its head does not begin at a block.
  bool erase(const SealedSegment& segment);
  bool idle() const { return state_ == State::idle; }
  bool takes_rows() const { return state_ == State::filling; }
  const SegmentEnd& segment() const { return end_; }  // that is being written, or was last
  // A footer that became durable, once.
  std::optional<SealedSegment> take_written() { return std::exchange(written_, std::nullopt); }
  disk::FooterSection section() const { return static_cast<disk::FooterSection>(section_); }

  template <class Row>
  void put(const Row& row) {
    put(&row, sizeof row);
  }
  void end_section();
  // Nothing more is sent, and nothing of it will count.
  void give_up();

  // nullptr: nothing to send now. The request goes out in the order of submitted().
  const DriveRequest* next_request();
  void submitted();
  void completed(int64_t result);
  bool in_flight() const { return in_flight_; }
  void release_all();

 private:
  enum class State : uint8_t { idle, filling, block, flush, head };

  void put(const void* row, size_t bytes);
  void note_key(const void* row);
  void fill_keys();
  void send_block();
  void send_head();
  void sent();

  uint64_t segment_bytes_;
  uint32_t drive_block_;
  uint32_t block_bytes_;
  LogMemory memory_;
  LogStatistics* statistics_;
  BufferIndex buffer_ = no_buffer;
  std::byte* data_ = nullptr;

  State state_ = State::idle;
  bool in_flight_ = false;
  bool erasing_ = false;
  bool given_up_ = false;  // with a request in flight
  uint32_t retries_ = 0;
  SegmentEnd end_;
  disk::FooterHead head_;
  std::vector<disk::FooterKey> keys_;
  disk::FooterKey next_key_{};  // of the next batch, if it is of the same partition as the last
  std::optional<SealedSegment> written_;
  size_t section_ = 0;
  FilePosition at_{};          // of the block that is being filled
  uint32_t block_number_ = 0;  // in its section
  uint32_t block_rows_ = 0;
  uint64_t used_ = 0;    // bytes of the buffer
  uint64_t length_ = 0;  // bytes to be written
  iovec vector_{};
  DriveRequest request_;
};

}  // namespace penstock
