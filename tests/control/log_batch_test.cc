#include "tools/penstock/log_batch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "dataplane/kafka/record_batch.h"

namespace penstock {
namespace {

// Two plain records without key and value, and the entry the log would write for them.
struct Stored {
  kafka::RecordBatchHeader header{};
  disk::Entry entry{};
  std::vector<uint8_t> records{12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0};

  Stored() {
    header.magic = 2;
    header.last_offset_delta = 1;
    header.record_count = 2;
    header.producer_id = 7;
    header.base_sequence = 30;
    entry.last_offset_delta = 1;
    entry.record_count = 2;
    entry.producer_id = 7;
    entry.base_sequence = 30;
  }
  std::string complaint() {
    std::vector<std::byte> batch(sizeof header + records.size());
    header.batch_length = static_cast<int32_t>(batch.size() - 12);
    std::memcpy(batch.data(), &header, sizeof header);
    std::memcpy(batch.data() + sizeof header, records.data(), records.size());
    const char* text = stored_batch_complaint(entry, batch);
    return text == nullptr ? "" : text;
  }
};

TEST(LogBatch, GoodBatch) { EXPECT_EQ(Stored().complaint(), ""); }

TEST(LogBatch, StampedByTheNode) {
  Stored stored;
  stored.header.attributes = stored.entry.attributes = kafka::attributes::log_append_time;
  EXPECT_EQ(stored.complaint(), "");
}

TEST(LogBatch, HeaderMustBeAsTheEntrySays) {
  Stored stored;
  stored.entry.base_sequence = 31;
  EXPECT_EQ(stored.complaint(), "its header differs from its entry");
  stored.header.producer_id = stored.entry.producer_id = -1;
  EXPECT_EQ(stored.complaint(), "") << "without a producer id the sequence means nothing";
  stored.entry.attributes = 1;
  EXPECT_EQ(stored.complaint(), "its header differs from its entry");
}

TEST(LogBatch, RecordsAreCounted) {
  Stored stored;
  stored.header.record_count = stored.entry.record_count = 3;
  stored.header.last_offset_delta = stored.entry.last_offset_delta = 2;
  EXPECT_EQ(stored.complaint(), "record malformed, or records do not fill the batch");
}

TEST(LogBatch, CompressedRecordsAreNotOpened) {
  Stored stored;
  stored.header.attributes = stored.entry.attributes = 1;
  stored.records = {1, 2, 3};
  EXPECT_EQ(stored.complaint(), "");
}

}  // namespace
}  // namespace penstock
