#include "choice.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "linear.h"

#if MEMTX_X86
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace memtx {
namespace {

#if MEMTX_X86

bool has_avx_vnni() {  // which older compilers' __builtin_cpu_supports do not know
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

// avxvnni has run with AVX-512's encoding of its products alone (tests/fairseq_memtx/native/
// test_levels.py): there was no processor that has it. Its self-test stands before its use.
std::vector<const Kernels*> find_levels() {
  std::vector<const Kernels*> found;
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  if (avx512) found.push_back(avx512_kernels());
  if (avx2 && has_avx_vnni()) found.push_back(avxvnni_kernels());
  if (avx2) found.push_back(avx2_kernels());
  found.push_back(portable_kernels());
  return found;
}

#else

bool has_dot_product() {
#if defined(__aarch64__) && defined(__APPLE__)
  return true;  // all of Apple's own processors
#elif defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
#else
  return false;
#endif
}

std::vector<const Kernels*> find_levels() {
  std::vector<const Kernels*> found;
  if (has_dot_product()) found.push_back(neon_kernels());
  found.push_back(portable_kernels());
  return found;
}

#endif

std::vector<const Kernels*> known_levels() {
  std::vector<const Kernels*> known;
  for (const Kernels* kernels : find_levels())
    if (kernels != nullptr) known.push_back(kernels);
  return known;
}

// --- Self-test -----------------------------------------------------------------------------------

// Numbers of -1 to 1 that look random; the same everywhere.
class Numbers {
 public:
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(state_ >> 8) / 8388608.0f - 1.0f;
  }
  std::vector<float> several(size_t count) {
    std::vector<float> found(count);
    for (float& x : found) x = next();
    return found;
  }

 private:
  uint32_t state_ = 1;
};

bool close(float found, double wanted) { return std::fabs(found - wanted) < 1e-4; }

bool test_floats(const Kernels& kernels, int rows, int inputs, int outputs, Numbers& numbers) {
  const auto weight = numbers.several(inputs * outputs), x = numbers.several(rows * inputs);
  const auto bias = numbers.several(outputs);
  std::vector<float> out(rows * outputs);
  RoundingRoom room;
  const WeightRows given = {outputs, inputs, weight.data(), nullptr, nullptr, bias.data()};
  Linear(kernels, given).apply(kernels, x.data(), rows, out.data(), room);
  for (int n = 0; n < rows; n++)
    for (int o = 0; o < outputs; o++) {
      double sum = bias[o];
      for (int k = 0; k < inputs; k++) sum += double(x[n * inputs + k]) * weight[o * inputs + k];
      if (!close(out[n * outputs + o], sum)) return false;
    }
  return true;
}

bool test_ints(const Kernels& kernels, int rows, int inputs, int outputs, Numbers& numbers) {
  auto x = numbers.several(rows * inputs);
  for (int n = 0; n < rows; n++)
    x[n * inputs] = n % 2 ? 1.0f : -1.0f;  // so that the scale is 1/127
  std::vector<int8_t> weight(inputs * outputs);
  for (int8_t& w : weight) w = static_cast<int8_t>(std::lrint(numbers.next() * 127));
  weight[0] = 127, weight[outputs - 1] = -127;
  const std::vector<float> scales(outputs, 1.0f);
  const WeightRows given = {outputs, inputs, nullptr, weight.data(), scales.data(), nullptr};
  std::vector<int32_t> out(rows * outputs);
  Linear(kernels, given).raw_product(kernels, x.data(), rows, out.data());
  for (int n = 0; n < rows; n++)
    for (int o = 0; o < outputs; o++) {
      int32_t sum = 0;
      for (int k = 0; k < inputs; k++)
        sum +=
            static_cast<int32_t>(std::lrint(x[n * inputs + k] * 127.0f)) * weight[o * inputs + k];
      if (out[n * outputs + o] != sum) return false;
    }
  return true;
}

bool test_rows(const Kernels& kernels, int count, Numbers& numbers) {
  const auto x = numbers.several(count);
  double sum = 0.0, mean = 0.0, square = 0.0;
  for (float v : x) sum += std::exp(double(v)), mean += v / static_cast<double>(count);
  for (float v : x) square += (v - mean) * (v - mean) / static_cast<double>(count);
  std::vector<float> largest(count / BLOCK + 1), probs(x), normed(count);
  const std::vector<float> ones(count, 1.0f), zeros(count, 0.0f);
  bool right = close(kernels.log_sum_exp(x.data(), count, largest.data()), std::log(sum));
  kernels.softmax(probs.data(), count);
  kernels.layer_norm(x.data(), 1, count, ones.data(), zeros.data(), 1e-5f, normed.data());
  for (int i = 0; i < count; i++)
    right = right && close(probs[i], std::exp(double(x[i])) / sum) &&
            close(normed[i], (x[i] - mean) / std::sqrt(square + 1e-5));
  return right;
}

}  // namespace

const Kernels* level(int n) {
  static const std::vector<const Kernels*> known = known_levels();
  return n >= 0 && n < static_cast<int>(known.size()) ? known[n] : nullptr;
}

const Kernels* level(const char* name) {
  for (int n = 0; level(n) != nullptr; n++)
    if (strcmp(level(n)->name, name) == 0) return level(n);
  return nullptr;
}

bool self_test(const Kernels& kernels) {
  Numbers numbers;
  bool right = true;
  for (int rows = 1; rows <= 9; rows++) {
    right = right && test_floats(kernels, rows, 17, 37, numbers);
    right = right && test_ints(kernels, rows, 22, 37, numbers);
  }
  for (int count : {1, 5, 16, 37, 200}) right = right && test_rows(kernels, count, numbers);
  return right;
}

}  // namespace memtx
