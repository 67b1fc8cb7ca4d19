// Which defect is at work: the one that PENSTOCK_MUTATION names. In builds with -Dmutations=true only.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dataplane/base/mutation.h"

namespace penstock {

namespace {

struct Named {
  const char* name;
  Mutation mutation;
};

constexpr Named all[] = {
    {"none", Mutation::none},
#define PENSTOCK_NAMED(name, what) {#name, Mutation::name},
    PENSTOCK_MUTATIONS(PENSTOCK_NAMED)
#undef PENSTOCK_NAMED
};

Mutation named_in_environment() {
  const char* wanted = std::getenv("PENSTOCK_MUTATION");
  if (wanted == nullptr) return Mutation::none;
  for (const Named& each : all) {
    if (std::strcmp(each.name, wanted) == 0) return each.mutation;
  }
  std::fprintf(stderr, "PENSTOCK_MUTATION: there is no defect %s\n", wanted);
  std::exit(2);
}

}  // namespace

const Mutation chosen_mutation = named_in_environment();

}  // namespace penstock
