#include "dataplane/tcp/flow_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

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

}  // namespace
}  // namespace penstock::tcp
