// Sends the same produce requests again and again, as fast as they are acknowledged: the load of tools/bench/ingest.
//
//   sender --bytes N [--batch-bytes 900000] [--record-bytes 1000] [--in-flight 4] [--distinct 32] [--congestion cubic]
//          TOPIC HOST:PORT/PARTITION...
//
// One thread and one connection for each HOST:PORT/PARTITION, `--in-flight` requests under way on each, until N bytes of
// batches in all are acknowledged. The batches are made once, checksums and all, and lie in a memory file from which
// sendfile() sends them without copying, so that the sender takes little of the processor it shares with the broker.
// There are several, filled with random bytes, so that the broker does not find its data in the processor's cache.
//
// Prints one line of JSON; exit status 1 when anything was not acknowledged.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/byte_order.h"
#include "storage/crc/crc32c.h"

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  uint64_t bytes = 0;
  size_t batch_bytes = 900'000;
  size_t record_bytes = 1000;
  uint32_t in_flight = 4;
  uint32_t distinct = 32;
  std::string congestion;  // empty: as the system has it
  std::string topic;
  std::vector<std::string> places;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "sender: %s\n", what.c_str());
  std::_Exit(1);
}

// ------------------------------------------------------------------------------------------------------------ bytes

template <class T>
void put(std::string& to, T value) {
  const Big<T> big(value);
  to.append(reinterpret_cast<const char*>(&big), sizeof big);
}

void put_text(std::string& to, const std::string& text) {
  put(to, static_cast<int16_t>(text.size()));
  to += text;
}

void put_varint(std::string& to, uint64_t zigzag) {
  for (; zigzag > 0x7f; zigzag >>= 7) to += static_cast<char>(zigzag | 0x80);
  to += static_cast<char>(zigzag);
}

// KIP-98's record batch, uncompressed, as large as whole records of record_bytes make it without exceeding batch_bytes.
std::string make_batch(const Options& options, std::mt19937_64& random) {
  constexpr size_t header_bytes = 61, length_at = 8, crc_at = 17, covered_at = 21, last_delta_at = 23, count_at = 57;
  const auto now_ms = static_cast<int64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  std::string batch;
  put(batch, int64_t{0});   // base offset
  put(batch, int32_t{0});   // length, below
  put(batch, int32_t{-1});  // leader epoch
  batch += '\2';            // magic
  put(batch, uint32_t{0});  // CRC, below
  put(batch, int16_t{0});   // attributes
  put(batch, int32_t{0});   // last offset delta, below
  put(batch, now_ms);
  put(batch, now_ms);
  put(batch, int64_t{-1});  // no producer id, epoch, sequence
  put(batch, int16_t{-1});
  put(batch, int32_t{-1});
  put(batch, int32_t{0});  // count, below
  if (batch.size() != header_bytes) fail("the batch header is not 61 bytes");

  int32_t count = 0;
  std::string value(options.record_bytes, '\0');
  for (;; ++count) {
    for (char& byte : value) byte = static_cast<char>(random());
    std::string body(1, '\0');                         // attributes
    put_varint(body, 0);                               // time delta
    put_varint(body, static_cast<uint64_t>(count) * 2);  // offset delta
    put_varint(body, 1);                               // key: null
    put_varint(body, value.size() * 2);
    body += value;
    put_varint(body, 0);  // headers
    std::string length;
    put_varint(length, body.size() * 2);
    if (count > 0 && batch.size() + length.size() + body.size() > options.batch_bytes) break;
    batch += length + body;
  }
  const auto write = [&](size_t at, auto big) { std::memcpy(batch.data() + at, &big, sizeof big); };
  write(length_at, Big<int32_t>(static_cast<int32_t>(batch.size() - length_at - sizeof(int32_t))));
  write(last_delta_at, Big<int32_t>(count - 1));
  write(count_at, Big<int32_t>(count));
  write(crc_at, Big<uint32_t>(crc32c(0, batch.data() + covered_at, batch.size() - covered_at)));
  return batch;
}

// Produce, version 7, up to and with the length of the records.
std::string request_head(const Options& options, int32_t partition, size_t batch_bytes) {
  std::string head;
  put(head, int16_t{0});
  put(head, int16_t{7});
  put(head, int32_t{0});  // correlation id: answers come in order
  put_text(head, "bench");
  put(head, int16_t{-1});  // no transaction
  put(head, int16_t{-1});  // acks: all
  put(head, int32_t{30'000});
  put(head, int32_t{1});
  put_text(head, options.topic);
  put(head, int32_t{1});
  put(head, partition);
  put(head, static_cast<int32_t>(batch_bytes));
  std::string frame;
  put(frame, static_cast<int32_t>(head.size() + batch_bytes));
  return frame + head;
}

// The batches, one behind the other in a memory file.
struct Batches {
  int file = -1;
  std::vector<std::pair<off_t, size_t>> places;
};

Batches make_batches(const Options& options) {
  Batches batches{.file = memfd_create("batches", 0), .places = {}};
  std::mt19937_64 random(1);
  off_t at = 0;
  for (uint32_t i = 0; i < options.distinct; ++i) {
    const std::string batch = make_batch(options, random);
    if (pwrite(batches.file, batch.data(), batch.size(), at) != static_cast<ssize_t>(batch.size())) fail("memory file");
    batches.places.emplace_back(at, batch.size());
    at += static_cast<off_t>((batch.size() + 4095) / 4096 * 4096);
  }
  return batches;
}

// ------------------------------------------------------------------------------------------------------- connections

struct Totals {
  std::atomic<uint64_t> started_bytes{0};
  std::atomic<uint64_t> acknowledged_bytes{0};
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> errors{0};
};

int connect_to(const Options& options, const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) fail("no IPv4 address: " + host);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("cannot connect to " + host);
  const int yes = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  const std::string& congestion = options.congestion;
  if (!congestion.empty() &&
      setsockopt(connection, IPPROTO_TCP, TCP_CONGESTION, congestion.data(), static_cast<socklen_t>(congestion.size())) != 0)
    fail("this kernel has no congestion control " + congestion);
  return connection;
}

void send_request(int connection, const std::string& head, int file, off_t at, size_t bytes) {
  if (send(connection, head.data(), head.size(), MSG_MORE | MSG_NOSIGNAL) != static_cast<ssize_t>(head.size()))
    fail("the connection ended");
  while (bytes > 0) {
    const ssize_t sent = sendfile(connection, file, &at, bytes);
    if (sent <= 0) fail("the connection ended");
    bytes -= static_cast<size_t>(sent);
  }
}

void read_exactly(int connection, char* to, size_t bytes) {
  if (recv(connection, to, bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) fail("the connection ended");
}

// The error code of the one partition of a Produce answer, version 7.
int16_t read_answer(int connection, const std::string& topic) {
  Big<int32_t> length;
  read_exactly(connection, reinterpret_cast<char*>(&length), sizeof length);
  std::string answer(static_cast<size_t>(length.get()), '\0');
  read_exactly(connection, answer.data(), answer.size());
  const size_t error_at = 4 + 4 + 2 + topic.size() + 4 + 4;  // correlation, topics, name, partitions, index
  Big<int16_t> error;
  std::memcpy(&error, answer.data() + error_at, sizeof error);
  return error.get();
}

void run_connection(const Options& options, const std::string& place, size_t first, const Batches& batches,
                    Totals& totals) {
  const size_t colon = place.find(':'), slash = place.find('/');
  if (colon == std::string::npos || slash == std::string::npos) fail("HOST:PORT/PARTITION is expected: " + place);
  const int connection = connect_to(options, place.substr(0, colon), std::atoi(place.c_str() + colon + 1));
  const int32_t partition = std::atoi(place.c_str() + slash + 1);
  std::vector<std::string> heads;
  for (const auto& [at, bytes] : batches.places) heads.push_back(request_head(options, partition, bytes));

  std::deque<size_t> under_way;
  for (size_t next = first;; next = (next + 1) % heads.size()) {
    const auto [at, bytes] = batches.places[next];
    const bool more = totals.started_bytes.fetch_add(bytes) < options.bytes;
    if (more) {
      send_request(connection, heads[next], batches.file, at, bytes);
      under_way.push_back(bytes);
    }
    while (!under_way.empty() && (!more || under_way.size() >= options.in_flight)) {
      if (read_answer(connection, options.topic) == 0)
        totals.acknowledged_bytes += under_way.front();
      else
        ++totals.errors;
      ++totals.requests;
      under_way.pop_front();
    }
    if (!more) break;
  }
  close(connection);
}

// -------------------------------------------------------------------------------------------------------------- main

Options parse(int argument_count, char** arguments) {
  Options options;
  for (int i = 1; i < argument_count; ++i) {
    const std::string name = arguments[i];
    if (!name.starts_with("--")) {
      if (options.topic.empty())
        options.topic = name;
      else
        options.places.push_back(name);
      continue;
    }
    if (++i == argument_count) fail(name + " needs a value");
    if (name == "--congestion") {
      options.congestion = arguments[i];
      continue;
    }
    const uint64_t value = std::strtoull(arguments[i], nullptr, 10);
    if (name == "--bytes")
      options.bytes = value;
    else if (name == "--batch-bytes")
      options.batch_bytes = value;
    else if (name == "--record-bytes")
      options.record_bytes = value;
    else if (name == "--in-flight")
      options.in_flight = static_cast<uint32_t>(value);
    else if (name == "--distinct")
      options.distinct = static_cast<uint32_t>(value);
    else
      fail("unknown option " + name);
  }
  if (options.bytes == 0 || options.places.empty() || options.distinct == 0 || options.in_flight == 0)
    fail("usage: sender --bytes N [options] TOPIC HOST:PORT/PARTITION...");
  return options;
}

double seconds_of(const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; }

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

int run(const Options& options) {
  const Batches batches = make_batches(options);
  Totals totals;
  const double cpu_before = cpu_seconds();  // making the batches does not count
  const Clock::time_point began = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.places.size(); ++i) {
    threads.emplace_back(run_connection, std::cref(options), std::cref(options.places[i]),
                         i * options.distinct / options.places.size(), std::cref(batches), std::ref(totals));
  }
  for (std::thread& thread : threads) thread.join();
  const double took = std::chrono::duration<double>(Clock::now() - began).count();
  std::printf("{\"acknowledged_bytes\": %llu, \"requests\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"cpu_s\": %.3f}\n",
              static_cast<unsigned long long>(totals.acknowledged_bytes.load()),
              static_cast<unsigned long long>(totals.requests.load()),
              static_cast<unsigned long long>(totals.errors.load()), took, cpu_seconds() - cpu_before);
  return totals.errors == 0 ? 0 : 1;
}

}  // namespace
}  // namespace penstock

int main(int argument_count, char** arguments) { return penstock::run(penstock::parse(argument_count, arguments)); }
