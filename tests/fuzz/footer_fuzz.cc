// Recovery from damaged and forged footers. The input is a list of edits to the footers of a small log of three
// segments; some make the checksums right again, as a defective writer would. Whatever comes: no crash. And as long as
// no checksum was made right, a start from footers comes to the same as one from the commits.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "tests/storage/footer_agreement.h"
#include "tests/storage/footer_image.h"

namespace penstock {
namespace {

using test::ImageFooter;
using test::ImageSegment;
using test::MemoryFiles;

struct Part {
  uint32_t slot;
  uint64_t position, bytes;
};

struct Whole {
  MemoryFiles files;
  std::vector<Part> parts;  // heads and blocks

  Whole() {
    ImageSegment one(files, {.slot = 0, .number = 1, .id = 0x11, .segment_bytes = 12288});
    one.commit(
        {{.records = 2, .producer_id = 7, .producer_epoch = 0, .base_sequence = 0}, {.partition = 2, .runs = 2}});
    one.commit({{.base_offset = 2}, {.kind = 3, .base_offset = 1}, {.partition = 3}});
    std::vector<test::ImageEntry> many;
    for (int64_t i = 0; i < 14; ++i) many.push_back({.partition = 4, .base_offset = i, .batch_bytes = 61});
    one.commit(many);
    ImageFooter first(one);
    add(0, first, {});
    ImageSegment two(files, {.slot = 1, .number = 2, .id = 0x22, .term = 2, .segment_bytes = 12288}, &one);
    two.commit({{.partition = 2, .base_offset = 1, .runs = 3}, {.kind = 4, .partition = 3}});
    ImageFooter second(two, {{.partition = 1, .next = 3, .log_start = 1},
                             {.partition = 2, .next = 1},
                             {.partition = 3, .next = 1},
                             {.partition = 4, .next = 14}});
    add(1, second, {{.partition = 1, .producer_id = 7, .batches = {{.commit = 1, .last_offset_delta = 1}}}});
    ImageSegment three(files, {.slot = 2, .number = 3, .id = 0x33, .term = 3, .segment_bytes = 4096}, &two);
    three.commit({{.base_offset = 3}, {.partition = 4, .base_offset = 14}});
  }
  void add(uint32_t slot, ImageFooter& footer, std::vector<test::ImageProducer> producers) {
    footer.producers = {{.partition = 1, .producer_id = 7, .batches = {{.commit = 1, .last_offset_delta = 1}}}};
    if (!producers.empty()) footer.producers = std::move(producers);
    footer.write();
    parts.push_back({slot, footer.position, footer.head_bytes});
    for (const ImageFooter::Block& block : footer.blocks) parts.push_back({slot, block.position, block.bytes});
  }
};

// True: it may be believed.
bool edit(MemoryFiles& files, const std::vector<Part>& parts, const uint8_t* input) {
  const Part& part = parts[input[0] % parts.size()];
  const std::span<std::byte> bytes = std::span(files.slots[part.slot]).subspan(part.position, part.bytes);
  const size_t at = (size_t{input[1]} << 8 | input[2]) % bytes.size();
  switch (input[3] % 4) {
    case 0:
      bytes[at] = std::byte{input[4]};
      return false;
    case 1: {  // a word of it, large or small
      const uint64_t value = input[5] % 3 == 0 ? UINT64_MAX << input[4] % 64 : uint64_t{input[4]} << 8 * (input[5] % 8);
      test::store_little(bytes, at, value, std::min<size_t>(8, bytes.size() - at));
      return false;
    }
    case 2: {
      const Part& other = parts[input[4] % parts.size()];
      const size_t count = std::min<size_t>(bytes.size() - at, other.bytes - at % other.bytes);
      std::memmove(bytes.data() + at, files.slots[other.slot].data() + other.position + at % other.bytes, count);
      return false;
    }
    default:
      test::store_little(bytes, 8, crc32c(0, bytes.data() + 12, bytes.size() - 12), 4);
      return true;
  }
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "footer_fuzz: %s\n", what);
  std::abort();
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  static const Whole whole;
  MemoryFiles files = whole.files;
  bool forged = false;
  for (; size >= 6; data += 6, size -= 6) forged |= edit(files, whole.parts, data);
  if (!forged) {
    const test::FooterAgreement agreement = test::compare_with_scan(files, {.lane = 0, .block = 512});
    require(agreement.difference.empty(), agreement.difference.c_str());
    return 0;
  }
  LogIndex index(64, 1, 8);
  ProducerTable producers(4);
  const RecoveredLog log = recover(files, {.lane = 0, .block = 512, .use_footers = true}, index, producers);
  require(log.segments.size() == 3 && !log.read_only, "the commits are whole");
  test::SealedLookup look_up(files, index, log, 512);
  for (const RecoveredPartition& partition : log.partitions) {
    int64_t last = -1;
    for (auto at = look_up.find(partition.number, Offset(0)); at; at = look_up.find(partition.number, Offset(last))) {
      require(at->next_offset().value > last, "offsets do not ascend");
      if (at->next_offset() > partition.next) break;  // the log refuses it
      last = at->next_offset().value;
    }
  }
  return 0;
}
