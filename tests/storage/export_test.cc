#include "storage/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/recovery.h"
#include "tests/storage/log_image.h"

namespace penstock {
namespace {

using test::ImageEntry;
using test::ImageSegment;
using test::MemoryFiles;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Exported {
  std::vector<int64_t> offsets;
  std::vector<test::Bytes> batches;
  std::vector<LostOffsets> missing;
};

struct Exporter {
  explicit Exporter(MemoryFiles& of) : files(of) {
    LogIndex index(256, 1, 16);
    ProducerTable producers(32);
    log = recover(files, {.lane = 0, .block = 512}, index, producers);
    ordered = batches_in_order(files, log);
  }
  Exported of(uint64_t number) {
    Exported result;
    const auto partition = std::ranges::find(log.partitions, PartitionNumber(number), &RecoveredPartition::number);
    EXPECT_NE(partition, log.partitions.end());
    result.missing = export_partition(files, *partition, ordered, [&](const BatchPlace& place, auto batch) {
      result.offsets.push_back(static_cast<int64_t>(place.base_offset.value));
      result.batches.emplace_back(batch.begin(), batch.end());
      return true;
    });
    return result;
  }
  MemoryFiles& files;
  RecoveredLog log;
  std::vector<BatchPlace> ordered;
};

TEST(Export, BatchesOfAPartitionInOffsetOrderAsKafkaStoresThem) {
  MemoryFiles files;
  const ImageEntry a{.partition = 5, .records = 10, .leader_epoch = 3, .batch_bytes = 300, .runs = 3};
  const ImageEntry b{.partition = 5, .base_offset = 10}, other{.partition = 6}, c{.partition = 5, .base_offset = 11};
  ImageSegment one(files, {.slot = 0, .number = 1, .id = 0x1a});
  one.commit({a, other});
  ImageSegment two(files, {.slot = 1, .number = 2, .id = 0x2b, .term = 2}, &one);
  two.commit({b, c});

  Exporter exporter(files);
  const Exported exported = exporter.of(5);
  EXPECT_THAT(exported.offsets, ElementsAre(0, 10, 11));
  EXPECT_THAT(exported.batches, ElementsAre(test::batch_of(a), test::batch_of(b), test::batch_of(c)));
  EXPECT_THAT(exported.missing, IsEmpty());
  EXPECT_THAT(exporter.of(6).offsets, ElementsAre(0));
}

TEST(Export, Bytes0To20ComeFromTheEntry) {
  MemoryFiles files;
  ImageSegment one(files, {});
  const ImageEntry entry{.partition = 5, .base_offset = 0, .leader_epoch = 7};
  const auto& commit = one.commit({entry});
  std::memset(one.file().data() + commit.position + commit.header_bytes + 13, 0xab, 21);
  EXPECT_THAT(Exporter(files).of(5).batches, ElementsAre(test::batch_of(entry)));
}

TEST(Export, CarriedBatchesComeOnceAndInTheirPlace) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 5, .records = 4}, {.partition = 5, .base_offset = 4}});
  one.commit({{.partition = 5, .base_offset = 5}});
  one.commit({{.kind = 2, .partition = 5, .records = 4}, {.kind = 2, .partition = 5, .base_offset = 4}});
  EXPECT_THAT(Exporter(files).of(5).offsets, ElementsAre(0, 4, 5));
}

TEST(Export, DamagedCopyIsReplacedByTheOther) {
  MemoryFiles files;
  ImageSegment one(files, {});
  const auto first = one.commit({{.partition = 5, .records = 4}});
  one.commit({{.partition = 5, .base_offset = 4}});
  one.commit({{.kind = 2, .partition = 5, .records = 4}});
  one.commit({{.partition = 6}});
  one.flip(first.position + first.header_bytes + 13 + 50);
  const Exported exported = Exporter(files).of(5);
  EXPECT_THAT(exported.offsets, ElementsAre(0, 4));
  EXPECT_THAT(exported.missing, IsEmpty());
}

TEST(Export, FromTheLogStartWithTheBatchItCuts) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 5, .records = 4}, {.partition = 5, .base_offset = 4, .records = 4}});
  one.commit({{.kind = 3, .partition = 5, .base_offset = 6}});
  const Exported exported = Exporter(files).of(5);
  EXPECT_THAT(exported.offsets, ElementsAre(4));
  EXPECT_THAT(exported.missing, IsEmpty());
}

TEST(Export, PartitionWithoutRecordsKeepsItsNextOffset) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 5, .records = 4}});
  one.commit({{.kind = 3, .partition = 5, .base_offset = 4}});
  Exporter exporter(files);
  const Exported exported = exporter.of(5);
  EXPECT_THAT(exported.offsets, IsEmpty());
  EXPECT_THAT(exported.missing, IsEmpty());
  EXPECT_EQ(exporter.log.partitions.at(0).next, Offset(4));
}

TEST(Export, DamageIsNamedAndTheRestIsGiven) {
  MemoryFiles files;
  ImageSegment one(files, {});
  const auto first = one.commit({{.partition = 5, .records = 4}});
  one.commit({{.partition = 5, .base_offset = 4}});
  const auto last = one.commit({{.partition = 5, .base_offset = 5, .records = 3}});
  one.commit({{.partition = 6}});
  for (const auto& commit : {first, last}) one.flip(commit.position + commit.header_bytes + 13 + 50);
  const Exported exported = Exporter(files).of(5);
  EXPECT_THAT(exported.offsets, ElementsAre(4));
  ASSERT_THAT(exported.missing, SizeIs(2));
  EXPECT_EQ(exported.missing[0].begin, Offset(0));
  EXPECT_EQ(exported.missing[0].end, Offset(4));
  EXPECT_EQ(exported.missing[1].begin, Offset(5));
  EXPECT_EQ(exported.missing[1].end, Offset(8));
}

TEST(Export, TornTailIsNotExported) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 5}});
  const auto torn = one.commit({{.partition = 5, .base_offset = 1}});
  one.flip(torn.position + 40);
  const Exported exported = Exporter(files).of(5);
  EXPECT_THAT(exported.offsets, ElementsAre(0));
  EXPECT_THAT(exported.missing, IsEmpty());
}

TEST(Export, FileThatChangedSinceIsNotBelieved) {
  MemoryFiles files;
  ImageSegment one(files, {});
  one.commit({{.partition = 5}});
  Exporter exporter(files);
  one.erase(512, 4096);
  EXPECT_THAT(exporter.of(5).offsets, IsEmpty());
  EXPECT_THAT(exporter.of(5).missing, SizeIs(1));
}

}  // namespace
}  // namespace penstock
