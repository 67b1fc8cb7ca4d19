#include "tools/penstock/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>

#include "tools/penstock/sync_directory.h"

namespace penstock {
namespace {

constexpr mode_t directory_mode = 0750, file_mode = 0640;
constexpr uint32_t lane_count_max = 256;
constexpr const char* lock_name = "/penstock.lock";
constexpr const char* format_name = "/format";
constexpr const char* half_written_name = "/format.new";

std::unexpected<std::string> failed(const std::string& path, const char* doing, int error) {
  return std::unexpected("data directory " + path + ": " + doing + ": " + std::strerror(error));
}

std::optional<uint64_t> number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A file that a creation which was interrupted may have left, or that every file system has.
bool may_be_in_a_fresh_directory(const std::string& name) {
  return name.starts_with('.') || name == lock_name + 1 || name == half_written_name + 1 || name == "lost+found";
}

std::optional<std::string> stranger_in(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename();
    if (!may_be_in_a_fresh_directory(name)) return name;
  }
  return std::nullopt;
}

bool write_whole(int descriptor, const std::string& text) {
  return write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

std::string to_text(const DirectoryFormat& format) {
  return "penstock_format " + std::to_string(format.version) + "\nlanes " + std::to_string(format.lane_count) +
         "\nsegment_bytes " + std::to_string(format.segment_bytes) + "\nid " + std::to_string(format.id) + "\n";
}

std::expected<DirectoryFormat, std::string> parse_format(const std::string& text) {
  std::map<std::string, std::optional<uint64_t>> fields;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find('\n', from), text.size());
    const std::string line = text.substr(from, end - from);
    const size_t blank = line.find(' ');
    if (blank != std::string::npos) fields[line.substr(0, blank)] = number(line.substr(blank + 1));
    from = end + 1;
  }
  const auto field = [&](const char* name) { return fields[name].value_or(0); };
  // The version first: what else a newer format says is not for this program to judge.
  if (field("penstock_format") == 0) return std::unexpected("it is not in a form this program knows");
  if (field("penstock_format") > DirectoryFormat::newest_version)
    return std::unexpected("its version is " + std::to_string(field("penstock_format")) +
                           ", this program knows up to " + std::to_string(DirectoryFormat::newest_version) +
                           "; a newer Penstock wrote it");
  if (field("lanes") == 0 || field("lanes") > lane_count_max || field("segment_bytes") == 0)
    return std::unexpected("it has no sensible lanes or segment_bytes");
  return DirectoryFormat{.version = static_cast<uint32_t>(field("penstock_format")),
                         .lane_count = static_cast<uint32_t>(field("lanes")),
                         .segment_bytes = field("segment_bytes"),
                         .id = field("id")};
}

std::expected<DataDirectory, std::string> DataDirectory::open(const std::string& path, const Wish& wish) {
  DataDirectory directory(path);
  if (auto done = directory.create_directory(); !done) return std::unexpected(done.error());
  if (auto done = directory.take_lock(); !done) return std::unexpected(done.error());
  if (auto done = directory.establish_format(wish); !done) return std::unexpected(done.error());
  return directory;
}

std::expected<DirectoryFormat, std::string> DataDirectory::look(const std::string& path) {
  std::ifstream file(path + format_name, std::ios::binary);
  if (!file)
    return std::unexpected("data directory " + path +
                           ": it has no file 'format', so it is not a Penstock data directory");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::expected<DirectoryFormat, std::string> format = parse_format(text);
  if (!format) return std::unexpected("data directory " + path + ": file 'format': " + format.error());
  return format;
}

DataDirectory::DataDirectory(DataDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      format_(other.format_),
      created_(other.created_),
      lock_(std::exchange(other.lock_, -1)) {}

DataDirectory::~DataDirectory() {
  if (lock_ >= 0) close(lock_);
}

std::string DataDirectory::lane_path(const std::string& path, uint32_t lane) {
  char name[32];
  std::snprintf(name, sizeof name, "/lane-%03u", lane);
  return path + name;
}

std::expected<void, std::string> DataDirectory::create_directory() const {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path_, error);
  if (error) return failed(path_, "it cannot be created", error.value());
  if (!std::filesystem::is_directory(path_, error)) return failed(path_, "it is not a directory", ENOTDIR);
  if (made) chmod(path_.c_str(), directory_mode);  // records are nobody else's business
  if (access(path_.c_str(), R_OK | W_OK | X_OK) != 0) return failed(path_, "it cannot be written", errno);
  return {};
}

std::expected<void, std::string> DataDirectory::take_lock() {
  lock_ = ::open((path_ + lock_name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, file_mode);
  if (lock_ < 0) return failed(path_, "its lock file cannot be opened", errno);
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed(path_, "it cannot be locked", errno);
    char holder[32] = {};
    const ssize_t length = pread(lock_, holder, sizeof holder - 1, 0);
    const std::string pid(holder, length > 0 ? std::strcspn(holder, "\n") : 0);
    return std::unexpected("data directory " + path_ + ": another node is using it" +
                           (pid.empty() ? "" : " (process " + pid + ")"));
  }
  if (ftruncate(lock_, 0) != 0 || !write_whole(lock_, std::to_string(getpid()) + "\n"))
    return failed(path_, "its lock file cannot be written", errno);
  return {};
}

std::expected<void, std::string> DataDirectory::establish_format(const Wish& wish) {
  if (std::filesystem::exists(path_ + format_name)) {
    std::expected<DirectoryFormat, std::string> format = look(path_);
    if (!format) return std::unexpected(format.error());
    format_ = *format;
    if (wish.lane_count != 0 && wish.lane_count != format_.lane_count)
      return std::unexpected("data directory " + path_ +
                             ": it was created with lanes = " + std::to_string(format_.lane_count) +
                             ", which cannot be changed to " + std::to_string(wish.lane_count));
    if (wish.segment_bytes != 0 && wish.segment_bytes != format_.segment_bytes)
      return std::unexpected("data directory " + path_ +
                             ": it was created with segment_bytes = " + std::to_string(format_.segment_bytes) +
                             ", which cannot be changed to " + std::to_string(wish.segment_bytes));
    return {};
  }
  if (const auto stranger = stranger_in(path_))
    return std::unexpected("data directory " + path_ + ": it is not empty ('" + *stranger +
                           "') and was not created by Penstock; give it a directory of its own");
  format_.lane_count = wish.lane_count != 0 ? wish.lane_count : wish.lane_count_at_creation;
  format_.segment_bytes = wish.segment_bytes != 0 ? wish.segment_bytes : wish.segment_bytes_at_creation;
  format_.id = wish.id_at_creation;
  created_ = true;
  return write_format();
}

// Whole or not at all: written beside, made durable, then renamed.
std::expected<void, std::string> DataDirectory::write_format() const {
  const std::string half_written = path_ + half_written_name, path = path_ + format_name;
  const int file = ::open(half_written.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, file_mode);
  bool good = file >= 0 && write_whole(file, to_text(format_)) && fsync(file) == 0;
  int error = errno;
  if (file >= 0) close(file);
  if (good && rename(half_written.c_str(), path.c_str()) != 0) {
    good = false;
    error = errno;
  }
  if (good && !sync_directory(path_)) {
    good = false;
    error = errno;
  }
  if (!good) return failed(path_, "its file 'format' cannot be written", error);
  return {};
}

}  // namespace penstock
