#include "tests/weekend/load/wire.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace penstock::weekend {
namespace {

constexpr int16_t produce_api = 0, fetch_api = 1, list_offsets_api = 2, init_producer_id_api = 22;
constexpr timeval patience{60, 0};

void put_text(std::string& to, const std::string& text) {
  put(to, static_cast<int16_t>(text.size()));
  to += text;
}

// One topic with one partition, whose fields follow.
void put_place(std::string& to, const std::string& topic, int32_t partition) {
  put(to, int32_t{1});
  put_text(to, topic);
  put(to, int32_t{1});
  put(to, partition);
}

void skip_place(Answer& answer) {
  answer.get<int32_t>();
  answer.skip_text();
  answer.get<int32_t>();
  answer.get<int32_t>();
}

}  // namespace

Connection::Connection(const Address& to) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(to.port);
  inet_pton(AF_INET, to.host.c_str(), &address.sin_addr);
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const int yes = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(socket_);
    throw ConnectionLost("nobody listens");
  }
}

Connection::~Connection() { ::close(socket_); }

void Connection::reset() {
  const linger at_once{1, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void Connection::send(int16_t api, int16_t version, const std::string& body, std::span<const char> records) {
  std::string head;
  put(head, int16_t{api});
  put(head, version);
  put(head, sent_++);
  put_text(head, "weekend");
  std::string frame;
  put(frame, static_cast<int32_t>(head.size() + body.size() + records.size()));
  frame += head + body;
  const auto send_all = [&](const char* from, size_t bytes, int flags) {
    while (bytes > 0) {
      const ssize_t sent = ::send(socket_, from, bytes, flags | MSG_NOSIGNAL);
      if (sent <= 0) throw ConnectionLost(sent < 0 ? std::strerror(errno) : "closed");
      from += sent;
      bytes -= static_cast<size_t>(sent);
    }
  };
  send_all(frame.data(), frame.size(), records.empty() ? 0 : MSG_MORE);
  send_all(records.data(), records.size(), 0);
}

void Connection::receive_exactly(char* to, size_t bytes) {
  const ssize_t received = ::recv(socket_, to, bytes, MSG_WAITALL);
  if (received < 0 && errno == EAGAIN) throw ConnectionLost("no answer within 60 s");
  if (received != static_cast<ssize_t>(bytes)) throw ConnectionLost("closed");
}

std::string Connection::receive() {
  Big<int32_t> length, correlation;
  receive_exactly(reinterpret_cast<char*>(&length), sizeof length);
  receive_exactly(reinterpret_cast<char*>(&correlation), sizeof correlation);
  if (correlation != received_++) throw ConnectionLost("answers out of order");
  std::string answer(static_cast<size_t>(length) - sizeof correlation, '\0');
  receive_exactly(answer.data(), answer.size());
  return answer;
}

void send_produce(Connection& connection, const std::string& topic, int32_t partition, const std::string& batch) {
  std::string body;
  put(body, int16_t{-1});  // no transaction
  put(body, int16_t{-1});  // acks: all
  put(body, int32_t{30'000});
  put_place(body, topic, partition);
  put(body, static_cast<int32_t>(batch.size()));
  connection.send(produce_api, 7, body, batch);
}

Produced receive_produced(Connection& connection) {
  Answer answer(connection.receive());
  skip_place(answer);
  const auto error = answer.get<int16_t>();
  return {error, answer.get<int64_t>()};
}

Fetched fetch(Connection& connection, const std::string& topic, int32_t partition, int64_t offset, int32_t bytes_max,
              int32_t wait_ms) {
  std::string body;
  put(body, int32_t{-1});  // no replica
  put(body, wait_ms);
  put(body, int32_t{1});
  put(body, bytes_max);
  put(body, int8_t{0});
  put_place(body, topic, partition);
  put(body, offset);
  put(body, int64_t{-1});
  put(body, bytes_max);
  connection.send(fetch_api, 5, body);
  Answer answer(connection.receive());
  answer.get<int32_t>();  // throttle
  skip_place(answer);
  Fetched fetched;
  fetched.error = answer.get<int16_t>();
  fetched.high_watermark = answer.get<int64_t>();
  answer.get<int64_t>();  // last stable offset
  fetched.log_start = answer.get<int64_t>();
  for (auto left = answer.get<int32_t>(); left > 0; --left) answer.take(16);  // aborted transactions
  const auto length = answer.get<int32_t>();
  const auto records = answer.take(static_cast<size_t>(std::max(length, 0)));
  fetched.records.assign(records.begin(), records.end());
  return fetched;
}

std::expected<int64_t, int16_t> log_start(Connection& connection, const std::string& topic, int32_t partition) {
  std::string body;
  put(body, int32_t{-1});
  put_place(body, topic, partition);
  put(body, int64_t{-2});  // the earliest
  connection.send(list_offsets_api, 1, body);
  Answer answer(connection.receive());
  skip_place(answer);
  if (const auto error = answer.get<int16_t>(); error != no_error) return std::unexpected(error);
  answer.get<int64_t>();  // timestamp
  return answer.get<int64_t>();
}

std::pair<int64_t, int16_t> new_producer_id(Connection& connection) {
  for (;;) {
    std::string body;
    put(body, int16_t{-1});
    put(body, int32_t{60'000});
    connection.send(init_producer_id_api, 1, body);
    Answer answer(connection.receive());
    answer.get<int32_t>();  // throttle
    if (answer.get<int16_t>() == no_error) {
      const auto id = answer.get<int64_t>();
      return {id, answer.get<int16_t>()};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace penstock::weekend
