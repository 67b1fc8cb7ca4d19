#include "tests/packets/world.h"

#include <sys/mman.h>

#include <algorithm>
#include <stdexcept>

namespace penstock::packets {

namespace {

// Polls at one moment; more than this is a stack that never comes to rest.
constexpr int polls_max = 20'000;

uint32_t unit_count_of(const Settings& settings) {
  return settings.receive_units + settings.header_units + settings.send_units;
}

std::byte* map(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(at != MAP_FAILED, "no memory for a script's arena", static_cast<long long>(bytes));
  return static_cast<std::byte*>(at);
}

}  // namespace

uint8_t content_at(uint32_t stream, uint64_t position) {
  const uint64_t mixed = (position + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t{stream} + 1) * 0xd6e8feb86659fd93u;
  return static_cast<uint8_t>(mixed >> 40);
}

void World::Unmap::operator()(std::byte* at) const { munmap(at, bytes); }

World::World(const Settings& settings)
    : arena_{nullptr, uint64_t{unit_count_of(settings)} * arena_unit_bytes},
      memory_(map(arena_.size), Unmap{arena_.size}),
      buffers_(unit_count_of(settings)),
      receive_(0, settings.receive_units),
      headers_(settings.receive_units, settings.header_units),
      send_(settings.receive_units + settings.header_units, settings.send_units) {
  arena_.base = memory_.get();
  frames_ = std::make_unique<MemoryFrames>(settings.features, arena_, buffers_, receive_);
  streams_ = std::make_unique<TcpStreams<MemoryFrames>>(settings.config, arena_, buffers_, headers_, *frames_);
}

World::~World() {
  for (const Unsent& each : unsent_) buffers_.release(each.piece.buffer, Holder::send);
}

void World::poll(Nanoseconds now, const Handler& handler) {
  for (int polls = 0; polls < polls_max; ++polls) {
    const uint32_t events = streams_->poll(now, handler);
    give_back();
    offer_unsent();
    streams_->stack().check_invariants();
    if (events > 0 || frames_->waiting()) continue;
    if (streams_->next_deadline() > now || frames_->full()) return;
  }
  throw std::runtime_error("the stack does not come to rest: next_deadline() stays at or before now");
}

void World::send(StreamId id, uint32_t stream, uint64_t position, uint64_t count, uint64_t piece_bytes) {
  while (count > 0) {
    const uint64_t bytes = std::min({count, piece_bytes, uint64_t{arena_unit_bytes} << BufferAllocator::order_max});
    const uint8_t order = BufferAllocator::order_for(bytes);
    const BufferIndex buffer = send_.allocate(order);
    if (buffer == no_buffer) throw std::runtime_error("no buffers to send from: set send_units");
    buffers_.open(buffer, order, Holder::send);
    std::byte* at = arena_.at(buffer);
    for (uint64_t i = 0; i < bytes; ++i) at[i] = std::byte{content_at(stream, position + i)};
    unsent_.push_back({id, {at, static_cast<uint32_t>(bytes), buffer}});
    position += bytes;
    count -= bytes;
  }
  offer_unsent();
}

void World::offer_unsent() {
  std::vector<StreamId> refused;
  std::erase_if(unsent_, [&](const Unsent& each) {
    if (std::find(refused.begin(), refused.end(), each.id) != refused.end()) return false;
    if (streams_->send(each.id, {&each.piece, 1}) == 1) return true;
    refused.push_back(each.id);
    return false;
  });
}

void World::forget_unsent(StreamId id) {
  std::erase_if(unsent_, [&](const Unsent& each) {
    if (each.id != id) return false;
    buffers_.release(each.piece.buffer, Holder::send);
    return true;
  });
}

void World::give_back() {
  for (const BufferIndex& buffer : buffers_.released()) {
    if (send_.owns(buffer)) {
      send_.free(buffer, buffers_.order(buffer));
    } else {
      streams_->release({&buffer, 1});
    }
  }
  buffers_.forget_released();
}

std::string World::receive_leaks() const {
  const uint64_t held =
      buffers_.held(Holder::device) + buffers_.held(Holder::reassembly) + buffers_.held(Holder::request);
  return held == 0 ? "" : buffers_.leak_report();
}

std::string World::end() {
  frames_->give();
  streams_->stack().check_invariants();
  give_back();
  // The streams go before what they refer to; what they let go of then is given back here.
  streams_.reset();
  for (const BufferIndex& buffer : buffers_.released()) {
    BufferAllocator& owner = send_.owns(buffer) ? send_ : headers_.owns(buffer) ? headers_ : receive_;
    owner.free(buffer, buffers_.order(buffer));
  }
  buffers_.forget_released();
  std::string left = buffers_.leak_report();
  for (const BufferAllocator* each : {&receive_, &headers_, &send_}) {
    if (each->free_bytes() != each->bytes() && left.empty()) left = "a buffer was let go of and never given back";
  }
  return left;
}

}  // namespace penstock::packets
