#include "tests/simulator/coverage.h"

#include <algorithm>

#include "dataplane/kafka/api.h"

namespace penstock::sim {

namespace {

// Rows that no crash, error or fault of the simulated world leads to: damage, other people's files, other versions, and
// defects of the writer. tests/storage/recovery_test.cc has a case for each.
constexpr Finding made_by_hand[] = {
    Finding::slot_unreadable,        Finding::slot_unknown_version,   Finding::slot_other_lane,
    Finding::slot_bad_geometry,      Finding::slot_short_file,        Finding::slot_other_block,
    Finding::segment_missing,        Finding::segment_beside_counted, Finding::segment_header_lost,
    Finding::predecessor_differs,    Finding::number_twice_copy,      Finding::number_twice_both_used,
    Finding::sealed_hole,            Finding::footer_unknown_version, Finding::footer_other_block,
    Finding::newest_hole,            Finding::commit_malformed,       Finding::payload_damaged,
    Finding::entry_unknown,
};

constexpr const char* sequence_verdicts[] = {"next",         "duplicate", "duplicate_old",
                                             "out_of_order", "fenced",    "unknown_producer"};
constexpr const char* log_states[] = {"starting", "writable", "recovering", "read_only"};
constexpr const char* log_troubles[] = {"none",         "no_space",        "rewriting",
                                        "write_failed", "found_unflushed", "damaged"};

void add(auto& to, const auto& more) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += more[i];
}

}  // namespace

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
                   std::ranges::find(made_by_hand, finding) == std::end(made_by_hand)});
  }
  for (size_t i = 0; i < std::size(sequence_verdicts); ++i) {
    all.push_back({"sequence", sequence_verdicts[i], coverage.rows.sequences[i], true});
  }
  for (size_t i = 0; i < std::size(log_states); ++i) {
    all.push_back({"log state", log_states[i], coverage.log_states[i], true});
  }
  for (size_t i = 0; i < std::size(log_troubles); ++i) {
    all.push_back({"log trouble", log_troubles[i], coverage.log_troubles[i], true});
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
