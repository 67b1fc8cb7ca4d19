// How frames find the queue of the lane that listens on their destination port.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/dpdk/lane_of_frame.h"

namespace penstock {

// An RSS key with one bit set, placed so that the low `table_bits` bits of the Toeplitz hash are the low bits of the
// TCP destination port in reverse, and of nothing else. For one family: IPv6's longer input brings other bits under the
// bit that serves IPv4.
std::vector<uint8_t> port_hash_key(bool v4, uint32_t table_bits, uint32_t key_bytes);

// The Toeplitz hash over source and destination address and port, as cards compute it.
uint32_t toeplitz_hash(const std::vector<uint8_t>& key, const std::vector<uint8_t>& input);

// Which queue each of 2^table_bits values of the hash goes to.
std::vector<uint16_t> port_hash_table(uint32_t table_bits, const LanePorts& ports);

// Makes the kernel choose the queue of a tap device by destination port, with a program of a dozen instructions. False:
// not allowed, or not a tap device of this process.
bool steer_tap(const std::string& interface, const LanePorts& ports);

}  // namespace penstock
