// One lane for tests of the session layer: real Broker and Log, simulated streams and drive, virtual time. The control
// plane is the test itself: what the lane asks is collected, what it is told the test says. After every test nothing
// may be left over: no buffer, no piece, no response slot.
//
//   setup.broker.idle_max_ns = ...;                  // what the test needs otherwise
//   start({{"t", {0}}});                             // topic "t", one partition, led by lane 0
//   Client& client = connect();
//   produce(client, {{"t", 0, batch_of(1)}});
//   EXPECT_EQ(answer_of<kafka::ProduceResponse>(client, 9)->topics[0]...);
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/kafka/messages/fetch.h"
#include "dataplane/kafka/messages/metadata.h"
#include "dataplane/kafka/messages/produce.h"
#include "dataplane/lane.h"
#include "drivers/sim/sim_drive.h"
#include "drivers/sim/sim_streams.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/batch_builder.h"
#include "tests/simulator/sim_client.h"

namespace penstock::session_test {

using Bytes = std::vector<std::byte>;

// ---- seams that can be watched ----

// SimStreams that remembers what the session asked of it.
class WatchedStreams : public SimStreams {
 public:
  using SimStreams::SimStreams;

  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    return SimStreams::poll(now, [&](StreamEvent event) {
      if (event.kind == StreamEventKind::opened) {
        ++opened;
        last_opened = event.stream;
        allowed[event.stream.index] = received[event.stream.index] = 0;
        if (local_address.has_value()) std::ranges::copy(*local_address, event.local.address);
      }
      if (event.kind == StreamEventKind::data) received[event.stream.index] += event.piece.length;
      handler(event);
    });
  }
  void allow(StreamId id, uint64_t byte_count) {
    allowed[id.index] += byte_count;
    SimStreams::allow(id, byte_count);
  }
  void probe(StreamId id) {
    ++probes[id.index];
    SimStreams::probe(id);
  }
  void stop_accepting() {
    accepts = false;
    SimStreams::stop_accepting();
  }

  uint32_t opened = 0;
  StreamId last_opened;
  std::map<uint32_t, uint64_t> allowed;   // bytes of credit, by stream index
  std::map<uint32_t, uint64_t> received;  // bytes delivered
  std::map<uint32_t, uint32_t> probes;
  bool accepts = true;
  std::optional<std::array<uint8_t, 16>> local_address;  // instead of 10.0.0.1
};
static_assert(Streams<WatchedStreams>);

// SimDrive that can be told to finish nothing for a while.
class HeldDrive : public SimDrive {
 public:
  using SimDrive::SimDrive;

  void hold(bool held) { held_ = held; }
  template <class Done>
  uint32_t poll(Nanoseconds now, Done&& done) {
    return held_ ? 0 : SimDrive::poll(now, std::forward<Done>(done));
  }
  Nanoseconds next_deadline() const { return held_ ? never_ns : SimDrive::next_deadline(); }

 private:
  bool held_ = false;
};
static_assert(Drive<HeldDrive>);

// ---- what Broker keeps to itself: its pools, to see that they are full again ----

// An explicit instantiation may name private members ([temp.spec.general]).
template <class Tag, typename Tag::Member member>
struct Reveal {
  friend typename Tag::Member revealed(Tag) { return member; }
};
struct ResponsesTag {
  using Member = Pool<Response, &Response::next> Broker::*;
  friend Member revealed(ResponsesTag);
};
struct WaitersTag {
  using Member = Pool<Waiter, &Waiter::next> Broker::*;
  friend Member revealed(WaitersTag);
};
template struct Reveal<ResponsesTag, &Broker::responses_>;
template struct Reveal<WaitersTag, &Broker::waiters_>;

// ---- the catalog ----

struct TopicSpec {
  std::string name;
  std::vector<uint32_t> lanes;  // the leader of each partition
  TopicSettings settings{};
  int32_t leader_epoch = 0;
};

// ---- clients ----

struct Client {
  sim::Connection connection;
  uint32_t peer = 0;  // index of its stream
  int32_t next_correlation = 1;
  std::deque<sim::Frame> frames;  // received, not looked at
};

// A response and what it lies in.
template <class Message>
struct Answer {
  sim::Frame frame;
  sim::Decoded<Message> decoded;
  Answer(sim::Frame&& received, kafka::Version version) : frame(std::move(received)), decoded(frame, version) {}
  const Message* operator->() const { return &decoded.message; }
};

struct BatchFor {
  std::string topic;
  int32_t partition = 0;
  Bytes bytes;
};

struct FetchFrom {
  std::string topic;
  int32_t partition = 0;
  int64_t offset = 0;
  int32_t bytes_max = 1 << 20;
  int32_t leader_epoch = -1;
};

struct FetchLimits {
  int32_t max_wait_ms = 0;
  int32_t min_bytes = 1;
  int32_t max_bytes = 1 << 20;
};

inline constexpr Milliseconds wall_start_ms = 1'700'000'000'000;

// A plain batch of `count` records.
inline Bytes batch_of(uint32_t count, size_t value_bytes = 20, Milliseconds timestamp = wall_start_ms) {
  kafka::BatchBuilder builder;
  for (uint32_t i = 0; i < count; ++i) {
    builder.add(timestamp, std::nullopt, std::string(value_bytes, static_cast<char>('a' + i % 26)));
  }
  return builder.build(crc32c);
}

// A batch of one record that is exactly `bytes` long.
inline Bytes batch_of_size(size_t bytes) {
  for (size_t value_bytes = bytes; value_bytes > 0; --value_bytes) {
    Bytes batch = batch_of(1, value_bytes);
    if (batch.size() == bytes) return batch;
  }
  check(false, "test: no batch of this size", static_cast<long long>(bytes));
  return {};
}

inline Bytes sequenced_batch(int64_t producer_id, int16_t epoch, int32_t sequence, uint32_t count = 1) {
  kafka::BatchBuilder builder;
  builder.producer(producer_id, epoch, sequence);
  for (uint32_t i = 0; i < count; ++i) builder.add(wall_start_ms, std::nullopt, "value");
  return builder.build(crc32c);
}

// A whole request frame. `records`: the bytes of each Records field in order.
template <class Message>
Bytes frame_of(const Message& message, kafka::Version version, int32_t correlation_id,
               std::span<const Bytes> records = {}) {
  constexpr size_t out_bytes = 4 * MiB;  // without record bytes; touched as used
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(out_bytes);
  const std::span<std::byte> out(memory.get(), out_bytes);
  std::vector<kafka::Splice> splices(records.size());
  const auto encoded = kafka::encode_request({Message::key, version, correlation_id, "test"}, message, out, splices);
  check(encoded.has_value(), "test: request does not encode");
  Bytes frame;
  frame.reserve(encoded->total);
  uint32_t at = 0;
  const auto add = [&](uint32_t to) { frame.insert(frame.end(), out.begin() + at, out.begin() + to); };
  for (const kafka::Splice& splice : encoded->splices) {
    add(splice.position);
    at = splice.position;
    frame.insert(frame.end(), records[splice.ordinal].begin(), records[splice.ordinal].end());
  }
  add(static_cast<uint32_t>(encoded->bytes.size()));
  return frame;
}

inline kafka::RecordBatchHeader header_of(std::span<const std::byte> batch) {
  kafka::RecordBatchHeader header;
  check(batch.size() >= sizeof header, "test: less than a batch header", static_cast<long long>(batch.size()));
  std::memcpy(static_cast<void*>(&header), batch.data(), sizeof header);
  return header;
}

inline std::vector<Bytes> batches_of(const kafka::Records& records) {
  Bytes all(records.size());
  if (!all.empty()) records.range().copy_out(0, all.data(), all.size());
  std::vector<Bytes> batches;
  for (size_t at = 0; at < all.size();) {
    const auto header = header_of(std::span(all).subspan(at));
    const size_t size = kafka::batch_length_prefix_bytes + static_cast<size_t>(header.batch_length.get());
    check(size <= all.size() - at, "test: half a batch");
    batches.emplace_back(all.begin() + static_cast<ptrdiff_t>(at), all.begin() + static_cast<ptrdiff_t>(at + size));
    at += size;
  }
  return batches;
}

// The CRC that stands in a batch is the one of its bytes.
inline bool crc_is_right(const Bytes& batch) {
  return crc32c(0, batch.data() + kafka::batch_crc_start, batch.size() - kafka::batch_crc_start) ==
         header_of(batch).crc;
}

// ---- the fixture ----

class LaneTest : public testing::Test {
 protected:
  struct Setup {
    BrokerConfig broker{
        .connections_max = 16, .receive_bytes = 12 * MiB, .request_bytes_max = 256 * KiB, .send_bytes = 512 * KiB};
    SimStreamsConfig streams{.streams_max = 16, .delay_max_ns = 1000};
    DriveUnits units{.address_unit = 4,
                     .length_unit = 512,
                     .block = 512,
                     .copybreak = 1024,
                     .commit_bytes_max = 64 * 1024,
                     .inflight_bytes_max = 64 * 1024,
                     .inflight_writes_max = 2};
    SimDriveConfig drive;
    LogConfig log{.segment_bytes = 1 * MiB,
                  .spare_segments = 1,
                  .resident_bytes_max = 4 * MiB,
                  .read_bytes_max = 1 * MiB,
                  .partitions_max = 256,
                  .producers_max = 64,
                  .random_seed = 1};
    uint64_t log_bytes = 8 * MiB, send_bytes = 2 * MiB, receive_bytes = 24 * MiB;  // regions of the arena
    size_t chunks = 8192;
    size_t control_capacity = 64;
    uint32_t lanes = 2;
    std::vector<std::string> hosts = {"", ""};
    bool auto_create_topics = true;
    bool wait_until_writable = true;
  };
  Setup setup;

  // ---- the lane ----

  void start(const std::vector<TopicSpec>& topics) {
    node_ = std::make_unique<Node>(setup);
    if (setup.wait_until_writable) {
      check(run_until([&] { return log().state() == LogState::writable; }), "test: the log does not start");
    } else {
      drive().hold(true);
    }
    apply(topics);
  }

  // The lane gets a new picture of the catalog.
  void apply(const std::vector<TopicSpec>& topics) {
    tell({.kind = ToLaneKind::view, .view = view_of(topics)});
    check(run_until([&] { return take(ToControlKind::view_applied).has_value(); }), "test: view not applied");
  }

  std::shared_ptr<const CatalogView> view_of(const std::vector<TopicSpec>& topics) {
    auto view = std::make_shared<CatalogView>();
    view->version = ++view_version_;
    view->cluster_id = "test-cluster";
    view->auto_create_topics = setup.auto_create_topics;
    for (uint32_t lane = 0; lane < setup.lanes; ++lane) {
      view->brokers.push_back({static_cast<int32_t>(10 + lane), setup.hosts[lane], static_cast<uint16_t>(9092 + lane)});
    }
    std::erase_if(places_, [&](const auto& each) {
      return std::ranges::find(topics, each.first.first, &TopicSpec::name) == topics.end();
    });
    for (const TopicSpec& spec : topics) {
      auto topic = std::make_shared<TopicView>();
      topic->name = spec.name;
      topic->id = id_of(spec.name);
      topic->settings = spec.settings;
      for (size_t i = 0; i < spec.lanes.size(); ++i) {
        const std::pair fresh(PartitionNumber(next_number_), free_slot());
        const auto [number, slot] = places_.emplace(std::pair(spec.name, i), fresh).first->second;
        next_number_ = std::max(next_number_, number.value + 1);
        topic->partitions.push_back({number, spec.lanes[i], slot, spec.leader_epoch});
      }
      view->by_name.emplace(topic->name, topic.get());
      view->by_id.emplace(topic->id, topic.get());
      view->topics.push_back(std::move(topic));
    }
    return view;
  }

  // As the catalog gives them out.
  PartitionSlot free_slot() const {
    PartitionSlot slot{};
    while (std::ranges::any_of(places_, [&](const auto& each) { return each.second.second == slot; })) ++slot.value;
    return slot;
  }

  kafka::Uuid id_of(const std::string& topic) {
    const auto fresh = static_cast<uint8_t>(topic_ids_.size() + 1);
    kafka::Uuid id;
    id.bytes[0] = topic_ids_.emplace(topic, fresh).first->second;
    return id;
  }

  // The same name is another topic from now on: deleted and created again.
  void forget_topic(const std::string& topic) {
    topic_ids_.erase(topic);
    topic_ids_.emplace(topic, static_cast<uint8_t>(200 + view_version_));
    std::erase_if(places_, [&](const auto& each) { return each.first.first == topic; });
  }

  const PartitionState& partition(const std::string& topic, size_t index = 0) {
    const PartitionState* state = log().partition(places_.at({topic, index}).second);
    check(state != nullptr, "test: partition is not open");
    return *state;
  }

  WatchedStreams& streams() { return node_->streams; }
  HeldDrive& drive() { return node_->drive; }
  Log& log() { return node_->log; }
  LaneMetrics& metrics() { return node_->metrics; }
  BufferTable& buffers() { return node_->buffers; }
  BufferAllocator& send_buffers() { return node_->send_buffers; }
  Broker& broker() { return node_->lane.broker(); }
  Lane<WatchedStreams, HeldDrive>& lane() { return node_->lane; }
  uint32_t responses_used() { return (broker().*revealed(ResponsesTag{})).used(); }
  uint32_t waiters_used() { return (broker().*revealed(WaitersTag{})).used(); }
  uint64_t errors(kafka::ErrorCode error) {
    return metrics().errors[static_cast<size_t>(static_cast<int>(error) + 1)].get();
  }

  // ---- time ----

  Nanoseconds now() const { return now_; }
  Milliseconds wall_ms() const { return wall_start_ms + now_ / millisecond_ns; }

  // Until `done` holds; false when it does not within `limit`.
  template <class Done>
  bool run_until(Done&& done, Nanoseconds limit = 5 * second_ns) {
    const Nanoseconds end = now_ + limit;
    while (!done()) {
      if (now_ >= end) return false;
      step(end);
    }
    return true;
  }
  void run_for(Nanoseconds duration) {
    run_until([] { return false; }, duration);
  }

  // ---- the control plane ----

  void tell(ToLane&& message) { check(node_->inbox.push(std::move(message)), "test: inbox full"); }
  // The oldest message of this kind that the lane has sent and nobody has looked at.
  std::optional<ToControl> take(ToControlKind kind) {
    const auto found = std::ranges::find(asked_, kind, &ToControl::kind);
    if (found == asked_.end()) return std::nullopt;
    ToControl message = std::move(*found);
    asked_.erase(found);
    return message;
  }
  ToControl await(ToControlKind kind) {
    std::optional<ToControl> message;
    if (!run_until([&] { return (message = take(kind)).has_value(); })) {
      throw std::runtime_error("the lane does not ask");
    }
    return std::move(*message);
  }
  size_t asked(ToControlKind kind) const {
    return static_cast<size_t>(std::ranges::count(asked_, kind, &ToControl::kind));
  }
  void hold_outbox(bool held) { outbox_held_ = held; }

  // ---- clients ----

  Client& connect(uint16_t port = 9092) {
    Client& client = *clients_.emplace_back(std::make_unique<Client>());
    const uint32_t before = streams().opened;
    check(client.connection.connect(&node_->network, port, now_), "test: nobody accepts");
    check(run_until([&] { return streams().opened > before; }), "test: not connected");
    client.peer = streams().last_opened.index;
    return client;
  }

  void write(Client& client, std::span<const std::byte> bytes) { client.connection.write_raw(bytes, now_); }
  void write_part(Client& client, const Bytes& frame, size_t from, size_t to) {
    write(client, std::span(frame).subspan(from, to - from));
  }
  void finish(Client& client) { streams().finish(client.peer); }
  void reset(Client& client) { streams().reset(client.peer); }
  // The client is gone, and its stream may be used again.
  void drop(Client& client) {
    client.connection.close();
    run_for(10 * millisecond_ns);
  }

  template <class Message>
  int32_t send(Client& client, const Message& message, kafka::Version version, std::span<const Bytes> records = {}) {
    const int32_t correlation_id = client.next_correlation++;
    write(client, frame_of(message, version, correlation_id, records));
    return correlation_id;
  }

  Bytes produce_frame(Client& client, const std::vector<BatchFor>& batches, kafka::Version version = 9,
                      int16_t acks = -1) {
    std::vector<kafka::ProduceRequest::Partition> partitions(batches.size());
    std::vector<kafka::ProduceRequest::Topic> topics(batches.size());
    std::vector<Bytes> records;
    for (size_t i = 0; i < batches.size(); ++i) {
      partitions[i].index = batches[i].partition;
      partitions[i].records = kafka::Records::external(batches[i].bytes.size());
      topics[i].name = std::string_view(batches[i].topic);
      topics[i].topic_id = id_of(batches[i].topic);
      topics[i].partitions = {&partitions[i], 1};
      records.push_back(batches[i].bytes);
    }
    kafka::ProduceRequest request;
    request.acks = acks;
    request.timeout_ms = 30'000;
    request.topics = kafka::Slice<kafka::ProduceRequest::Topic>(std::span(topics));
    return frame_of(request, version, client.next_correlation++, records);
  }
  // One topic entry for each batch.
  void produce(Client& client, const std::vector<BatchFor>& batches, kafka::Version version = 9, int16_t acks = -1) {
    write(client, produce_frame(client, batches, version, acks));
  }
  // Produces and waits: the base offset, or minus the error code.
  int64_t produced(Client& client, const BatchFor& batch, kafka::Version version = 9) {
    produce(client, {batch}, version);
    const auto answer = answer_of<kafka::ProduceResponse>(client, version);
    const auto& partition = answer->topics[0].partitions[0];
    return partition.error_code == kafka::ErrorCode::NONE ? partition.base_offset
                                                          : -static_cast<int64_t>(partition.error_code);
  }

  void fetch(Client& client, const std::vector<FetchFrom>& wanted, const FetchLimits& limits = {},
             kafka::Version version = 12) {
    std::vector<kafka::FetchRequest::Partition> partitions(wanted.size());
    std::vector<kafka::FetchRequest::Topic> topics(wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      partitions[i].index = wanted[i].partition;
      partitions[i].fetch_offset = wanted[i].offset;
      partitions[i].partition_max_bytes = wanted[i].bytes_max;
      partitions[i].current_leader_epoch = wanted[i].leader_epoch;
      topics[i].name = std::string_view(wanted[i].topic);
      topics[i].topic_id = id_of(wanted[i].topic);
      topics[i].partitions = {&partitions[i], 1};
    }
    kafka::FetchRequest request;
    request.max_wait_ms = limits.max_wait_ms;
    request.min_bytes = limits.min_bytes;
    request.max_bytes = limits.max_bytes;
    request.topics = kafka::Slice<kafka::FetchRequest::Topic>(std::span(topics));
    send(client, request, version);
  }
  Answer<kafka::FetchResponse> fetched(Client& client, const std::vector<FetchFrom>& wanted,
                                       const FetchLimits& limits = {}, kafka::Version version = 12) {
    fetch(client, wanted, limits, version);
    return answer_of<kafka::FetchResponse>(client, version);
  }
  // Every batch of a partition from `offset` on.
  std::vector<Bytes> stored(Client& client, const std::string& topic, int64_t offset = 0, int32_t partition = 0) {
    std::vector<Bytes> all;
    while (true) {
      const auto answer = fetched(client, {{topic, partition, offset}}, {.min_bytes = 0});
      const auto& found = answer->topics[0].partitions[0];
      if (found.error_code != kafka::ErrorCode::NONE) throw std::runtime_error(to_string(found.error_code));
      const std::vector<Bytes> more = batches_of(found.records);
      if (more.empty()) return all;
      const auto last = header_of(more.back());
      offset = last.base_offset.get() + last.last_offset_delta.get() + 1;
      all.insert(all.end(), more.begin(), more.end());
    }
  }

  void ask_metadata(Client& client, const std::vector<std::string>& names, kafka::Version version = 9,
                    bool create = true) {
    std::vector<kafka::MetadataRequest::Topic> topics(names.size());
    for (size_t i = 0; i < names.size(); ++i) topics[i].name = std::string_view(names[i]);
    kafka::MetadataRequest request;
    request.topics = kafka::NullableSlice<kafka::MetadataRequest::Topic>(std::span(topics));
    request.allow_auto_topic_creation = create;
    send(client, request, version);
  }

  // The next response; throws when none comes.
  template <class Message>
  Answer<Message> answer_of(Client& client, kafka::Version version, Nanoseconds limit = 5 * second_ns) {
    if (!run_until([&] { return !client.frames.empty(); }, limit)) throw std::runtime_error("no answer");
    sim::Frame frame = std::move(client.frames.front());
    client.frames.pop_front();
    return {std::move(frame), version};
  }
  bool answered(Client& client, Nanoseconds within = 100 * millisecond_ns) {
    return run_until([&] { return !client.frames.empty(); }, within);
  }
  bool closed(Client& client, Nanoseconds within = 100 * millisecond_ns) {
    return run_until([&] { return client.connection.ended(now_); }, within);
  }

  // ---- the end ----

  void TearDown() override {
    if (node_ == nullptr) return;
    drive().hold(false);
    outbox_held_ = false;
    for (const auto& client : clients_) client->connection.close();
    const bool quiet = run_until(
        [&] { return metrics().connections.get() == 0 && log().drained() && responses_used() == 0; }, 60 * second_ns);
    EXPECT_TRUE(quiet) << broker().pending_report() << ", " << responses_used() << " response slots in use";
    lane().give_back();
    EXPECT_EQ(waiters_used(), 0u);
    EXPECT_EQ(broker().parts_left(), node_->parts);
    EXPECT_EQ(metrics().reserved_bytes.get(), 0u);
    EXPECT_EQ(metrics().reservations_waiting.get(), 0u);
    EXPECT_EQ(buffers().held(Holder::request), 0u);
    EXPECT_EQ(buffers().held(Holder::send), 0u);
    lane().release_all();
    EXPECT_EQ(buffers().leak_report(), "");
    EXPECT_EQ(node_->pieces.free_count(), node_->pieces.chunk_count());
    EXPECT_EQ(send_buffers().free_bytes(), send_buffers().bytes());
    clients_.clear();
    node_.reset();
  }

 private:
  // Everything of the lane, destroyed in reverse order.
  struct Node {
    explicit Node(const Setup& setup)
        : memory(static_cast<std::byte*>(
              std::aligned_alloc(arena_unit_bytes, setup.log_bytes + setup.send_bytes + setup.receive_bytes))),
          arena{memory.get(), setup.log_bytes + setup.send_bytes + setup.receive_bytes},
          buffers(arena.unit_count()),
          log_buffers(0, units_of(setup.log_bytes)),
          send_buffers(units_of(setup.log_bytes), units_of(setup.send_bytes)),
          receive_buffers(units_of(setup.log_bytes + setup.send_bytes), units_of(setup.receive_bytes)),
          pieces(setup.chunks),
          streams(setup.streams, arena, buffers, receive_buffers),
          drive(drive_config(setup), arena),
          log(setup.log, setup.units, {arena, &buffers, &log_buffers}, drive.files()),
          inbox(64),
          outbox(setup.control_capacity),
          lane(setup.broker, {arena, &buffers, &log_buffers, &send_buffers, &pieces}, streams, drive, log, inbox,
               outbox, metrics) {}
    static uint32_t units_of(uint64_t bytes) { return static_cast<uint32_t>(bytes / arena_unit_bytes); }
    static SimDriveConfig drive_config(const Setup& setup) {
      SimDriveConfig config = setup.drive;
      config.units = setup.units;
      config.segment_bytes = setup.log.segment_bytes;
      return config;
    }
    struct Free {
      void operator()(std::byte* bytes) const { std::free(bytes); }
    };
    std::unique_ptr<std::byte, Free> memory;
    Arena arena;
    BufferTable buffers;
    BufferAllocator log_buffers, send_buffers, receive_buffers;
    PiecePool pieces;
    WatchedStreams streams;
    sim::StreamsNetwork network{streams};
    HeldDrive drive;
    Log log;
    Mailbox<ToLane> inbox;
    Mailbox<ToControl> outbox;
    LaneMetrics metrics;
    Lane<WatchedStreams, HeldDrive> lane;
    const uint32_t parts = lane.broker().parts_left();  // of fetch responses, all of them
  };

  // One poll; when there is nothing to do, time goes on to what comes next.
  void step(Nanoseconds end) {
    const Polled polled = node_->lane.poll(now_, wall_ms());
    bool busy = polled.work > 0;
    while (!outbox_held_) {
      std::optional<ToControl> message = node_->outbox.pop();
      if (!message.has_value()) break;
      asked_.push_back(std::move(*message));
      busy = true;
    }
    for (const auto& client : clients_) {
      while (auto frame = client->connection.receive(now_)) {
        client->frames.push_back(std::move(*frame));
        busy = true;
      }
    }
    if (!busy)
      now_ = std::max(now_ + 1, std::min({polled.next, streams().next_deadline(), streams().next_arrival(), end}));
  }

  Nanoseconds now_ = second_ns;
  uint64_t view_version_ = 0;
  uint64_t next_number_ = 1000;
  // By topic and partition index.
  std::map<std::pair<std::string, size_t>, std::pair<PartitionNumber, PartitionSlot>> places_;
  std::map<std::string, uint8_t> topic_ids_;
  std::unique_ptr<Node> node_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<ToControl> asked_;
  bool outbox_held_ = false;
};

}  // namespace penstock::session_test
