#include "tests/simulator/tcp_network.h"

#include <algorithm>

namespace penstock::sim {

using netsim::PeerConfig;
using netsim::PeerTcp;
using netsim::Place;
using netsim::Segment;

TcpNetwork::TcpNetwork(uint64_t seed, SimFrames& frames) : frames_(frames), random_(seed) {
  for (LinkFaults* faults : {&frames_.to_stack(), &frames_.from_stack()}) {
    const auto sometimes = [&](uint64_t low, uint64_t high) {
      return random_.one_in(2) ? random_.between(low, high) : 0;
    };
    faults->delay_ns = static_cast<Nanoseconds>(random_.between(10, 500)) * 1000;
    faults->jitter_ns = random_.one_in(2) ? faults->delay_ns : 0;
    faults->lose_one_in = sometimes(20, 500);
    faults->duplicate_one_in = sometimes(20, 500);
    faults->reorder_one_in = sometimes(5, 100);
    faults->corrupt_one_in = sometimes(50, 500);
  }
}

uint32_t TcpNetwork::connect(Nanoseconds now, uint16_t local_port) {
  const uint32_t index = next_++;
  const bool v6 = random_.one_in(2);
  PeerConfig config;
  config.local = {v6 ? netsim::address_v6(1, 2) : netsim::address_v4(10, 0, 0, 2),
                  static_cast<uint16_t>(10000 + index % 50000)};
  config.remote = {v6 ? netsim::address_v6(0, 1) : netsim::address_v4(10, 0, 0, 1), local_port};
  config.link_local = link_peer;
  config.link_remote = link_node;
  config.initial_sequence = static_cast<uint32_t>(random_.next());
  config.mss = mss(v6);
  config.timestamps = !random_.one_in(4);
  config.sack = !random_.one_in(4);
  config.window_scale =
      random_.one_in(4) ? std::nullopt : std::optional<uint8_t>(static_cast<uint8_t>(random_.below(10)));
  config.receive_buffer_bytes = random_.between(8 * KiB, 256 * KiB);
  config.delayed_ack_ns = random_.one_in(2) ? 0 : 40 * millisecond_ns;
  config.retransmit_ns = 50 * millisecond_ns;
  config.keepalive_ns = second_ns;  // the node's RST may have been lost
  auto& peer = peers_[config.local];
  check(peer == nullptr || peer->forgotten, "the ports of simulated clients run out");
  peer = std::make_unique<Peer>(PeerTcp(config, now));
  by_index_[index] = peer.get();
  return index;
}

uint16_t TcpNetwork::mss(bool v6) const {
  const uint32_t mtu = path_mtu_ != 0 ? path_mtu_ : frames_.features().mtu_bytes;
  return static_cast<uint16_t>(mtu - (v6 ? 60 : 40));
}

// What the link does all the time is in the constructor.
void TcpNetwork::change_weather(bool calm) {
  const bool narrow = !calm && random_.one_in(4);
  for (LinkFaults* faults : {&frames_.to_stack(), &frames_.from_stack()}) {
    faults->down = !calm && random_.one_in(10);
    links_down_ += faults->down ? 1 : 0;
    faults->lose_in_a_row_max = static_cast<uint32_t>(!calm && random_.one_in(3) ? random_.between(2, 8) : 1);
    faults->bytes_per_second = narrow ? random_.between(1'000'000, 20'000'000) : 0;
    faults->queue_bytes = static_cast<uint32_t>(random_.between(20'000, 200'000));
  }
  frames_.set_starved(!calm && random_.one_in(12));
  // A path that has become narrow stays so: the stack must find out.
  if (!calm && random_.one_in(8)) {
    path_mtu_ = static_cast<uint32_t>(random_.between(1280, frames_.features().mtu_bytes));
    frames_.from_stack().path_mtu_bytes = path_mtu_;
    for (auto& [place, peer] : peers_) peer->tcp.set_mss(mss(place.address.v6));
  }
}

void TcpNetwork::write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds) {
  by_index_.at(peer)->tcp.write(bytes);
}

void TcpNetwork::read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds) {
  by_index_.at(peer)->tcp.read(to, SIZE_MAX);
}

bool TcpNetwork::ended(uint32_t peer, Nanoseconds) const {
  const PeerTcp& tcp = by_index_.at(peer)->tcp;
  if (tcp.state() == PeerTcp::State::refused || tcp.state() == PeerTcp::State::reset) return true;
  return tcp.finished_by_stack() && tcp.unread() == 0;
}

void TcpNetwork::forget(uint32_t peer) {
  // The peer stays until it has sent its RST; after that whoever still sends to it learns that nobody is there.
  const auto found = by_index_.find(peer);
  found->second->tcp.reset();
  found->second->forgotten = true;
  by_index_.erase(found);
}

bool TcpNetwork::step(Nanoseconds now) {
  bool busy = false;
  for (netsim::Bytes frame; frames_.take(frame, now); busy = true) {
    if (const auto segment = netsim::parse(frame)) deliver(*segment, now);
  }
  for (auto it = peers_.begin(); it != peers_.end();) {
    std::vector<Segment> out;
    Peer& peer = *it->second;
    peer.tcp.step(now, out);
    check(peer.tcp.fault().empty(), peer.tcp.fault().c_str());
    send(out, now);
    busy |= !out.empty();
    it = peer.forgotten ? peers_.erase(it) : std::next(it);
  }
  return busy;
}

void TcpNetwork::deliver(const Segment& segment, Nanoseconds now) {
  if (segment.link_to != link_peer) return;
  if (const auto found = peers_.find(segment.to); found != peers_.end()) {
    found->second->tcp.on_segment(segment, now);
    return;
  }
  if (segment.rst) return;
  // RFC 9293 section 3.10.7.1.
  Segment answer;
  answer.link_from = link_peer;
  answer.link_to = link_node;
  answer.from = segment.to;
  answer.to = segment.from;
  answer.rst = true;
  answer.sequence = segment.acknowledgement;
  send({answer}, now);
}

void TcpNetwork::send(const std::vector<Segment>& segments, Nanoseconds now) {
  for (const Segment& segment : segments) frames_.put(netsim::encode(segment), now);
}

Nanoseconds TcpNetwork::next_arrival() const {
  Nanoseconds next = frames_.next_arrival();
  for (const auto& [place, peer] : peers_) next = std::min(next, peer->tcp.next_deadline());
  return next;
}

void TcpNetwork::count(FaultCounts& faults) const {
  const SimFramesStatistics& happened = frames_.statistics();
  faults[Fault::frame_lost] += happened.lost;
  faults[Fault::frame_duplicated] += happened.duplicated;
  faults[Fault::frame_reordered] += happened.reordered;
  faults[Fault::frame_corrupted] += happened.corrupted;
  faults[Fault::frame_too_big] += happened.too_big;
  faults[Fault::link_down] += links_down_;
  faults[Fault::memory_short] += happened.no_buffer;
  faults[Fault::send_refused] += happened.refused;
}

}  // namespace penstock::sim
