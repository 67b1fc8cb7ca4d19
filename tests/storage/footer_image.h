// Footers in memory, byte by byte from the page in storage/format.h, as log_image.h does with the rest.
#pragma once

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "tests/storage/log_image.h"

namespace penstock::test {

struct ImagePartition {
  uint64_t partition = 1;
  int64_t next = 0;
  int64_t log_start = 0;
  uint64_t newest_segment = 1;
  uint64_t bytes = 0;
  uint32_t deleted = 0;
};
struct ImageProducer {
  uint64_t partition = 1;
  int64_t producer_id = 0;
  struct Batch {
    int64_t base_offset = 0;
    uint64_t commit = 1;
    int32_t base_sequence = 0;
    int32_t last_offset_delta = 0;
    int16_t epoch = 0;
  };
  std::vector<Batch> batches;
};

// The footer of a segment that ends as it stands now; `partitions` are those before it, as they were.
struct ImageFooter {
  explicit ImageFooter(ImageSegment& described, std::vector<ImagePartition> before = {})
      : segment(described), position(described.end) {
    for (const ImagePartition& each : before) partitions[each.partition] = each;
    for (const ImageCommit& commit : described.commits) {
      for (const ImageEntry& entry : commit.entries) {
        if (entry.kind > 4) continue;
        ImagePartition& partition = partitions[entry.partition];
        partition.partition = entry.partition;
        partition.newest_segment = described.parameters().number;
        if (entry.kind == 4) partition.deleted = 1;
        if (entry.kind == 3) partition.log_start = std::max(partition.log_start, entry.base_offset);
        const int64_t next = entry.base_offset + (entry.kind <= 2 ? entry.records : 0);
        partition.next = std::max(partition.next, next);
        if (entry.kind <= 2) partition.bytes += entry.batch_bytes;
      }
    }
  }

  void write() {
    Bytes rows[4];
    const std::vector<Place> places = sorted_places();
    for (const auto& [number, each] : partitions) {
      const auto here = std::ranges::equal_range(places, number, {}, [](const Place& p) { return p.entry.partition; });
      int64_t max_timestamp = -1;
      for (const Place& place : here) max_timestamp = std::max(max_timestamp, place.entry.max_timestamp);
      append_little(rows[0], each.partition);
      append_little(rows[0], each.next);
      append_little(rows[0], each.log_start);
      append_little<int64_t>(rows[0], 1000);
      append_little(rows[0], each.newest_segment);
      append_little(rows[0], each.bytes);
      append_little(rows[0], max_timestamp);
      append_little(rows[0], static_cast<uint32_t>(here.empty() ? 0 : here.begin() - places.begin()));
      append_little(rows[0], static_cast<uint32_t>(here.size()));
      append_little<int32_t>(rows[0], 0);
      append_little(rows[0], each.deleted);
    }
    for (const ImageProducer& each : producers) {
      append_little(rows[1], each.partition);
      append_little(rows[1], each.producer_id);
      append_little(rows[1], static_cast<uint64_t>(each.batches.size()));
      for (size_t i = 0; i < 5; ++i) {
        const ImageProducer::Batch batch = i < each.batches.size() ? each.batches[i] : ImageProducer::Batch{};
        append_little(rows[1], batch.base_offset);
        append_little(rows[1], batch.commit);
        append_little(rows[1], batch.base_sequence);
        append_little(rows[1], batch.last_offset_delta);
        append_little(rows[1], static_cast<uint16_t>(batch.epoch));
        rows[1].resize(rows[1].size() + 6);
      }
    }
    append_batches(places, rows[2]);
    const Bytes of_partitions = keys_of(rows[0], 72, {}), of_batches = keys_of(rows[2], 48, places);
    rows[3] = of_partitions;
    rows[3].insert(rows[3].end(), of_batches.begin(), of_batches.end());

    constexpr size_t row_bytes[] = {72, 184, 48, 24};
    head_bytes = 136;
    const uint64_t block = segment.parameters().block;
    uint64_t at = position + block;
    Bytes sections;
    blocks.clear();
    for (uint8_t section = 0; section < 4; ++section) {
      append_little(sections, at);
      append_little(sections, static_cast<uint64_t>(rows[section].size() / row_bytes[section]));
      const size_t whole = rows_per_block(row_bytes[section]) * row_bytes[section];
      for (size_t from = 0; from < rows[section].size(); from += whole) {
        const size_t here = std::min(whole, rows[section].size() - from);
        Bytes made;
        append_text(made, "PNSTKFBL");
        append_little<uint32_t>(made, 0);
        append_little<uint32_t>(made, section);
        append_little(made, static_cast<uint32_t>(from / whole));
        append_little(made, static_cast<uint32_t>(here / row_bytes[section]));
        append_little(made, segment.parameters().id);
        made.insert(made.end(), &rows[section][from], &rows[section][from] + here);
        seal_header(made);
        std::memcpy(segment.file().data() + at, made.data(), made.size());
        blocks.push_back({at, made.size(), section});
        at += here == whole ? block_bytes : (made.size() + block - 1) / block * block;
      }
    }
    end = at;
    Bytes head;
    append_text(head, "PNSTKFTR");
    append_little<uint32_t>(head, 0);
    append_little<uint32_t>(head, version);
    append_little(head, static_cast<uint32_t>(head_bytes));
    append_little(head, static_cast<uint32_t>(block_bytes));
    append_little(head, segment.parameters().number);
    append_little(head, segment.parameters().id);
    append_little(head, position);
    append_little(head, last_sequence != 0 ? last_sequence : segment.sequence);
    append_little(head, segment.hash);
    append_little<int64_t>(head, 1000);
    head.insert(head.end(), sections.begin(), sections.end());
    seal_header(head);
    std::memcpy(segment.file().data() + position, head.data(), head.size());
  }

  ImageSegment& segment;
  uint64_t position;
  std::map<uint64_t, ImagePartition> partitions;
  std::vector<ImageProducer> producers;
  uint64_t block_bytes = 512;
  uint32_t version = 2;
  uint64_t last_sequence = 0;  // 0: the segment's
  // Once written:
  uint64_t head_bytes = 0;
  uint64_t end = 0;
  struct Block {
    uint64_t position;
    uint64_t bytes;
    uint8_t section = 0;
  };
  std::vector<Block> blocks;

 private:
  struct Place {
    ImageEntry entry;
    uint64_t commit;
    uint32_t first_position, ordinal;
  };
  size_t rows_per_block(size_t row_bytes) const { return (block_bytes - 32) / row_bytes; }

  // Of the first row in each block.
  Bytes keys_of(const Bytes& rows, size_t row_bytes, const std::vector<Place>& places) const {
    Bytes keys;
    int64_t before = -1;
    for (size_t i = 0; i < rows.size() / row_bytes; ++i) {
      if (places.empty() || i == 0 || places[i].entry.partition != places[i - 1].entry.partition) before = -1;
      if (i % rows_per_block(row_bytes) == 0) {
        append_little(keys, take_little<uint64_t>(std::span<const std::byte>(rows), i * row_bytes));
        append_little<int64_t>(keys, places.empty() ? 0 : places[i].entry.base_offset);
        append_little(keys, before);
      }
      if (!places.empty()) before = std::max(before, places[i].entry.max_timestamp);
    }
    return keys;
  }

  // By partition, and within a partition in the order of the log.
  std::vector<Place> sorted_places() const {
    std::vector<Place> places;
    for (const ImageCommit& commit : segment.commits) {
      uint64_t entry_at = commit.position + 80;
      uint32_t ordinal = 0;
      for (const ImageEntry& entry : commit.entries) {
        const uint32_t first =
            entry.kind <= 2 ? take_little<uint32_t>(std::span<const std::byte>(segment.file()), entry_at + 72) : 0;
        if (entry.kind <= 2) places.push_back({entry, commit.position, first, ordinal});
        entry_at += take_little<uint32_t>(std::span<const std::byte>(segment.file()), entry_at);
        ++ordinal;
      }
    }
    std::ranges::sort(
        places, {}, [](const Place& place) { return std::tuple(place.entry.partition, place.commit, place.ordinal); });
    return places;
  }

  static void append_batches(const std::vector<Place>& places, Bytes& rows) {
    for (const Place& place : places) {
      append_little(rows, place.entry.partition);
      append_little(rows, place.entry.base_offset);
      append_little(rows, place.entry.max_timestamp);
      append_little(rows, place.commit);
      append_little(rows, place.entry.records - 1);
      append_little(rows, place.first_position);
      append_little(rows, place.entry.batch_bytes);
      append_little(rows, place.ordinal | (place.entry.runs > 1 ? 1u << 31 : 0));
    }
  }
};

}  // namespace penstock::test
