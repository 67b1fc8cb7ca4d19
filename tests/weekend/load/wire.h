// A connection to a broker, and the few requests that the load sends, written out as bytes.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "dataplane/base/byte_order.h"

namespace penstock::weekend {

template <class T>
void put(std::string& to, T value) {
  const Big<T> big(value);
  to.append(reinterpret_cast<const char*>(&big), sizeof big);
}

// Error codes of Kafka's that mean something here.
inline constexpr int16_t no_error = 0, offset_out_of_range = 1, unknown_topic = 3, not_leader = 6, timed_out = 7,
                         coordinator_loading = 14, out_of_order_sequence = 45, storage_error = 56;

struct ConnectionLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where a partition is.
struct Address {
  std::string host;
  uint16_t port = 0;
};

// Blocking, with a time limit on everything; whatever goes wrong is a ConnectionLost.
class Connection {
 public:
  explicit Connection(const Address& to);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(int16_t api, int16_t version, const std::string& body, std::span<const char> records = {});
  // The answer to the oldest request without one, behind its correlation id. Answers come in order.
  std::string receive();
  // Closes with RST instead of FIN.
  void reset();

 private:
  void receive_exactly(char* to, size_t bytes);
  int socket_ = -1;
  int32_t sent_ = 0;
  int32_t received_ = 0;
};

// Reads an answer from its start; beyond its end is a ConnectionLost.
class Answer {
 public:
  explicit Answer(std::string bytes) : bytes_(std::move(bytes)) {}
  template <class T>
  T get() {
    const auto taken = take(sizeof(T));
    return load_big<T>(taken.data());
  }
  void skip_text() { take(static_cast<size_t>(std::max<int16_t>(get<int16_t>(), 0))); }
  std::span<const char> take(size_t bytes) {
    if (bytes > bytes_.size() - at_) throw ConnectionLost("an answer is shorter than it should be");
    at_ += bytes;
    return {bytes_.data() + at_ - bytes, bytes};
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

struct Produced {
  int16_t error = 0;
  int64_t base_offset = 0;
};
void send_produce(Connection& connection, const std::string& topic, int32_t partition, const std::string& batch);
Produced receive_produced(Connection& connection);

struct Fetched {
  int16_t error = 0;
  int64_t high_watermark = 0;
  int64_t log_start = 0;
  std::vector<char> records;
};
Fetched fetch(Connection& connection, const std::string& topic, int32_t partition, int64_t offset, int32_t bytes_max,
              int32_t wait_ms);

// The log start, or the error.
std::expected<int64_t, int16_t> log_start(Connection& connection, const std::string& topic, int32_t partition);

// Id and epoch; waits while the node has none to give.
std::pair<int64_t, int16_t> new_producer_id(Connection& connection);

}  // namespace penstock::weekend
