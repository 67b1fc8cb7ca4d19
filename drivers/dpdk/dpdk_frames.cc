#include "drivers/dpdk/dpdk_frames.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ethernet.h"
#include "dataplane/net/ip.h"

namespace penstock {
namespace {

constexpr Nanoseconds retry_ns = 50'000;                    // while the port takes nothing, or holds what it has sent
constexpr Nanoseconds stuck_max_ns = 100 * millisecond_ns;  // then what it does not take is lost
constexpr uint32_t header_bytes_max = 256;
constexpr uint32_t pool_cache_max = 256;
constexpr uint32_t attachments_max = 4096;

std::string pool_name(const char* what, uint16_t port, uint32_t lane) {
  return std::string(what) + std::to_string(port) + "_" + std::to_string(lane);
}

// Where the payload of a TCP frame begins; 0: it has none, or it is something else.
uint32_t payload_at(const std::byte* frame, uint32_t bytes, uint32_t frame_bytes) {
  constexpr uint32_t ethernet = sizeof(net::EthernetHeader);
  if (bytes < ethernet + sizeof(net::Ipv4Header) + 20) return 0;
  const auto type = load_big<uint16_t>(frame + ethernet - 2);
  const bool v4 = type == net::ether_ipv4;
  if (!v4 && type != net::ether_ipv6) return 0;
  const auto protocol = static_cast<uint8_t>(frame[ethernet + (v4 ? 9 : 6)]);
  if (protocol != net::protocol_tcp) return 0;
  const uint32_t transport =
      ethernet + (v4 ? (static_cast<uint32_t>(frame[ethernet]) & 0xf) * 4 : uint32_t{sizeof(net::Ipv6Header)});
  if (bytes < transport + 20) return 0;
  const uint32_t at = transport + (static_cast<uint32_t>(frame[transport + 12]) >> 4) * 4;
  const uint32_t end =
      v4 ? ethernet + load_big<uint16_t>(frame + ethernet + 2) : transport + load_big<uint16_t>(frame + ethernet + 4);
  return at < std::min(end, frame_bytes) ? at : 0;
}

}  // namespace

// GOOD: the sum is right. NONE: it is not, for the sender left it to a card that was never asked, as between a host and
// its guest; the data is as it was sent. A port that answers for TCP and says nothing of IPv4's header leaves us that.
bool checksums_verified(const rte_mbuf& frame) {
  const uint64_t transport = frame.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  const uint64_t network = frame.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if (transport != RTE_MBUF_F_RX_L4_CKSUM_GOOD && transport != RTE_MBUF_F_RX_L4_CKSUM_NONE) return false;
  if (network == RTE_MBUF_F_RX_IP_CKSUM_GOOD || network == RTE_MBUF_F_RX_IP_CKSUM_NONE) return true;
  constexpr uint32_t ethernet = sizeof(net::EthernetHeader);
  if (network == RTE_MBUF_F_RX_IP_CKSUM_BAD || frame.data_len < ethernet) return false;
  const auto* at = rte_pktmbuf_mtod(&frame, const std::byte*);
  const uint16_t type = reinterpret_cast<const net::EthernetHeader*>(at)->type.get();
  if (type == net::ether_ipv6) return true;  // has no sum of its own
  if (type != net::ether_ipv4 || frame.data_len < ethernet + sizeof(net::Ipv4Header)) return false;
  const uint32_t header_bytes = (static_cast<uint32_t>(at[ethernet]) & 0xf) * 4;
  return header_bytes >= sizeof(net::Ipv4Header) && frame.data_len >= ethernet + header_bytes &&
         net::checksum_of(at + ethernet, header_bytes) == 0;
}

// One for each piece of payload in the port's hands. Not part of an mbuf, for a driver may keep a clone that outlives
// it.
struct DpdkFrames::Attachments {
  struct Entry {
    rte_mbuf_ext_shared_info shared{};
    Attachments* all = nullptr;
    BufferIndex buffer = no_buffer;
    Entry* next = nullptr;
  };
  BufferTable& buffers;
  std::unique_ptr<Entry[]> entries = std::make_unique<Entry[]>(attachments_max);
  Entry* free = nullptr;
  uint32_t in_flight = 0;

  explicit Attachments(BufferTable& table) : buffers(table) {
    for (uint32_t i = attachments_max; i-- > 0;) {
      entries[i].all = this;
      entries[i].next = free;
      free = &entries[i];
    }
  }
  Entry* take(BufferIndex buffer) {
    Entry* entry = free;
    if (entry == nullptr) return nullptr;
    free = entry->next;
    ++in_flight;
    entry->buffer = buffer;
    entry->shared.free_cb = [](void*, void* opaque) { static_cast<Entry*>(opaque)->all->left(opaque); };
    entry->shared.fcb_opaque = entry;
    rte_mbuf_ext_refcnt_set(&entry->shared, 1);
    return entry;
  }
  void left(void* opaque) {
    auto* entry = static_cast<Entry*>(opaque);
    buffers.release(entry->buffer, Holder::send);
    give(entry);
  }
  void give(Entry* entry) {
    entry->next = free;
    free = entry;
    --in_flight;
  }
};

DpdkFrames::DpdkFrames(Port& port, const DpdkFramesConfig& config, Arena arena, BufferTable& buffers)
    : port_(port),
      config_(config),
      lane_count_(port.config().lanes.lane_count),
      shape_(port.receive_shape()),
      arena_(arena),
      buffers_(buffers),
      attachments_(std::make_unique<Attachments>(buffers)),
      mbufs_(config.unit_count),
      buffer_count_(config.unit_count / shape_.units),
      port_holds_(port.receive_descriptors()),
      lent_to_(lane_count_),
      wake_due_(lane_count_) {}

std::expected<std::unique_ptr<DpdkFrames>, std::string> DpdkFrames::create(Port& port, const DpdkFramesConfig& config,
                                                                           Arena arena, BufferTable& buffers) {
  std::unique_ptr<DpdkFrames> frames(new DpdkFrames(port, config, arena, buffers));
  if (auto done = port.map_memory(arena.base, arena.size); !done) return std::unexpected(done.error());
  if (auto done = frames->make_pools(); !done) return std::unexpected(done.error());
  port.set_pool(config.lane, frames->receive_pool_);
  return frames;
}

std::expected<void, std::string> DpdkFrames::make_pools() {
  const auto failed = [](const char* what) {
    return std::unexpected(std::string("no memory for ") + what + ": " + rte_strerror(rte_errno));
  };
  check(buffer_count_ >= 4 * port_.receive_descriptors(), "fewer buffers than the port was fitted to", buffer_count_);
  reserve_buffers_ = std::min(256u, buffer_count_ / 16);
  // Where the port steers by itself only strays are handed over.
  const bool steered = port_.config().steer;
  lend_max_ = lane_count_ == 1
                  ? 0
                  : std::clamp(buffer_count_ / (steered ? 32 : 8) / (lane_count_ - 1), 4u, HandOverQueue::capacity);

  std::vector<rte_pktmbuf_extmem> places(buffer_count_);
  for (uint32_t i = 0; i < buffer_count_; ++i) {
    std::byte* at = arena_.at(BufferIndex(config_.first_unit + i * shape_.units)) + shape_.shift_bytes;
    const rte_iova_t iova =
        rte_eal_iova_mode() == RTE_IOVA_PA ? rte_mem_virt2iova(at) : reinterpret_cast<rte_iova_t>(at);
    places[i] = {.buf_ptr = at,
                 .buf_iova = iova,
                 .buf_len = shape_.room_bytes,
                 .elt_size = static_cast<uint16_t>(shape_.room_bytes)};
  }
  const int node = rte_eth_dev_socket_id(port_.number());
  const uint16_t number = port_.number();
  receive_pool_ = rte_pktmbuf_pool_create_extbuf(
      pool_name("receive", number, config_.lane).c_str(), buffer_count_, std::min(pool_cache_max, buffer_count_ / 8), 0,
      static_cast<uint16_t>(shape_.room_bytes), node, places.data(), buffer_count_);
  if (receive_pool_ == nullptr) return failed("receive buffers");
  rte_mempool_obj_iter(
      receive_pool_,
      [](rte_mempool*, void* opaque, void* object, unsigned) {
        auto* self = static_cast<DpdkFrames*>(opaque);
        auto* mbuf = static_cast<rte_mbuf*>(object);
        const BufferIndex buffer = self->arena_.buffer_of(static_cast<std::byte*>(mbuf->buf_addr));
        self->mbufs_[buffer.value - self->config_.first_unit] = mbuf;
      },
      this);

  const uint32_t head_count = 2 * port_.transmit_descriptors() + 512;
  const uint32_t payload_bytes =
      port_.multi_segment() ? copied_payload_bytes_max : port_.features().mtu_bytes + header_bytes_max;
  head_pool_ =
      rte_pktmbuf_pool_create(pool_name("head", number, config_.lane).c_str(), head_count, 64, 0,
                              static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + header_bytes_max + payload_bytes), node);
  if (head_pool_ == nullptr) return failed("headers");
  attach_pool_ =
      rte_pktmbuf_pool_create(pool_name("attach", number, config_.lane).c_str(), attachments_max, 64, 0, 0, node);
  if (attach_pool_ == nullptr) return failed("payload to be sent");
  lend();
  return {};
}

DpdkFrames::~DpdkFrames() {
  rte_mempool_free(attach_pool_);
  rte_mempool_free(head_pool_);
  rte_mempool_free(receive_pool_);
  port_.unmap_memory(arena_.base, arena_.size);
}

// ------------------------------------------------------------------------------------------------------- receiving

bool DpdkFrames::scarce() const {
  return held_ + lent_ + port_holds_ + reserve_buffers_ >= buffer_count_;
}

uint64_t DpdkFrames::receive_free() const {
  const uint64_t taken = held_ + lent_ + port_holds_ + reserve_buffers_;
  return taken >= buffer_count_ ? 0 : (buffer_count_ - taken) * shape_.units * arena_unit_bytes;
}

// Some drivers fill two rings for a queue.
void DpdkFrames::count_port() {
  counted_ = true;
  port_holds_ = std::max(port_holds_, rte_mempool_in_use_count(receive_pool_) - static_cast<uint32_t>(lent_));
}

void DpdkFrames::receive(Nanoseconds now) {
  if (!counted_) count_port();
  now_ = now;
  frame_count_ = piece_count_ = 0;
  deadline_ = never_ns;
  if (queued_count_ > 0) flush();
  if (lane_count_ > 1) take_handed();
  std::array<rte_mbuf*, burst_max> burst;
  const auto wanted = static_cast<uint16_t>(burst_max - frame_count_);
  const uint16_t got = rte_eth_rx_burst(port_.number(), static_cast<uint16_t>(config_.lane), burst.data(), wanted);
  for (uint16_t i = 0; i < got; ++i) take(burst[i]);
  quiet_ = got == 0 && frame_count_ == 0;
  return_to_pool();
  if (lane_count_ > 1) {
    lend();
    for (uint32_t lane = 0; lane < lane_count_; ++lane) {
      if (!wake_due_[lane]) continue;
      wake_due_[lane] = false;
      config_.wake(lane);
    }
  }
  if (quiet_ && attachments_->in_flight > 0) reap();
  if (queued_count_ > 0 || attachments_->in_flight > 0) deadline_ = now + retry_ns;
  if (!quiet_) deadline_ = 0;
}

void DpdkFrames::take(rte_mbuf* frame) {
  ++statistics_.received;
  statistics_.received_bytes += frame->pkt_len;
  if (lane_count_ > 1) {
    const std::span<const std::byte> head(rte_pktmbuf_mtod(frame, const std::byte*), frame->data_len);
    const Destination to = lane_of_frame(head, port_.config().lanes);
    if (to.kind == FrameFor::every_lane) {
      for (uint32_t lane = 0; lane < lane_count_; ++lane) {
        if (lane != config_.lane) hand_over(frame, lane);
      }
    } else if (to.lane != config_.lane) {
      hand_over(frame, to.lane);
      return rte_pktmbuf_free(frame);
    }
  }
  const bool too_many = frame->nb_segs > frame_pieces_max;
  if (too_many || (frame->pkt_len > short_frame_bytes && scarce())) {
    ++statistics_.dropped_reserve;
    return rte_pktmbuf_free(frame);
  }
  open(frame, checksums_verified(*frame));
}

void DpdkFrames::open(rte_mbuf* frame, bool verified) {
  Frame& taken = frames_[frame_count_++];
  taken = {.first_piece = piece_count_, .piece_count = 0, .checksums_verified = verified};
  const auto* head = rte_pktmbuf_mtod(frame, const std::byte*);
  if (const uint32_t at = payload_at(head, frame->data_len, frame->pkt_len); at != 0) {
    ++statistics_.payload_frames;
    const std::byte* payload = head + at;
    if (at >= frame->data_len && frame->next != nullptr)
      payload = rte_pktmbuf_mtod(frame->next, const std::byte*) + (at - frame->data_len);
    statistics_.payload_frames_aligned += reinterpret_cast<uint64_t>(payload) % shape_.alignment_bytes == 0;
  }
  for (rte_mbuf* segment = frame; segment != nullptr;) {
    rte_mbuf* next = segment->next;
    const BufferIndex buffer = arena_.buffer_of(static_cast<std::byte*>(segment->buf_addr));
    buffers_.open_units(buffer, static_cast<uint16_t>(shape_.units), Holder::device);
    pieces_[piece_count_++] = {rte_pktmbuf_mtod(segment, std::byte*), segment->data_len, buffer};
    ++taken.piece_count;
    ++held_;
    // As the pool wants them back.
    segment->next = nullptr;
    segment->nb_segs = 1;
    segment = next;
  }
}

void DpdkFrames::release(std::span<const BufferIndex> buffers) {
  for (const BufferIndex buffer : buffers) {
    const uint32_t unit = buffer.value - config_.first_unit;
    check(unit < mbufs_.size() && mbufs_[unit] != nullptr, "buffer of another", buffer.value);
    --held_;
    put_back(mbufs_[unit]);
  }
}

void DpdkFrames::put_back(rte_mbuf* segment) {
  if (returning_count_ == burst_max) return_to_pool();
  returning_[returning_count_++] = segment;
}

void DpdkFrames::return_to_pool() {
  if (returning_count_ == 0) return;
  rte_mempool_put_bulk(receive_pool_, reinterpret_cast<void**>(returning_.data()), returning_count_);
  returning_count_ = 0;
}

// ------------------------------------------------------------------------------------------------------- hand-over

void DpdkFrames::hand_over(rte_mbuf* frame, uint32_t to) {
  HandOverLink& link = port_.hand_over().link(config_.lane, to);
  HandedFrame place;
  if (!link.empty.pop(place)) {
    ++statistics_.dropped_hand_over;
    return;
  }
  place.length = 0;
  if (frame->pkt_len <= place.room) {
    for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next) {
      std::memcpy(place.data + place.length, rte_pktmbuf_mtod(segment, const std::byte*), segment->data_len);
      place.length += segment->data_len;
    }
  }
  place.checksums_verified = checksums_verified(*frame);
  ++statistics_.handed_out;
  // Room for every buffer that was lent.
  check(link.filled.push(place), "more frames than buffers were lent", to);
  wake_due_[to] = true;
}

void DpdkFrames::lend() {
  for (uint32_t from = 0; from < lane_count_; ++from) {
    if (from == config_.lane) continue;
    HandOverQueue& empty = port_.hand_over().link(from, config_.lane).empty;
    while (lent_to_[from] < lend_max_) {
      rte_mbuf* mbuf = rte_mbuf_raw_alloc(receive_pool_);
      if (mbuf == nullptr) return;
      const HandedFrame place{.owner = mbuf,
                              .data = static_cast<std::byte*>(mbuf->buf_addr) + RTE_PKTMBUF_HEADROOM,
                              .room = shape_.room_bytes - RTE_PKTMBUF_HEADROOM};
      check(empty.push(place), "more buffers lent than a queue holds", from);
      ++lent_to_[from];
      ++lent_;
    }
  }
}

void DpdkFrames::take_handed() {
  for (uint32_t from = 0; from < lane_count_; ++from) {
    if (from == config_.lane) continue;
    HandOverQueue& filled = port_.hand_over().link(from, config_.lane).filled;
    HandedFrame handed;
    while (frame_count_ < burst_max && filled.pop(handed)) {
      --lent_to_[from];
      --lent_;
      ++statistics_.handed_in;
      auto* mbuf = static_cast<rte_mbuf*>(handed.owner);
      mbuf->data_off = RTE_PKTMBUF_HEADROOM;
      mbuf->data_len = static_cast<uint16_t>(handed.length);
      mbuf->pkt_len = handed.length;
      if (handed.length == 0 || (handed.length > short_frame_bytes && scarce())) {
        ++statistics_.dropped_reserve;
        put_back(mbuf);
        continue;
      }
      open(mbuf, handed.checksums_verified);
    }
  }
}

// --------------------------------------------------------------------------------------------------------- sending

rte_mbuf* DpdkFrames::attach(const Piece& piece) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(attach_pool_);
  if (mbuf == nullptr) return nullptr;
  Attachments::Entry* entry = attachments_->take(piece.buffer);
  if (entry == nullptr) {
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  const rte_iova_t iova =
      rte_eal_iova_mode() == RTE_IOVA_PA ? rte_mem_virt2iova(piece.data) : reinterpret_cast<rte_iova_t>(piece.data);
  rte_pktmbuf_attach_extbuf(mbuf, piece.data, iova, static_cast<uint16_t>(piece.length), &entry->shared);
  mbuf->data_off = 0;
  mbuf->data_len = static_cast<uint16_t>(piece.length);
  return mbuf;
}

// nullptr: no memory now; nothing was taken.
rte_mbuf* DpdkFrames::build(const TransmitFrame& frame) {
  rte_mbuf* head = rte_pktmbuf_alloc(head_pool_);
  if (head == nullptr) return nullptr;
  const Piece& headers = frame.pieces.front();
  std::byte* at = rte_pktmbuf_mtod(head, std::byte*);
  std::memcpy(at, headers.data, headers.length);
  uint32_t payload_bytes = 0;
  for (const Piece& piece : frame.pieces.subspan(1)) payload_bytes += piece.length;
  head->data_len = static_cast<uint16_t>(headers.length);
  head->pkt_len = headers.length + payload_bytes;

  if (payload_bytes <= copied_payload_bytes_max || !port_.multi_segment()) {
    for (const Piece& piece : frame.pieces.subspan(1)) {
      std::memcpy(at + head->data_len, piece.data, piece.length);
      head->data_len = static_cast<uint16_t>(head->data_len + piece.length);
      buffers_.release(piece.buffer, Holder::send);
    }
    statistics_.sent_copied_bytes += payload_bytes;
  } else {
    rte_mbuf* last = head;
    for (const Piece& piece : frame.pieces.subspan(1)) {
      rte_mbuf* next = attach(piece);
      if (next == nullptr) {
        // The references of what was attached stay the caller's.
        for (rte_mbuf* each = head->next; each != nullptr; each = each->next) {
          auto* entry = static_cast<Attachments::Entry*>(each->shinfo->fcb_opaque);
          buffers_.hold(entry->buffer, Holder::send);
        }
        rte_pktmbuf_free(head);
        return nullptr;
      }
      last->next = next;
      last = next;
      ++head->nb_segs;
    }
  }
  buffers_.release(headers.buffer, Holder::send);

  if (!frame.fill_checksums) return head;
  const uint32_t network = frame.network_header_at, transport = frame.transport_header_at;
  const bool v4 = static_cast<uint8_t>(at[network]) >> 4 == 4;
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(at + transport);
  head->l2_len = network & 0x7f;
  head->l3_len = (transport - network) & 0x1ff;
  head->l4_len = static_cast<uint8_t>((tcp->data_off >> 4) * 4);
  head->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6);
  if (frame.segment_payload_bytes != 0) {
    head->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    head->tso_segsz = frame.segment_payload_bytes;
    // For a frame that is cut, DPDK wants the sum without the length.
    tcp->cksum = v4 ? rte_ipv4_phdr_cksum(reinterpret_cast<rte_ipv4_hdr*>(at + network), head->ol_flags)
                    : rte_ipv6_phdr_cksum(reinterpret_cast<rte_ipv6_hdr*>(at + network), head->ol_flags);
  }
  return head;
}

bool DpdkFrames::transmit(const TransmitFrame& frame) {
  // All lanes have the same addresses and hear the same questions: one of them speaks.
  if (config_.lane != 0 && frame.pieces.size() == 1 &&
      about_addresses({frame.pieces.front().data, frame.pieces.front().length})) {
    buffers_.release(frame.pieces.front().buffer, Holder::send);
    return true;
  }
  if (queued_count_ == burst_max) flush();
  rte_mbuf* built = queued_count_ < burst_max ? build(frame) : nullptr;
  if (built == nullptr) {
    reap();
    deadline_ = std::min(deadline_, now_ + retry_ns);
    return false;
  }
  queued_[queued_count_++] = built;
  ++statistics_.sent;
  statistics_.sent_bytes += built->pkt_len;
  return true;
}

void DpdkFrames::flush() {
  if (queued_count_ == 0) return;
  const auto queue = static_cast<uint16_t>(config_.lane);
  const uint16_t ready =
      rte_eth_tx_prepare(port_.number(), queue, queued_.data(), static_cast<uint16_t>(queued_count_));
  uint32_t gone = rte_eth_tx_burst(port_.number(), queue, queued_.data(), ready);
  if (gone > 0) {
    stuck_since_ = never_ns;
  } else if (stuck_since_ == never_ns) {
    stuck_since_ = now_;
  } else if (now_ - stuck_since_ > stuck_max_ns) {
    rte_pktmbuf_free(queued_[0]);
    ++statistics_.dropped_send;
    gone = 1;
  }
  std::copy(queued_.begin() + gone, queued_.begin() + queued_count_, queued_.begin());
  queued_count_ -= gone;
  if (queued_count_ > 0 || attachments_->in_flight > 0) deadline_ = std::min(deadline_, now_ + retry_ns);
}

// What the port has sent and still holds comes back also when nothing more is sent.
void DpdkFrames::reap() {
  const auto queue = static_cast<uint16_t>(config_.lane);
  if (rte_eth_tx_done_cleanup(port_.number(), queue, 0) == -ENOTSUP)
    rte_eth_tx_burst(port_.number(), queue, nullptr, 0);
}

void DpdkFrames::take_back() {
  for (uint32_t i = 0; i < queued_count_; ++i) rte_pktmbuf_free(queued_[i]);
  queued_count_ = 0;
  return_to_pool();
}

// -------------------------------------------------------------------------------------------------------- sleeping

void DpdkFrames::begin_interrupts() {
  if (interrupts_given_up_ || !port_.interrupts()) return;
  if (interrupt_file_ < 0) find_interrupt();
  if (interrupt_file_ < 0) return give_up_interrupts("there is no file for them");
  // Where they are always on, as those of a tap device, there is no such call.
  const int result = rte_eth_dev_rx_intr_enable(port_.number(), static_cast<uint16_t>(config_.lane));
  if (result != 0 && result != -ENOTSUP) give_up_interrupts("they cannot be switched on");
}

void DpdkFrames::end_interrupts() {
  if (interrupt_file_ < 0) return;
  rte_eth_dev_rx_intr_disable(port_.number(), static_cast<uint16_t>(config_.lane));
  uint64_t count = 0;
  if (interrupt_counts_) (void)!::read(interrupt_file_, &count, sizeof count);
}

void DpdkFrames::give_up_interrupts(const char* why) {
  end_interrupts();
  interrupt_file_ = -1;
  interrupts_given_up_ = true;
  port_.config().warn("lane " + std::to_string(config_.lane) + " does without receive interrupts and looks again after " +
                      "50 us to 1 ms: " + why);
}

void DpdkFrames::find_interrupt() {
  interrupt_file_ = rte_eth_dev_rx_intr_ctl_q_get_fd(port_.number(), static_cast<uint16_t>(config_.lane));
  if (interrupt_file_ < 0) return;
  std::error_code error;
  const auto target = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(interrupt_file_), error);
  interrupt_counts_ = target == "anon_inode:[eventfd]";
}

}  // namespace penstock
