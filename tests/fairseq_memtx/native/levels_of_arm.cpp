// Every level that the processor has: its own test, and the same integers as the other levels.
#include <cstdio>
#include <cstdlib>

#include "choice.h"
#include "linear.h"

using namespace memtx;

int main() {
  const int rows = 13, inputs = 1030, outputs = 130;
  std::vector<int8_t> weight(inputs * outputs);
  for (auto& w : weight) w = static_cast<int8_t>(rand() % 255 - 127);
  std::vector<float> x(rows * inputs), scales(outputs, 1.0f);
  for (auto& v : x) v = static_cast<float>(rand() % 2001) / 1000.0f - 1.0f;
  std::vector<int32_t> first;
  for (int n = 0; level(n) != nullptr; n++) {
    const Kernels& kernels = *level(n);
    const WeightRows given = {outputs, inputs, nullptr, weight.data(), scales.data(), nullptr};
    std::vector<int32_t> found(rows * outputs);
    Linear(kernels, given).raw_product(kernels, x.data(), rows, found.data());
    if (first.empty()) first = found;
    const bool right = self_test(kernels) && first == found;
    std::printf("%s %s\n", kernels.name, right ? "right" : "wrong");
  }
}
