#include "tests/netsim/net_world.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/netsim/content.h"

namespace penstock::netsim {
namespace {

constexpr uint64_t arena_bytes = 8 * MiB;
constexpr Nanoseconds patience_ns = 400 * second_ns;    // after the last fault, for everything honest to finish
constexpr Nanoseconds afterlife_ns = 1000 * second_ns;  // for the stack to forget the dead
constexpr Nanoseconds moment_ns = 1000;                 // time passes by at least so much
constexpr uint32_t settle_steps = 50;
constexpr uint16_t listening_port = 9092;

net::InterfaceAddress interface_of(const Address& address) {
  if (address.v6) return {net::IpAddress::from_v6(address.bytes.data()), 64};
  return {net::IpAddress::from_v4(address.bytes.data()), 24};
}

}  // namespace

NetWorld::NetWorld(uint64_t seed, const NetOptions& options) : seed_(seed), options_(options), random_(seed) {
  make_memory();
  make_stack();
  make_clients();
  faults_until_ = now_ + static_cast<Nanoseconds>(random_.below(5 * second_ns));
  flood_left_ = options_.syn_flood;
}

NetWorld::~NetWorld() = default;

void NetWorld::make_memory() {
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(arena_unit_bytes, arena_bytes)));
  arena_ = {memory_.get(), arena_bytes};
  buffers_ = std::make_unique<BufferTable>(arena_.unit_count());
  header_bytes_ = 1 * MiB;
  send_bytes_ = 1 * MiB;
  receive_bytes_ = random_.one_in(3) ? 1536 * KiB : 6 * MiB;
  const auto units = [](uint64_t bytes) { return static_cast<uint32_t>(bytes / arena_unit_bytes); };
  header_buffers_ = std::make_unique<BufferAllocator>(0, units(header_bytes_));
  send_buffers_ = std::make_unique<BufferAllocator>(units(header_bytes_), units(send_bytes_));
  receive_buffers_ = std::make_unique<BufferAllocator>(units(header_bytes_ + send_bytes_), units(receive_bytes_));
}

void NetWorld::make_stack() {
  PortFeatures& features = port_.features;
  std::copy(link_node.begin(), link_node.end(), features.address.begin());
  constexpr uint32_t mtus[] = {1500, 1500, 1500, 9000, 1280};
  features.mtu_bytes = mtus[random_.below(5)];
  features.pieces_max = static_cast<uint32_t>(random_.one_in(3) ? random_.between(2, 6) : 17);
  features.receive_checksums = random_.one_in(2);
  features.transmit_checksums = random_.one_in(2);
  features.segmentation = features.transmit_checksums && random_.one_in(2);
  features.segmentation_bytes_max = features.segmentation ? static_cast<uint32_t>(random_.between(4000, 60000)) : 0;
  port_.seed = random_.next();
  port_.shift_max = random_.one_in(4) ? 0 : 127;
  port_.header_split_one_in = random_.one_in(4) ? 2 : 0;
  port_.ring_frames = static_cast<uint32_t>(random_.one_in(3) ? random_.between(1, 16) : 256);
  port_.refuse_one_in = random_.one_in(4) ? random_.between(3, 50) : 0;
  frames_ = std::make_unique<SimFrames>(port_, arena_, *buffers_, *receive_buffers_);

  places_ = {{address_v4(10, 0, 0, 1), listening_port}, {address_v6(0, 1), listening_port}};
  for (const Place& place : places_) tcp_.addresses.push_back(interface_of(place.address));
  tcp_.ports = {listening_port};
  tcp_.connections_max = 64;
  tcp_.syn_backlog = static_cast<uint32_t>(random_.one_in(3) ? random_.between(1, 4) : 32);
  tcp_.time_wait_max = static_cast<uint32_t>(random_.between(1, 64));
  tcp_.receive_budget_bytes = random_.one_in(3) ? 64 * KiB : receive_bytes_;
  constexpr uint32_t windows[] = {65535, 256 * 1024, 1024 * 1024};
  tcp_.receive_window_bytes_max = windows[random_.below(3)];
  tcp_.reassembly_pieces = static_cast<uint32_t>(random_.one_in(3) ? random_.between(8, 64) : 1024);
  tcp_.reassembly_pieces_max = std::min(tcp_.reassembly_pieces, uint32_t{256});
  tcp_.reassembly_ranges_max = static_cast<uint32_t>(random_.one_in(4) ? random_.between(1, 4) : 32);
  tcp_.send_pieces_max = static_cast<uint32_t>(random_.one_in(3) ? random_.between(4, 16) : 128);
  tcp_.send_bytes_max = random_.one_in(3) ? 16 * KiB : 256 * KiB;
  tcp_.send_chunks = 512;
  tcp_.send_records = 2048;
  tcp_.send_records_max = static_cast<uint32_t>(random_.one_in(4) ? random_.between(4, 16) : 256);
  tcp_.secret = {random_.next(), random_.next()};
  tcp_.congestion = random_.one_in(3) ? CongestionKind::new_reno : CongestionKind::cubic;
  tcp_.times.keepalive_idle = 20 * second_ns;
  tcp_.times.keepalive_interval = 2 * second_ns;
  tcp_.times.duplicate_address_wait = random_.one_in(2) ? 0 : second_ns;
  streams_ = std::make_unique<TcpStreams<SimFrames>>(tcp_, arena_, *buffers_, *header_buffers_, *frames_);

  audit_ = std::make_unique<Audit>(features.mtu_bytes,
                                   [this](const Place& peer, uint64_t at, std::span<const std::byte> bytes) {
                                     return content_matches(peer, at, bytes);
                                   });
  frames_->watch(
      [this](std::span<const std::byte> frame, bool intact, Nanoseconds) {
        audit_->delivered(frame);
        if (!options_.trace) return;
        const auto segment = parse(frame);
        note(std::string(intact ? "  > " : "  > (damaged) ") + (segment ? to_string(*segment) : "no TCP"));
      },
      [this](std::span<const std::byte> frame, bool, Nanoseconds) {
        audit_->left(frame);
        if (!options_.trace) return;
        const auto segment = parse(frame);
        note("  < " + (segment ? to_string(*segment) : "no TCP, " + std::to_string(frame.size()) + " bytes"));
      });
  app_ = std::make_unique<NodeApp>(random_.next(), *streams_, arena_, *buffers_, *send_buffers_, receive_bytes_);
}

// ---- who is there ----

void NetWorld::make_clients() {
  answers_unknown_ = !random_.one_in(4);
  const uint64_t count = random_.one_in(10) ? random_.between(8, 30) : random_.between(1, 6);
  for (uint32_t i = 0; i < count; ++i) {
    constexpr Ending endings[] = {Ending::by_peer, Ending::by_node, Ending::node_aborts, Ending::peer_resets,
                                  Ending::peer_vanishes};
    const uint64_t which = random_.below(20);
    add_client(i, which < 10 ? Ending::by_peer : which < 16 ? Ending::by_node : endings[random_.between(2, 4)]);
  }
  for (uint32_t i = 0; i < options_.half_open; ++i) {
    Client& client = add_client(1000 + i, Ending::peer_vanishes);
    client.acts_at = client.starts + 1;
  }
  for (uint32_t i = 0; i < options_.slow_readers; ++i) {
    Client& client = add_client(2000 + i, Ending::peer_resets);
    client.plan.from_node_bytes = 100 * KiB;
    client.read_bytes = 0;
    client.acts_at = faults_until_ + 60 * second_ns;
    app_->plan(client.plan);
  }
}

NetWorld::Client& NetWorld::add_client(uint32_t number, Ending ending) {
  const auto size = [&] {
    const uint64_t scale = random_.below(20);
    if (scale < 3) return uint64_t{0};
    if (scale < 10) return random_.between(1, 2000);
    if (scale < 17) return random_.between(2000, 40'000);
    return random_.between(40'000, 250'000);
  };
  Client client;
  Plan& plan = client.plan;
  const Place& node = places_[random_.below(places_.size())];
  const Address from = node.address.v6 ? address_v6(1, static_cast<uint16_t>(2 + random_.below(4)))
                                       : address_v4(10, 0, 0, static_cast<uint8_t>(2 + random_.below(4)));
  plan.peer = {from, static_cast<uint16_t>(20000 + number)};
  plan.seed = random_.next();
  plan.to_node_bytes = size();
  plan.from_node_bytes = size();
  plan.send_after_bytes = random_.one_in(2) ? 0 : random_.below(plan.to_node_bytes + 1);
  plan.request_bytes_max =
      static_cast<uint32_t>(random_.one_in(2) ? random_.between(100, 4096) : random_.between(4096, 48 * 1024));
  plan.write_bytes_max =
      static_cast<uint32_t>(random_.one_in(3) ? random_.between(1, 100) : random_.between(100, 16384));
  if (plan.write_bytes_max < 30) plan.from_node_bytes = std::min<uint64_t>(plan.from_node_bytes, 3000);
  plan.hold_max_ns = random_.one_in(3) ? 0 : static_cast<Nanoseconds>(random_.below(5 * millisecond_ns));
  plan.abort_after_bytes = random_.below(plan.to_node_bytes + 1);
  plan.ending = ending;

  const bool v6 = node.address.v6;
  const uint32_t headers = v6 ? 60 : 40;
  PeerConfig& config = client.config;
  config.local = plan.peer;
  config.remote = node;
  config.link_local = link_peer;
  config.link_remote = link_node;
  config.initial_sequence = random_.one_in(2) ? static_cast<uint32_t>(random_.next())
                                              : static_cast<uint32_t>(0) - static_cast<uint32_t>(random_.below(50'000));
  const uint32_t mss_max = port_.features.mtu_bytes - headers;
  config.mss = static_cast<uint16_t>(random_.one_in(4) ? random_.between(v6 ? 1220 : 216, mss_max) : mss_max);
  config.announce_mss = !random_.one_in(10);
  if (!config.announce_mss) config.mss = static_cast<uint16_t>(std::min<uint32_t>(mss_max, v6 ? 1220 : 536));
  config.timestamps = !random_.one_in(3);
  config.sack = !random_.one_in(3);
  config.duplicate_sack = random_.one_in(2);
  config.window_scale = random_.one_in(4) ? std::nullopt : std::optional(static_cast<uint8_t>(random_.below(15)));
  config.receive_buffer_bytes = random_.one_in(3) ? random_.between(2000, 20'000) : random_.between(20'000, 400'000);
  config.delayed_ack_ns = random_.one_in(2) ? 0 : static_cast<Nanoseconds>(random_.between(1, 200)) * millisecond_ns;
  config.ack_every = static_cast<uint32_t>(random_.between(2, 8));
  config.flight_bytes_max = random_.between(4000, 300'000);
  config.retransmit_ns = static_cast<Nanoseconds>(random_.between(50, 1000)) * millisecond_ns;
  config.probe_with_data = random_.one_in(2);

  client.starts = now_ + static_cast<Nanoseconds>(random_.below(random_.one_in(2) ? 1 : 500 * millisecond_ns));
  client.acts_at = client.starts + static_cast<Nanoseconds>(random_.below(second_ns));
  client.write_bytes_max = random_.one_in(3) ? random_.between(10, 500) : random_.between(500, 100'000);
  if (client.write_bytes_max < 100) plan.to_node_bytes = std::min<uint64_t>(plan.to_node_bytes, 5000);
  if (random_.one_in(4)) {
    client.read_bytes = random_.between(500, 20'000);
    client.read_pause_ns = static_cast<Nanoseconds>(random_.between(1, 50)) * millisecond_ns;
  }
  if (random_.one_in(5)) {
    client.stall_from = client.starts + static_cast<Nanoseconds>(random_.below(500 * millisecond_ns));
    client.stall_until = client.stall_from + static_cast<Nanoseconds>(random_.below(20 * second_ns));
  }
  // Who opened by cookie and never sends cannot be told from who never answered (RFC 4987 section 3.6).
  if (ending == Ending::by_node && plan.to_node_bytes == 0) plan.to_node_bytes = 1;
  plan.send_after_bytes = std::min(plan.send_after_bytes, plan.to_node_bytes);
  plan.abort_after_bytes = std::min(plan.abort_after_bytes, plan.to_node_bytes);
  app_->plan(plan);
  return clients_[client.plan.peer] = std::move(client);
}

bool NetWorld::content_matches(const Place& peer, uint64_t at, std::span<const std::byte> bytes) const {
  const auto found = clients_.find(peer);
  return found != clients_.end() && is_content(~found->second.plan.seed, at, bytes);
}

// ---- what goes wrong ----

void NetWorld::change_faults() {
  faults_change_at_ = now_ + static_cast<Nanoseconds>(random_.between(5, 800)) * millisecond_ns;
  const auto sometimes = [&](uint64_t low, uint64_t high) {
    return random_.one_in(3) ? random_.between(low, high) : 0;
  };
  for (LinkFaults* faults : {&frames_->to_stack(), &frames_->from_stack()}) {
    const Nanoseconds delays[] = {10'000, 50'000, millisecond_ns, 20 * millisecond_ns};
    *faults = {};
    faults->delay_ns = delays[random_.below(4)];
    faults->jitter_ns = random_.one_in(3) ? faults->delay_ns : 0;
    faults->lose_one_in = sometimes(3, 200);
    faults->lose_in_a_row_max = static_cast<uint32_t>(random_.one_in(3) ? random_.between(1, 8) : 1);
    faults->duplicate_one_in = sometimes(3, 100);
    faults->reorder_one_in = sometimes(2, 50);
    faults->reorder_ns = static_cast<Nanoseconds>(random_.between(1, 30)) * millisecond_ns;
    faults->corrupt_one_in = sometimes(5, 100);
    faults->down = random_.one_in(15);
    if (random_.one_in(5)) {
      faults->bytes_per_second = random_.between(200'000, 5'000'000);
      faults->queue_bytes = static_cast<uint32_t>(random_.between(10'000, 200'000));
    }
  }
  frames_->set_starved(random_.one_in(20));
  uint32_t path_mtu = 0;
  if (random_.one_in(6)) path_mtu = static_cast<uint32_t>(random_.between(1280, port_.features.mtu_bytes));
  frames_->from_stack().path_mtu_bytes = path_mtu;
  for (auto& [place, client] : clients_) {
    const uint32_t room = path_mtu == 0 ? UINT32_MAX : path_mtu - (place.address.v6 ? 60 : 40);
    if (client.tcp) client.tcp->set_mss(static_cast<uint16_t>(std::min<uint32_t>(client.config.mss, room)));
  }
}

void NetWorld::end_faults() {
  faults_over_ = true;
  faults_change_at_ = never_ns;
  for (LinkFaults* faults : {&frames_->to_stack(), &frames_->from_stack()}) {
    const Nanoseconds delay = faults->delay_ns;
    *faults = {};
    faults->delay_ns = delay;
  }
  frames_->set_starved(false);
  for (auto& [place, client] : clients_) {
    if (client.tcp) client.tcp->set_mss(client.config.mss);
  }
  note("faults are over");
}

// SYNs of nobody: ten thousand a second.
void NetWorld::flood() {
  while (flood_left_ > 0 && next_flood_ <= now_) {
    --flood_left_;
    next_flood_ = std::max(next_flood_, now_) + second_ns / 10'000;
    Segment syn;
    syn.link_from = link_peer, syn.link_to = link_node;
    const auto number = static_cast<uint32_t>(random_.next());
    syn.from = {address_v4(10, static_cast<uint8_t>(number | 0x80), static_cast<uint8_t>(number >> 8),
                           static_cast<uint8_t>(number >> 16)),
                static_cast<uint16_t>(1024 + (number >> 24) * 17)};
    syn.to = places_[0];
    syn.sequence = static_cast<uint32_t>(random_.next());
    syn.syn = true;
    syn.window = 65535;
    syn.mss = uint16_t{1460};
    if (random_.one_in(2)) syn.window_scale = uint8_t{7}, syn.sack_permitted = true, syn.timestamps = {number, 0};
    frames_->put(encode(syn), now_);
  }
}

// ---- time passes ----

NetSummary NetWorld::run() {
  const Nanoseconds start = now_;
  change_faults();
  const auto all_done = [&] { return std::ranges::all_of(clients_, [&](auto& each) { return done(each.second); }); };
  while (!faults_over_ || flood_left_ > 0 || !all_done()) {
    if (!step()) now_ = std::max(now_ + moment_ns, next_time());
    if (now_ > std::max(faults_until_, start) + patience_ns) fail("no progress");
  }
  for (auto& [place, client] : clients_) check_client(client);
  // What remains are connections whose peers are gone; the stack has to find out by itself.
  for (auto& [place, client] : clients_) {
    if (client.tcp) client.tcp->vanish();
  }
  const TcpStack& stack = streams_->stack();
  const Nanoseconds deadline = now_ + afterlife_ns;
  while (stack.open_connections() > 0 || stack.half_open_connections() > 0 || stack.time_wait_connections() > 0 ||
         !app_->all_closed() || app_->next_deadline() != never_ns || !frames_->idle()) {
    if (!step()) now_ = std::max(now_ + moment_ns, next_time());
    if (now_ > deadline) fail("the stack does not forget the dead");
  }
  // What the port refused is offered again.
  for (uint32_t i = 0; i < settle_steps || !frames_->idle(); ++i, now_ += millisecond_ns) step();
  check_end();
  summary_.simulated_ns = now_ - start;
  return summary_;
}

bool NetWorld::step() {
  ++summary_.steps;
  if (!faults_over_ && now_ >= faults_until_) end_faults();
  if (now_ >= faults_change_at_) change_faults();
  flood();
  bool busy = streams_->poll(now_, [&](const StreamEvent& event) { app_->on_event(event, now_); }) > 0;
  busy |= app_->work(now_);
  for (const Place& peer : app_->take_closed()) audit_->gone(peer);
  give_back();
  dispatch();
  for (auto& [place, client] : clients_) busy |= act(client);
  check_step();
  return busy;
}

void NetWorld::give_back() {
  const std::span<const BufferIndex> released = buffers_->released();
  for (const BufferIndex buffer : released) {
    if (send_buffers_->owns(buffer)) {
      send_buffers_->free(buffer, buffers_->order(buffer));
    } else {
      streams_->release({&buffer, 1});
    }
  }
  buffers_->forget_released();
}

void NetWorld::dispatch() {
  for (Bytes frame; frames_->take(frame, now_);) {
    const std::optional<Segment> segment = parse(frame);
    if (!segment || segment->link_to != link_peer) continue;
    const auto found = clients_.find(segment->to);
    if (found == clients_.end() || !found->second.tcp) {
      answer_unknown(*segment);
      continue;
    }
    PeerTcp& tcp = *found->second.tcp;
    const bool gone = tcp.state() == PeerTcp::State::reset || tcp.state() == PeerTcp::State::refused;
    if (gone && !tcp.vanished()) answer_unknown(*segment);
    tcp.on_segment(*segment, now_);
  }
}

// RFC 9293 section 3.10.7.1: nobody is there.
void NetWorld::answer_unknown(const Segment& segment) {
  if (!answers_unknown_ || segment.rst) return;
  Segment answer;
  answer.link_from = link_peer, answer.link_to = link_node;
  answer.from = segment.to, answer.to = segment.from;
  answer.rst = true;
  answer.sequence = segment.acknowledgement;
  send({answer});
}

void NetWorld::send(const std::vector<Segment>& segments) {
  for (const Segment& segment : segments) frames_->put(encode(segment), now_);
}

bool NetWorld::act(Client& client) {
  if (now_ < client.starts) return false;
  if (!client.tcp) client.tcp = std::make_unique<PeerTcp>(client.config, now_);
  PeerTcp& tcp = *client.tcp;
  const Plan& plan = client.plan;
  if (now_ >= client.acts_at) {
    if (plan.ending == Ending::peer_resets) tcp.reset();
    if (plan.ending == Ending::peer_vanishes) tcp.vanish();
  }
  while (client.written < plan.to_node_bytes && now_ >= client.next_write) {
    const uint64_t count = std::min(plan.to_node_bytes - client.written, random_.between(1, client.write_bytes_max));
    Bytes bytes(count);
    fill_content(plan.seed, client.written, bytes);
    tcp.write(bytes);
    client.written += count;
    if (!random_.one_in(3)) client.next_write = now_ + static_cast<Nanoseconds>(random_.below(5 * millisecond_ns));
  }
  read(client);
  const bool may_finish = plan.ending != Ending::by_node || tcp.finished_by_stack() || seed_ % 2 == 0;
  if (client.written == plan.to_node_bytes && may_finish && !client.finished) {
    client.finished = true;
    tcp.finish();
  }
  std::vector<Segment> out;
  tcp.step(now_, out);
  send(out);
  return !out.empty();
}

void NetWorld::read(Client& client) {
  if (now_ < client.next_read || (now_ >= client.stall_from && now_ < client.stall_until)) return;
  Bytes bytes;
  client.tcp->read(bytes, client.read_bytes);
  if (bytes.empty()) return;
  if (!is_content(~client.plan.seed, client.read, bytes)) fail("wrong bytes at a peer");
  client.read += bytes.size();
  if (client.read > client.plan.from_node_bytes) fail("more bytes at a peer than were sent");
  client.next_read = now_ + client.read_pause_ns;
}

Nanoseconds NetWorld::next_time() const {
  Nanoseconds next = std::min({streams_->next_deadline(), frames_->next_arrival(), app_->next_deadline(),
                               faults_change_at_, faults_over_ ? never_ns : faults_until_});
  if (flood_left_ > 0) next = std::min(next, next_flood_);
  for (const auto& [place, client] : clients_) {
    if (!client.tcp) {
      next = std::min(next, client.starts);
      continue;
    }
    if (client.tcp->vanished()) continue;
    next = std::min(next, client.tcp->next_deadline());
    if (client.acts_at > now_ && !client.honest()) next = std::min(next, client.acts_at);
    if (client.written < client.plan.to_node_bytes) next = std::min(next, client.next_write);
    if (client.tcp->unread() > 0 && client.read_bytes > 0) {
      const bool stalled = now_ >= client.stall_from && now_ < client.stall_until;
      next = std::min(next, stalled ? client.stall_until : client.next_read);
    }
  }
  // Memory a stream waits for comes back without an event of its own.
  return std::min(next, now_ + (faults_over_ ? 500 : 50) * millisecond_ns);
}

// ---- what must hold ----

bool NetWorld::done(const Client& client) {
  if (!client.tcp) return false;
  const Outcome& outcome = app_->outcome(client.plan.peer);
  switch (client.plan.ending) {
    case Ending::by_peer:
    case Ending::by_node:
      return outcome.closed && client.tcp->finished_by_stack() &&
             (client.tcp->all_acknowledged() || forgotten(client)) && client.tcp->unread() == 0;
    case Ending::node_aborts:
      return outcome.closed;
    case Ending::peer_resets:
    case Ending::peer_vanishes:
      return now_ >= client.acts_at;
  }
  return true;
}

// The node has closed first, and with more such connections than FIN-WAIT-2 and TIME-WAIT have places for the peer's
// FIN finds nobody. Its stream is whole: the node closes when all of it is there.
bool NetWorld::forgotten(const Client& client) {
  return client.plan.ending == Ending::by_node && app_->outcome(client.plan.peer).closed &&
         client.tcp->state() == PeerTcp::State::reset && client.tcp->finished_by_stack() &&
         streams_->stack().counters()[TcpCount::time_wait_evicted] > 0;
}

void NetWorld::check_step() {
  if (!audit_->fault().empty()) fail("the stack " + audit_->fault());
  if (!app_->fault().empty()) fail(app_->fault());
  const uint64_t advertised = audit_->advertised_bytes();
  if (advertised > tcp_.receive_budget_bytes) {
    fail("windows of " + std::to_string(advertised) + " bytes from a budget of " +
         std::to_string(tcp_.receive_budget_bytes));
  }
  for (auto& [place, client] : clients_) {
    if (!client.tcp) continue;
    if (!client.tcp->fault().empty()) fail("a peer complains: " + client.tcp->fault());
    if (client.honest() && client.tcp->state() == PeerTcp::State::reset && !forgotten(client))
      fail("an honest peer was reset");
    if (client.honest() && client.tcp->state() == PeerTcp::State::refused) fail("an honest peer was refused");
  }
  if (summary_.steps % 32 == 0) streams_->stack().check_invariants();
}

void NetWorld::check_client(Client& client) {
  ++summary_.connections;
  const Outcome& outcome = app_->outcome(client.plan.peer);
  summary_.bytes += outcome.received + client.read;
  if (!client.honest()) return;
  if (outcome.received != client.plan.to_node_bytes) fail("bytes to the node are missing");
  if (client.read != client.plan.from_node_bytes) fail("bytes from the node are missing");
  if (client.plan.ending == Ending::by_peer && !outcome.peer_finished) fail("closed before the peer had finished");
  ++summary_.whole;
}

void NetWorld::check_end() {
  const TcpStack& stack = streams_->stack();
  const TcpCounters& counters = stack.counters();
  if (stack.window_bytes() != 0) fail("windows without connections");
  give_back();
  // The stack may keep the one buffer it is filling with headers.
  uint64_t held = 0;
  for (size_t holder = 0; holder < static_cast<size_t>(Holder::count); ++holder) {
    held += buffers_->held(static_cast<Holder>(holder));
  }
  const bool headers_only = held <= 1 && receive_buffers_->free_bytes() == receive_buffers_->bytes() &&
                            send_buffers_->free_bytes() == send_buffers_->bytes();
  if (!headers_only) fail("buffers leak:\n" + buffers_->leak_report());
  summary_.segments = audit_->segments();
  summary_.retransmitted = counters[TcpCount::segments_retransmitted];
  summary_.cookies = counters[TcpCount::syn_cookies_accepted];
  summary_.lost = frames_->statistics().lost;
  summary_.reordered = frames_->statistics().reordered;
  summary_.duplicated = frames_->statistics().duplicated;
  summary_.corrupted = frames_->statistics().corrupted;
  streams_.reset();
  frames_.reset();
  for (const BufferIndex buffer : buffers_->released()) {
    BufferAllocator& owner = header_buffers_->owns(buffer)    ? *header_buffers_
                             : receive_buffers_->owns(buffer) ? *receive_buffers_
                                                              : *send_buffers_;
    owner.free(buffer, buffers_->order(buffer));
  }
  buffers_->forget_released();
  if (const std::string leaks = buffers_->leak_report(); !leaks.empty()) fail("buffers leak at the end:\n" + leaks);
  for (const BufferAllocator* each : {header_buffers_.get(), send_buffers_.get(), receive_buffers_.get()}) {
    if (each->free_bytes() != each->bytes()) fail("an allocator is not whole again");
  }
}

void NetWorld::note(const std::string& line) {
  if (options_.trace) std::printf("%12.3f ms %s\n", static_cast<double>(now_) / 1e6, line.c_str());
}

void NetWorld::fail(const std::string& what) {
  std::printf("at %.3f ms: %s\n", static_cast<double>(now_) / 1e6, what.c_str());
  for (auto& [place, client] : clients_) {
    const Outcome& outcome = app_->outcome(place);
    if (done(client)) continue;
    std::printf(
        "  port %u ending %u: to node %llu of %llu, from node %llu (given %llu, sent %llu) of %llu;%s%s%s%s%s%s; %s\n",
        place.port, static_cast<unsigned>(client.plan.ending), static_cast<unsigned long long>(outcome.received),
        static_cast<unsigned long long>(client.plan.to_node_bytes), static_cast<unsigned long long>(client.read),
        static_cast<unsigned long long>(outcome.given), static_cast<unsigned long long>(outcome.sent),
        static_cast<unsigned long long>(client.plan.from_node_bytes), outcome.opened ? " opened" : "",
        outcome.peer_finished ? " peer-finished" : "", outcome.node_closed ? " node-closed" : "",
        outcome.closed ? " closed" : "", client.tcp && client.tcp->finished_by_stack() ? " fin-received" : "",
        client.tcp && client.tcp->all_acknowledged() ? " all-acked" : "", app_->describe(place).c_str());
  }
  std::fflush(stdout);
  std::abort();
}

}  // namespace penstock::netsim
