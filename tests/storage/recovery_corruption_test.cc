// A small log with damage everywhere. Whatever happens to it: recovery does not crash, never offers a batch with wrong
// bytes, and never loses silently what something left on the drive claims to be durable.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>

#include "tests/storage/recovered_image.h"

namespace penstock {
namespace {

using test::ImageCommit;
using test::ImageEntry;
using test::ImageSegment;
using test::MemoryFiles;
using test::Recovered;
using test::SegmentParameters;

struct Image {
  MemoryFiles files;
  std::vector<ImageSegment> segments;

  Image() {
    segments.reserve(3);
    files.slots.resize(4, test::Bytes(3072));
    segments.emplace_back(files, SegmentParameters{.slot = 2, .number = 1, .id = 0x11, .segment_bytes = 3072});
    segments[0].commit({{.base_offset = 0, .records = 2}, {.partition = 2, .base_offset = 0, .runs = 2}});
    segments[0].commit({{.base_offset = 2}});
    segments.emplace_back(
        files, SegmentParameters{.slot = 0, .number = 2, .id = 0x22, .term = 2, .segment_bytes = 3072}, &segments[0]);
    segments[1].commit({{.partition = 2, .base_offset = 1, .batch_bytes = 300, .runs = 3}});
    segments[1].commit({{.base_offset = 3}, {.partition = 3, .base_offset = 0}});
    segments.emplace_back(
        files, SegmentParameters{.slot = 1, .number = 3, .id = 0x33, .term = 3, .segment_bytes = 3072}, &segments[1]);
    segments[2].commit({{.base_offset = 4}});
    segments[2].commit({{.base_offset = 5}, {.partition = 2, .base_offset = 2}});
    segments[2].commit({{.base_offset = 6}});
    segments[2].commit({{.base_offset = 7}}, segments[2].sequence - 1);
  }
};

using BatchName = std::pair<uint64_t, int64_t>;  // partition, base offset

// Everything that can be read, after comparing every byte with what was written.
std::set<BatchName> readable(const Recovered& got, const MemoryFiles& files) {
  std::set<BatchName> result;
  for (uint64_t partition = 1; partition <= 3; ++partition) {
    for (const int64_t offset : got.offsets(files, partition)) result.insert({partition, offset});
  }
  return result;
}

// What stays known to have been durable when byte `position` of a slot cannot be believed: a claim counts unless it
// lies in the same header as that byte.
std::set<BatchName> claimed(const Image& image, uint32_t slot, uint64_t position) {
  uint64_t durable = 0;
  for (const ImageSegment& segment : image.segments) {
    const bool here = segment.parameters().slot == slot;
    if (!here || position >= 512) durable = std::max(durable, segment.first_sequence);
    for (const ImageCommit& commit : segment.commits) {
      const bool hit = here && position >= commit.position && position < commit.position + commit.header_bytes;
      if (!hit) durable = std::max(durable, commit.durable);
    }
  }
  std::set<BatchName> result;
  for (const ImageSegment& segment : image.segments) {
    for (const ImageCommit& commit : segment.commits) {
      for (const ImageEntry& entry : commit.entries) {
        if (commit.sequence <= durable) result.insert({entry.partition, entry.base_offset});
      }
    }
  }
  return result;
}

TEST(RecoveryCorruption, EveryByteFlipped) {
  const Image image;
  MemoryFiles files = image.files;
  Recovered whole(files);
  ASSERT_FALSE(whole.log.read_only) << whole.log.report();
  const auto all = readable(whole, files);
  ASSERT_EQ(all.size(), 11u) << whole.log.report();
  uint64_t unnoticed = 0, damaged = 0, shortened = 0;
  for (uint32_t slot = 0; slot < files.slots.size(); ++slot) {
    for (uint64_t position = 0; position < files.slots[slot].size(); ++position) {
      for (const uint8_t mask : {uint8_t{0x01}, uint8_t{0x80}, uint8_t{0xff}}) {
        files.slots[slot][position] ^= std::byte{mask};
        Recovered got(files);
        const auto left = readable(got, files);
        if (HasFailure()) FAIL() << "wrong bytes: slot " << slot << " byte " << position << "\n" << got.log.report();
        const auto must = claimed(image, slot, position);
        const bool lost = !std::ranges::includes(left, must);
        ASSERT_TRUE(!lost || got.log.read_only) << "silent loss: slot " << slot << " byte " << position << "\n"
                                                << got.log.report();
        ASSERT_TRUE(std::ranges::includes(all, left)) << "a batch that never was";
        (got.log.read_only ? damaged : left == all ? unnoticed : shortened) += 1;
        files.slots[slot][position] ^= std::byte{mask};
      }
    }
  }
  std::printf("harmless %llu, damage reported %llu, tail shortened %llu\n", static_cast<unsigned long long>(unnoticed),
              static_cast<unsigned long long>(damaged), static_cast<unsigned long long>(shortened));
  EXPECT_GT(damaged, 1000u);
  EXPECT_GT(shortened, 100u);
}

TEST(RecoveryCorruption, EverySectorZeroedOrUnreadable) {
  const Image image;
  for (uint32_t slot = 0; slot < image.files.slots.size(); ++slot) {
    for (uint64_t sector = 0; sector * 512 < image.files.slots[slot].size(); ++sector) {
      for (const bool unreadable : {false, true}) {
        MemoryFiles files = image.files;
        if (unreadable) {
          files.unreadable.insert({slot, sector});
        } else {
          std::memset(files.slots[slot].data() + sector * 512, 0, 512);
        }
        Recovered got(files);
        const auto left = readable(got, files);
        const auto must = claimed(image, slot, sector * 512);
        // A zeroed header of the oldest segment is a release.
        const bool released = !unreadable && slot == 2 && sector == 0;
        EXPECT_TRUE(released || got.log.read_only || std::ranges::includes(left, must))
            << "silent loss: slot " << slot << " sector " << sector << "\n"
            << got.log.report();
      }
    }
  }
}

TEST(RecoveryCorruption, FilesCutAnywhere) {
  const Image image;
  for (uint32_t slot = 0; slot < image.files.slots.size(); ++slot) {
    for (uint64_t bytes = 0; bytes < image.files.slots[slot].size(); bytes += 61) {
      MemoryFiles files = image.files;
      files.slots[slot].resize(bytes);
      Recovered got(files);
      readable(got, files);
    }
  }
}

TEST(RecoveryCorruption, RandomDamageNeverCrashesNorLies) {
  const Image image;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    std::mt19937_64 random(seed);
    MemoryFiles files = image.files;
    for (uint64_t i = 0; i < 1 + random() % 6; ++i) {
      const auto slot = random() % files.slots.size();
      auto& file = files.slots[slot];
      const uint64_t at = random() % file.size(), count = std::min<uint64_t>(1 + random() % 700, file.size() - at);
      switch (random() % 4) {
        case 0:
          for (uint64_t k = 0; k < count; ++k) file[at + k] = static_cast<std::byte>(random());
          break;
        case 1:
          std::memset(file.data() + at, 0, count);
          break;
        case 2:
          file[at] ^= static_cast<std::byte>(1 << random() % 8);
          break;
        default: {  // a sector from elsewhere
          const auto& from = image.files.slots[random() % files.slots.size()];
          std::memcpy(file.data() + at / 512 * 512, from.data() + random() % 6 * 512, 512);
        }
      }
    }
    Recovered got(files);
    const auto left = readable(got, files);
    ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << got.log.report();
  }
}

}  // namespace
}  // namespace penstock
