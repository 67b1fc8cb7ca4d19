#include "tests/netsim/audit.h"

#include <algorithm>

namespace penstock::netsim {

void Audit::delivered(std::span<const std::byte> frame) {
  const std::optional<Segment> segment = parse(frame);
  if (!segment) return;
  if (segment->syn && !segment->ack) {
    Flow& flow = flows_[segment->from];
    if (segment->timestamps) flow.timestamps.insert(segment->timestamps->first);
    if (!flow.ranges.empty() && (flow.initial || flow.peer_initial == segment->sequence)) return;  // sent again
    flow = {.timestamps = std::move(flow.timestamps)};
    flow.peer_initial = segment->sequence;
    flow.scale_offered = segment->window_scale.has_value();
    flow.peer_scale = segment->window_scale.value_or(0);
    flow.sack_offered = segment->sack_permitted;
    flow.timestamps_offered = segment->timestamps.has_value();
    flow.peer_mss = segment->mss.value_or(segment->from.address.v6 ? uint16_t{1220} : uint16_t{536});
    flow.peer_edge = 1 + segment->window;
    add_range(flow, 0, 1);
    return;
  }
  const auto found = flows_.find(segment->from);
  if (found == flows_.end()) return;
  Flow& flow = found->second;
  if (segment->rst) {
    flow.peer_reset = true;
    return;
  }
  if (segment->timestamps) flow.timestamps.insert(segment->timestamps->first);
  const At at = unwrap(segment->sequence, flow.peer_initial, contiguous(flow));
  const At end = at + static_cast<At>(segment->payload.size()) + (segment->fin ? 1 : 0);
  if (segment->fin) flow.peer_fin_at = end;
  if (end > at) add_range(flow, std::max<At>(at, 0), std::max<At>(end, 0));
  if (!segment->ack) return;
  if (!flow.initial) {
    for (const uint32_t initial : flow.offered) {
      if (segment->acknowledgement == initial + 1) flow.initial = initial;
    }
    if (!flow.initial) return;
    open_.insert(segment->from);
  }
  const At ack = unwrap(segment->acknowledgement, *flow.initial, flow.end);
  flow.acknowledged = std::max(flow.acknowledged, ack);
  flow.peer_edge = std::max(flow.peer_edge, ack + (At{segment->window} << (flow.scaled ? flow.peer_scale : 0)));
}

void Audit::add_range(Flow& flow, At begin, At end) {
  auto it = flow.ranges.upper_bound(begin);
  if (it != flow.ranges.begin() && std::prev(it)->second >= begin) --it;
  while (it != flow.ranges.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = flow.ranges.erase(it);
  }
  flow.ranges[begin] = end;
}

void Audit::left(std::span<const std::byte> frame) {
  std::string why;
  const std::optional<Segment> segment = parse(frame, &why);
  if (!segment) {
    if (!why.empty() && fault_.empty()) fault_ = "the stack sends a bad frame: " + why;
    return;
  }
  ++segments_;
  if (segment->packet_bytes > mtu_bytes_) complain("larger than the MTU", *segment);
  if (!segment->from.address.v6 && segment->may_fragment) complain("may be fragmented", *segment);
  if (segment->rst) {
    ++resets_;
    if (const auto found = flows_.find(segment->to); found != flows_.end())
      found->second.gone = found->second.reset = true;
    return;
  }
  const auto found = flows_.find(segment->to);
  if (found == flows_.end()) return complain("sends to nobody who asked", *segment);
  if (!segment->ack) complain("without ACK", *segment);
  if (segment->syn) {
    left_syn(found->second, *segment);
  } else {
    left_segment(found->second, *segment);
  }
}

// Nothing remembers it any more: reset by either side, or LAST-ACK is behind it.
bool Audit::over(const Flow& flow) {
  return flow.reset || flow.peer_reset || (flow.fin_at && flow.acknowledged > *flow.fin_at);
}

void Audit::left_syn(Flow& flow, const Segment& segment) {
  if (segment.acknowledgement != flow.peer_initial + 1) complain("SYN-ACK of another SYN", segment);
  if (segment.window_scale && !flow.scale_offered) complain("window scale nobody offered", segment);
  if (segment.sack_permitted && !flow.sack_offered) complain("SACK nobody offered", segment);
  if (segment.timestamps && !flow.timestamps_offered) complain("timestamps nobody offered", segment);
  if (!segment.payload.empty() || segment.fin) complain("SYN with data", segment);
  if (flow.initial) {
    if (segment.sequence == *flow.initial) return;  // the peer has answered it
    // The peer's SYN came once more when the connection was over: another begins (RFC 9293 section 3.5, figure 9).
    if (!over(flow)) complain("a second connection beside the first", segment);
    open_.erase(segment.to);
    flow.ranges = {{0, 1}};
    flow.peer_fin_at.reset();
    flow.initial.reset();
    flow.fin_at.reset();
    flow.offered.clear();
    flow.ack = flow.edge = flow.end = 1;
    flow.acknowledged = 0;
    flow.gone = flow.reset = flow.peer_reset = false;
  }
  flow.offered.push_back(segment.sequence);
  flow.scaled = segment.window_scale.has_value();
  flow.scale = segment.window_scale.value_or(0);
  flow.sack = segment.sack_permitted;
  flow.stamped = segment.timestamps.has_value();
  if (flow.stamped) flow.timestamp = segment.timestamps->first;
  flow.edge = std::max<At>(flow.edge, 1 + segment.window);
}

void Audit::left_segment(Flow& flow, const Segment& segment) {
  if (!flow.initial) {
    // A challenge, to a RST that was not believed (RFC 5961 section 3.2).
    const auto answers = [&](uint32_t initial) { return segment.sequence == initial + 1; };
    if (!segment.payload.empty() || std::ranges::none_of(flow.offered, answers)) {
      complain("before the handshake is over", segment);
    }
    return;
  }
  check_options(flow, segment);
  check_window(flow, segment);
  check_payload(flow, segment);
}

void Audit::check_options(Flow& flow, const Segment& segment) {
  if (segment.mss || segment.window_scale || segment.sack_permitted) complain("an option of a SYN", segment);
  if (segment.payload.size() + segment.option_bytes > flow.peer_mss) complain("larger than the peer's MSS", segment);
  if (flow.stamped != segment.timestamps.has_value()) complain("timestamps other than agreed on", segment);
  if (segment.timestamps) {
    if (static_cast<int32_t>(segment.timestamps->first - flow.timestamp) < 0) complain("timestamps go back", segment);
    flow.timestamp = segment.timestamps->first;
    if (!flow.timestamps.contains(segment.timestamps->second)) complain("echoes what nobody sent", segment);
  }
  if (!segment.sack.empty() && !flow.sack) complain("SACK that was not agreed on", segment);
  for (const auto& [wire_begin, wire_end] : segment.sack) {
    const At begin = unwrap(wire_begin, flow.peer_initial, flow.ack);
    const At end = unwrap(wire_end, flow.peer_initial, flow.ack);
    auto range = flow.ranges.upper_bound(begin);
    const bool inside = begin < end && range != flow.ranges.begin() && std::prev(range)->second >= end;
    if (!inside) complain("a SACK block of what did not arrive", segment);
  }
}

void Audit::check_window(Flow& flow, const Segment& segment) {
  const At ack = unwrap(segment.acknowledgement, flow.peer_initial, flow.ack);
  if (ack > contiguous(flow)) complain("acknowledges what did not arrive", segment);
  if (ack < flow.ack) complain("the acknowledgement goes back", segment);
  flow.ack = std::max(flow.ack, ack);
  const At edge = ack + (At{segment.window} << flow.scale);
  // RFC 7323 section 2.4: less than a unit of the scale is rounding.
  if (edge + (At{1} << flow.scale) <= flow.edge) complain("the right edge moves left", segment);
  flow.edge = std::max(flow.edge, edge);
}

void Audit::check_payload(Flow& flow, const Segment& segment) {
  const At at = unwrap(segment.sequence, *flow.initial, flow.end);
  const At end = at + static_cast<At>(segment.payload.size());
  if (at < 0) complain("a sequence number before the first", segment);
  if (at > flow.end) complain("a sequence number beyond the next", segment);
  // A byte beyond a closed window is a probe.
  const At allowed = flow.peer_edge + (segment.payload.size() <= 1 ? 1 : 0);
  if (!segment.payload.empty() && end > allowed) complain("beyond the peer's window", segment);
  if (flow.fin_at && segment.fin && end != *flow.fin_at) complain("the FIN moves", segment);
  if (flow.fin_at && !segment.payload.empty() && end > *flow.fin_at) complain("data behind the FIN", segment);
  if (segment.fin) flow.fin_at = end;
  flow.end = std::max(flow.end, end + (segment.fin ? 1 : 0));
  if (segment.payload.empty() || at < 1) return;  // a keepalive may carry a byte from before
  if (content_ && !content_(segment.to, static_cast<uint64_t>(at - 1), segment.payload)) {
    complain("bytes that were never given to it", segment);
  }
}

void Audit::gone(const Place& peer) {
  if (const auto found = flows_.find(peer); found != flows_.end()) found->second.gone = true;
}

uint64_t Audit::advertised_bytes() const {
  uint64_t sum = 0;
  for (const Place& peer : open_) {
    const Flow& flow = flows_.at(peer);
    const bool finished = flow.peer_fin_at && contiguous(flow) >= *flow.peer_fin_at;
    if (flow.gone || flow.peer_reset || finished) continue;
    sum += static_cast<uint64_t>(std::max<At>(flow.edge - contiguous(flow), 0));
  }
  return sum;
}

}  // namespace penstock::netsim
