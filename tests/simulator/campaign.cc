#include "tests/simulator/campaign.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace penstock::sim {

using std::chrono::steady_clock;

namespace {

// CPU time of one life; more is a loop without end. With sanitizers and ten lives to a core it is far less, too.
constexpr int life_seconds_max = 120;
constexpr size_t said_max = 8192;  // bytes of what a failed life has said that are shown

volatile std::sig_atomic_t interrupted = 0;

struct Report {
  WorldSummary summary;
};
static_assert(std::is_trivially_copyable_v<Report>);

unsigned long long number(uint64_t value) { return value; }

WorldSummary live(const Life& life, const Plan& plan) {
  const itimerval limit{{}, {plan.twice ? 2 * life_seconds_max : life_seconds_max, 0}};
  setitimer(ITIMER_PROF, &limit, nullptr);
  const WorldSummary summary = World(life.seed, false, life.over_tcp).run();
  if (plan.twice) {
    const uint64_t again = World(life.seed, false, life.over_tcp).run().trace_hash;
    check(again == summary.trace_hash, "the same seed gives another trace");
  }
  return summary;
}

// A worker's process: every jobs-th life from `index` on, a report to `out` after each.
[[noreturn]] void live_on(const Plan& plan, uint64_t index, int out, int said, steady_clock::time_point start) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  dup2(said, STDOUT_FILENO);
  dup2(said, STDERR_FILENO);
  const uint64_t count = plan.count();
  while (count == 0 || index < count) {
    if (plan.time && steady_clock::now() - start >= *plan.time) break;
    const Report report{live(plan.at(index), plan)};
    if (write(out, &report, sizeof report) != sizeof report) _exit(2);
    const uint64_t left = count == 0 ? UINT64_MAX : count - index;
    if (left <= plan.jobs) break;
    index += plan.jobs;
  }
  _exit(0);
}

std::string tail_of(int file) {
  const off_t size = lseek(file, 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(said_max));
  std::string text(static_cast<size_t>(size - from), '\0');
  const ssize_t got = pread(file, text.data(), text.size(), from);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void add(WorldSummary& sum, const WorldSummary& one) {
  sum.steps += one.steps, sum.simulated_ns += one.simulated_ns, sum.crashes += one.crashes;
  sum.acknowledged += one.acknowledged, sum.storage_errors += one.storage_errors;
  sum.drive_errors += one.drive_errors, sum.segments_released += one.segments_released;
  sum.records_expired += one.records_expired, sum.footers_read += one.footers_read;
  sum.topic_lives += one.topic_lives;
  sum.faults += one.faults;
  sum.coverage += one.coverage;
}

}  // namespace

Life life_of(uint64_t seed, std::optional<bool> over_tcp) { return {seed, over_tcp.value_or(seed % 3 == 0)}; }

struct Campaign::Worker {
  uint64_t index = 0;  // of the life under way
  pid_t process = -1;  // -1: none, and none needed
  int reports = -1;
  int said = -1;
};

Campaign::Campaign(const Plan& plan) : plan_(plan), start_(steady_clock::now()) {
  for (uint32_t i = 0; i < plan.jobs; ++i) {
    workers_.push_back(std::make_unique<Worker>());
    workers_.back()->index = i;
  }
}

Campaign::~Campaign() = default;

double Campaign::seconds() const { return std::chrono::duration<double>(steady_clock::now() - start_).count(); }
bool Campaign::time_is_up() const { return plan_.time && steady_clock::now() - start_ >= *plan_.time; }

void Campaign::start(Worker& worker) {
  const uint64_t count = plan_.count();
  if ((count != 0 && worker.index >= count) || time_is_up() || totals_.failed >= plan_.failures_max) return;
  int ends[2];
  check(pipe2(ends, O_CLOEXEC) == 0, "no pipe", errno);
  worker.said = memfd_create("said", MFD_CLOEXEC);
  check(worker.said >= 0, "no memory for what a life says", errno);
  std::fflush(stdout);
  worker.process = fork();
  check(worker.process >= 0, "no process", errno);
  if (worker.process == 0) live_on(plan_, worker.index, ends[1], worker.said, start_);
  close(ends[1]);
  worker.reports = ends[0];
}

void Campaign::take_report(Worker& worker) {
  Report report;
  size_t at = 0;
  while (at < sizeof report) {
    const ssize_t got = read(worker.reports, reinterpret_cast<char*>(&report) + at, sizeof report - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ended(worker);
    at += static_cast<size_t>(got);
  }
  const Life life = plan_.at(worker.index);
  ++totals_.lives;
  totals_.over_tcp += life.over_tcp ? 1 : 0;
  // SplitMix64's mix, so that lives that changed places are told apart.
  totals_.traces += SimRandom(report.summary.trace_hash ^ (life.seed * 2 + (life.over_tcp ? 1 : 0))).next();
  add(totals_.sum, report.summary);
  worker.index += plan_.jobs;
}

// The process is at its end: as it should be, or with the life it was at.
void Campaign::ended(Worker& worker) {
  close(worker.reports);
  int status = 0;
  waitpid(worker.process, &status, 0);
  worker.process = -1;
  const std::string said = tail_of(worker.said);
  close(worker.said);
  if ((WIFEXITED(status) && WEXITSTATUS(status) == 0) || interrupted) return;
  const Life life = plan_.at(worker.index);
  ++totals_.failed;
  std::printf("\nFAILED seed %llu%s\n", number(life.seed), life.over_tcp ? ", over our TCP" : "");
  if (!said.empty()) std::printf("%s\n", said.c_str());
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF) {
    std::printf("does not come to an end: %d s of CPU time\n", life_seconds_max);
  } else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT) {
    std::printf("%s\n", strsignal(WTERMSIG(status)));
  } else if (WIFEXITED(status)) {
    std::printf("exit status %d\n", WEXITSTATUS(status));
  }
  std::printf("again, line by line: %s --seed %llu %s\n", plan_.program.c_str(), number(life.seed),
              life.over_tcp ? "--tcp" : "--sockets");
  std::fflush(stdout);
  worker.index += plan_.jobs;
  start(worker);
}

std::string Campaign::progress() const {
  const double s = std::max(seconds(), 1e-3);
  const double hours = static_cast<double>(totals_.sum.simulated_ns) / 3600e9;
  uint64_t faults = 0, faults_met = 0, rows = 0, rows_met = 0;
  for (const Reachable& each : list(totals_.sum.faults, totals_.sum.coverage)) {
    const bool fault = std::string_view(each.kind) == "fault";
    (fault ? faults : rows) += 1;
    (fault ? faults_met : rows_met) += each.count > 0 ? 1 : 0;
  }
  char line[300];
  std::snprintf(line, sizeof line,
                "%.0f s: %llu lives, %.0f a second; %.2f hours simulated, %.4f a second; faults %llu of %llu, rows "
                "%llu of %llu; %llu failed",
                s, number(totals_.lives), static_cast<double>(totals_.lives) / s, hours, hours / s, number(faults_met),
                number(faults), number(rows_met), number(rows), number(totals_.failed));
  return line;
}

Totals Campaign::run() {
  const auto stop = [](int) { interrupted = 1; };
  std::signal(SIGINT, stop);
  std::signal(SIGTERM, stop);
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const auto every = std::chrono::seconds(terminal ? 1 : 10);
  auto tell_at = start_ + every;
  for (auto& worker : workers_) start(*worker);
  while (!interrupted) {
    std::vector<pollfd> wanted;
    std::vector<Worker*> of;
    for (auto& worker : workers_) {
      if (worker->process < 0) continue;
      wanted.push_back({worker->reports, POLLIN, 0});
      of.push_back(worker.get());
    }
    if (wanted.empty()) break;
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(tell_at - steady_clock::now()).count();
    poll(wanted.data(), wanted.size(), static_cast<int>(std::clamp<int64_t>(wait, 0, 10'000)));
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i].revents != 0) take_report(*of[i]);
    }
    if (steady_clock::now() < tell_at) continue;
    tell_at += every;
    std::printf(terminal ? "\r\033[K%s" : "%s\n", progress().c_str());
    std::fflush(stdout);
  }
  for (auto& worker : workers_) {
    if (worker->process < 0) continue;
    kill(worker->process, SIGKILL);
    ended(*worker);
  }
  std::printf(terminal ? "\r\033[K%s\n" : "%s\n", progress().c_str());
  return totals_;
}

}  // namespace penstock::sim
