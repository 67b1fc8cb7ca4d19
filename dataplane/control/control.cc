#include "dataplane/control/control.h"

#include <algorithm>
#include <utility>

#include "dataplane/base/mutation.h"

namespace penstock {

using kafka::ErrorCode;

Control::Control(const ControlSettings& settings, Catalog catalog, RandomSource random)
    : settings_(settings), catalog_(std::move(catalog)), random_(std::move(random)) {
  lanes_.resize(catalog_.node().lane_count);
  check(settings_.advertised.size() == lanes_.size(), "control: an advertised address for each lane",
        static_cast<long long>(settings_.advertised.size()), static_cast<long long>(lanes_.size()));
}

void Control::start() { view_is_stale_ = true; }

void Control::handle(ToControl message) {
  check(message.lane < lanes_.size(), "control: message from a lane that is not there", message.lane,
        static_cast<long long>(lanes_.size()));
  switch (message.kind) {
    case ToControlKind::admin_request:
      return handle_admin_request(message);
    case ToControlKind::ensure_topics:
      return handle_ensure_topics(message);
    case ToControlKind::producer_id_block:
      return handle_producer_id_block(message);
    case ToControlKind::view_applied:
      check(message.version <= version_, "control: a lane applied a view that was never sent",
            static_cast<long long>(message.version), static_cast<long long>(version_));
      lanes_[message.lane].applied = std::max(lanes_[message.lane].applied, message.version);
      return;
    case ToControlKind::lane_stopped:
      lanes_[message.lane].stopped = true;
      return;
    case ToControlKind::notice:
      return say("lane " + std::to_string(message.lane) + ": " + message.text);
  }
}

std::vector<Outgoing> Control::take_outbox() {
  if (view_is_stale_) publish_view();
  release_answers();
  return std::exchange(outbox_, {});
}

void Control::stop() {
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    if (!lanes_[lane].stopped) outbox_.push_back({lane, {.kind = ToLaneKind::stop}});
  }
}

bool Control::settled() const { return version_ > 0 && !view_is_stale_ && applied_by_all() >= version_; }

bool Control::all_stopped() const { return std::ranges::all_of(lanes_, &Lane::stopped); }

// --------------------------------------------------------------------------------------------------- what is asked

template <class Request, class Answer>
std::vector<std::byte> Control::serve(const kafka::OpenedRequest& request, kafka::Scratch& scratch, Answer&& answer) {
  Request body;
  const kafka::DecodeStatus status = kafka::decode_body(request.body, request.header.api_version, scratch, body);
  // Kafka ignores bytes behind a complete message.
  if (status != kafka::DecodeStatus::ok && status != kafka::DecodeStatus::trailing_bytes) return {};
  return answer(body, request.header);
}

void Control::handle_admin_request(const ToControl& message) {
  // Decoded arrays are larger than their bytes: an empty topic is 11 bytes on the wire and less than 16 times that
  // here.
  constexpr size_t scratch_bytes_min = 4096, scratch_bytes_per_byte = 16;
  std::vector<std::byte> reply;
  if (message.bytes.size() <= admin_request_bytes_max) {
    std::vector<std::byte> memory(scratch_bytes_min + scratch_bytes_per_byte * message.bytes.size());
    kafka::Scratch scratch{std::span(memory)};
    const kafka::ContiguousPieces pieces(message.bytes);
    const kafka::OpenedRequest request = kafka::open_request(pieces.range(), scratch);
    if (request.status == kafka::DecodeStatus::ok && request.served) {
      if (request.header.api_key == kafka::ApiKey::create_topics)
        reply = serve<kafka::CreateTopicsRequest>(
            request, scratch, [this](const auto& body, const auto& header) { return create_topics(body, header); });
      else if (request.header.api_key == kafka::ApiKey::delete_topics)
        reply = serve<kafka::DeleteTopicsRequest>(
            request, scratch, [this](const auto& body, const auto& header) { return delete_topics(body, header); });
    }
  }
  answer(message.lane, {.kind = ToLaneKind::admin_reply, .token = message.token, .bytes = std::move(reply)});
}

void Control::handle_ensure_topics(const ToControl& message) {
  ToLane reply{.kind = ToLaneKind::topics_ensured, .token = message.token};
  reply.errors.assign(message.topics.size(), static_cast<int16_t>(ErrorCode::NONE));
  const auto fail = [&](size_t index, ErrorCode error) { reply.errors[index] = static_cast<int16_t>(error); };

  std::vector<size_t> missing;
  for (size_t index = 0; index < message.topics.size(); ++index) {
    if (catalog_.find(message.topics[index]) == nullptr) missing.push_back(index);
  }
  if (missing.empty()) return answer(message.lane, std::move(reply));

  std::vector<size_t> created;
  std::expected<CatalogDraft, StoreError> draft = begin();
  for (const size_t index : missing) {
    const std::string& name = message.topics[index];
    if (!settings_.auto_create_topics) {
      fail(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    } else if (!draft) {
      fail(index, ErrorCode::KAFKA_STORAGE_ERROR);
    } else if (catalog_.find(name) != nullptr ||
               std::ranges::any_of(created, [&](size_t earlier) { return message.topics[earlier] == name; })) {
      // begin() found it in the store, or it was asked for twice.
    } else {
      const NewTopic topic{.name = name, .partition_count = static_cast<uint32_t>(settings_.num_partitions)};
      if (const auto record = draft->create(topic, random_))
        created.push_back(index);
      else
        fail(index, record.error().error);
    }
  }
  if (!created.empty() && !commit(*draft)) {
    for (const size_t index : missing) {
      if (reply.errors[index] == 0) fail(index, ErrorCode::KAFKA_STORAGE_ERROR);
    }
  } else {
    for (const size_t index : created)
      say("topic '" + message.topics[index] + "' created because a client asked for it");
  }
  answer(message.lane, std::move(reply));
}

void Control::handle_producer_id_block(const ToControl& message) {
  ToLane reply{.kind = ToLaneKind::producer_id_block, .token = message.token};
  if (std::expected<CatalogDraft, StoreError> draft = begin()) {
    const std::optional<int64_t> first = draft->take_producer_ids(producer_id_block_count);
    if (!first) say("all producer ids of this cluster are used up");
    if (first && (mutated(Mutation::producer_ids_unsaved) || commit(*draft))) {
      reply.first_producer_id = *first;
      reply.producer_id_count = producer_id_block_count;
    }
  }
  // Rests on no view.
  if (!lanes_[message.lane].stopped) outbox_.push_back({message.lane, std::move(reply)});
}

// --------------------------------------------------------------------------------------------------------- changes

std::expected<CatalogDraft, StoreError> Control::begin() {
  std::expected<bool, StoreError> changed = catalog_.settle();
  if (!changed) {
    say("the catalog cannot be read again after a failed change: " + changed.error().message);
    return std::unexpected(changed.error());
  }
  if (*changed) {
    say("a change of the catalog that had seemed to fail did happen");
    view_is_stale_ = true;
  }
  return catalog_.draft();
}

bool Control::commit(const CatalogDraft& draft) {
  if (const auto stored = catalog_.commit(draft); !stored) {
    say("the catalog could not be changed: " + stored.error().message);
    return false;
  }
  if (draft.changes_topics()) view_is_stale_ = true;
  return true;
}

void Control::say(std::string_view line) const {
  if (settings_.log) settings_.log(line);
}

// -------------------------------------------------------------------------------------------------- views and answers

void Control::answer(uint32_t lane, ToLane message) {
  waiting_.push_back({version_ + (view_is_stale_ ? 1 : 0), {lane, std::move(message)}});
}

void Control::publish_view() {
  auto view = std::make_shared<CatalogView>(catalog_.view());
  view->version = ++version_;
  view->rack = settings_.rack;
  view->auto_create_topics = settings_.auto_create_topics;
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    const AdvertisedLane& advertised = settings_.advertised[lane];
    view->brokers.push_back(
        {catalog_.node().node_id_base + static_cast<int32_t>(lane), advertised.host, advertised.port});
  }
  view_is_stale_ = false;
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    if (!lanes_[lane].stopped) outbox_.push_back({lane, {.kind = ToLaneKind::view, .view = view}});
  }
}

void Control::release_answers() {
  const uint64_t applied = mutated(Mutation::answer_before_lanes_know) ? version_ : applied_by_all();
  for (; !waiting_.empty() && waiting_.front().version <= applied; waiting_.pop_front()) {
    Outgoing& answer = waiting_.front().answer;
    if (!lanes_[answer.lane].stopped) outbox_.push_back(std::move(answer));
  }
}

uint64_t Control::applied_by_all() const {
  uint64_t applied = UINT64_MAX;  // a lane that has stopped answers nobody
  for (const Lane& lane : lanes_) {
    if (!lane.stopped) applied = std::min(applied, lane.applied);
  }
  return applied;
}

}  // namespace penstock
