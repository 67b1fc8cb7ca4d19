// The configuration's table, for people: `penstock config` and docs/CONFIGURATION.md.
#pragma once

#include <string>

namespace penstock {

// Every key with its meaning and default, as a TOML file that changes nothing.
std::string config_as_toml();

// docs/CONFIGURATION.md; a test compares them. `penstock config --markdown > docs/CONFIGURATION.md` renews the page.
std::string config_as_markdown();

}  // namespace penstock
