// A decoded message back to bytes, record blobs interleaved: what a sender does with an encoder's splices.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/kafka/frame.h"
#include "tests/kafka/pieces.h"

namespace penstock::kafka {

// Notes the record blobs of a message in the encoder's order.
class RecordSets {
 public:
  explicit RecordSets(Version version) : version_(version) {}
  template <class T>
  void field(const T& value, When when = always) {
    if (when.includes(version_)) visit(value);
  }
  template <class... Known>
  void tags(const Known&...) {}  // no tag holds records
  template <class T>
  void visit(const T& value) {
    if constexpr (requires(T& m) { T::describe(*this, m); })
      T::describe(*this, value);
    else if constexpr (requires { value.range(); })
      ranges.push_back(value.range());
    else if constexpr (requires { value.slice(); })
      for (const auto& element : value.slice()) visit(element);
    else if constexpr (requires { value.first(0u); })
      for (const auto& element : value) visit(element);
  }
  std::vector<PieceRange> ranges;

 private:
  Version version_;
};

inline std::vector<std::byte> interleaved(const Encoded& encoded, const std::vector<PieceRange>& record_sets) {
  std::vector<std::byte> bytes;
  size_t done = 0;
  const auto append = [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
  for (const Splice& splice : encoded.splices) {
    append(encoded.bytes.subspan(done, splice.position - done));
    done = splice.position;
    check(record_sets.at(splice.ordinal).size() == splice.size, "splice size differs from the record set");
    append(joined(record_sets[splice.ordinal]));
  }
  append(encoded.bytes.subspan(done));
  return bytes;
}

// Nothing when the encoder refuses.
template <class Message>
std::optional<std::vector<std::byte>> message_bytes(const Message& message, Version version) {
  RecordSets record_sets(version);
  record_sets.visit(message);
  std::vector<std::byte> out(body_size(message, version));
  std::vector<Splice> splices(record_sets.ranges.size());
  const auto encoded = encode_body(message, version, out, splices);
  if (!encoded) return std::nullopt;
  check(encoded->total == out.size(), "sizer and encoder disagree", static_cast<long long>(encoded->total),
        static_cast<long long>(out.size()));
  return interleaved(*encoded, record_sets.ranges);
}

}  // namespace penstock::kafka
