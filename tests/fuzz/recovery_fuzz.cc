// Recovery on damaged and forged directories. The input is a list of edits to a small log of three segments, some of
// which make the checksums right again, as a defective writer would. Whatever comes: no crash, every batch recovery
// offers has the bytes its checksum promises, and dump gets through.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "storage/dump.h"
#include "storage/recovery.h"
#include "tests/storage/log_image.h"

namespace penstock {
namespace {

using test::ImageSegment;
using test::MemoryFiles;

MemoryFiles whole_log() {
  MemoryFiles files;
  ImageSegment one(files, {.slot = 2, .number = 1, .id = 0x11, .segment_bytes = 4096});
  one.commit({{.base_offset = 0, .records = 2, .producer_id = 7, .producer_epoch = 0, .base_sequence = 0},
              {.partition = 2, .runs = 2}});
  one.commit({{.base_offset = 2}, {.kind = 3, .base_offset = 1}, {.kind = 9}});
  ImageSegment two(files, {.slot = 0, .number = 2, .id = 0x22, .term = 2, .segment_bytes = 4096}, &one);
  two.commit({{.partition = 2, .base_offset = 1, .batch_bytes = 300, .runs = 3}, {.kind = 2, .partition = 3}});
  two.commit({{.base_offset = 3}});
  ImageSegment three(files, {.slot = 1, .number = 3, .id = 0x33, .term = 3, .segment_bytes = 4096}, &two);
  for (int i = 4; i < 8; ++i) three.commit({{.base_offset = i}});
  files.slots.resize(4, test::Bytes(4096));
  return files;
}

void reseal(std::span<std::byte> file, uint64_t at, uint64_t header_bytes) {
  if (header_bytes < 16 || at + header_bytes > file.size()) return;
  test::store_little(file, at + 8, crc32c(0, file.data() + at + 12, header_bytes - 12), 4);
}

void edit(MemoryFiles& files, const uint8_t* input) {
  auto& file = files.slots[input[0] % files.slots.size()];
  const uint64_t position = (uint64_t{input[1]} << 8 | input[2]) % file.size(), sector = position / 512 * 512;
  switch (input[3] % 5) {
    case 0:
      file[position] = std::byte{input[4]};
      return;
    case 1:
      std::memset(file.data() + sector, 0, 512);
      return;
    case 2:
      std::memcpy(file.data() + sector, files.slots[input[4] % 4].data() + input[5] % 8 * 512, 512);
      return;
    case 3:
      return reseal(file, sector, sector == 0 ? 104 : test::take_little<uint32_t>(file, sector + 16));
    default:
      files.unreadable.insert({input[0] % 4u, position / 512});
      return;
  }
}

void require(bool condition) {
  if (!condition) std::abort();
}

void check_batches(const MemoryFiles& files, const LogIndex& index, const RecoveredLog& log) {
  constexpr OffsetRange everything{Offset(0), Offset(INT64_MAX)};
  for (const RecoveredPartition& partition : log.partitions) {
    int64_t last = -1;
    for (auto at = index.find(partition.number, Offset(0), everything); at; at = index.next(*at, everything)) {
      require(at->next_offset().value > last);
      last = at->next_offset().value;
      for (const RecoveredSegment& segment : log.segments) {
        if (segment.number != at->segment) continue;
        const test::Bytes batch = test::read_batch(files, segment.slot.value, *at);
        require(batch.size() == at->bytes);
        const uint32_t crc = crc32c(0, batch.data() + 21, batch.size() - 21);
        for (int i = 0; i < 4; ++i) require(std::to_integer<uint32_t>(batch[17 + i]) == (crc >> (24 - 8 * i) & 0xff));
      }
    }
  }
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  static const MemoryFiles whole = whole_log();
  MemoryFiles files = whole;
  for (; size >= 6; data += 6, size -= 6) edit(files, data);
  LogIndex index(64, 1, 8);
  ProducerTable producers(4);
  const RecoveredLog log = recover(files, {.lane = 0, .block = 512}, index, producers);
  check_batches(files, index, log);
  dump(files, {.lane = 0, .block = 512, .verbose = true}, [](std::string_view) {});
  return 0;
}
