// The TCP header and its options: RFC 9293 3.1, RFC 7323, RFC 2018.
#pragma once

#include "dataplane/base/byte_order.h"

namespace penstock::net {

struct TcpHeader {
  Big<uint16_t> source_port;
  Big<uint16_t> destination_port;
  Big<uint32_t> sequence;
  Big<uint32_t> acknowledgment;
  uint8_t words_and_reserved = 0x50;  // header length in 32-bit words 4 bits, reserved 4 bits
  uint8_t flags = 0;
  Big<uint16_t> window;
  Big<uint16_t> checksum;
  Big<uint16_t> urgent;
};
static_assert(sizeof(TcpHeader) == 20);

enum TcpFlag : uint8_t {
  flag_fin = 0x01,
  flag_syn = 0x02,
  flag_rst = 0x04,
  flag_psh = 0x08,
  flag_ack = 0x10,
  flag_urg = 0x20,
  flag_ece = 0x40,
  flag_cwr = 0x80,
};

enum TcpOption : uint8_t {
  option_end = 0,
  option_none = 1,
  option_mss = 2,
  option_window_scale = 3,
  option_sack_permitted = 4,
  option_sack = 5,
  option_timestamps = 8,
};
inline constexpr uint32_t tcp_options_bytes_max = 40;
inline constexpr uint32_t sack_blocks_max = 4;

}  // namespace penstock::net
