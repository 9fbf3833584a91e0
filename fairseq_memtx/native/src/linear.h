// Linear maps on packed weights.
//
// Size legend: N rows, I inputs, O outputs.
#pragma once

#include <vector>

#include "levels.h"
#include "memory.h"

namespace memtx {

// A weight as it is given: rows of inputs, one for each output. Not owned.
struct WeightRows {
  int outputs = 0, inputs = 0;
  const float* floats = nullptr;  // (O, I), or
  const int8_t* ints = nullptr;   // (O, I) with
  const float* scales = nullptr;  // (O,)
  const float* bias = nullptr;    // (O,) or null
  const int32_t* sums = nullptr;  // (O,) of the integers of each row; null where not known
};

// The sums of rows of integers; none where they are floats.
std::vector<int32_t> sums_of(const WeightRows& rows);

// Room for the rounded inputs of one product at a time.
struct RoundingRoom {
  Buffer<uint8_t> bytes;
  Buffer<float> scales;
  Buffer<int32_t> shifts;
};

struct Use {
  const float* add = nullptr;  // (N, O), added to the output; may be the output itself
  bool relu = false;           // of the output, before `add`
  bool nonnegative = false;    // the inputs are
};

class Linear {
 public:
  Linear() = default;
  // All outputs, or the `chosen` ones.
  Linear(const Kernels& kernels, const WeightRows& rows);
  Linear(const Kernels& kernels, const WeightRows& rows, const std::vector<int32_t>& chosen);

  int inputs() const { return packed_.inputs; }
  int outputs() const { return packed_.outputs; }

  // out (N, O) of x (N, I).
  void apply(const Kernels& kernels, const float* x, int rows, float* out, RoundingRoom& room,
             const Use& use = Use()) const;

  // The sums of products of integers (N, O), for tests.
  void raw_product(const Kernels& kernels, const float* x, int rows, int32_t* out) const;

 private:
  void pack(const Kernels& kernels, const WeightRows& rows, const int32_t* chosen);
  void pack_ints(const Kernels& kernels, const WeightRows& rows, const int32_t* chosen);
  void pack_floats(const WeightRows& rows, const int32_t* chosen, int panel);

  Packed packed_ = {};
  Buffer<int8_t> ints_;
  Buffer<float> floats_, scales_, bias_;
  Buffer<int32_t> offsets_;
};

}  // namespace memtx
