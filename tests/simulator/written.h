// Every batch that a simulated producer has built: whoever is served one compares it byte for byte.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/base/check.h"

namespace penstock::sim {

struct BatchName {
  uint32_t producer = 0;
  uint32_t batch = 0;  // 0, 1, .. of this producer
  auto operator<=>(const BatchName&) const = default;
};

// The value of a batch's first record begins with this.
inline std::string label_of(const BatchName& name) {
  return "p" + std::to_string(name.producer) + "-" + std::to_string(name.batch) + ":";
}

// The first label in `text`.
inline std::optional<BatchName> find_label(std::string_view text) {
  size_t at = 0;
  const auto number = [&](char behind) -> std::optional<uint32_t> {
    uint32_t value = 0;
    const size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      value = value * 10 + static_cast<uint32_t>(text[at] - '0');
    }
    if (at == begin || at == text.size() || text[at++] != behind) return std::nullopt;
    return value;
  };
  while ((at = text.find('p', at)) != std::string_view::npos) {
    const size_t next = ++at;
    if (const auto producer = number('-')) {
      if (const auto batch = number(':')) return BatchName{*producer, *batch};
    }
    at = next;
  }
  return std::nullopt;
}

class Written {
 public:
  std::span<const std::byte> add(const BatchName& name, std::vector<std::byte> bytes) {
    if (producers_.size() <= name.producer) producers_.resize(name.producer + 1);
    auto& batches = producers_[name.producer];
    check(batches.size() == name.batch, "a batch is built out of order", name.batch);
    batches.push_back(std::move(bytes));
    return batches.back();
  }
  // Empty: nobody built it.
  std::span<const std::byte> find(const BatchName& name) const {
    const bool known = name.producer < producers_.size() && name.batch < producers_[name.producer].size();
    return known ? std::span(producers_[name.producer][name.batch]) : std::span<const std::byte>();
  }

 private:
  std::vector<std::vector<std::vector<std::byte>>> producers_;  // inner buffers stay where they are
};

}  // namespace penstock::sim
