#include "dataplane/kafka/frame.h"

namespace penstock::kafka {

OpenedRequest open_request(PieceRange request, Scratch& scratch) {
  OpenedRequest opened;
  // Key, version and correlation id come first in every header version and tell which one this is.
  Decoder decoder(request, 0, Dialect::classic, scratch);
  decoder.read(opened.header);
  opened.status = decoder.status();
  if (!decoder.ok()) return opened;

  opened.api = find_api(opened.header.api_key);
  opened.served = opened.api != nullptr && served(*opened.api, opened.header.api_version);
  if (!opened.served) return opened;

  const Version header_version = request_header_version(*opened.api, opened.header.api_version);
  Decoder full(request, header_version, dialect_of(header_version, RequestHeader::flexible), scratch);
  full.read(opened.header);
  opened.status = full.status();
  if (full.ok()) opened.body = full.rest();
  return opened;
}

}  // namespace penstock::kafka
