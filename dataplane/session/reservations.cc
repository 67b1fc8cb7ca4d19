#include "dataplane/session/reservations.h"

namespace penstock {

Reservations::Reservations(uint64_t total, uint64_t largest, uint32_t connection_count)
    : total_(total), largest_(largest), nodes_(std::make_unique<Node[]>(connection_count)) {
  check(largest * 2 <= total, "reservations: one largest request must leave half of the budget",
        static_cast<long long>(largest), static_cast<long long>(total));
}

bool Reservations::fits(uint64_t cost, Class from) const {
  const uint64_t shared = total_ - largest_;
  if (used_[0] + used_[1] + cost > shared) return false;
  return from == Class::proven || used_[index(Class::newcomer)] + cost <= shared / 2;
}

Reservations::Grant Reservations::request(uint32_t connection, uint64_t cost, Class from) {
  check(cost > 0 && cost <= largest_, "reservation out of range", static_cast<long long>(cost),
        static_cast<long long>(largest_));
  Node& node = nodes_[connection];
  check(!node.waiting, "reservation: connection waits already", connection);
  Queue& queue = queues_[index(from)];
  if (queue.head == none && fits(cost, from)) {
    used_[index(from)] += cost;
    return {cost, from, false};
  }
  node.cost = cost;
  node.from = from;
  node.waiting = true;
  node.next = none;
  node.previous = queue.tail;
  (queue.tail == none ? queue.head : nodes_[queue.tail].next) = connection;
  queue.tail = connection;
  ++waiting_;
  return {};
}

uint32_t Reservations::grant_next(Grant& grant) {
  // Those who finish what they begin go first; then newcomers in their half; then the reserve, by turns.
  for (const Class from : {Class::proven, Class::newcomer}) {
    const uint32_t head = queues_[index(from)].head;
    if (head == none || !fits(nodes_[head].cost, from)) continue;
    grant = {nodes_[head].cost, from, false};
    used_[index(from)] += grant.cost;
    stop_waiting(head);
    return head;
  }
  if (reserve_used_) return none;
  Class from = proven_had_reserve_ ? Class::newcomer : Class::proven;
  if (queues_[index(from)].head == none) from = from == Class::proven ? Class::newcomer : Class::proven;
  const uint32_t head = queues_[index(from)].head;
  if (head == none) return none;
  grant = {nodes_[head].cost, from, true};
  reserve_used_ = true;
  reserve_cost_ = grant.cost;
  proven_had_reserve_ = from == Class::proven;
  stop_waiting(head);
  return head;
}

void Reservations::release(const Grant& grant) {
  if (grant.cost == 0) return;
  if (grant.reserve) {
    check(reserve_used_, "reserve released twice");
    reserve_used_ = false;
    return;
  }
  check(used_[index(grant.from)] >= grant.cost, "more released than was reserved", static_cast<long long>(grant.cost));
  used_[index(grant.from)] -= grant.cost;
}

void Reservations::stop_waiting(uint32_t connection) {
  Node& node = nodes_[connection];
  if (!node.waiting) return;
  Queue& queue = queues_[index(node.from)];
  (node.previous == none ? queue.head : nodes_[node.previous].next) = node.next;
  (node.next == none ? queue.tail : nodes_[node.next].previous) = node.previous;
  node.waiting = false;
  --waiting_;
}

}  // namespace penstock
