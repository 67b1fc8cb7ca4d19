#include "storage/dump.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/storage/log_image.h"

namespace penstock {
namespace {

using test::ImageSegment;
using test::MemoryFiles;

std::string dumped(MemoryFiles& files, bool verbose, bool* whole = nullptr) {
  std::string text;
  const bool result = dump(files, {.lane = 0, .block = 512, .verbose = verbose}, [&](std::string_view line) {
    text += line;
    text += '\n';
  });
  if (whole != nullptr) *whole = result;
  return text;
}

struct TwoSegments {
  MemoryFiles files;
  ImageSegment one{files, {.slot = 1, .number = 1, .id = 0x1a, .segment_bytes = 8192}};

  TwoSegments() {
    one.commit(
        {{.partition = 5, .base_offset = 0, .records = 10, .producer_id = 7, .producer_epoch = 0, .base_sequence = 30},
         {.partition = 6, .base_offset = 0, .batch_bytes = 200, .runs = 2}});
    one.commit({{.kind = 3, .partition = 5, .base_offset = 4}, {.kind = 4, .partition = 6}, {.kind = 77}});
    ImageSegment two(files, {.slot = 2, .number = 2, .id = 0x2b, .term = 2, .segment_bytes = 8192}, &one);
    two.commit({{.partition = 5, .base_offset = 10}});
  }
};

TEST(Dump, OneLinePerCommit) {
  TwoSegments log;
  bool whole = false;
  EXPECT_EQ(dumped(log.files, false, &whole),
            "slot 0: too short for a segment header\n"
            "slot 1: segment 1 id 1a lane 0 term 1 block 512 bytes 8192, the first\n"
            "  commit 1 at 512: 1024 bytes, 2 entries, durable 0\n"
            "  commit 2 at 1536: 512 bytes, 3 entries, durable 1\n"
            "  stopped at 2048: no commit\n"
            "slot 2: segment 2 id 2b lane 0 term 2 block 512 bytes 8192 after segment 1 id 1a (commit 2, byte 2048)\n"
            "  commit 3 at 512: 512 bytes, 1 entries, durable 2\n"
            "  stopped at 1024: no commit\n"
            "2 segments, 3 commits, 3 batches of 400 bytes, 2 partitions\n"
            "segment 1 in slot 1: entries of an unknown kind, skipped, bytes 0 to 2048\n"
            "recovered 2 segments, 3 commits, 3 batches, 2 partitions; the log ends with commit 3 in segment 2 at byte "
            "1024\n");
  EXPECT_TRUE(whole);
}

TEST(Dump, VerboseHasEntriesAndRuns) {
  TwoSegments log;
  const std::string text = dumped(log.files, true);
  for (const char* line :
       {"    0 batch partition 5 offsets 0-9 bytes 100 crc ", " time 1000 epoch 0 producer 7/0 sequence 30\n",
        "        run 261 100\n", "    1 batch partition 6 offsets 0-0 bytes 200 crc ", "        run 366 100\n",
        "        run 471 100\n", "    0 log start partition 5 offset 4\n", "    1 deleted partition 6 offset 0\n",
        "    2 kind 77, 16 bytes\n", "partition 5: offsets 4-10, leader epoch 0\n",
        "partition 6: offsets 0-0, leader epoch 0, deleted\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
  }
}

TEST(Dump, SaysWhereAndWhyItStopped) {
  TwoSegments log;
  log.one.commits.clear();
  log.one.flip(512 + 40);                                   // commit 1's header
  log.files.slots[2][512 + 152 + 13 + 50] ^= std::byte{1};  // commit 3's payload
  bool whole = true;
  const std::string text = dumped(log.files, false, &whole);
  EXPECT_FALSE(whole);
  for (const char* line : {"  stopped at 512: a commit header that is incomplete or damaged\n",
                           "  goes on at 1536 with commit 2, 1 was expected\n", "DAMAGED: its bytes do not match\n",
                           "damaged: the lane starts read-only\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
  }
}

TEST(Dump, WorksOnAnything) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    TwoSegments log;
    std::mt19937_64 random(seed);
    for (int i = 0; i < 5; ++i) {
      auto& file = log.files.slots[1 + random() % 2];
      file[random() % 3000] = static_cast<std::byte>(random());
    }
    if (seed % 3 == 0) log.files.slots[1].resize(random() % 8192);
    EXPECT_FALSE(dumped(log.files, true).empty());
  }
}

}  // namespace
}  // namespace penstock
