// A lane's directory as text, for people and for tests: every segment header and commit, one line each; with `verbose`
// every entry and run too. Reads whatever is there, damaged or not, slot by slot, and says where and why it stopped
// following a chain; then what recovery makes of it. The text is stable: fields are only ever added at the end of
// lines.
//
//   slot 2: segment 7 id 1a2b lane 0 term 3 block 4096 bytes 268435456 after segment 6 (commit 41, byte 8192)
//     commit 42 at 4096: 8192 bytes, 3 entries, durable 41
//       0 batch partition 5 offsets 100-109 bytes 1200 crc 01234567 time 1700000000000 epoch 0 producer 7/0 sequence 30
//           run 256 1200
//     stopped at 12288: no commit
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "storage/drive.h"

namespace penstock {

struct DumpOptions {
  uint32_t lane = 0;  // for recovery's view
  uint32_t block = 4096;
  bool verbose = false;  // entries and runs
  bool payload = true;   // checksum the batches
};

// Calls line(text) for each line, without its end. Returns whether recovery found the log whole.
bool dump(SegmentFiles& files, const DumpOptions& options, const std::function<void(std::string_view)>& line);

}  // namespace penstock
