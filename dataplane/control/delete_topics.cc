// DeleteTopics, versions 1 to 6; version 6 names topics by name or by id. One request is one change of the catalog.
#include <set>

#include "dataplane/control/control.h"
#include "dataplane/control/encode_reply.h"

namespace penstock {

using kafka::ErrorCode;

namespace {

using Request = kafka::DeleteTopicsRequest;
using Response = kafka::DeleteTopicsResponse;

// What became of one topic of the request; the texts live in the request or, for a topic named by its id, in `name`.
struct Verdict {
  std::optional<std::string> name;
  kafka::Uuid id{};
  Refusal refusal;
};

std::vector<Request::Topic> asked_for(const Request& request) {
  std::vector<Request::Topic> topics(request.topics.begin(), request.topics.end());  // since version 6
  for (const kafka::Text& name : request.topic_names) topics.push_back({.name = name});
  return topics;
}

Verdict find_topic(const Request::Topic& topic, const Catalog& catalog) {
  Verdict verdict{.id = topic.topic_id};
  if (!topic.name.is_null()) verdict.name = topic.name.text();
  if (verdict.name && !topic.topic_id.is_zero()) {
    verdict.refusal = {ErrorCode::INVALID_REQUEST, "You may not specify both topic name and topic id."};
  } else if (verdict.name) {
    if (const TopicRecord* found = catalog.find(*verdict.name))
      verdict.id = found->id;
    else
      verdict.refusal = {ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."};
  } else if (topic.topic_id.is_zero()) {
    verdict.refusal = {ErrorCode::INVALID_REQUEST, "Neither topic name nor id were specified."};
  } else if (const TopicRecord* found = catalog.find(topic.topic_id)) {
    verdict.name = found->name;
  } else {
    verdict.refusal = {ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."};
  }
  return verdict;
}

}  // namespace

std::vector<std::byte> Control::delete_topics(const Request& request, const kafka::RequestHeader& header) {
  std::expected<CatalogDraft, StoreError> draft = begin();
  std::vector<Verdict> verdicts;
  std::set<kafka::Uuid> removed;
  for (const Request::Topic& topic : asked_for(request)) {
    Verdict& verdict = verdicts.emplace_back(find_topic(topic, catalog_));
    if (!draft) verdict.refusal = storage_refusal();
    if (verdict.refusal.error != ErrorCode::NONE) continue;
    if (removed.insert(verdict.id).second)
      draft->remove(*catalog_.find(verdict.id));
    else
      verdict.refusal = {ErrorCode::INVALID_REQUEST, "Duplicate topic name or id."};
  }

  const bool done = draft && commit(*draft);
  for (Verdict& verdict : verdicts) {
    if (verdict.refusal.error != ErrorCode::NONE) continue;
    if (!done) verdict.refusal = storage_refusal();
    if (done) say("topic '" + *verdict.name + "' deleted: id " + to_text(verdict.id));
  }

  std::vector<Response::Topic> topics;
  for (const Verdict& verdict : verdicts) {
    Response::Topic& topic = topics.emplace_back();
    if (verdict.name) topic.name = std::string_view(*verdict.name);
    topic.topic_id = verdict.id;
    topic.error_code = verdict.refusal.error;
    if (verdict.refusal.error != ErrorCode::NONE) topic.error_message = error_text(verdict.refusal);
  }
  Response response;
  response.topics = std::span(topics);
  return encode_reply(header, response);
}

}  // namespace penstock
