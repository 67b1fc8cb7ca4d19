#include "tests/packets/player.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <set>
#include <stdexcept>

#include "tests/packets/connection.h"
#include "tests/packets/notation.h"
#include "tests/packets/port_wire.h"
#include "tests/packets/settings.h"
#include "tests/packets/world.h"

namespace penstock::packets {

namespace {

// A step did not go as the script says; without the file and the line.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string seconds(Nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", static_cast<double>(time) / 1e9);
  return text;
}

const char* name_of(StreamEventKind kind) {
  switch (kind) {
    case StreamEventKind::opened:
      return "opened";
    case StreamEventKind::data:
      return "data";
    case StreamEventKind::sent:
      return "sent";
    case StreamEventKind::peer_finished:
      return "peer_finished";
    case StreamEventKind::closed:
      return "closed";
  }
  return "?";
}

class Player {
 public:
  explicit Player(const Script& script)
      : script_(script), settings_(settings_of(script)), world_(settings_), now_(settings_.start) {
    define("a", {});
  }

  void play() {
    start();
    for (const Step& step : script_.steps) {
      step_ = &step;
      run(step);
    }
    step_ = nullptr;
    nothing_left();
    end();
  }

  // Where it is and what happened last.
  std::string place() const {
    const int line = step_ != nullptr ? step_->line : script_.steps.back().line;
    std::string text = script_.file + ":" + std::to_string(line) + ": ";
    if (step_ == nullptr) text += "after the last line: ";
    return text;
  }
  std::string written() const {
    return step_ == nullptr || step_->text.empty() ? "" : "  script    " + step_->text + "\n";
  }
  std::string history(size_t lines_max) const {
    std::string text;
    const size_t first = log_.size() > lines_max ? log_.size() - lines_max : 0;
    for (size_t i = first; i < log_.size(); ++i) text += "    " + log_[i] + "\n";
    return text;
  }

 private:
  // ---- time ----

  void log(const std::string& line) { log_.push_back(seconds(now_ - settings_.start) + "  " + line); }

  void poll() {
    try {
      world_.poll(now_, [this](const StreamEvent& event) { on_event(event); });
    } catch (const Failure&) {
      throw;
    } catch (const std::runtime_error& error) {
      throw Failure(error.what());
    }
    take_frames();
  }

  // To the next thing the stack wants to do, at most to `until`.
  void advance_once(Nanoseconds until) {
    Nanoseconds next = world_.next_deadline();
    // What waits for room in the port is offered again at every poll.
    if (world_.frames().full()) next = std::max(next, now_ + millisecond_ns);
    now_ = std::clamp(next, now_, until);
    poll();
  }
  void advance(Nanoseconds until) {
    while (now_ < until) advance_once(until);
  }
  // Runs the clock until done() or `latest`.
  template <class Done>
  void wait_for(Nanoseconds latest, Done&& done) {
    while (!done() && now_ < latest) advance_once(latest);
  }

  // ---- what comes out ----

  void take_frames() {
    for (const Transmitted& frame : world_.frames().take()) {
      std::vector<std::string> faults;
      const std::vector<Bytes> wire = on_the_wire(frame, settings_.features, faults);
      for (const Bytes& bytes : wire) take_frame(frame.at, bytes);
      if (!faults.empty()) throw Failure("a frame handed to the port breaks a rule: " + faults[0]);
    }
  }

  void take_frame(Nanoseconds at, const Bytes& bytes) {
    const Packet packet = decode(bytes);
    Connection* connection = packet.kind == Kind::tcp ? find(packet) : nullptr;
    std::vector<std::string> broken = packet.faults;
    if (connection != nullptr) broken = connection->captured(packet, settings_);
    log("< " + prefix(connection) + describe(packet, connection, true));
    if (!broken.empty() && !ending_) throw Failure("the stack sent a frame that breaks a rule: " + broken[0]);
    if (connection != nullptr) {
      connection->frames.push_back({at, packet});
    } else {
      others_.push_back({at, packet});
    }
  }

  // Of those with these ports and addresses, the one that sent last, and of whose numbers it speaks if there is one.
  Connection* find(const Packet& packet) {
    Connection* best = nullptr;
    bool best_speaks = false;
    for (auto& [name, connection] : connections_) {
      const uint16_t port = packet.tcp.destination_port;
      if (packet.ip->destination != connection.peer || packet.tcp.source_port != connection.our_port) continue;
      if (packet.ip->source != connection.us) continue;
      if (port < connection.peer_port || port > connection.peer_port_last) continue;
      const int64_t ack = connection.seq_of_peer(packet.tcp.acknowledgement);
      const bool speaks = ack >= 0 && ack <= connection.sent_end;
      const bool better = speaks != best_speaks ? speaks : best == nullptr || order_[name] > order_[best->name];
      if (best != nullptr && !better) continue;
      best = &connection;
      best_speaks = speaks;
    }
    return best;
  }

  void on_event(const StreamEvent& event) {
    Connection* connection = event.kind == StreamEventKind::opened ? find_opened(event) : find_stream(event.stream);
    if (connection == nullptr) throw Failure(std::string("event for an unknown stream: ") + name_of(event.kind));
    if (event.kind == StreamEventKind::opened) {
      if (connection->stream) throw Failure("opened twice");
      connection->stream = event.stream;
      connection->delivered = 0;
    }
    SeenEvent seen{event.kind, now_, event.bytes};
    if (event.kind == StreamEventKind::data) seen.bytes = take_data(*connection, event.piece);
    if (event.kind == StreamEventKind::closed) {
      world_.forget_unsent(event.stream);
      connection->stream.reset();
    }
    log(std::string("  ") + prefix(connection) + "event " + name_of(event.kind) +
        (seen.bytes > 0 ? " " + std::to_string(seen.bytes) : ""));
    connection->events.push_back(seen);
  }
  Connection* find_stream(StreamId id) {
    for (auto& [name, connection] : connections_) {
      if (connection.stream == id) return &connection;
    }
    return nullptr;
  }
  Connection* find_opened(const StreamEvent& event) {
    Connection* best = nullptr;
    for (auto& [name, connection] : connections_) {
      if (event.peer.port < connection.peer_port || event.peer.port > connection.peer_port_last) continue;
      if (event.local.port != connection.our_port) continue;
      if (!same(event.peer, connection.peer) || !same(event.local, connection.us)) continue;
      if (best == nullptr || order_[name] > order_[best->name]) best = &connection;
    }
    return best;
  }
  static bool same(const Endpoint& endpoint, const Address& address) {
    const size_t skip = 16 - address.size();
    return std::equal(endpoint.address + skip, endpoint.address + 16, address.bytes.begin());
  }

  // Compares the content, and lets go of the buffer unless the application holds on to it.
  uint64_t take_data(Connection& connection, const Piece& piece) {
    for (uint32_t i = 0; i < piece.length; ++i) {
      const auto position = static_cast<int64_t>(connection.delivered + i);
      if (static_cast<uint8_t>(piece.data[i]) == connection.peer_content(position + 1)) continue;
      throw Failure("wrong content delivered at " + std::to_string(position + 1));
    }
    connection.delivered += piece.length;
    if (connection.holds) {
      connection.held.push_back(piece);
      check_cost(connection);
    } else {
      world_.release(piece);
    }
    if (connection.keeps_credit) {
      world_.streams().request_done(*connection.stream);
      world_.streams().allow(*connection.stream, piece.length);
    }
    return piece.length;
  }

  // What an application keeps never occupies more than it was told that so many bytes may.
  void check_cost(const Connection& connection) {
    std::set<uint32_t> buffers;
    uint64_t bytes = 0;
    for (const Piece& piece : connection.held) {
      buffers.insert(piece.buffer.value);
      bytes += piece.length;
    }
    const uint64_t occupied = buffers.size() * arena_unit_bytes, told = world_.streams().receive_cost(bytes);
    if (occupied <= told) return;
    throw Failure(std::to_string(bytes) + " bytes occupy " + std::to_string(occupied) + ", receive_cost() says " +
                  std::to_string(told));
  }

  // ---- steps ----

  // Unless the script wants to see it, addresses have been announced, twice, before it begins (RFC 5227 2.3).
  void start() {
    if (settings_.show_start) return poll();
    const Nanoseconds before = 5 * second_ns;
    now_ = settings_.start - before;
    poll();
    advance(settings_.start);
    others_.clear();
    log_.clear();
  }

  void define(const std::string& name, const std::vector<std::string>& words) {
    Connection connection;
    connection.name = name;
    connection.number = static_cast<uint32_t>(connections_.size());
    connection.us = *parse_address(settings_.v6 ? "fd00::1" : "10.0.0.1");
    connection.peer = *parse_address(settings_.v6 ? "fd00::2" : "10.0.0.2");
    connection.mac = peer_mac;
    connection.peer_port = connection.peer_port_last = static_cast<uint16_t>(40'000 + connection.number);
    connection.our_port = settings_.config.ports.empty() ? 9092 : settings_.config.ports[0];
    connection.peer_isn = settings_.peer_isn;
    connection.peer_ts = settings_.peer_ts;
    for (size_t i = 0; i + 1 < words.size(); i += 2) change(connection, words[i], words[i + 1]);
    if (!connections_.emplace(name, connection).second) throw Failure("peer '" + name + "' is there already");
    order_[name] = ++orders_;
  }
  void change(Connection& connection, const std::string& what, const std::string& word) {
    if (what == "port") {
      const size_t dots = word.find("..");
      connection.peer_port = static_cast<uint16_t>(evaluate(word.substr(0, dots), variables_));
      connection.peer_port_last = connection.peer_port;
      if (dots != std::string::npos) {
        connection.peer_port_last = static_cast<uint16_t>(evaluate(word.substr(dots + 2), variables_));
      }
    } else if (what == "to") {
      connection.our_port = static_cast<uint16_t>(evaluate(word, variables_));
    } else if (what == "isn") {
      connection.peer_isn = static_cast<uint32_t>(evaluate(word, variables_));
    } else if (what == "ts") {
      connection.peer_ts = static_cast<uint32_t>(evaluate(word, variables_));
    } else if (what == "address" || what == "us") {
      const auto address = parse_address(word);
      if (!address) throw Failure("'" + word + "' is no address");
      (what == "us" ? connection.us : connection.peer) = *address;
    } else if (what == "mac") {
      connection.mac = resolve_mac(word, context(connection));
    } else {
      throw Failure("a peer has port, to, isn, ts, address, us and mac, not '" + what + "'");
    }
  }

  Connection& connection_of(const Step& step) {
    const auto found = connections_.find(step.connection.empty() ? "a" : step.connection);
    if (found == connections_.end()) throw Failure("no peer '" + step.connection + "'");
    return found->second;
  }
  std::string prefix(const Connection* connection) const {
    return connection == nullptr || connections_.size() == 1 ? "" : connection->name + ": ";
  }
  Context context(Connection& connection) {
    return {settings_, connection, variables_, (now_ - settings_.start) / millisecond_ns};
  }

  // What scripts can read of the connection and of the stack.
  void refresh_variables(Connection& connection) {
    Variables& v = variables_;
    v["next"] = connection.next;
    v["acked"] = connection.acked;
    v["edge"] = connection.edge;
    v["last_ack"] = connection.last_ack;
    v["our_next"] = connection.our_next;
    v["highest"] = connection.highest;
    v["our_isn"] = connection.our_isn.value_or(0);
    v["mss"] = connection.our_mss;
    v["scale"] = connection.scale_on ? connection.our_scale : 0;
    v["now_ms"] = (now_ - settings_.start) / millisecond_ns;
    v["now_us"] = (now_ - settings_.start) / 1000;
    const TcpStack& stack = world_.streams().stack();
    v["connections"] = stack.open_connections();
    v["half_open"] = stack.half_open_connections();
    v["time_waits"] = stack.time_wait_connections();
    v["window_sum"] = static_cast<int64_t>(stack.window_bytes());
    if (!connection.stream) return;
    const TcpConnectionView view = stack.view(*connection.stream);
    v["state"] = static_cast<int64_t>(view.state);
    v["window"] = static_cast<int64_t>(view.window_bytes);
    v["out_of_order"] = static_cast<int64_t>(view.out_of_order_bytes);
    v["queued"] = static_cast<int64_t>(view.queued_bytes);
    v["in_flight"] = static_cast<int64_t>(view.in_flight_bytes);
    v["cwnd"] = static_cast<int64_t>(view.congestion_window_bytes);
    v["send_mss"] = view.mss_bytes;
    v["rto_ms"] = view.rto / millisecond_ns;
    v["srtt_us"] = view.smoothed_rtt / 1000;
  }

  void run(const Step& step) {
    Connection& connection = connection_of(step);
    const Nanoseconds base = step.when.absolute ? settings_.start : now_;
    const bool expects = step.kind == StepKind::expect || step.kind == StepKind::expect_optional ||
                         step.kind == StepKind::expect_many || is_event(step.kind);
    if (!expects && step.when.given) advance(base + step.when.earliest);
    refresh_variables(connection);
    switch (step.kind) {
      case StepKind::wait:
        break;
      case StepKind::inject:
        inject(step, step.frame, connection);
        break;
      case StepKind::expect:
        expect(step, connection, base);
        break;
      case StepKind::expect_optional:
        expect_optional(step, connection, base);
        break;
      case StepKind::expect_many:
        expect_many(step, connection, base);
        break;
      case StepKind::nothing:
        expect_nothing(step);
        break;
      case StepKind::connect:
        connect(step, connection);
        break;
      case StepKind::data:
      case StepKind::sent:
        expect_bytes(step, connection, base);
        break;
      case StepKind::opened:
      case StepKind::peer_finished:
      case StepKind::closed:
        expect_event(step, connection, base);
        break;
      case StepKind::quiet:
        expect_quiet(connection);
        break;
      case StepKind::application:
        apply(step, connection);
        break;
      case StepKind::let:
        variables_[step.words[0]] = evaluate(step.words[1], variables_);
        break;
      case StepKind::check_that:
        check_that(step);
        break;
      case StepKind::peer:
        define(step.words[0], {step.words.begin() + 1, step.words.end()});
        break;
      case StepKind::port:
        change_port(step.words[0]);
        break;
      case StepKind::count:
        check_count(step);
        break;
    }
  }
  static bool is_event(StepKind kind) {
    return kind == StepKind::opened || kind == StepKind::data || kind == StepKind::sent ||
           kind == StepKind::peer_finished || kind == StepKind::closed;
  }

  void inject(const Step& step, const FrameSpec& spec, Connection& connection) {
    const int64_t count = evaluate(step.repeat, variables_);
    order_[connection.name] = ++orders_;
    const Field* first = spec.field("seq");
    if (first != nullptr && first->words[0].contains("$n")) first = nullptr;  // says itself where each begins
    const int64_t first_seq = first == nullptr ? 0 : evaluate(first->words[0], variables_);
    int64_t taken = 0;
    for (int64_t i = 0; i < count; ++i) {
      variables_["n"] = i;
      if (i > 0 && step.every > 0) advance(now_ + step.every);
      FrameSpec each = spec;
      if (first != nullptr && taken > 0) {
        for (Field& field : each.fields) {
          if (field.name == "seq") field.words[0] = std::to_string(first_seq + taken);
        }
      }
      taken += inject_one(each, connection);
      if (step.every > 0 || i % 64 == 63) poll();
    }
    poll();
  }
  // Returns how much of the sequence space its payload takes.
  int64_t inject_one(const FrameSpec& spec, Connection& connection) {
    const Injected frame = build(spec, context(connection));
    const bool tcp = spec.kind == "tcp";
    log("> " + prefix(&connection) +
        (spec.kind == "raw" ? "raw " + hex(frame.bytes) : describe(frame.packet, tcp ? &connection : nullptr, false)));
    if (tcp && frame.intact && !connection.crowd() && is_of(connection, frame.packet))
      connection.injected(frame.packet.tcp);
    if (!world_.frames().inject(frame.bytes, frame.first_piece_bytes, frame.verified)) {
      log("  no receive buffer: the frame is lost");
    }
    return static_cast<int64_t>(frame.packet.tcp.payload.size());
  }
  static bool is_of(const Connection& connection, const Packet& packet) {
    return packet.tcp.source_port == connection.peer_port && packet.tcp.destination_port == connection.our_port &&
           packet.ip->source == connection.peer && packet.ip->destination == connection.us;
  }

  // SYN, SYN-ACK, ACK and `opened`; with a round-trip time the ACK comes so much later.
  void connect(const Step& given, Connection& connection) {
    Step step = given;
    step.every = 0;
    inject(step, step.frame, connection);
    Step syn_ack = step;
    syn_ack.frame = FrameSpec{};
    syn_ack.frame.head = "SA";
    syn_ack.frame.fields = {{"seq", {"0"}}, {"ack", {"1"}}};
    expect(syn_ack, connection, now_);
    advance(now_ + given.every);
    FrameSpec ack;
    ack.head = "A";
    inject(step, ack, connection);
    Step opened = step;
    opened.kind = StepKind::opened;
    expect_event(opened, connection, now_);
    if (!given.words.empty()) warm_up(connection);
  }

  // The first segments of a connection are acknowledged one by one, so that the peer's slow start gets going. What
  // comes after them is shown with numbers that begin anew.
  void warm_up(Connection& connection) {
    constexpr uint32_t segments = 16;
    world_.streams().allow(*connection.stream, segments);
    FrameSpec byte;
    byte.head = "A";
    byte.fields = {{"data", {"1"}}};
    for (uint32_t i = 0; i < segments; ++i) {
      inject_one(byte, connection);
      poll();
    }
    if (connection.delivered != segments || connection.last_ack != segments + 1) throw Failure("warming up went wrong");
    connection.frames.clear();
    connection.events.clear();
    connection.peer_isn += segments;
    connection.next -= segments;
    connection.sent_end -= segments;
    connection.last_ack -= segments;
    connection.edge -= segments;
    connection.delivered = 0;
  }

  // ---- expecting frames ----

  std::deque<SeenFrame>& queue_of(const Step& step, Connection& connection) {
    return step.frame.kind == "tcp" ? connection.frames : others_;
  }

  void expect(const Step& step, Connection& connection, Nanoseconds base) {
    const int64_t count = evaluate(step.repeat, variables_);
    const Field* seq = step.frame.field("seq");
    FrameSpec spec = step.frame;
    for (int64_t i = 0; i < count; ++i) {
      variables_["n"] = i;
      const int64_t bytes = expect_one(step, spec, connection, base);
      if (seq == nullptr || count == 1) continue;
      const int64_t next = evaluate(spec.field("seq")->words[0], variables_) + bytes;
      for (Field& field : spec.fields) {
        if (field.name == "seq") field.words[0] = std::to_string(next);
      }
    }
  }
  // Returns the payload's length.
  int64_t expect_one(const Step& step, const FrameSpec& spec, Connection& connection, Nanoseconds base) {
    std::deque<SeenFrame>& queue = queue_of(step, connection);
    const Nanoseconds earliest = base + step.when.earliest, latest = base + step.when.latest;
    if (step.when.given) wait_for(latest, [&] { return !queue.empty(); });
    if (queue.empty()) throw Failure("expected a frame, seen nothing" + until(step, latest));
    const SeenFrame seen = queue.front();
    std::vector<std::string> differing = differences(spec, seen.packet, context(connection));
    if (step.when.given && (seen.at < earliest || seen.at > latest)) {
      differing.push_back("time: " + seconds(earliest - settings_.start) + " to " + seconds(latest - settings_.start) +
                          " expected, " + seconds(seen.at - settings_.start) + " seen");
    }
    if (!differing.empty()) throw Failure(difference_report(seen, connection, differing));
    queue.pop_front();
    return consumed(seen, connection);
  }
  int64_t consumed(const SeenFrame& seen, Connection& connection) {
    if (seen.packet.kind != Kind::tcp) return 0;
    const Tcp& tcp = seen.packet.tcp;
    if (connection.crowd() || (tcp.flags & flag::rst) != 0) return 0;
    const int64_t seq = connection.seq_of_ours(tcp.sequence);
    const auto bytes = static_cast<int64_t>(tcp.payload.size());
    const int64_t end = seq + bytes + ((tcp.flags & flag::syn) != 0) + ((tcp.flags & flag::fin) != 0);
    if (seq <= connection.acked) connection.acked = std::max(connection.acked, end);
    connection.our_next = std::max(connection.our_next, end);
    variables_["seen_us"] = (seen.at - settings_.start) / 1000;
    refresh_variables(connection);
    return bytes;
  }
  std::string until(const Step& step, Nanoseconds latest) const {
    return step.when.given ? " until " + seconds(latest - settings_.start) : " at " + seconds(now_ - settings_.start);
  }
  static std::string difference_report(const SeenFrame& seen, const Connection& connection,
                                       const std::vector<std::string>& differing) {
    std::string text = "expected and seen differ\n";
    text += "  seen      < " + describe(seen.packet, seen.packet.kind == Kind::tcp ? &connection : nullptr, true);
    for (const std::string& line : differing) text += "\n  differs   " + line;
    return text;
  }

  void expect_optional(const Step& step, Connection& connection, Nanoseconds base) {
    std::deque<SeenFrame>& queue = queue_of(step, connection);
    if (step.when.given) wait_for(base + step.when.latest, [&] { return !queue.empty(); });
    if (queue.empty() || !differences(step.frame, queue.front().packet, context(connection)).empty()) return;
    consumed(queue.front(), connection);
    queue.pop_front();
  }
  void expect_many(const Step& step, Connection& connection, Nanoseconds base) {
    if (step.when.given) advance(base + step.when.latest);
    std::deque<SeenFrame>& queue = queue_of(step, connection);
    int64_t count = 0;
    while (!queue.empty() && differences(step.frame, queue.front().packet, context(connection)).empty()) {
      consumed(queue.front(), connection);
      queue.pop_front();
      ++count;
    }
    variables_["count"] = count;
  }

  void expect_nothing(const Step& step) {
    expect_no_frame();
    if (step.every == 0) return;
    const Nanoseconds until = now_ + step.every;
    while (now_ < until) {
      advance_once(until);
      expect_no_frame();
    }
  }
  void expect_no_frame() {
    for (auto& [name, connection] : connections_) {
      if (connection.frames.empty()) continue;
      throw Failure("expected nothing\n  seen      < " + prefix(&connection) +
                    describe(connection.frames.front().packet, &connection, true));
    }
    if (!others_.empty()) {
      throw Failure("expected nothing\n  seen      < " + describe(others_.front().packet, nullptr, true));
    }
  }

  // ---- expecting events ----

  static StreamEventKind event_of(StepKind kind) {
    switch (kind) {
      case StepKind::opened:
        return StreamEventKind::opened;
      case StepKind::data:
        return StreamEventKind::data;
      case StepKind::sent:
        return StreamEventKind::sent;
      case StepKind::peer_finished:
        return StreamEventKind::peer_finished;
      default:
        return StreamEventKind::closed;
    }
  }
  // Events nobody has to expect are passed over when another kind is expected.
  static bool may_be_skipped(StreamEventKind kind) {
    return kind == StreamEventKind::opened || kind == StreamEventKind::sent;
  }
  SeenEvent* next_event(Connection& connection, StreamEventKind kind) {
    std::deque<SeenEvent>& events = connection.events;
    while (!events.empty() && events.front().kind != kind && may_be_skipped(events.front().kind)) events.pop_front();
    return events.empty() ? nullptr : &events.front();
  }
  SeenEvent& expect_kind(const Step& step, Connection& connection, Nanoseconds base) {
    const StreamEventKind kind = event_of(step.kind);
    const Nanoseconds latest = base + step.when.latest;
    if (step.when.given) wait_for(latest, [&] { return next_event(connection, kind) != nullptr; });
    SeenEvent* event = next_event(connection, kind);
    if (event == nullptr) {
      throw Failure(std::string("expected event '") + name_of(kind) + "', seen none" + until(step, latest));
    }
    if (event->kind != kind) {
      throw Failure(std::string("expected event '") + name_of(kind) + "', seen '" + name_of(event->kind) + "'");
    }
    if (step.when.given && event->at < base + step.when.earliest) {
      throw Failure(std::string("event '") + name_of(kind) + "' came early, at " +
                    seconds(event->at - settings_.start));
    }
    return *event;
  }
  void expect_event(const Step& step, Connection& connection, Nanoseconds base) {
    expect_kind(step, connection, base);
    connection.events.pop_front();
  }
  // So many bytes, in as many events as it takes.
  void expect_bytes(const Step& step, Connection& connection, Nanoseconds base) {
    auto left = static_cast<uint64_t>(evaluate(step.words[0], variables_));
    while (left > 0) {
      SeenEvent& event = expect_kind(step, connection, base);
      const uint64_t taken = std::min(left, event.bytes);
      left -= taken;
      event.bytes -= taken;
      if (event.bytes == 0) connection.events.pop_front();
    }
  }
  void expect_quiet(Connection& connection) {
    for (const SeenEvent& event : connection.events) {
      if (!may_be_skipped(event.kind))
        throw Failure(std::string("expected no event, seen '") + name_of(event.kind) + "'");
    }
  }

  // ---- the application and the port ----

  void apply(const Step& step, Connection& connection) {
    const std::string& what = step.words[0];
    auto& streams = world_.streams();
    const auto number = [&](size_t at) { return static_cast<uint64_t>(evaluate(step.words[at], variables_)); };
    if (what == "stop_accepting") {
      streams.stop_accepting();
    } else if (what == "hold") {
      connection.holds = true;
    } else if (what == "unhold") {
      connection.holds = false;
      release_held(connection);
    } else if (!connection.stream) {
      throw Failure("the application has no open stream");
    } else if (what == "allow") {
      streams.allow(*connection.stream, number(1));
    } else if (what == "keep_credit") {
      connection.keeps_credit = true;
      streams.allow(*connection.stream, number(1));
    } else if (what == "send") {
      const uint64_t piece_bytes = step.words.size() > 2 ? number(2) : 65'536;
      // Counted first: what leaves is compared with it.
      connection.handed_over += number(1);
      world_.send(*connection.stream, 2 * connection.number + 1, connection.handed_over - number(1), number(1),
                  piece_bytes);
    } else if (what == "close") {
      streams.close(*connection.stream);
    } else if (what == "abort") {
      streams.abort(*connection.stream);
    } else if (what == "request_done") {
      streams.request_done(*connection.stream);
    } else if (what == "probe") {
      streams.probe(*connection.stream);
    }
    log("  " + prefix(&connection) + what + (step.words.size() > 1 ? " " + step.words[1] : ""));
    poll();
  }
  void release_held(Connection& connection) {
    for (const Piece& piece : connection.held) world_.release(piece);
    connection.held.clear();
  }

  void change_port(const std::string& how) {
    MemoryFrames& frames = world_.frames();
    if (how == "full" || how == "free") {
      frames.set_full(how == "full");
    } else if (how == "hold" || how == "give") {
      frames.set_holds(how == "hold");
      if (how == "give") frames.give();
    } else {
      throw Failure("the port can be full, free, hold or give");
    }
    log("  port " + how);
    poll();
  }

  void check_that(const Step& step) {
    const int64_t value = evaluate(step.words[0], variables_);
    if (matches(parse_pattern(step.words[1]), value, variables_)) return;
    throw Failure(step.words[0] + " is " + std::to_string(value) + ", expected " + step.words[1]);
  }
  void check_count(const Step& step) {
    for (size_t i = 0; i < static_cast<size_t>(TcpCount::count); ++i) {
      const auto which = static_cast<TcpCount>(i);
      if (step.words[0] != to_string(which)) continue;
      const auto value = static_cast<int64_t>(world_.streams().stack().counters()[which]);
      if (matches(parse_pattern(step.words[1]), value, variables_)) return;
      throw Failure("count of " + step.words[0] + " is " + std::to_string(value) + ", expected " + step.words[1]);
    }
    throw Failure("no counter '" + step.words[0] + "'");
  }

  // ---- after the last line ----

  // What the script has not spoken of must not be there.
  void nothing_left() {
    expect_no_frame();
    for (auto& [name, connection] : connections_) expect_quiet(connection);
  }

  // Ends what is still open and runs the clock until the stack has forgotten everything.
  void end() {
    ending_ = true;
    world_.frames().set_full(false);
    world_.frames().set_holds(false);
    world_.frames().give();
    for (auto& [name, connection] : connections_) {
      connection.holds = connection.keeps_credit = false;
      release_held(connection);
      if (connection.stream) world_.streams().abort(*connection.stream);
    }
    const TcpTimes& times = settings_.config.times;
    poll();
    advance(now_ + times.time_wait + (times.syn_ack_initial << (times.syn_ack_retries + 1)) + second_ns);
    const TcpStack& stack = world_.streams().stack();
    if (stack.open_connections() + stack.half_open_connections() + stack.time_wait_connections() > 0) {
      throw Failure("connections are left over");
    }
    if (stack.window_bytes() != 0) throw Failure("the windows of closed connections still count");
    if (std::string leaks = world_.receive_leaks(); !leaks.empty()) throw Failure("buffers leak:\n" + leaks);
    if (std::string leaks = world_.end(); !leaks.empty()) throw Failure("buffers leak at the stack's end:\n" + leaks);
  }

  const Script& script_;
  const Settings settings_;
  World world_;
  Nanoseconds now_;
  std::map<std::string, Connection> connections_;
  std::map<std::string, uint64_t> order_;  // when a connection last sent
  uint64_t orders_ = 0;
  std::deque<SeenFrame> others_;  // captured, of no connection
  Variables variables_;
  std::vector<std::string> log_;
  const Step* step_ = nullptr;
  bool ending_ = false;
};

}  // namespace

Outcome play(const Script& script, bool trace) {
  constexpr size_t history_lines = 16;
  Player player(script);
  try {
    player.play();
  } catch (const std::exception& error) {
    std::string report = player.place() + error.what() + "\n" + player.written();
    return {false, report + "  last seen\n" + player.history(trace ? SIZE_MAX : history_lines)};
  }
  return {true, trace ? player.history(SIZE_MAX) : ""};
}

}  // namespace penstock::packets
