// What a port makes of a frame it was handed: fills in the checksums and cuts what is larger than one packet, when the
// stack asked for it. Done here byte by byte, as a card would.
#pragma once

#include <string>
#include <vector>

#include "tests/packets/memory_frames.h"
#include "tests/packets/packet.h"

namespace penstock::packets {

// The frames on the wire; `faults` gets what the port could not have done.
std::vector<Bytes> on_the_wire(const Transmitted& frame, const PortFeatures& features,
                               std::vector<std::string>& faults);

}  // namespace penstock::packets
