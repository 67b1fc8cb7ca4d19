#include "drivers/dpdk/steering.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "dataplane/base/check.h"
#include "dataplane/net/ethernet.h"
#include "dataplane/net/ip.h"

namespace penstock {
namespace {

constexpr uint32_t hash_bits = 32;
// Input bits in front of the end of the destination port: addresses, source port, destination port.
constexpr uint32_t input_bits_v4 = 96, input_bits_v6 = 288;

// The low `bits` bits of a number in reverse.
uint32_t reversed(uint32_t value, uint32_t bits) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < bits; ++i) result |= (value >> i & 1) << (bits - 1 - i);
  return result;
}

bpf_insn instruction(uint8_t code, uint8_t to, uint8_t from, int16_t jump, int32_t value) {
  bpf_insn made{};
  made.code = code;
  made.dst_reg = to & 0xf;
  made.src_reg = from & 0xf;
  made.off = jump;
  made.imm = value;
  return made;
}

// IPv4 without options and IPv6 without extension headers; everything else is queue 0's, and hand-over does the rest.
int load_program(const LanePorts& ports) {
  constexpr int32_t type_at = 12, protocol_v4_at = 23, port_v4_at = 36, protocol_v6_at = 20, port_v6_at = 56;
  constexpr uint8_t load_half = BPF_LD | BPF_ABS | BPF_H, load_byte = BPF_LD | BPF_ABS | BPF_B;
  constexpr uint8_t unless_equal = BPF_JMP | BPF_JNE | BPF_K;
  const std::array<bpf_insn, 15> program = {
      instruction(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),  // loads want the frame in r6
      instruction(load_half, 0, 0, 0, type_at),
      instruction(unless_equal, 0, 0, 4, net::ether_ipv4),
      instruction(load_byte, 0, 0, 0, protocol_v4_at),
      instruction(unless_equal, 0, 0, 8, net::protocol_tcp),
      instruction(load_half, 0, 0, 0, port_v4_at),
      instruction(BPF_JMP | BPF_JA, 0, 0, 4, 0),
      instruction(unless_equal, 0, 0, 5, net::ether_ipv6),
      instruction(load_byte, 0, 0, 0, protocol_v6_at),
      instruction(unless_equal, 0, 0, 3, net::protocol_tcp),
      instruction(load_half, 0, 0, 0, port_v6_at),
      instruction(BPF_ALU64 | BPF_SUB | BPF_K, 0, 0, 0, ports.first),
      instruction(BPF_JMP | BPF_JLT | BPF_K, 0, 0, 1, static_cast<int32_t>(ports.lane_count)),  // unsigned
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
      instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  static constexpr char license[] = "Apache-2.0";
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uint64_t>(program.data());
  attributes.insn_cnt = static_cast<uint32_t>(program.size());
  attributes.license = reinterpret_cast<uint64_t>(license);
  return static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

}  // namespace

// With the single key bit k, input bit i reaches bit 31 - k + i of the hash. The port's last bit, the last of the
// input, shall reach bit table_bits - 1.
std::vector<uint8_t> port_hash_key(bool v4, uint32_t table_bits, uint32_t key_bytes) {
  const uint32_t bit = (v4 ? input_bits_v4 : input_bits_v6) - 1 + hash_bits - table_bits;
  check(bit / 8 < key_bytes, "RSS key too short", bit, key_bytes);
  std::vector<uint8_t> key(key_bytes);
  key[bit / 8] = static_cast<uint8_t>(0x80u >> bit % 8);
  return key;
}

uint32_t toeplitz_hash(const std::vector<uint8_t>& key, const std::vector<uint8_t>& input) {
  uint32_t hash = 0;
  for (uint32_t i = 0; i < input.size() * 8; ++i) {
    if ((input[i / 8] >> (7 - i % 8) & 1) == 0) continue;
    for (uint32_t j = 0; j < hash_bits; ++j) {
      const uint32_t bit = i + j;
      if (bit / 8 < key.size() && (key[bit / 8] >> (7 - bit % 8) & 1) != 0) hash ^= 1u << (hash_bits - 1 - j);
    }
  }
  return hash;
}

std::vector<uint16_t> port_hash_table(uint32_t table_bits, const LanePorts& ports) {
  std::vector<uint16_t> table(size_t{1} << table_bits, 0);
  for (uint32_t lane = 0; lane < ports.lane_count; ++lane) {
    table[reversed(ports.first + lane, table_bits)] = static_cast<uint16_t>(lane);
  }
  return table;
}

bool steer_tap(const std::string& interface, const LanePorts& ports) {
  const int program = load_program(ports);
  if (program < 0) return false;
  bool done = false;
  std::error_code error;
  // The port's queues are open files of this process, each as good as another.
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    if (std::filesystem::read_symlink(entry.path(), error) != "/dev/net/tun") continue;
    const int file = std::atoi(entry.path().filename().c_str());
    ifreq request{};
    if (ioctl(file, TUNGETIFF, &request) != 0 || interface != request.ifr_name) continue;
    int wanted = program;
    if (ioctl(file, TUNSETSTEERINGEBPF, &wanted) == 0) done = true;
    if (done) break;
  }
  close(program);  // the device holds it
  return done;
}

}  // namespace penstock
