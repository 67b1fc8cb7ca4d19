#include "dataplane/kafka/api.h"

#include <gtest/gtest.h>

namespace penstock::kafka {
namespace {

TEST(ApiTable, IsSortedAndDecodesNothingItDoesNotAdvertise) {
  for (size_t i = 0; i < served_apis.size(); ++i) {
    const Api& api = served_apis[i];
    if (i > 0) {
      EXPECT_LT(served_apis[i - 1].key, api.key);
    }
    EXPECT_LE(api.oldest, api.oldest_served);
    EXPECT_LE(api.oldest_served, api.newest);
  }
  EXPECT_EQ(find_api(static_cast<ApiKey>(8)), nullptr);
  EXPECT_STREQ(to_string(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "UNKNOWN_TOPIC_OR_PARTITION");
}

TEST(ApiTable, HeaderVersions) {
  const Api& produce = *find_api(ApiKey::produce);
  EXPECT_EQ(request_header_version(produce, 8), 1);
  EXPECT_EQ(request_header_version(produce, 9), 2);
  EXPECT_EQ(response_header_version(produce, 8), 0);
  EXPECT_EQ(response_header_version(produce, 9), 1);
  const Api& api_versions = *find_api(ApiKey::api_versions);
  EXPECT_EQ(request_header_version(api_versions, 3), 2);
  EXPECT_EQ(response_header_version(api_versions, 3), 0);
  EXPECT_FALSE(served(produce, 2));
  EXPECT_TRUE(served(produce, 3));
  EXPECT_FALSE(served(produce, 14));
}

}  // namespace
}  // namespace penstock::kafka
