// The load of the weekend: producers and readers of many partitions at full speed, which know what must be there.
//
//   load --seed N TOPIC,PARTITION,PORT,plain|idempotent,RECORDS,VALUE-BYTES,RETENTION-MS,RETENTION-BYTES...
//
// Words on standard input: `audit` reads everything that must be there, beside the load, and says `{"audited": ...}`
// when it is done; `finish` lets the producers finish, reads the rest, audits, and ends. Each second a line of JSON
// says what was done in it; whatever is wrong is a line {"wrong": ...} and exit status 1.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <thread>

#include "tests/weekend/load/place.h"

namespace penstock::weekend {
namespace {

constexpr uint64_t complaints_shown = 50;

std::mutex print_mutex;
std::atomic<uint64_t> complaints{0};

void say(const std::string& line) {
  const std::lock_guard lock(print_mutex);
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void complain(const std::string& what) {
  if (complaints++ < complaints_shown) say("{\"wrong\": \"" + what + "\"}");
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "load: %s\n", what.c_str());
  std::_Exit(2);
}

std::unique_ptr<Place> parse_place(const std::string& words, uint32_t index, const Ledger::Complain& complains) {
  std::vector<std::string> fields;
  std::stringstream stream(words);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  if (fields.size() != 8) fail("8 fields are expected: " + words);
  const auto number = [&](size_t i) { return std::atoll(fields[i].c_str()); };
  auto place = std::make_unique<Place>();
  place->index = index;
  place->topic = fields[0];
  place->partition = static_cast<int32_t>(number(1));
  place->leader = {"127.0.0.1", static_cast<uint16_t>(number(2))};
  place->idempotent = fields[3] == "idempotent";
  place->batch_records = static_cast<int32_t>(number(4));
  place->value_bytes = static_cast<uint32_t>(number(5));
  place->ledger = std::make_unique<Ledger>(fields[0] + "-" + fields[1], Retention{number(6), number(7)},
                                           place->idempotent, complains);
  return place;
}

// One line for each second.
void report(Totals& totals, const std::atomic<bool>& ended) {
  for (uint64_t second = 0; !ended; ++second) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    std::string line = "{\"second\": " + std::to_string(second);
    const auto add = [&](const char* name, uint64_t value) {
      line += std::string(", \"") + name + "\": " + std::to_string(value);
    };
    add("acknowledged_bytes", totals.acknowledged_bytes);
    add("acknowledged_batches", totals.acknowledged_batches);
    add("read_bytes", totals.read_bytes);
    add("audited_bytes", totals.audited_bytes);
    add("reconnects", totals.reconnects);
    add("lost_connections", totals.lost_connections);
    add("storage_errors", totals.storage_errors);
    add("jumps", totals.jumps);
    add("wrong", complaints);
    line += ", \"latency_us\": {";
    const char* between = "";
    for (size_t i = 0; i < Latencies::bucket_count; ++i) {
      if (const uint64_t count = totals.latencies.take(i); count > 0) {
        line += between + ("\"" + std::to_string(Latencies::upper_us(i))) + "\": " + std::to_string(count);
        between = ", ";
      }
    }
    say(line + "}}");
  }
}

void audit_all(const Load& load, const std::vector<std::unique_ptr<Place>>& places) {
  const uint64_t before = load.totals.audited_bytes;
  std::vector<std::thread> threads;
  for (const auto& place : places) threads.emplace_back(audit, std::cref(load), std::ref(*place));
  for (std::thread& thread : threads) thread.join();
  say("{\"audited\": " + std::to_string(load.totals.audited_bytes - before) + "}");
}

int run(uint64_t seed, const std::vector<std::string>& words) {
  const Content content(seed);
  Totals totals;
  std::atomic<bool> finishing{false}, ended{false};
  const Ledger::Complain complains = complain;
  const Load load{content, totals, finishing, complains, seed};
  std::vector<std::unique_ptr<Place>> places;
  for (const std::string& each : words) {
    places.push_back(parse_place(each, static_cast<uint32_t>(places.size()), complains));
  }
  std::thread reporter(report, std::ref(totals), std::cref(ended));
  std::vector<std::thread> producers, readers;
  for (const auto& place : places) {
    producers.emplace_back(produce, std::cref(load), std::ref(*place));
    readers.emplace_back(read_along, std::cref(load), std::ref(*place));
  }
  for (std::string word; std::getline(std::cin, word) && word != "finish";) {
    if (word == "audit") audit_all(load, places);
  }
  finishing = true;
  for (std::thread& thread : producers) thread.join();
  for (std::thread& thread : readers) thread.join();
  audit_all(load, places);
  ended = true;
  reporter.join();
  return complaints == 0 ? 0 : 1;
}

}  // namespace
}  // namespace penstock::weekend

int main(int argument_count, char** arguments) {
  using penstock::weekend::fail;
  if (argument_count < 4 || std::string(arguments[1]) != "--seed") fail("usage: load --seed N PLACE...");
  return penstock::weekend::run(std::strtoull(arguments[2], nullptr, 10), {arguments + 3, arguments + argument_count});
}
