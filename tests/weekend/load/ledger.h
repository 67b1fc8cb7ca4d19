// What a partition was promised and what was shown of it, kept as long as retention must keep it; and the judge of
// everything that is acknowledged, read or gone. A partition has one producer, and one ledger, which its producer and
// its readers share.
//
//   offset   0 ....... log start ......................... end
//            may be gone |  every batch known here is there |  under way
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "tests/weekend/load/content.h"

namespace penstock::weekend {

// As the topic's configuration says; -1: any.
struct Retention {
  int64_t age_max_ms = -1;
  int64_t bytes_max = -1;
};

class Ledger {
 public:
  using Complain = std::function<void(const std::string&)>;

  Ledger(std::string name, Retention retention, bool idempotent, Complain complain)
      : name_(std::move(name)), retention_(retention), idempotent_(idempotent), complain_(std::move(complain)) {}

  // A batch is sent for the first time.
  void sending(uint64_t bytes);
  void acknowledged(int64_t base_offset, const BatchShape& shape, uint64_t bytes);
  // It may be there or not: the producer does not send it again.
  void left_open(uint64_t bytes);

  // A reader has it.
  void shown(const FoundBatch& found);
  // The partition says of itself, in answer to a question asked when end() was `end_before`.
  void stands(int64_t log_start, int64_t high_watermark, int64_t end_before, int64_t now_ms);
  // Likewise, of the log start alone.
  void starts(int64_t log_start, int64_t now_ms);

  int64_t end() const;  // behind the last offset that is known to be durable
  int64_t log_start() const;

 private:
  struct Known {
    int64_t number = 0;
    int32_t count = 0;
    uint64_t bytes = 0;
    int64_t timestamp_ms = 0;
    uint64_t open_bytes_before = 0;  // of batches before it of which nobody knows
    bool acknowledged = false;
  };
  void note(int64_t base_offset, const BatchShape& shape, uint64_t bytes, bool acknowledged);
  void move_start(int64_t log_start, int64_t now_ms);
  void complain(const std::string& what) const { complain_(name_ + ": " + what); }

  const std::string name_;
  const Retention retention_;
  const bool idempotent_;
  const Complain complain_;
  mutable std::mutex mutex_;
  std::map<int64_t, Known> known_;  // by base offset, from the log start on
  int64_t log_start_ = 0;
  int64_t end_ = 0;
  int64_t acknowledged_end_ = 0;
  uint64_t known_bytes_ = 0;  // of all in known_, with what is open before them
  uint64_t open_bytes_ = 0;   // under way
  uint64_t open_before_ = 0;  // left open since the last acknowledgement
};

}  // namespace penstock::weekend
