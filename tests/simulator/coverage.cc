#include "tests/simulator/coverage.h"

#include <algorithm>

#include "dataplane/kafka/api.h"

namespace penstock::sim {

namespace {

// Rows that no crash, error or fault of the simulated world leads to: other people's files, other versions, defects of the
// writer, drives that cannot read at a start, and damage to what rots too seldom. tests/storage/recovery_test.cc has a case
// for each.
constexpr Finding made_by_hand[] = {
    Finding::slot_unreadable,        Finding::slot_unknown_version,   Finding::slot_other_lane,
    Finding::slot_bad_geometry,      Finding::slot_short_file,        Finding::slot_other_block,
    Finding::segment_missing,        Finding::segment_beside_counted, Finding::segment_header_lost,
    Finding::predecessor_differs,    Finding::number_twice_copy,      Finding::number_twice_both_used,
    Finding::footer_unknown_version, Finding::footer_other_block,     Finding::newest_hole,
    Finding::commit_malformed,       Finding::entry_unknown,
};

// What is met too seldom, if ever: headers and heads of footers lie in one sector, which is written or not; a segment is
// hardly filled to its last block; a number is twice there, or a segment empty and gone, only when several things happen
// at once.
constexpr Finding seldom[] = {
    Finding::slot_torn_header, Finding::segment_missing_empty, Finding::number_twice_unused,
    Finding::footer_damaged,   Finding::newest_full,
};
// Nobody takes over a producer id with a newer epoch, and an unknown producer may begin anywhere, as in Kafka.
constexpr SequenceVerdict without_cause[] = {SequenceVerdict::fenced, SequenceVerdict::unknown_producer};

constexpr const char* sequence_verdicts[] = {"next",         "duplicate", "duplicate_old",
                                             "out_of_order", "fenced",    "unknown_producer"};
constexpr const char* log_states[] = {"starting", "writable", "recovering", "read_only"};
constexpr const char* log_troubles[] = {"none",         "no_space",        "rewriting",
                                        "write_failed", "found_unflushed", "damaged"};

bool contains(const auto& list, auto what) { return std::ranges::find(list, what) != std::end(list); }

void add(auto& to, const auto& more) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += more[i];
}

}  // namespace

const char* to_string(LogTrouble trouble) { return log_troubles[static_cast<size_t>(trouble)]; }

Coverage& Coverage::operator+=(const Coverage& other) {
  rows += other.rows;
  add(answers, other.answers);
  add(log_states, other.log_states);
  add(log_troubles, other.log_troubles);
  return *this;
}

std::vector<Reachable> list(const FaultCounts& faults, const Coverage& coverage) {
  std::vector<Reachable> all;
  for (size_t i = 0; i < fault_names.size(); ++i) {
    all.push_back({"fault", fault_names[i], faults[static_cast<Fault>(i)], true});
  }
  for (size_t i = 0; i < coverage.rows.findings.size(); ++i) {
    const auto finding = static_cast<Finding>(i);
    all.push_back({"recovery", to_string(finding), coverage.rows.findings[i],
                   !contains(made_by_hand, finding) && !contains(seldom, finding)});
  }
  for (size_t i = 0; i < std::size(sequence_verdicts); ++i) {
    all.push_back({"sequence", sequence_verdicts[i], coverage.rows.sequences[i],
                   !contains(without_cause, static_cast<SequenceVerdict>(i))});
  }
  for (size_t i = 0; i < std::size(log_states); ++i) {
    all.push_back({"log state", log_states[i], coverage.log_states[i], true});
  }
  for (size_t i = 0; i < std::size(log_troubles); ++i) {
    const bool damaged = static_cast<LogTrouble>(i) == LogTrouble::damaged;  // by rot alone, and seldom
    all.push_back({"log trouble", log_troubles[i], coverage.log_troubles[i], !damaged});
  }
  // Which codes there are to answer with nobody can say; those met are listed.
  for (size_t i = 0; i < coverage.answers.size(); ++i) {
    if (coverage.answers[i] == 0) continue;
    all.push_back({"answer", kafka::to_string(static_cast<kafka::ErrorCode>(static_cast<int>(i) - 1)),
                   coverage.answers[i], false});
  }
  return all;
}

}  // namespace penstock::sim
