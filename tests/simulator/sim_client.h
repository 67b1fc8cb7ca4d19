// A Kafka client of the simulated world: frames over a simulated network, encoded and decoded with the same message
// descriptions as the node's. What it does with them is in producer.h and consumer.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/kafka/frame.h"
#include "dataplane/kafka/types.h"
#include "tests/simulator/network.h"

namespace penstock::sim {

struct Frame {
  int32_t correlation_id = 0;
  kafka::ApiKey key{};           // of the request it answers
  std::vector<std::byte> bytes;  // header and body
};

// One life of a topic that is deleted and created again (see churner.h): clients of it go by its id.
struct TopicLife {
  std::string name;
  kafka::Uuid id{};
};

// How long clients go on with a topic after its deletion was confirmed, in which they must get nothing.
inline constexpr Nanoseconds linger_ns = 20 * millisecond_ns;

// One connection to one lane. Answers must come in the order of the requests.
class Connection {
 public:
  bool open() const { return network_ != nullptr; }
  bool connect(Network* network, uint16_t port, Nanoseconds now) {
    close();
    peer_ = network->connect(now, port);
    if (peer_ == UINT32_MAX) return false;
    network_ = network;
    return true;
  }
  void close() {
    if (network_ != nullptr) network_->forget(peer_);
    lost();
  }
  // The node is gone, and with it the network to it.
  void lost() {
    network_ = nullptr;
    in_.clear();
    unanswered_.clear();
  }
  void stop_reading(bool stopped) {
    if (network_ != nullptr) network_->stop_reading(peer_, stopped);
  }
  bool ended(Nanoseconds now) const { return network_ == nullptr || network_->ended(peer_, now); }
  // Whatever bytes: whoever writes so knows what they are answered with.
  void write_raw(std::span<const std::byte> bytes, Nanoseconds now) {
    raw_ = true;
    network_->write(peer_, bytes, now);
  }

  // `record_bytes`: one entry for each Records field that is not null, in order.
  template <class Message>
  void send(const Message& message, kafka::Version version, Nanoseconds now,
            std::span<const std::span<const std::byte>> record_bytes = {}) {
    const kafka::RequestHeader header{Message::key, version, next_correlation_++, "sim"};
    static thread_local std::array<std::byte, 64 * 1024> out;
    std::vector<kafka::Splice> splices(record_bytes.size());
    const auto encoded = kafka::encode_request(header, message, out, splices);
    check(encoded.has_value(), "simulated client: request does not encode");
    std::vector<std::byte> frame;
    size_t at = 0;
    for (const kafka::Splice& splice : encoded->splices) {
      frame.insert(frame.end(), out.begin() + static_cast<ptrdiff_t>(at),
                   out.begin() + static_cast<ptrdiff_t>(splice.position));
      at = splice.position;
      frame.insert(frame.end(), record_bytes[splice.ordinal].begin(), record_bytes[splice.ordinal].end());
    }
    frame.insert(frame.end(), out.begin() + static_cast<ptrdiff_t>(at),
                 out.begin() + static_cast<ptrdiff_t>(encoded->bytes.size()));
    network_->write(peer_, frame, now);
    unanswered_.push_back({header.correlation_id, Message::key});
  }

  std::optional<Frame> receive(Nanoseconds now) {
    if (network_ == nullptr) return std::nullopt;
    network_->read(peer_, in_, now);
    if (in_.size() < kafka::frame_length_bytes) return std::nullopt;
    const auto length = static_cast<size_t>(load_big<int32_t>(in_.data()));
    if (in_.size() < kafka::frame_length_bytes + length) return std::nullopt;
    Frame frame;
    frame.bytes.assign(in_.begin() + kafka::frame_length_bytes,
                       in_.begin() + static_cast<ptrdiff_t>(kafka::frame_length_bytes + length));
    in_.erase(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(kafka::frame_length_bytes + length));
    const auto correlation_id = frame.correlation_id = load_big<int32_t>(frame.bytes.data());
    if (raw_) return frame;
    check(!unanswered_.empty(), "an answer to nothing", correlation_id);
    check(unanswered_.front().correlation_id == correlation_id, "answers out of request order",
          unanswered_.front().correlation_id, correlation_id);
    frame.key = unanswered_.front().key;
    unanswered_.pop_front();
    return frame;
  }

 private:
  struct Unanswered {
    int32_t correlation_id = 0;
    kafka::ApiKey key{};
  };
  Network* network_ = nullptr;
  uint32_t peer_ = 0;
  int32_t next_correlation_ = 1;
  bool raw_ = false;
  std::deque<Unanswered> unanswered_;
  std::vector<std::byte> in_;
};

// Decodes a response; what it points to lives in `frame` and in this object.
template <class Message>
class Decoded {
 public:
  Decoded(const Frame& frame, kafka::Version version)
      : memory_(std::make_unique_for_overwrite<std::byte[]>(memory_bytes)),
        scratch_({memory_.get(), memory_bytes}),
        pieces_(frame.bytes) {
    int32_t correlation_id = 0;
    const auto status = kafka::decode_response(pieces_.range(), version, scratch_, correlation_id, message);
    check(status == kafka::DecodeStatus::ok, "simulated client: response does not decode", static_cast<int>(status));
  }
  Message message;

 private:
  static constexpr size_t memory_bytes = 256 * 1024;
  std::unique_ptr<std::byte[]> memory_;
  kafka::Scratch scratch_;
  kafka::ContiguousPieces pieces_;
};

}  // namespace penstock::sim
