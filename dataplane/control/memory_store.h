// A catalog in memory, for the simulator and tests: what was committed survives a crash of the node, and it can be told
// to fail the two ways a disk does: before the change is safe, or after, when only the answer is lost.
#pragma once

#include <algorithm>
#include <utility>

#include "dataplane/control/catalog_store.h"

namespace penstock {

class MemoryStore final : public CatalogStore {
 public:
  enum class Failure : uint8_t { none, change_lost, answer_lost };

  // The next `count` commits fail in this way.
  void fail_commits(Failure failure, uint32_t count = UINT32_MAX) {
    failure_ = failure;
    failure_count_ = count;
  }
  void fail_loads(bool fail) { load_fails_ = fail; }
  // Commits that failed so.
  uint64_t failed_count(Failure failure) const { return failed_[static_cast<size_t>(failure)]; }
  uint64_t failed_count() const { return failed_[1] + failed_[2]; }
  uint64_t failed_loads() const { return failed_loads_; }
  uint64_t commit_count() const { return commit_count_; }
  const CatalogImage& image() const { return image_; }

  std::expected<CatalogImage, StoreError> load() override {
    if (load_fails_) {
      ++failed_loads_;
      return std::unexpected(StoreError{"memory store: told to fail"});
    }
    return image_;
  }

  std::expected<void, StoreError> commit(const CatalogChange& change) override {
    const Failure failure = failure_count_ > 0 ? failure_ : Failure::none;
    ++failed_[static_cast<size_t>(failure)];
    if (failure_count_ > 0 && failure_count_ != UINT32_MAX) --failure_count_;
    if (failure != Failure::change_lost) {
      apply(change);
      ++commit_count_;
    }
    if (failure != Failure::none) return std::unexpected(StoreError{"memory store: told to fail"});
    return {};
  }

 private:
  void apply(const CatalogChange& change) {
    if (change.node) image_.node = change.node;
    for (const kafka::Uuid& id : change.deleted)
      std::erase_if(image_.topics, [&](const auto& t) { return t.id == id; });
    image_.topics.insert(image_.topics.end(), change.created.begin(), change.created.end());
  }

  CatalogImage image_;
  Failure failure_ = Failure::none;
  uint32_t failure_count_ = 0;
  bool load_fails_ = false;
  uint64_t failed_[3] = {}, failed_loads_ = 0;
  uint64_t commit_count_ = 0;
};

}  // namespace penstock
