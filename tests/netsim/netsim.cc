// Simulated networks, one after the other.
//
//   netsim --seeds A..B [--trace]     what failed is told with the command that shows it again
//   netsim --file seeds.txt           the seeds kept there: one a line, # begins a remark
//   netsim --seeds A..B --flood N --half-open N --slow-readers N
//
// Every seed runs in a child, so that one that fails or hangs does not keep the others from running.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "tests/netsim/net_world.h"

namespace {

using penstock::netsim::NetOptions;
using penstock::netsim::NetSummary;

constexpr size_t failures_max = 100;
constexpr unsigned seconds_max = 20;  // of one seed; more is a loop without end

// What children leave behind for the parent.
struct Shared {
  size_t done = 0;  // seeds, by index
  NetSummary sum;
};

void add(NetSummary& sum, const NetSummary& one) {
  sum.steps += one.steps, sum.connections += one.connections, sum.whole += one.whole, sum.bytes += one.bytes;
  sum.segments += one.segments, sum.retransmitted += one.retransmitted, sum.lost += one.lost;
  sum.reordered += one.reordered, sum.duplicated += one.duplicated, sum.corrupted += one.corrupted;
  sum.cookies += one.cookies, sum.simulated_ns += one.simulated_ns;
}

void run_one(uint64_t seed, const NetOptions& options, Shared& shared) {
  penstock::netsim::NetWorld world(seed, options);
  add(shared.sum, world.run());
  ++shared.done;
}

// Runs seeds from shared.done on until one fails; false: one failed.
bool run_some(const std::vector<uint64_t>& seeds, const NetOptions& options, Shared& shared) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    while (shared.done < seeds.size()) {
      alarm(seconds_max);
      run_one(seeds[shared.done], options, shared);
    }
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT) {
    std::printf("%s\n", WTERMSIG(status) == SIGALRM ? "does not come to an end" : strsignal(WTERMSIG(status)));
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::vector<uint64_t> seeds_of_file(const char* path) {
  std::vector<uint64_t> seeds;
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return seeds;
  for (char line[256]; std::fgets(line, sizeof line, file) != nullptr;) {
    if (line[0] >= '0' && line[0] <= '9') seeds.push_back(std::strtoull(line, nullptr, 10));
  }
  std::fclose(file);
  return seeds;
}

void report(const NetSummary& sum, size_t seeds, double seconds) {
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%zu seeds: %llu connections, %llu of them whole; %.1f MB, %llu segments sent, %llu again; frames lost %llu, "
      "reordered %llu, duplicated %llu, damaged %llu; %llu cookies; %.0f simulated s in %.1f s\n",
      seeds, number(sum.connections), number(sum.whole), static_cast<double>(sum.bytes) / 1e6, number(sum.segments),
      number(sum.retransmitted), number(sum.lost), number(sum.reordered), number(sum.duplicated), number(sum.corrupted),
      number(sum.cookies), static_cast<double>(sum.simulated_ns) / 1e9, seconds);
}

int usage() {
  std::fprintf(stderr,
               "usage: netsim [--seeds A..B | --file F] [--trace] [--flood N] [--half-open N] [--slow-readers N]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long first = 1, last = 100;
  std::vector<uint64_t> seeds;
  NetOptions options;
  const char* program = argv[0];
  std::string with;
  bool from_file = false;
  for (int i = 1; i < argc; ++i) {
    const auto is = [&](const char* name) { return std::strcmp(argv[i], name) == 0; };
    const auto number = [&](uint32_t& to) {
      with += std::string(" ") + argv[i] + " " + argv[i + 1];
      to = static_cast<uint32_t>(std::strtoul(argv[++i], nullptr, 10));
    };
    if (is("--trace"))
      options.trace = true;
    else if (i + 1 == argc)
      return usage();
    else if (is("--flood"))
      number(options.syn_flood);
    else if (is("--half-open"))
      number(options.half_open);
    else if (is("--slow-readers"))
      number(options.slow_readers);
    else if (is("--file"))
      seeds = seeds_of_file(argv[++i]), from_file = true;
    else if (is("--seeds") && std::sscanf(argv[++i], "%llu..%llu", &first, &last) == 2 && first <= last)
      continue;
    else
      return usage();
  }
  if (!from_file) {
    for (unsigned long long seed = first; seed <= last; ++seed) seeds.push_back(seed);
  }
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  Shared& shared = *new (memory) Shared;
  const auto start = std::chrono::steady_clock::now();
  size_t failed = 0;
  while (shared.done < seeds.size() && failed < failures_max) {
    if (run_some(seeds, options, shared)) continue;
    std::printf("FAILED seed %llu. Again, segment by segment: %s --seeds %llu..%llu%s --trace\n",
                static_cast<unsigned long long>(seeds[shared.done]), program,
                static_cast<unsigned long long>(seeds[shared.done]),
                static_cast<unsigned long long>(seeds[shared.done]), with.c_str());
    ++shared.done;
    ++failed;
  }
  report(shared.sum, shared.done, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  std::printf("%zu passed, %zu failed\n", shared.done - failed, failed);
  return failed == 0 ? 0 : 1;
}
