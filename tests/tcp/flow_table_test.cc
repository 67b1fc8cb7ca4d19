#include "dataplane/tcp/flow_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "dataplane/tcp/index_pool.h"

namespace penstock::tcp {
namespace {

TEST(FlowTable, AgreesWithAMapEvenWhenHashesCollide) {
  for (const uint32_t spread : {3u, 40u, 1u << 30}) {
    FlowTable table(200);
    std::map<uint32_t, uint32_t> model;  // index -> hash
    std::mt19937 random(spread);
    for (int step = 0; step < 20'000; ++step) {
      const auto index = static_cast<uint32_t>(random() % 200);
      if (const auto it = model.find(index); it != model.end()) {
        table.erase(it->second, {FlowKind::connection, index});
        model.erase(it);
      } else {
        model[index] = static_cast<uint32_t>(random()) % spread;
        table.insert(model[index], {FlowKind::connection, index});
      }
      ASSERT_EQ(table.count(), model.size());
      if (step % 10 != 0) continue;
      for (const auto& [known, hash] : model) {
        const FlowPlace place = table.find(hash, [&](FlowPlace p) { return p.index == known; });
        ASSERT_EQ(place.kind, FlowKind::connection);
      }
    }
  }
}

struct Lingerer {
  uint32_t hash = 0, next = no_index, previous = no_index;
  uint64_t deadline = 0;
  bool waits = false;  // in the second list
};

// As core.cc and linger.cc use table, pool and lists: connections that end go on lingering, change the list, are
// evicted by others, reused by a new SYN, and expire.
TEST(FlowTable, LingeringFlowsAgreeWithAMap) {
  constexpr uint32_t connections = 24, steps = 200'000;
  for (const uint32_t lingering_max : {0u, 1u, 2u, 17u}) {
    for (const uint32_t spread : {2u, 50u, 1u << 31}) {
      FlowTable table(connections + lingering_max);
      IndexPool<Lingerer> pool(lingering_max);
      IndexList<Lingerer> lists[2];
      std::map<uint32_t, uint32_t> open, lingering;  // index -> hash
      std::mt19937 random(spread + lingering_max);
      const auto drop = [&](uint32_t index) {
        lists[pool[index].waits].remove(pool, index);
        table.erase(pool[index].hash, {FlowKind::time_wait, index});
        pool.give(index);
        lingering.erase(index);
      };
      for (uint64_t now = 0; now < steps; ++now) {
        for (auto& list : lists) {
          while (list.first() != no_index && pool[list.first()].deadline <= now) drop(list.first());
        }
        const auto index = static_cast<uint32_t>(random() % connections);
        if (const auto it = open.find(index); it == open.end()) {
          open[index] = static_cast<uint32_t>(random()) % spread;
          table.insert(open[index], {FlowKind::connection, index});
        } else {
          uint32_t entry = pool.take();
          const uint32_t oldest = lists[1].first() != no_index ? lists[1].first() : lists[0].first();
          if (entry == no_index && oldest != no_index) {
            drop(oldest);
            entry = pool.take();
          }
          table.erase(it->second, {FlowKind::connection, index});
          if (entry != no_index) {
            pool[entry] = {.hash = it->second, .deadline = now + 60, .waits = random() % 2 == 0};
            table.insert(it->second, {FlowKind::time_wait, entry});
            lists[pool[entry].waits].push_back(pool, entry);
            lingering[entry] = it->second;
          }
          open.erase(it);
        }
        if (!lingering.empty()) {
          const uint32_t some = std::next(lingering.begin(), random() % lingering.size())->first;
          if (random() % 3 == 0) {
            lists[pool[some].waits].remove(pool, some);
            pool[some].waits = true;
            pool[some].deadline = now + 60;
            lists[1].push_back(pool, some);
          } else if (random() % 10 == 0) {
            drop(some);
          }
        }
        ASSERT_EQ(table.count(), open.size() + lingering.size());
        ASSERT_EQ(lists[0].count() + lists[1].count(), pool.taken_count());
        if (now % 64 != 0) continue;
        const auto found = [&](FlowKind kind, const auto& each) {
          return table.find(each.second, [&](FlowPlace p) { return p == FlowPlace{kind, each.first}; }).kind == kind;
        };
        for (const auto& each : open) ASSERT_TRUE(found(FlowKind::connection, each));
        for (const auto& each : lingering) ASSERT_TRUE(found(FlowKind::time_wait, each));
      }
    }
  }
}

}  // namespace
}  // namespace penstock::tcp
