// Plays packet scripts.
//
//   packets [--trace] [--known FILE] --all DIR     every *.pkt in and below DIR
//   packets [--trace] [--known FILE] SCRIPT...     these
//
// FILE names scripts that are expected to fail, one a line with a reason behind it, paths from FILE's folder; one that
// passes then is an error.
// Each script runs in a process of its own, so that one that ends in a failed check() or never ends is one failure.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/packets/player.h"
#include "tests/packets/script.h"

namespace penstock::packets {
namespace {

namespace fs = std::filesystem;

struct Options {
  bool trace = false;
  std::map<fs::path, std::string> known_failures;  // with the reason
  std::vector<fs::path> scripts;
};

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void read_known_failures(const fs::path& file, Options& options) {
  std::istringstream in(text_of(file));
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' ');
    const std::string reason = space == std::string::npos ? "" : line.substr(space + 1);
    if (reason.empty()) throw std::runtime_error(file.string() + ": a known failure without a reason: " + line);
    const fs::path script = file.parent_path() / line.substr(0, space);
    if (!fs::exists(script)) throw std::runtime_error(file.string() + ": no such script: " + line.substr(0, space));
    options.known_failures[fs::weakly_canonical(script)] = reason;
  }
}

void collect(const fs::path& folder, std::vector<fs::path>& to) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".pkt") to.push_back(entry.path());
  }
  std::sort(to.begin(), to.end());
}

Options read_options(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--trace") {
      options.trace = true;
    } else if (word == "--known" && i + 1 < count) {
      read_known_failures(words[++i], options);
    } else if (word == "--all" && i + 1 < count) {
      collect(words[++i], options.scripts);
    } else if (word.starts_with("--")) {
      throw std::runtime_error("usage: packets [--trace] [--known FILE] --all DIR | SCRIPT...");
    } else {
      options.scripts.emplace_back(word);
    }
  }
  if (options.scripts.empty()) throw std::runtime_error("no scripts");
  return options;
}

Outcome play_file(const fs::path& path, bool trace) {
  try {
    return play(parse_script(path.string(), text_of(path)), trace);
  } catch (const std::exception& error) {
    return {false, std::string(error.what()) + "\n"};
  }
}

std::string read_all(int from) {
  std::string text;
  char part[4096];
  for (ssize_t count = 0; (count = read(from, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(count));
  return text;
}

// The report on its standard output and error; 0 as its end when it passed.
Outcome play_apart(const fs::path& path, bool trace) {
  constexpr unsigned seconds_max = 60;
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) throw std::runtime_error("no pipe");
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("no process");
  if (child == 0) {
    dup2(pipe_ends[1], STDOUT_FILENO);
    dup2(pipe_ends[1], STDERR_FILENO);
    close(pipe_ends[0]);
    alarm(seconds_max);
    const Outcome outcome = play_file(path, trace);
    std::printf("%s", outcome.report.c_str());
    std::fflush(stdout);
    _exit(outcome.passed ? 0 : 1);
  }
  close(pipe_ends[1]);
  Outcome outcome{false, read_all(pipe_ends[0])};
  close(pipe_ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  outcome.passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status)) {
    outcome.report += path.string() + ": ended by signal " + std::to_string(WTERMSIG(status)) +
                      (WTERMSIG(status) == SIGALRM ? ": it never came to an end" : "") + "\n";
  }
  return outcome;
}

int run(const Options& options) {
  int passed = 0, failed = 0, expected = 0;
  for (const fs::path& path : options.scripts) {
    const Outcome outcome = play_apart(path, options.trace);
    const auto known = options.known_failures.find(fs::weakly_canonical(path));
    if (known != options.known_failures.end()) {
      if (outcome.passed) {
        std::printf("%s passes, but is listed as a known failure\n", path.c_str());
        ++failed;
      } else {
        std::printf("%s fails as listed: %s\n", path.c_str(), known->second.c_str());
        ++expected;
      }
      continue;
    }
    ++(outcome.passed ? passed : failed);
    if (!outcome.report.empty()) std::printf("%s", outcome.report.c_str());
    if (!outcome.passed) std::printf("FAILED %s\n", path.c_str());
  }
  std::printf("%d passed, %d failed", passed, failed);
  if (expected > 0) std::printf(", %d failed as listed", expected);
  std::printf("\n");
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace penstock::packets

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    return penstock::packets::run(penstock::packets::read_options(count, words));
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
}
