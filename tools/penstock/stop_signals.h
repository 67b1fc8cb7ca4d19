// SIGTERM and SIGINT, and a way for other threads to end the main thread's wait.
#pragma once

#include <cstdint>

#include "dataplane/base/units.h"

namespace penstock {

class StopSignals {
 public:
  // Blocks both signals in this thread and in those it starts from now on; ignores SIGPIPE.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  enum class Event : uint8_t { signal, woken, timeout };
  Event wait(int timeout_ms);  // negative: for ever
  void wake();                 // any thread

 private:
  int signals_ = -1;
  int woken_ = -1;
};

}  // namespace penstock
