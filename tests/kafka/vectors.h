// Reads vectors/vectors.txt.
#pragma once

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "dataplane/base/check.h"
#include "dataplane/kafka/wire.h"

namespace penstock::kafka {

struct Vector {
  std::string name;  // Kafka's API name
  std::string kind;  // request or response
  Version version = 0;
  std::string variant;
  std::vector<std::byte> bytes;
  std::string label() const { return name + " " + kind + " " + std::to_string(version) + " " + variant; }
};

inline std::vector<Vector> read_vectors() {
  std::ifstream file(PENSTOCK_KAFKA_VECTORS);
  check(file.good(), "cannot read the vectors");
  std::vector<Vector> vectors;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Vector vector;
    std::string hex;
    words >> vector.name >> vector.kind >> vector.version >> vector.variant >> hex;
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
      vector.bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

inline Vector vector_of(const std::string& label) {
  for (Vector& vector : read_vectors()) {
    if (vector.label() == label) return vector;
  }
  check(false, "no such vector");
  return {};
}

}  // namespace penstock::kafka
