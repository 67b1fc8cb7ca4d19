// TCP options of a segment to be sent, padded to words.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/check.h"
#include "dataplane/net/segment.h"

namespace penstock::tcp {

class OptionWriter {
 public:
  void mss(uint16_t bytes) {
    head(net::option_mss, 4);
    big16(bytes);
  }
  void window_scale(uint8_t shift) {
    byte(net::option_none);
    head(net::option_window_scale, 3);
    byte(shift);
  }
  void sack_permitted() {
    byte(net::option_none);
    byte(net::option_none);
    head(net::option_sack_permitted, 2);
  }
  void timestamps(uint32_t value, uint32_t echo) {
    byte(net::option_none);
    byte(net::option_none);
    head(net::option_timestamps, 10);
    big32(value);
    big32(echo);
  }
  static constexpr uint32_t timestamps_bytes = 12;
  static constexpr uint32_t sacks_bytes(uint32_t blocks) { return blocks == 0 ? 0 : 4 + 8 * blocks; }
  // As many blocks as there is room for.
  uint32_t sack_room() const { return (net::tcp_options_bytes_max - count_ - 4) / 8; }
  void sacks(std::span<const net::SackBlock> blocks) {
    if (blocks.empty()) return;
    byte(net::option_none);
    byte(net::option_none);
    head(net::option_sack, static_cast<uint8_t>(2 + 8 * blocks.size()));
    for (const net::SackBlock& block : blocks) {
      big32(block.first.value);
      big32(block.end.value);
    }
  }
  std::span<const uint8_t> bytes() const { return {bytes_, count_}; }

 private:
  void byte(uint8_t value) { bytes_[count_++] = value; }
  void head(uint8_t kind, uint8_t length) {
    check(count_ + length <= net::tcp_options_bytes_max, "TCP options too long", count_, length);
    byte(kind);
    byte(length);
  }
  void big16(uint16_t value) {
    store_big(bytes_ + count_, value);
    count_ += 2;
  }
  void big32(uint32_t value) {
    store_big(bytes_ + count_, value);
    count_ += 4;
  }
  uint8_t bytes_[net::tcp_options_bytes_max + 4];
  uint32_t count_ = 0;
};

}  // namespace penstock::tcp
