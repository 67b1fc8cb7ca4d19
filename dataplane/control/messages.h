// What lanes and the control plane say to each other, by mailbox, never on the produce path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/control/catalog_view.h"

namespace penstock {

// A longer admin request is not handed on: its connection closes. Ten thousand topics with long names fit.
inline constexpr uint32_t admin_request_bytes_max = 4 << 20;

enum class ToControlKind : uint8_t {
  admin_request,      // `bytes`: a whole Kafka request (header and body, without the length prefix); answered with
                      // admin_reply
  ensure_topics,      // `topics`: create those that are missing with default settings; answered with topics_ensured
  producer_id_block,  // answered with producer_id_block
  view_applied,       // this lane now works with view `version`; no answer
  lane_stopped,       // drained and done
  notice,             // `text`: one line for the operator's log, rate limited by the lane; no answer
};

struct ToControl {
  ToControlKind kind{};
  uint32_t lane = 0;
  uint64_t token = 0;  // comes back with the answer
  std::vector<std::byte> bytes;
  std::vector<std::string> topics;
  std::string text;
  uint64_t version = 0;
};

enum class ToLaneKind : uint8_t {
  view,               // `view`; the lane opens and deletes partitions accordingly, then says view_applied
  admin_reply,        // `bytes`: the encoded response (header and body, without the length prefix); none: the request
                      // was malformed or is not for here, the connection closes
  topics_ensured,     // the view that has them was applied by every lane before this
  producer_id_block,  // ids first_producer_id .. + producer_id_count - 1 are this lane's, durably; a count of 0: the
                      // catalog could not be written, InitProducerId gets KAFKA_STORAGE_ERROR or is tried again
  stop,               // accept no more, drain, answer, then say lane_stopped
};

struct ToLane {
  ToLaneKind kind{};
  uint64_t token = 0;
  std::vector<std::byte> bytes;
  std::shared_ptr<const CatalogView> view;
  int64_t first_producer_id = 0;
  int32_t producer_id_count = 0;
  // ensure_topics, by requested name: 0 or Kafka's error code (INVALID_TOPIC_EXCEPTION, POLICY_VIOLATION, ...)
  std::vector<int16_t> errors;
};

}  // namespace penstock
