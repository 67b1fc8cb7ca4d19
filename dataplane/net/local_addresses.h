// The node's own addresses and whether they may be used yet.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/check.h"
#include "dataplane/net/ip.h"

namespace penstock::net {

enum class AddressState : uint8_t {
  tentative,  // being probed: nobody is told about it (RFC 4862 5.4, RFC 5227 2.1)
  usable,
  conflict,  // somebody else has it: never used
};

class LocalAddresses {
 public:
  static constexpr uint32_t count_max = 16;
  struct Entry {
    InterfaceAddress interface;
    AddressState state = AddressState::tentative;
  };

  explicit LocalAddresses(std::span<const InterfaceAddress> addresses) {
    check(addresses.size() <= count_max, "too many addresses", static_cast<long long>(addresses.size()), count_max);
    for (const InterfaceAddress& address : addresses) entries_[count_++].interface = address;
  }

  // Usable addresses only.
  bool owns(const IpAddress& address) const {
    const Entry* entry = find(address);
    return entry != nullptr && entry->state == AddressState::usable;
  }
  const Entry* find(const IpAddress& address) const {
    for (const Entry& entry : entries()) {
      if (entry.interface.address == address) return &entry;
    }
    return nullptr;
  }
  // The address whose solicited-node group this is (RFC 4291 2.7.1), in any state.
  const Entry* find_solicited(const IpAddress& group) const {
    static constexpr uint8_t prefix[13] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    if (std::memcmp(group.bytes(), prefix, sizeof prefix) != 0) return nullptr;
    for (const Entry& entry : entries()) {
      const IpAddress& address = entry.interface.address;
      if (!address.is_v4() && std::memcmp(address.bytes() + 13, group.bytes() + 13, 3) == 0) return &entry;
    }
    return nullptr;
  }
  // The broadcast address of one of our IPv4 subnets.
  bool is_subnet_broadcast(const IpAddress& address) const {
    if (!address.is_v4()) return false;
    for (const Entry& entry : entries()) {
      const InterfaceAddress& ours = entry.interface;
      if (!ours.address.is_v4() || ours.prefix_bits >= 31) continue;
      const uint32_t hosts = ours.prefix_bits == 0 ? UINT32_MAX : (1u << (32 - ours.prefix_bits)) - 1;
      const uint32_t value = load_big<uint32_t>(address.v4_bytes());
      if ((value | hosts) == value && (value & ~hosts) == (load_big<uint32_t>(ours.address.v4_bytes()) & ~hosts)) {
        return true;
      }
    }
    return false;
  }
  std::span<const Entry> entries() const { return {entries_.data(), count_}; }
  std::span<Entry> entries() { return {entries_.data(), count_}; }

 private:
  std::array<Entry, count_max> entries_;
  uint32_t count_ = 0;
};

}  // namespace penstock::net
