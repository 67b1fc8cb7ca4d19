#include "tools/penstock/lane_watch.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace penstock {
namespace {

using Weight = LaneWatch::Weight;

constexpr LaneHealth well{.state = LogState::writable};

LaneHealth with(LogState state, LogTrouble trouble) {
  LaneHealth health{.state = state, .trouble = trouble};
  health.drive_error = EIO;
  health.space_error = ENOSPC;
  return health;
}

bool says(const std::vector<LaneWatch::Line>& lines, Weight weight, const std::string& words) {
  for (const LaneWatch::Line& line : lines) {
    if (line.weight == weight && line.text.find(words) != std::string::npos) return true;
  }
  return false;
}

TEST(LaneWatch, SaysNothingOfALaneThatIsWell) {
  LaneWatch watch;
  for (Nanoseconds now = 0; now < 20 * second_ns; now += second_ns) EXPECT_TRUE(watch.look(well, now).empty());
  EXPECT_FALSE(why_not_ready(well));
}

TEST(LaneWatch, EveryReasonToBeReadOnlyHasItsWords) {
  const struct {
    LogTrouble trouble;
    const char* words;
  } rows[] = {{LogTrouble::no_space, "no further segment (No space left on device)"},
              {LogTrouble::write_failed, "failed twice to write (Input/output error)"},
              {LogTrouble::found_unflushed, "could not be flushed (Input/output error)"},
              {LogTrouble::damaged, "damaged"}};
  for (const auto& row : rows) {
    LaneWatch watch;
    watch.look(well, 0);
    const LaneHealth health = with(LogState::read_only, row.trouble);
    const auto lines = watch.look(health, second_ns);
    EXPECT_EQ(lines.size(), 1u);
    EXPECT_TRUE(says(lines, Weight::error, row.words)) << row.words;
    EXPECT_TRUE(watch.look(health, 2 * second_ns).empty()) << "said once";
    EXPECT_NE(why_not_ready(health).value_or("").find(row.words), std::string::npos);
    EXPECT_TRUE(says(watch.look(well, 3 * second_ns), Weight::info, "takes records again"));
  }
}

TEST(LaneWatch, WarnsBeforeTheLastSegmentIsFull) {
  LaneWatch watch;
  watch.look(well, 0);
  EXPECT_TRUE(says(watch.look(with(LogState::writable, LogTrouble::no_space), 1), Weight::warning, "when the present"));
  EXPECT_TRUE(watch.look(with(LogState::writable, LogTrouble::no_space), 2).empty());
  EXPECT_FALSE(why_not_ready(with(LogState::writable, LogTrouble::no_space)));
}

TEST(LaneWatch, CountsErrorsThatWereMendedMeanwhile) {
  LaneWatch watch;
  watch.look(well, 0);
  LaneHealth health = well;
  health.write_errors = 2;
  health.drive_error = EIO;
  health.read_errors = 1;
  health.read_error = EIO;
  const auto lines = watch.look(health, second_ns);
  EXPECT_TRUE(says(lines, Weight::warning, "2 writes or flushes failed (Input/output error)"));
  EXPECT_TRUE(says(lines, Weight::warning, "1 reads failed (Input/output error)"));
  EXPECT_TRUE(watch.look(health, 2 * second_ns).empty());
}

TEST(LaneWatch, SaysThatTheDriveStandsStillOnceAndWhenItGoesOn) {
  LaneWatch watch;
  watch.look(well, 0);
  LaneHealth waiting = well;
  waiting.inflight_bytes = 4096;
  watch.look(waiting, second_ns);
  EXPECT_TRUE(watch.look(waiting, 5 * second_ns).empty());
  EXPECT_TRUE(says(watch.look(waiting, 7 * second_ns), Weight::warning, "no write for 6 s"));
  EXPECT_TRUE(watch.look(waiting, 9 * second_ns).empty());
  waiting.writes = 1;
  EXPECT_TRUE(says(watch.look(waiting, 10 * second_ns), Weight::info, "goes on after 9 s"));
  // A busy drive completes something all the time.
  for (Nanoseconds now = 11 * second_ns; now < 30 * second_ns; now += second_ns) {
    ++waiting.writes;
    EXPECT_TRUE(watch.look(waiting, now).empty());
  }
}

}  // namespace
}  // namespace penstock
