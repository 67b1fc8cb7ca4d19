// The control plane: changes the catalog as admin requests and lanes ask, and sees to it that every lane knows of a
// change before anybody is told that it happened. No thread, no clock, no I/O but the store's: the caller passes
// messages in and carries the outbox out.
//
//   control.start();
//   for each message from a lane: control.handle(std::move(message));
//   for each of control.take_outbox(): push to that lane's mailbox, in order
//
// A change makes a new CatalogView. take_outbox() sends the newest view to all lanes before any answer that rests on
// it, and withholds that answer until every lane has said view_applied.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/control/catalog.h"
#include "dataplane/control/messages.h"
#include "dataplane/kafka/frame.h"
#include "dataplane/kafka/messages/create_topics.h"
#include "dataplane/kafka/messages/delete_topics.h"

namespace penstock {

struct AdvertisedLane {
  std::string host;  // empty: the local address the connection arrived on
  uint16_t port = 0;
};

struct ControlSettings {
  std::string rack;
  std::vector<AdvertisedLane> advertised;  // by lane
  bool auto_create_topics = true;
  int32_t num_partitions = 1;                 // of topics whose creator does not say
  bool accept_replication_factor = false;     // more than 1 is taken, and recorded as 1
  int32_t max_message_bytes = 1'048'588;      // the node's default for topics
  std::function<void(std::string_view)> log;  // one line for the operator; may be empty
};

struct Outgoing {
  uint32_t lane = 0;
  ToLane message;
};

class Control {
 public:
  static constexpr int32_t producer_id_block_count = 1000;  // Kafka's block size
  // What one CreateTopics may ask for; beyond it POLICY_VIOLATION, as Kafka's controller does at 10,000.
  static constexpr uint32_t topics_per_request_max = 10'000;
  static constexpr uint64_t partitions_per_request_max = 100'000;

  Control(const ControlSettings& settings, Catalog catalog, RandomSource random);

  // The first view goes to all lanes.
  void start();
  void handle(ToControl message);
  std::vector<Outgoing> take_outbox();
  // Tells every lane to drain and stop.
  void stop();

  // Every lane works with the newest view.
  bool settled() const;
  bool all_stopped() const;
  const Catalog& catalog() const { return catalog_; }
  uint64_t version() const { return version_; }

 private:
  struct Lane {
    uint64_t applied = 0;  // view version
    bool stopped = false;
  };
  struct Waiting {
    uint64_t version = 0;  // every lane must have applied it
    Outgoing answer;
  };

  void handle_admin_request(const ToControl& message);
  void handle_ensure_topics(const ToControl& message);
  void handle_producer_id_block(const ToControl& message);

  // Body in, response body's message encoded out; empty when the body is malformed.
  template <class Request, class Answer>
  std::vector<std::byte> serve(const kafka::OpenedRequest& request, kafka::Scratch& scratch, Answer&& answer);
  std::vector<std::byte> create_topics(const kafka::CreateTopicsRequest& request, const kafka::RequestHeader& header);
  std::vector<std::byte> delete_topics(const kafka::DeleteTopicsRequest& request, const kafka::RequestHeader& header);
  std::expected<NewTopic, Refusal> wanted(const kafka::CreateTopicsRequest::Topic& topic) const;

  // Before each change; an error means the store cannot be trusted now.
  std::expected<CatalogDraft, StoreError> begin();
  bool commit(const CatalogDraft& draft);
  void say(std::string_view line) const;

  void answer(uint32_t lane, ToLane message);
  void publish_view();
  void release_answers();
  uint64_t applied_by_all() const;

  ControlSettings settings_;
  Catalog catalog_;
  RandomSource random_;
  std::vector<Lane> lanes_;
  uint64_t version_ = 0;
  bool view_is_stale_ = false;   // the catalog changed since version_ was built
  std::deque<Waiting> waiting_;  // versions ascend
  std::vector<Outgoing> outbox_;
};

}  // namespace penstock
