// The node, in the order of its start:
//
//   limits, data directory, the network port if there is one, placement, lanes' directories, catalog, drive units
//   lanes build themselves, all at the same time (recovery), and report
//   the control thread brings them the first view; admin HTTP says ready when all have applied it
//   a signal: lanes drain and answer what is under way, and everything ends in the opposite order
#include "tools/penstock/serve.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "drivers/dpdk/eal.h"
#include "drivers/dpdk/port.h"
#include "drivers/sqlite/catalog_store.h"
#include "drivers/uring/block_device.h"
#include "drivers/uring/drive_units.h"
#include "drivers/uring/ring_workers.h"
#include "tools/penstock/admin_server.h"
#include "tools/penstock/control_thread.h"
#include "tools/penstock/data_directory.h"
#include "tools/penstock/lane_homes.h"
#include "tools/penstock/lane_thread.h"
#include "tools/penstock/lane_watch.h"
#include "tools/penstock/metrics_page.h"
#include "tools/penstock/operator_log.h"
#include "tools/penstock/placement.h"
#include "tools/penstock/resource_limits.h"
#include "tools/penstock/settings.h"
#include "tools/penstock/stop_signals.h"
#include "tools/penstock/version.h"

namespace penstock {
namespace {

constexpr uint32_t lane_count_created_max = 16;

// Ends the start with an exit code; the message has been chosen for the operator.
struct Failure {
  int exit_code;
  std::string message;
};
template <class T>
using Result = std::expected<T, Failure>;

std::unexpected<Failure> cannot_start(std::string message) { return std::unexpected(Failure{1, std::move(message)}); }
std::unexpected<Failure> does_not_fit(std::string message) { return std::unexpected(Failure{2, std::move(message)}); }

uint64_t kernel_random() {
  uint64_t value = 0;
  check(getrandom(&value, sizeof value, 0) == sizeof value, "the kernel gives no random numbers");
  return value;
}

Nanoseconds monotonic_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

// Two megabytes each.
uint64_t huge_pages_free() {
  std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  uint64_t count = 0;
  file >> count;
  return count;
}

HugePages huge_pages(const std::string& setting) {
  return setting == "on" ? HugePages::required : setting == "off" ? HugePages::never : HugePages::preferred;
}

class Node {
 public:
  explicit Node(const Config& config) : config_(config) {}
  ~Node();

  Result<void> start();
  int run();  // until a signal; the exit code

 private:
  Result<void> open_data_directory();
  Result<void> open_port();
  Result<void> place();
  Result<void> claim_lanes();
  Result<void> open_catalog();
  Result<void> measure_drives();
  Result<void> place_frames();
  Result<void> start_lanes();
  Result<void> start_port();
  Result<void> start_admin();
  void set_up_lane(uint32_t lane, LaneSetup& setup);
  std::optional<std::string> not_ready() const;
  std::optional<PortCounts> port_counts();
  void watch_lanes();
  int stop();

  const Config& config_;
  StopSignals signals_;  // before any thread
  Machine machine_;
  std::vector<LanePlace> places_;
  MemoryPlan memory_;
  std::vector<DriveUnits> units_;  // by lane
  LineLimit control_lines_;
  std::optional<DataDirectory> directory_;
  std::unique_ptr<SqliteCatalogStore> store_;
  std::unique_ptr<Port> port_;
  std::deque<LaneMailboxes> mailboxes_;
  std::deque<LaneMetrics> metrics_;
  RingWorkerWatch worker_watch_;
  std::deque<LaneSetup> lanes_;
  std::vector<LaneWatch> watches_;
  std::unique_ptr<ControlThread> control_;
  std::vector<std::thread> threads_;
  std::unique_ptr<AdminServer> admin_;
  std::atomic<bool> view_applied_{false};  // the first one, by every lane
  std::atomic<bool> stopping_{false};
  std::atomic<bool> port_ready_{false};

  uint32_t lane_count() const { return directory_->format().lane_count; }
};

Result<void> Node::start() {
  utsname kernel{};
  uname(&kernel);
  spdlog::info("{}, process {}, kernel {}", version_text(), getpid(), kernel.release);
  // The admin port comes first, so that readiness can be asked for while logs are being recovered.
  if (auto done = open_data_directory(); !done) return done;
  if (auto done = start_admin(); !done) return done;
  if (auto done = open_port(); !done) return done;
  if (auto done = place(); !done) return done;
  if (auto done = claim_lanes(); !done) return done;
  if (auto done = open_catalog(); !done) return done;
  if (auto done = measure_drives(); !done) return done;
  return start_lanes();
}

Result<void> Node::open_data_directory() {
  const std::expected<Machine, std::string> machine = read_machine();
  if (!machine) return cannot_start(machine.error());
  machine_ = *machine;
  auto directory = DataDirectory::open(
      config_.data_directory, {.lane_count = static_cast<uint32_t>(config_.lanes),
                               .segment_bytes = static_cast<uint64_t>(config_.segment_bytes),
                               .lane_count_at_creation = std::min(machine->core_count(), lane_count_created_max),
                               .id_at_creation = kernel_random()});
  if (!directory) return cannot_start(directory.error());
  directory_.emplace(std::move(*directory));
  spdlog::info("data directory {}{}: {} lanes, segments of {}", directory_->path(),
               directory_->created() ? " (created)" : "", lane_count(),
               bytes_text(static_cast<int64_t>(directory_->format().segment_bytes)));

  if (auto ports = check_ports(config_.port, config_.admin_port, lane_count()); !ports)
    return does_not_fit(ports.error());
  return {};
}

Result<void> Node::open_port() {
  if (config_.network != "dpdk") return {};
  constexpr uint64_t huge_pages_of_dpdk = 64;  // for its own tables
  const auto log = [](DpdkLog level, std::string_view line) {
    constexpr spdlog::level::level_enum levels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                    spdlog::level::err};
    spdlog::log(levels[static_cast<size_t>(level)], "DPDK: {}", line);
  };
  const DpdkLog level = config_.log_level == "debug"  ? DpdkLog::debug
                        : config_.log_level == "info" ? DpdkLog::info
                        : config_.log_level == "warn" ? DpdkLog::warn
                                                      : DpdkLog::error;
  const bool huge =
      config_.hugepages == "on" || (config_.hugepages == "auto" && huge_pages_free() >= huge_pages_of_dpdk);
  auto started = start_eal({.device = config_.dpdk_device,
                            .huge_pages = huge,
                            .iova = config_.dpdk_iova,
                            .lane_count = lane_count(),
                            .log_level = level,
                            .log = log});
  if (!started) return cannot_start(started.error());
  spdlog::info("{}", *started);

  PortConfig wanted{.device = config_.dpdk_device,
                    .lanes = {static_cast<uint16_t>(config_.port), lane_count()},
                    .mtu_bytes = static_cast<uint32_t>(config_.dpdk_mtu),
                    .header_bytes = static_cast<uint32_t>(config_.dpdk_header_bytes),
                    .receive_descriptors = static_cast<uint32_t>(config_.dpdk_receive_descriptors),
                    .transmit_descriptors = static_cast<uint32_t>(config_.dpdk_transmit_descriptors),
                    .interrupts = config_.dpdk_interrupts == "auto" && config_.poll == "wait",
                    .steer = config_.dpdk_steering == "auto",
                    .ipv4 = false,
                    .ipv6 = false,
                    .log = [](std::string_view line) { spdlog::info("port: {}", line); },
                    .warn = [](std::string_view line) { spdlog::warn("port: {}", line); }};
  for (const std::string& each : config_.dpdk_addresses)
    (interface_address(each).address.is_v4() ? wanted.ipv4 : wanted.ipv6) = true;
  auto port = Port::open(wanted);
  if (!port) return cannot_start(port.error());
  port_ = std::move(*port);
  return {};
}

Result<void> Node::place() {
  const std::optional<unsigned> node = port_ ? port_->numa_node() : std::nullopt;
  const bool choose = config_.cores.empty() || config_.cores == std::vector<std::string>{"auto"};
  auto places = place_lanes(node && choose ? of_node(machine_, *node) : machine_, lane_count(), config_.cores);
  if (!places) return does_not_fit(places.error());
  places_ = std::move(*places);
  log_lines(placement_table(places_));
  if (node) {
    const auto facts = facts_of(directory_->path());
    const auto drive_node = facts ? numa_node_of_drive(facts->device) : std::nullopt;
    if (drive_node && *drive_node != *node)
      spdlog::warn("the port is on node {}, the drive {} on node {}: every byte crosses between them", *node,
                   facts->device, *drive_node);
    for (const LanePlace& each : places_) {
      if (each.numa_node != *node)
        spdlog::warn("lane {} is on node {}, the port on node {}", each.lane, each.numa_node, *node);
    }
  }

  memory_ = plan_memory(
      static_cast<uint64_t>(config_.memory_arena_bytes), static_cast<uint64_t>(config_.memory_receive_bytes),
      static_cast<uint64_t>(config_.memory_resident_bytes), static_cast<uint64_t>(config_.memory_send_bytes),
      static_cast<uint64_t>(config_.request_bytes_max));
  spdlog::info(
      "memory of each lane: {} for requests, {} for recent records, {} for responses, {} for the log; "
      "requests up to {} bytes",
      bytes_text(static_cast<int64_t>(memory_.receive_bytes)), bytes_text(static_cast<int64_t>(memory_.resident_bytes)),
      bytes_text(static_cast<int64_t>(memory_.send_bytes)), bytes_text(static_cast<int64_t>(memory_.log_bytes)),
      memory_.request_bytes_max);
  for (const std::string& line : raise_resource_limits(
           resource_needs(lane_count(), static_cast<uint64_t>(config_.connections_max), memory_.arena_bytes)))
    spdlog::warn("{}", line);
  return {};
}

Result<void> Node::start_admin() {
  metrics_.resize(lane_count());
  if (config_.admin_port == 0) return {};
  auto admin = AdminServer::start(config_.admin_listen, static_cast<uint16_t>(config_.admin_port),
                                  {.metrics =
                                       [this] {
                                         std::vector<const LaneMetrics*> lanes;
                                         for (const LaneMetrics& each : metrics_) lanes.push_back(&each);
                                         const std::optional<PortCounts> port = port_counts();
                                         std::vector<RingWorkers> workers;
                                         auto seen = worker_watch_.look();
                                         for (uint32_t lane = 0; lane < lanes_.size(); ++lane)
                                           workers.push_back(seen[lane_thread_name(lane)]);
                                         return metrics_page(lanes, workers, port ? &*port : nullptr);
                                       },
                                   .not_ready = [this] { return not_ready(); }});
  if (!admin) return cannot_start(admin.error());
  admin_ = std::move(*admin);
  spdlog::info("admin HTTP on {}:{}", config_.admin_listen, admin_->port());
  return {};
}

std::optional<std::string> Node::not_ready() const {
  if (stopping_) return "stopping";
  if (!view_applied_) return "starting";
  for (uint32_t lane = 0; lane < metrics_.size(); ++lane) {
    if (const auto why = why_not_ready(health_of(metrics_[lane]))) return "lane " + std::to_string(lane) + " " + *why;
  }
  return std::nullopt;
}

std::optional<PortCounts> Node::port_counts() {
  if (!port_ready_) return std::nullopt;
  const PortStatistics counted = port_->statistics();
  return PortCounts{counted.missed, counted.no_buffer, counted.receive_errors, counted.transmit_errors,
                    counted.link_up};
}

Result<void> Node::open_catalog() {
  auto store = SqliteCatalogStore::open(directory_->catalog_path());
  if (!store) return cannot_start(store.error().message);
  store_ = std::move(*store);
  CatalogSettings settings{.lane_count = lane_count(),
                           .cluster_id = config_.cluster_id,
                           .max_message_bytes = static_cast<int32_t>(config_.message_bytes_max)};
  if (config_.node_id_base >= 0) settings.node_id_base = static_cast<int32_t>(config_.node_id_base);
  auto catalog = Catalog::open(*store_, settings, kernel_random);
  if (!catalog) return cannot_start(catalog.error().message);
  spdlog::info("cluster {}, brokers {} to {}, {} topics", catalog->node().cluster_id, catalog->node().node_id_base,
               catalog->node().node_id_base + static_cast<int32_t>(lane_count()) - 1, catalog->topic_count());

  auto advertised = advertised_lanes(config_.advertised, static_cast<uint16_t>(config_.port), lane_count());
  if (!advertised) return does_not_fit(advertised.error());
  ControlSettings control{.rack = config_.rack,
                          .advertised = std::move(*advertised),
                          .auto_create_topics = config_.auto_create_topics,
                          .num_partitions = static_cast<int32_t>(config_.num_partitions),
                          .accept_replication_factor = config_.accept_replication_factor,
                          .max_message_bytes = static_cast<int32_t>(config_.message_bytes_max),
                          .log = {}};
  control.log = [this](std::string_view line) {
    if (!control_lines_.allow(monotonic_now())) return;
    if (const uint64_t left_out = control_lines_.take_left_out(); left_out > 0)
      spdlog::info("{} lines were left out here", left_out);
    spdlog::info("{}", line);
  };
  std::vector<LaneMailboxes*> mailboxes;
  mailboxes_.resize(lane_count());
  for (LaneMailboxes& each : mailboxes_) mailboxes.push_back(&each);
  control_ = std::make_unique<ControlThread>(Control(control, std::move(*catalog), kernel_random), mailboxes);
  return {};
}

// Before the catalog is made: a directory that has one has had its lanes.
Result<void> Node::claim_lanes() {
  std::vector<DrivePlace> drives;
  for (const std::string& path : config_.drives) {
    const auto device = BlockDevice::of(path);
    drives.push_back({path, device ? numa_node_of_drive(device->name()) : std::nullopt});
  }
  const std::vector<size_t> chosen = drives.empty() ? std::vector<size_t>() : nearest_drives(places_, drives);
  std::error_code error;
  const bool in_use = std::filesystem::exists(directory_->catalog_path(), error);
  for (uint32_t lane = 0; lane < lane_count(); ++lane) {
    const LaneHome home{.path = directory_->lane_path(lane),
                        .lane = lane,
                        .directory_id = directory_->format().id,
                        .in_use = in_use,
                        .drive = drives.empty() ? "" : drives[chosen[lane]].path};
    if (auto claimed = claim(home); !claimed) return cannot_start(claimed.error());
    if (!std::filesystem::is_symlink(home.path, error)) continue;
    const auto device = BlockDevice::of(home.path);
    const auto node = device ? numa_node_of_drive(device->name()) : std::nullopt;
    spdlog::info("lane {}: log at {}{}", lane, std::filesystem::read_symlink(home.path, error).string(),
                 device ? fmt::format(", drive {}", device->name()) : "");
    if (node && *node != places_[lane].numa_node)
      spdlog::warn("lane {} is on node {}, its drive {} on node {}: every byte crosses between them", lane,
                   places_[lane].numa_node, device->name(), *node);
  }
  return {};
}

// Each drive once.
Result<void> Node::measure_drives() {
  std::map<dev_t, DriveUnits> known;
  for (uint32_t lane = 0; lane < lane_count(); ++lane) {
    const std::string path = directory_->lane_path(lane);
    struct stat of_lane{}, of_directory{};
    if (stat(path.c_str(), &of_lane) != 0 || stat(directory_->path().c_str(), &of_directory) != 0)
      return cannot_start("cannot open " + path + ": " + std::strerror(errno));
    auto units = known.find(of_lane.st_dev);
    if (units == known.end()) {
      const bool elsewhere = of_lane.st_dev != of_directory.st_dev;
      auto found = find_drive_units(elsewhere ? path : directory_->path(),
                                    {.cache_file = elsewhere ? path + "/drive-units" : directory_->drive_units_path(),
                                     .measure = config_.io_measure != "off",
                                     .measure_again = config_.io_measure == "force"});
      if (!found) return cannot_start(found.error());
      log_lines(found->report);
      units = known.emplace(of_lane.st_dev, found->units).first;
    }
    units_.push_back(units->second);
  }
  return place_frames();
}

// On the seam where frames are long enough to be cut there, else where the drive takes an address. With several drives
// where all of them do.
Result<void> Node::place_frames() {
  if (port_) {
    uint32_t seam = 0, address_unit = 0;
    for (const DriveUnits& each : units_) {
      seam = std::max(seam, each.seam);
      address_unit = std::max(address_unit, each.address_unit);
    }
    constexpr uint32_t headers_max = 90;
    const bool at_seam = seam > 0 && seam <= arena_unit_bytes && config_.dpdk_mtu >= seam + headers_max;
    auto placed = port_->place(at_seam ? seam : std::clamp(address_unit, 64u, arena_unit_bytes),
                               memory_.receive_units() - FramePlan::header_units);
    if (!placed) return does_not_fit(placed.error());
  }
  return {};
}

Result<void> Node::start_lanes() {
  for (uint32_t lane = 0; lane < lane_count(); ++lane) {
    LaneSetup& setup = lanes_.emplace_back();
    set_up_lane(lane, setup);
    threads_.emplace_back([&setup] { run_lane(setup); });
  }
  std::string failures;
  for (uint32_t lane = 0; lane < lane_count(); ++lane) {
    const std::expected<std::string, std::string> report = lanes_[lane].wait_until_built();
    if (report)
      log_lines(*report, "lane " + std::to_string(lane) + ": ");
    else
      failures += (failures.empty() ? "" : "\n") + report.error();
  }
  if (!failures.empty()) return cannot_start(failures);
  if (auto done = start_port(); !done) return done;
  control_->start([this] { signals_.wake(); });
  for (LaneSetup& setup : lanes_) setup.go();
  return {};
}

Result<void> Node::start_port() {
  if (!port_) return {};
  if (auto done = port_->start(); !done) return cannot_start(config_.dpdk_device + ": " + done.error());
  log_lines(port_->table());
  port_ready_ = true;
  return {};
}

void Node::set_up_lane(uint32_t lane, LaneSetup& setup) {
  setup.place = places_[lane];
  setup.worker_processors = without_lanes(machine_, places_);
  setup.directory = directory_->lane_path(lane);
  setup.listen = endpoint_of(config_.listen, static_cast<uint16_t>(config_.port + lane));
  setup.memory = memory_;
  setup.huge_pages = huge_pages(config_.hugepages);
  setup.allow_writev_fixed = config_.io_writev_fixed == "auto";
  setup.busy_poll = config_.poll == "busy";
  setup.units = units_[lane];
  setup.segment_bytes = directory_->format().segment_bytes;
  setup.spare_segments = static_cast<uint32_t>(config_.spare_segments);
  setup.connections_max = static_cast<uint32_t>(config_.connections_max);
  setup.idle_max_ns = config_.connections_max_idle_ms * millisecond_ns;
  setup.stall_max_ns = config_.request_stall_ms * millisecond_ns;
  setup.random_seed = kernel_random();
  setup.random_seed_more = kernel_random();
  setup.mailboxes = &mailboxes_[lane];
  setup.metrics = &metrics_[lane];
  setup.port = port_.get();
  for (const std::string& each : config_.dpdk_addresses) setup.addresses.push_back(interface_address(each));
  setup.wake_lane = [this](uint32_t other) { lanes_[other].ring->wake(); };
}

void Node::watch_lanes() {
  watches_.resize(lane_count());
  for (uint32_t lane = 0; lane < lane_count(); ++lane) {
    for (const LaneWatch::Line& line : watches_[lane].look(health_of(metrics_[lane]), monotonic_now())) {
      const auto level = line.weight == LaneWatch::Weight::error     ? spdlog::level::err
                         : line.weight == LaneWatch::Weight::warning ? spdlog::level::warn
                                                                     : spdlog::level::info;
      spdlog::log(level, "lane {}: {}", lane, line.text);
    }
  }
}

int Node::run() {
  constexpr int look_every_ms = 1000;
  while (signals_.wait(look_every_ms) != StopSignals::Event::signal) {
    if (port_) port_->watch_link();
    watch_lanes();
    if (!view_applied_ && control_->settled()) {
      view_applied_ = true;
      spdlog::info("Kafka clients are served on {} ports {} to {}",
                   port_ ? fmt::format("{}", fmt::join(config_.dpdk_addresses, ", ")) : config_.listen, config_.port,
                   config_.port + lane_count() - 1);
    }
  }
  return stop();
}

// Lanes accept no more, write and answer what is under way. Who does not want to wait signals again.
int Node::stop() {
  stopping_ = true;
  spdlog::info("stopping: answering what is under way");
  control_->stop();
  const Nanoseconds deadline = monotonic_now() + config_.shutdown_deadline_ms * millisecond_ns;
  while (!control_->stopped()) {
    const Nanoseconds left = deadline - monotonic_now();
    const StopSignals::Event event =
        left > 0 ? signals_.wait(static_cast<int>(left / millisecond_ns + 1)) : StopSignals::Event::timeout;
    if (event == StopSignals::Event::woken) continue;
    spdlog::error("{}: ending at once; what was acknowledged is on the drive",
                  event == StopSignals::Event::signal ? "signalled again" : "the deadline for stopping has passed");
    spdlog::shutdown();
    // Threads are in the middle of things, so nothing is taken down in order: as in a crash, which loses nothing.
    _exit(1);
  }
  for (LaneSetup& setup : lanes_) setup.wait_until_done();
  if (port_) {
    end_eal();
    port_->stop();
  }
  for (LaneSetup& setup : lanes_) setup.take_down();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  spdlog::info("stopped");
  return 0;
}

Node::~Node() {
  // Only when the start failed: lanes that were built are waiting for the word.
  for (LaneSetup& setup : lanes_) setup.give_up();
  for (std::thread& thread : threads_) thread.join();
  if (control_) control_->abandon();
}

}  // namespace

int serve(const Config& config) {
  start_operator_log(config.log_level);
  Node node(config);
  if (const Result<void> started = node.start(); !started) {
    log_lines(started.error().message, "", spdlog::level::err);
    return started.error().exit_code;
  }
  return node.run();
}

}  // namespace penstock
