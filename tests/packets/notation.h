// Between a script's words and a frame's fields: builds what is injected, compares what is expected, and writes any
// frame down in the notation of the scripts.
#pragma once

#include <string>
#include <vector>

#include "tests/packets/connection.h"
#include "tests/packets/packet.h"
#include "tests/packets/script.h"
#include "tests/packets/settings.h"

namespace penstock::packets {

// What the words of a frame are read with. Errors are thrown as std::invalid_argument.
struct Context {
  const Settings& settings;
  Connection& connection;
  Variables& variables;
  int64_t now_ms = 0;  // since the script began: the peer's timestamp clock
};

struct Injected {
  Bytes bytes;
  Packet packet;
  size_t first_piece_bytes = 0;
  bool verified = false;
  bool intact = true;  // nothing was spoiled on purpose: the peer's own numbers move on
};
Injected build(const FrameSpec& spec, const Context& context);

// Type and code of an ICMP or discovery message, the operation of an ARP packet (its code is 0).
struct Message {
  int type, code;
};
Message message_of(const FrameSpec& spec);

// What differs, one line each; empty when the frame is as expected. Keeps variables only then.
std::vector<std::string> differences(const FrameSpec& spec, const Packet& packet, const Context& context);

// A frame as a script would write it. `ours`: sent by the stack.
std::string describe(const Packet& packet, const Connection* connection, bool ours);

// "us", "peer", ... or an address as it is written; which family a name stands for is the connection's.
Address resolve_address(const std::string& word, const Context& context);
Mac resolve_mac(const std::string& word, const Context& context);

}  // namespace penstock::packets
