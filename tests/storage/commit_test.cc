#include "storage/commit.h"

#include <gtest/gtest.h>

#include "storage/limits.h"
#include "tests/storage/log_world.h"

namespace penstock {
namespace {

class CommitTest : public ::testing::Test {
 protected:
  CommitTest() : memory_(arena_memory_) {
    units_ = DriveUnits{.address_unit = 4, .length_unit = 512, .block = 4096, .vectors_max = 64, .copybreak = 1024};
    zeros_ = ZeroArea{memory_.arena.at(memory_.take(0)), 4096};
    std::memset(zeros_.data, 0, zeros_.length);
    commit_.emplace(units_, memory_.arena, &memory_.buffers, &memory_.allocator, zeros_);
  }

  OutgoingCommit::StageVerdict add(Arrival arrival, size_t length, uint64_t bytes_max = 1 * MiB) {
    const Bytes bytes = make_batch(random_, length, 3);
    PieceList pieces;
    EXPECT_TRUE(memory_.lay_out(random_, arrival, bytes, pieces));
    uint32_t crc = 0;
    const auto verdict = commit_->stage(pieces.range(), bytes_max, false, &crc);
    if (verdict == OutgoingCommit::StageVerdict::staged) {
      BatchInfo info = info_of(bytes, 3);
      EXPECT_EQ(crc, info.crc);
      info.partition = PartitionNumber(batches_.size() + 1);
      info.base_offset = Offset(100);
      commit_->add(info);
      batches_.push_back(bytes);
    }
    memory_.let_go(pieces);
    return verdict;
  }

  // As the drive would get it, in writes of at most `vectors`.
  Bytes write(size_t vectors, size_t* writes = nullptr) {
    Bytes file;
    std::vector<iovec> to(vectors);
    for (size_t count = 0; file.size() < commit_->bytes();) {
      const uint64_t covered = commit_->write_from(file.size(), commit_->bytes(), to, &count);
      EXPECT_EQ(covered % units_.block, 0u);
      EXPECT_LE(count, vectors);
      uint64_t bytes = 0;
      for (size_t i = 0; i < count; ++i) {
        const auto* data = static_cast<const std::byte*>(to[i].iov_base);
        EXPECT_EQ(to[i].iov_len % units_.length_unit, 0u);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % units_.address_unit, 0u);
        file.insert(file.end(), data, data + to[i].iov_len);
        bytes += to[i].iov_len;
      }
      EXPECT_EQ(bytes, covered);
      if (writes != nullptr) ++*writes;
    }
    return file;
  }

  void expect_batches(const Bytes& file) {
    const auto& header = *reinterpret_cast<const disk::CommitHeader*>(file.data());
    EXPECT_EQ(header.magic, disk::commit_magic);
    EXPECT_EQ(header.version, disk::format_version);
    EXPECT_EQ(header.commit_bytes, file.size());
    EXPECT_EQ(header.crc, crc32c(0, file.data() + disk::crc_from, header.header_bytes - disk::crc_from));
    ASSERT_EQ(header.entry_count, batches_.size());
    size_t at = sizeof header;
    for (const Bytes& batch : batches_) {
      const auto& entry = *reinterpret_cast<const disk::Entry*>(file.data() + at);
      const auto* runs = reinterpret_cast<const disk::Run*>(&entry + 1);
      EXPECT_EQ(entry.batch_bytes, batch.size());
      Bytes bytes;
      for (uint32_t i = 0; i < entry.prefix.run_count; ++i) {
        ASSERT_GE(runs[i].position, header.header_bytes);
        ASSERT_LE(runs[i].position + runs[i].length, file.size());
        const auto from = file.begin() + runs[i].position;
        bytes.insert(bytes.end(), from, from + runs[i].length);
      }
      EXPECT_TRUE(bytes == batch);
      at += entry.prefix.entry_bytes;
    }
    EXPECT_EQ(at, header.header_bytes);
  }

  ArenaMemory arena_memory_{8 * MiB};
  Memory memory_;
  SimRandom random_{7};
  DriveUnits units_;
  ZeroArea zeros_;
  std::optional<OutgoingCommit> commit_;
  std::vector<Bytes> batches_;
};

constexpr auto staged = OutgoingCommit::StageVerdict::staged;
constexpr auto full = OutgoingCommit::StageVerdict::full;

TEST_F(CommitTest, WritesWhatWasAdded) {
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(add(Arrival::together, 5000), staged);
  EXPECT_EQ(add(Arrival::crumbs, 300), staged);
  EXPECT_EQ(add(Arrival::frames, 20'000), staged);
  EXPECT_EQ(add(Arrival::aligned, 100'000), staged);
  const uint64_t bytes = commit_->closed_bytes();
  commit_->close();
  EXPECT_EQ(commit_->bytes(), bytes);
  commit_->seal(CommitPlace{.segment_id = 9, .term = 2, .position = FilePosition(4096), .sequence = CommitSequence(5)});
  expect_batches(write(64));
  commit_->release();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 0u);
}

TEST_F(CommitTest, FewVectorsMakeSeveralWrites) {
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(add(Arrival::frames, 60'000), staged);  // 42 pieces
  commit_->close();
  commit_->seal(CommitPlace{.segment_id = 9, .term = 2, .sequence = CommitSequence(5)});
  size_t writes = 0;
  expect_batches(write(10, &writes));
  EXPECT_GT(writes, 4u);
  commit_->release();
}

TEST_F(CommitTest, SealedAgainForAnotherPlace) {
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(add(Arrival::together, 5000), staged);
  commit_->close();
  const uint64_t first = commit_->seal(CommitPlace{.segment_id = 9, .sequence = CommitSequence(5), .previous_hash = 1});
  const uint64_t second =
      commit_->seal(CommitPlace{.segment_id = 10, .sequence = CommitSequence(5), .previous_hash = 1});
  EXPECT_NE(first, second);
  EXPECT_EQ(commit_->header().segment_id, 10u);
  EXPECT_EQ(second, disk::chain_hash(1, CommitSequence(5), commit_->header().crc));
  expect_batches(write(64));
  commit_->release();
}

TEST_F(CommitTest, FullAtTheDrivesSizeButTakesOneBatchOfAnySize) {
  units_.commit_bytes_max = 64 * KiB;
  commit_.emplace(units_, memory_.arena, &memory_.buffers, &memory_.allocator, zeros_);
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(add(Arrival::aligned, 200'000), staged);
  EXPECT_EQ(add(Arrival::together, 100), full);
  EXPECT_EQ(add(Arrival::together, 100), full) << "a refused batch left nothing behind";
  commit_->close();
  commit_->seal(CommitPlace{.sequence = CommitSequence(1)});
  expect_batches(write(64));
  commit_->release();
}

TEST_F(CommitTest, FullAtTheHeadersSize) {
  units_.commit_bytes_max = 64 * KiB;
  commit_.emplace(units_, memory_.arena, &memory_.buffers, &memory_.allocator, zeros_);
  ASSERT_TRUE(commit_->open());
  while (add(Arrival::together, 61) == staged) {
  }
  EXPECT_LE(commit_->closed_bytes(), 64 * KiB);
  EXPECT_GE(batches_.size() * (sizeof(disk::Entry) + sizeof(disk::Run)), limits::header_bytes_max(units_) - 200);
  commit_->close();
  commit_->seal(CommitPlace{.sequence = CommitSequence(1)});
  expect_batches(write(64));
  commit_->release();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 0u) << "smaller headers it grew out of were let go";
}

TEST_F(CommitTest, FullWhereTheSegmentEnds) {
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(add(Arrival::together, 9000, 8192), full);
  EXPECT_EQ(add(Arrival::together, 3000, 8192), staged);
  commit_->release();
  EXPECT_EQ(memory_.buffers.held(Holder::commit), 0u) << "an open commit lets go too";
}

TEST_F(CommitTest, NotesHaveNoRuns) {
  ASSERT_TRUE(commit_->open());
  EXPECT_EQ(commit_->add_note(disk::EntryKind::partition_deleted, PartitionNumber(44), Offset(0), 1 * MiB), staged);
  EXPECT_EQ(add(Arrival::together, 100), staged);
  commit_->close();
  std::vector<uint64_t> partitions;
  commit_->for_each_entry([&](const disk::Entry& entry, std::span<const disk::Run> runs) {
    partitions.push_back(entry.partition);
    EXPECT_EQ(runs.size(), partitions.size() - 1);
  });
  EXPECT_EQ(partitions, (std::vector<uint64_t>{44, 1}));
  commit_->release();
}

}  // namespace
}  // namespace penstock
