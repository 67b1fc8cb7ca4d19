#include "dataplane/control/control.h"

#include <gtest/gtest.h>

#include "dataplane/control/memory_store.h"
#include "tests/control/test_support.h"

namespace penstock {
namespace {

using kafka::CreateTopicsRequest;
using kafka::CreateTopicsResponse;
using kafka::DeleteTopicsRequest;
using kafka::DeleteTopicsResponse;
using kafka::ErrorCode;

// A node's control plane and lanes that do what they are told, when the test lets them.
struct ControlTest : testing::Test {
  static constexpr uint32_t lane_count = 2;
  MemoryStore store;
  RandomSource random = seeded(1);
  ControlSettings settings{.rack = "r1", .advertised = {{"h", 9092}, {"h", 9093}}, .num_partitions = 3};
  std::vector<std::string> lines;
  std::unique_ptr<Control> control;
  std::shared_ptr<const CatalogView> views[lane_count];
  std::vector<Outgoing> answers;  // all that is not a view

  void SetUp() override { restart(); }

  void restart() {
    control.reset();  // as in a crash: only the store is left
    auto catalog = Catalog::open(store, {.lane_count = lane_count}, random);
    ASSERT_TRUE(catalog.has_value()) << catalog.error().message;
    settings.log = [this](std::string_view line) { lines.emplace_back(line); };
    control = std::make_unique<Control>(settings, std::move(*catalog), random);
    control->start();
    run();
    answers.clear();
  }
  void carry() {
    for (Outgoing& out : control->take_outbox()) {
      if (out.message.kind == ToLaneKind::view)
        views[out.lane] = out.message.view;
      else
        answers.push_back(std::move(out));
    }
  }
  void confirm(uint32_t lane) {
    control->handle({.kind = ToControlKind::view_applied, .lane = lane, .version = views[lane]->version});
  }
  void run() {
    carry();
    for (uint32_t lane = 0; lane < lane_count; ++lane) confirm(lane);
    carry();
  }

  template <class Request>
  void ask(const Request& request, kafka::Version version, uint32_t lane = 0, uint64_t token = 1) {
    control->handle(
        {.kind = ToControlKind::admin_request, .lane = lane, .token = token, .bytes = request_bytes(request, version)});
  }
  // Asks, lets the lanes apply what they get, and decodes the one answer.
  template <class Response, class Request>
  auto answer(const Request& request, kafka::Version version) {
    answers.clear();
    ask(request, version);
    run();
    check(answers.size() == 1 && answers[0].message.kind == ToLaneKind::admin_reply, "test: one admin reply expected");
    return decoded<Response>(answers[0].message.bytes, version);
  }
  auto create(std::vector<CreateTopicsRequest::Topic> topics, kafka::Version version = 7, bool validate_only = false) {
    CreateTopicsRequest request;
    request.topics = slice(topics);
    request.validate_only = validate_only;
    return answer<CreateTopicsResponse>(request, version);
  }
  const TopicView* topic(std::string_view name) const { return views[0]->find(name); }
};

CreateTopicsRequest::Topic plain(const char* name, int32_t partition_count = 1, int16_t replication_factor = 1) {
  return {.name = name, .partition_count = partition_count, .replication_factor = replication_factor};
}

TEST_F(ControlTest, TheFirstViewNamesTheLanesAsBrokers) {
  EXPECT_EQ(views[0]->version, 1u);
  EXPECT_EQ(views[0]->cluster_id, store.image().node->cluster_id);
  EXPECT_EQ(views[0]->rack, "r1");
  ASSERT_EQ(views[0]->brokers.size(), 2u);
  EXPECT_EQ(views[0]->brokers[1].node_id, 1);
  EXPECT_EQ(views[0]->brokers[1].port, 9093);
  EXPECT_TRUE(control->settled());
}

TEST_F(ControlTest, CreatesInEveryVersion) {
  for (kafka::Version version = CreateTopicsRequest::oldest; version <= CreateTopicsRequest::newest; ++version) {
    const std::string name = "t" + std::to_string(version);
    const auto reply = create({plain(name.c_str(), 2)}, version);
    EXPECT_EQ(reply->correlation_id, 7);
    ASSERT_EQ(reply->body.topics.size(), 1u);
    EXPECT_EQ(reply->body.topics[0].error_code, ErrorCode::NONE);
    EXPECT_EQ(reply->body.topics[0].name, name);
    ASSERT_NE(topic(name), nullptr);
    EXPECT_EQ(topic(name)->partitions.size(), 2u);
    if (version >= 5) {
      EXPECT_EQ(reply->body.topics[0].partition_count, 2);
      EXPECT_EQ(reply->body.topics[0].replication_factor, 1);
      EXPECT_EQ(reply->body.topics[0].configs.size(), topic_config_keys().size());
    }
    if (version >= 7) {
      EXPECT_EQ(reply->body.topics[0].topic_id, topic(name)->id);
    }
  }
}

TEST_F(ControlTest, AnswersOnlyWhenEveryLaneKnowsTheTopic) {
  CreateTopicsRequest request;
  CreateTopicsRequest::Topic topics[] = {plain("a")};
  request.topics = slice(topics);
  ask(request, 7, /*lane=*/1, /*token=*/42);
  carry();
  EXPECT_TRUE(answers.empty());
  EXPECT_NE(views[0]->find("a"), nullptr);
  EXPECT_FALSE(control->settled());
  confirm(0);
  carry();
  EXPECT_TRUE(answers.empty());
  confirm(1);
  carry();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].lane, 1u);
  EXPECT_EQ(answers[0].message.token, 42u);
}

TEST_F(ControlTest, AStoppedLaneIsNotWaitedFor) {
  control->handle({.kind = ToControlKind::lane_stopped, .lane = 1});
  CreateTopicsRequest request;
  CreateTopicsRequest::Topic topics[] = {plain("a")};
  request.topics = slice(topics);
  ask(request, 7);
  carry();
  confirm(0);
  carry();
  EXPECT_EQ(answers.size(), 1u);
  EXPECT_FALSE(control->all_stopped());
  control->stop();
  answers.clear();
  carry();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].message.kind, ToLaneKind::stop);
  control->handle({.kind = ToControlKind::lane_stopped, .lane = 0});
  EXPECT_TRUE(control->all_stopped());
}

TEST_F(ControlTest, EachTopicOfARequestIsJudgedOnItsOwn) {
  create({plain("there")});
  CreateTopicsRequest::Config unknown[] = {{.name = "retention.hours", .value = "1"}};
  CreateTopicsRequest::Config null_value[] = {{.name = "retention.ms", .value = nullptr}};
  std::vector<CreateTopicsRequest::Topic> topics = {plain("good", -1, -1), plain("there"),       plain("a b"),
                                                    plain("zero", 0),      plain("three", 1, 3), plain("none", 1, 0),
                                                    plain("twice"),        plain("twice")};
  topics.push_back({.name = "unknown", .partition_count = 1, .replication_factor = 1, .configs = slice(unknown)});
  topics.push_back({.name = "null", .partition_count = 1, .replication_factor = 1, .configs = slice(null_value)});
  const auto reply = create(topics);

  std::map<std::string, ErrorCode> errors;
  for (const auto& each : reply->body.topics) {
    EXPECT_TRUE(errors.emplace(std::string(each.name), each.error_code).second) << each.name;
    EXPECT_EQ(each.error_message.is_null(), each.error_code == ErrorCode::NONE);
  }
  const std::map<std::string, ErrorCode> expected = {
      {"good", ErrorCode::NONE},
      {"there", ErrorCode::TOPIC_ALREADY_EXISTS},
      {"a b", ErrorCode::INVALID_TOPIC_EXCEPTION},
      {"zero", ErrorCode::INVALID_PARTITIONS},
      {"three", ErrorCode::INVALID_REPLICATION_FACTOR},
      {"none", ErrorCode::INVALID_REPLICATION_FACTOR},
      {"twice", ErrorCode::INVALID_REQUEST},
      {"unknown", ErrorCode::INVALID_CONFIG},
      {"null", ErrorCode::INVALID_CONFIG},
  };
  EXPECT_EQ(errors, expected);
  EXPECT_EQ(topic("good")->partitions.size(), 3u);
  EXPECT_EQ(views[0]->topics.size(), 2u);
}

TEST_F(ControlTest, AReplicationFactorIsAcceptedWhenTheSettingSaysSo) {
  const auto refused = create({plain("a", 1, 3)});
  EXPECT_NE(refused->body.topics[0].error_message.text().find("accept_replication_factor = true"), std::string::npos);
  settings.accept_replication_factor = true;
  restart();
  const auto accepted = create({plain("a", 1, 3)});
  EXPECT_EQ(accepted->body.topics[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(accepted->body.topics[0].replication_factor, 1);
}

TEST_F(ControlTest, ManualAssignmentsNameLanesByNodeId) {
  int32_t one[] = {1}, zero[] = {0}, far[] = {2}, both[] = {0, 1};
  const auto assigned = [](const char* name, auto& assignments, int32_t count = -1) {
    return CreateTopicsRequest::Topic{
        .name = name, .partition_count = count, .replication_factor = -1, .assignments = slice(assignments)};
  };
  CreateTopicsRequest::Assignment good[] = {{1, slice(zero)}, {0, slice(one)}, {2, slice(one)}};
  CreateTopicsRequest::Assignment gap[] = {{0, slice(zero)}, {2, slice(one)}};
  CreateTopicsRequest::Assignment twice[] = {{0, slice(zero)}, {0, slice(one)}};
  CreateTopicsRequest::Assignment empty[] = {{0, {}}};
  CreateTopicsRequest::Assignment stranger[] = {{0, slice(far)}};
  CreateTopicsRequest::Assignment replicated[] = {{0, slice(both)}};
  const auto reply =
      create({assigned("good", good), assigned("gap", gap), assigned("twice", twice), assigned("empty", empty),
              assigned("stranger", stranger), assigned("replicated", replicated), assigned("count", good, 3)});
  const ErrorCode expected[] = {ErrorCode::NONE,
                                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                                ErrorCode::INVALID_REPLICATION_FACTOR,
                                ErrorCode::INVALID_REQUEST};
  ASSERT_EQ(reply->body.topics.size(), std::size(expected));
  for (uint32_t i = 0; i < std::size(expected); ++i)
    EXPECT_EQ(reply->body.topics[i].error_code, expected[i]) << reply->body.topics[i].name;
  EXPECT_EQ(topic("good")->partitions[0].lane, 1u);
  EXPECT_EQ(topic("good")->partitions[1].lane, 0u);
  EXPECT_EQ(topic("good")->partitions[2].lane, 1u);
}

TEST_F(ControlTest, ValidateOnlyCreatesNothing) {
  const uint64_t version = control->version(), commits = store.commit_count();
  const auto reply = create({plain("a", 2), plain("a b")}, 7, /*validate_only=*/true);
  EXPECT_EQ(reply->body.topics[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(reply->body.topics[0].partition_count, 2);
  EXPECT_TRUE(reply->body.topics[0].topic_id.is_zero());
  EXPECT_EQ(reply->body.topics[1].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
  EXPECT_EQ(control->version(), version);
  EXPECT_EQ(store.commit_count(), commits);
}

TEST_F(ControlTest, ConfigurationsComeBackWithTheirSource) {
  CreateTopicsRequest::Config configs[] = {{.name = "retention.ms", .value = "1000"}};
  const auto reply = create({{.name = "a", .partition_count = 1, .replication_factor = 1, .configs = slice(configs)}});
  std::map<std::string_view, const CreateTopicsResponse::Config*> by_name;
  for (const auto& each : reply->body.topics[0].configs) by_name[each.name] = &each;
  EXPECT_EQ(by_name.at("retention.ms")->value.text(), "1000");
  EXPECT_EQ(by_name.at("retention.ms")->config_source, 1);
  EXPECT_EQ(by_name.at("cleanup.policy")->value.text(), "delete");
  EXPECT_EQ(by_name.at("cleanup.policy")->config_source, 5);
}

TEST_F(ControlTest, ARequestBeyondTheLimitsIsRefusedWhole) {
  const auto reply = create({plain("a", 60'000), plain("b", 60'000)});
  for (const auto& each : reply->body.topics) EXPECT_EQ(each.error_code, ErrorCode::POLICY_VIOLATION);
  EXPECT_TRUE(views[0]->topics.empty());
}

TEST_F(ControlTest, LongTextsFromAClientAreClippedInMessages) {
  const std::string long_name(32'000, 'x');
  CreateTopicsRequest::Config configs[] = {{.name = std::string_view(long_name), .value = "1"}};
  const auto reply = create({{.name = std::string_view(long_name), .partition_count = 1, .replication_factor = 1},
                             {.name = "a", .partition_count = 1, .replication_factor = 1, .configs = slice(configs)}});
  EXPECT_EQ(reply->body.topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
  EXPECT_EQ(reply->body.topics[1].error_code, ErrorCode::INVALID_CONFIG);
  EXPECT_LE(reply->body.topics[1].error_message.text().size(), 1000u);
}

TEST_F(ControlTest, DeletesByNameInEveryVersion) {
  for (kafka::Version version = DeleteTopicsRequest::oldest; version <= DeleteTopicsRequest::newest; ++version) {
    create({plain("a"), plain("b")});
    DeleteTopicsRequest request;
    kafka::Text names[] = {"a", "missing"};
    DeleteTopicsRequest::Topic topics[] = {{.name = "a"}, {.name = "missing"}};
    if (version >= 6)
      request.topics = slice(topics);
    else
      request.topic_names = slice(names);
    const auto reply = answer<DeleteTopicsResponse>(request, version);
    ASSERT_EQ(reply->body.topics.size(), 2u);
    EXPECT_EQ(reply->body.topics[0].error_code, ErrorCode::NONE);
    EXPECT_EQ(reply->body.topics[0].name.text(), "a");
    EXPECT_EQ(reply->body.topics[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    EXPECT_EQ(topic("a"), nullptr);
    EXPECT_NE(topic("b"), nullptr);
  }
}

TEST_F(ControlTest, DeletesById) {
  create({plain("a")});
  const kafka::Uuid id = topic("a")->id;
  kafka::Uuid unknown = id;
  unknown.bytes[0] ^= 1;
  DeleteTopicsRequest::Topic topics[] = {
      {.topic_id = id}, {.topic_id = unknown}, {.name = "a", .topic_id = id}, {}, {.topic_id = id}};
  DeleteTopicsRequest request;
  request.topics = slice(topics);
  const auto reply = answer<DeleteTopicsResponse>(request, 6);
  const ErrorCode expected[] = {ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::INVALID_REQUEST,
                                ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_REQUEST};
  for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(reply->body.topics[i].error_code, expected[i]) << i;
  EXPECT_EQ(reply->body.topics[0].name.text(), "a");
  EXPECT_TRUE(reply->body.topics[1].name.is_null());
  EXPECT_EQ(topic("a"), nullptr);
}

TEST_F(ControlTest, EnsureTopicsCreatesWhatIsMissing) {
  create({plain("there", 1)});
  control->handle({.kind = ToControlKind::ensure_topics,
                   .lane = 1,
                   .token = 5,
                   .topics = {"there", "new", "__consumer_offsets", "a b", "new"}});
  answers.clear();
  run();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].message.kind, ToLaneKind::topics_ensured);
  EXPECT_EQ(answers[0].message.token, 5u);
  EXPECT_EQ(answers[0].message.errors, (std::vector<int16_t>{0, 0, 0, 17, 0}));
  EXPECT_EQ(topic("new")->partitions.size(), 3u);
  EXPECT_EQ(topic("there")->partitions.size(), 1u);
}

TEST_F(ControlTest, EnsureTopicsWaitsForAViewThatIsStillOnItsWay) {
  control->handle({.kind = ToControlKind::ensure_topics, .lane = 0, .token = 1, .topics = {"a"}});
  control->handle({.kind = ToControlKind::ensure_topics, .lane = 1, .token = 2, .topics = {"a"}});
  carry();
  EXPECT_TRUE(answers.empty());
  confirm(0);
  carry();
  EXPECT_TRUE(answers.empty());
  confirm(1);
  carry();
  EXPECT_EQ(answers.size(), 2u);
  EXPECT_EQ(store.commit_count(), 2u);  // the identity and one topic
}

TEST_F(ControlTest, WithoutAutoCreationNothingIsCreated) {
  settings.auto_create_topics = false;
  restart();
  EXPECT_FALSE(views[0]->auto_create_topics);
  control->handle({.kind = ToControlKind::ensure_topics, .topics = {"a"}});
  run();
  EXPECT_EQ(answers.back().message.errors, (std::vector<int16_t>{3}));
  EXPECT_EQ(topic("a"), nullptr);
}

TEST_F(ControlTest, ProducerIdBlocksNeverOverlap) {
  int64_t next = 0;
  for (int i = 0; i < 6; ++i) {
    answers.clear();
    control->handle({.kind = ToControlKind::producer_id_block, .lane = static_cast<uint32_t>(i) % 2, .token = 3});
    if (i == 2) store.fail_commits(MemoryStore::Failure::answer_lost, 1);  // for the next one
    run();
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].message.kind, ToLaneKind::producer_id_block);
    if (i == 3) {
      EXPECT_EQ(answers[0].message.producer_id_count, 0);  // the store failed
      next += 1000;                                        // but had taken the block
      continue;
    }
    EXPECT_EQ(answers[0].message.first_producer_id, next);
    EXPECT_EQ(answers[0].message.producer_id_count, 1000);
    next += 1000;
    if (i == 4) restart();
  }
}

TEST_F(ControlTest, AFailingStoreChangesNothingAndSaysSo) {
  create({plain("there")});
  store.fail_commits(MemoryStore::Failure::change_lost);
  const uint64_t version = control->version();
  const auto created = create({plain("a"), plain("a b")});
  EXPECT_EQ(created->body.topics[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(created->body.topics[1].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
  DeleteTopicsRequest::Topic topics[] = {{.name = "there"}};
  DeleteTopicsRequest request;
  request.topics = slice(topics);
  EXPECT_EQ(answer<DeleteTopicsResponse>(request, 6)->body.topics[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
  control->handle({.kind = ToControlKind::ensure_topics, .topics = {"a", "there"}});
  run();
  EXPECT_EQ(answers.back().message.errors, (std::vector<int16_t>{56, 0}));
  EXPECT_EQ(control->version(), version);
  EXPECT_NE(topic("there"), nullptr);
  EXPECT_FALSE(lines.empty());

  store.fail_commits(MemoryStore::Failure::none);
  EXPECT_EQ(create({plain("a")})->body.topics[0].error_code, ErrorCode::NONE);
}

TEST_F(ControlTest, AChangeWhoseAnswerWasLostShowsAtTheNextOne) {
  store.fail_commits(MemoryStore::Failure::answer_lost, 1);
  EXPECT_EQ(create({plain("a", 2)})->body.topics[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(topic("a"), nullptr);
  EXPECT_EQ(create({plain("a", 2)})->body.topics[0].error_code, ErrorCode::TOPIC_ALREADY_EXISTS);
  EXPECT_NE(topic("a"), nullptr);
}

TEST_F(ControlTest, AnUnreadableStoreIsAStorageErrorUntilItIsBack) {
  store.fail_commits(MemoryStore::Failure::change_lost, 1);
  create({plain("a")});
  store.fail_loads(true);
  EXPECT_EQ(create({plain("a")})->body.topics[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
  control->handle({.kind = ToControlKind::producer_id_block});
  run();
  EXPECT_EQ(answers.back().message.producer_id_count, 0);
  store.fail_loads(false);
  EXPECT_EQ(create({plain("a")})->body.topics[0].error_code, ErrorCode::NONE);
}

// The change is durable before anybody is told: a crash at any point leaves all of it or nothing of it.
TEST_F(ControlTest, ACrashBetweenCommitAndAnswerKeepsTheTopic) {
  CreateTopicsRequest request;
  CreateTopicsRequest::Topic topics[] = {plain("a", 2)};
  request.topics = slice(topics);
  ask(request, 7);
  restart();
  ASSERT_NE(topic("a"), nullptr);
  EXPECT_EQ(topic("a")->partitions.size(), 2u);
}

TEST_F(ControlTest, MalformedAndForeignRequestsGetAnEmptyReply) {
  const auto reply_to = [&](std::vector<std::byte> bytes) {
    answers.clear();
    control->handle({.kind = ToControlKind::admin_request, .token = 9, .bytes = std::move(bytes)});
    run();
    check(answers.size() == 1, "test: one answer expected");
    EXPECT_EQ(answers[0].message.token, 9u);
    return answers[0].message.bytes;
  };
  EXPECT_TRUE(reply_to({}).empty());
  CreateTopicsRequest::Topic topics[] = {plain("a", 2)};
  CreateTopicsRequest request;
  request.topics = slice(topics);
  const std::vector<std::byte> whole = request_bytes(request, 7);
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_TRUE(reply_to({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)}).empty()) << length;
  EXPECT_EQ(topic("a"), nullptr);
  std::vector<std::byte> unknown_version = whole;
  unknown_version[3] = std::byte{99};
  EXPECT_TRUE(reply_to(unknown_version).empty());
  std::vector<std::byte> other_api = whole;
  other_api[1] = std::byte{18};
  EXPECT_TRUE(reply_to(other_api).empty());
  EXPECT_TRUE(reply_to(std::vector<std::byte>(admin_request_bytes_max + 1)).empty());
}

TEST_F(ControlTest, NoticesOfLanesReachTheOperator) {
  control->handle({.kind = ToControlKind::notice, .lane = 1, .text = "malformed request"});
  EXPECT_EQ(lines.back(), "lane 1: malformed request");
}

}  // namespace
}  // namespace penstock
