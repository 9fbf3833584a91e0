#include "linear.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace memtx {
namespace {

IntRows rounded(const Kernels& kernels, const float* x, int rows, int inputs, RoundingRoom& room) {
  IntRows found = {};
  found.stride = kernels.row_bytes(inputs);
  found.bytes = room.bytes.fit(times(rows, found.stride));
  found.scales = room.scales.fit(rows);
  found.shifts = room.shifts.fit(rows);
  kernels.round_rows(x, rows, inputs, found);
  return found;
}

int32_t sum_of(const WeightRows& rows, int row) {
  if (rows.sums != nullptr) return rows.sums[row];
  const int8_t* from = rows.ints + static_cast<size_t>(row) * rows.inputs;
  return std::accumulate(from, from + rows.inputs, int32_t{0});
}

}  // namespace

std::vector<int32_t> sums_of(const WeightRows& rows) {
  std::vector<int32_t> found;
  for (int o = 0; rows.ints != nullptr && o < rows.outputs; o++) found.push_back(sum_of(rows, o));
  return found;
}

Linear::Linear(const Kernels& kernels, const WeightRows& rows) {
  packed_.outputs = rows.outputs;
  pack(kernels, rows, nullptr);
}

Linear::Linear(const Kernels& kernels, const WeightRows& rows, const std::vector<int32_t>& chosen) {
  packed_.outputs = static_cast<int>(chosen.size());
  pack(kernels, rows, chosen.data());
}

void Linear::pack(const Kernels& kernels, const WeightRows& rows, const int32_t* chosen) {
  packed_.inputs = rows.inputs;
  packed_.depth = (rows.inputs + 3) / 4 * 4;
  const int panel = kernels.panel, outputs = packed_.outputs;
  const int padded = (outputs + panel - 1) / panel * panel;
  bias_.fit(padded);
  for (int o = 0; o < padded; o++)
    bias_[o] = o < outputs && rows.bias != nullptr ? rows.bias[chosen ? chosen[o] : o] : 0.0f;
  if (rows.ints != nullptr)
    pack_ints(kernels, rows, chosen);
  else
    pack_floats(rows, chosen, panel);
  packed_.bias = bias_.data();
}

void Linear::pack_ints(const Kernels& kernels, const WeightRows& rows, const int32_t* chosen) {
  const int panel = kernels.panel, depth = packed_.depth, outputs = packed_.outputs;
  const int padded = (outputs + panel - 1) / panel * panel, whole = rows.inputs / 4;
  int8_t* to = ints_.fit(times(padded, depth));
  scales_.fit(padded);
  offsets_.fit(padded);
  for (int first = 0; first < padded; first += panel, to += static_cast<size_t>(panel) * depth)
    for (int lane = 0; lane < panel; lane++) {
      const int o = first + lane;
      const bool real = o < outputs;
      // outputs that do not exist repeat the last one and are not stored
      const int row = chosen ? chosen[std::min(o, outputs - 1)] : std::min(o, outputs - 1);
      const int8_t* from = rows.ints + static_cast<size_t>(row) * rows.inputs;
      for (int k = 0; k < whole; k++) memcpy(to + (k * panel + lane) * 4, from + 4 * k, 4);
      if (whole * 4 < depth) {
        int8_t* rest = to + (whole * panel + lane) * 4;
        memset(rest, 0, 4);
        memcpy(rest, from + 4 * whole, rows.inputs - 4 * whole);
      }
      offsets_[o] = kernels.input_shift == 0 ? 0 : kernels.input_shift * sum_of(rows, row);
      scales_[o] = real ? rows.scales[row] : 0.0f;
    }
  packed_.ints = ints_.data();
  packed_.scales = scales_.data();
  packed_.offsets = offsets_.data();
}

void Linear::pack_floats(const WeightRows& rows, const int32_t* chosen, int panel) {
  const int outputs = packed_.outputs, padded = (outputs + panel - 1) / panel * panel;
  float* to = floats_.fit(times(padded, rows.inputs));
  for (int first = 0; first < padded;
       first += panel, to += static_cast<size_t>(panel) * rows.inputs)
    for (int lane = 0; lane < panel; lane++) {
      const int o = std::min(first + lane, outputs - 1), row = chosen ? chosen[o] : o;
      const float* from = rows.floats + static_cast<size_t>(row) * rows.inputs;
      for (int k = 0; k < rows.inputs; k++) to[static_cast<size_t>(k) * panel + lane] = from[k];
    }
  packed_.floats = floats_.data();
}

void Linear::apply(const Kernels& kernels, const float* x, int rows, float* out, RoundingRoom& room,
                   const Use& use) const {
  Finish finish = {};
  finish.out = out;
  finish.stride = packed_.outputs;
  finish.add = use.add;
  finish.relu = use.relu;
  if (packed_.ints == nullptr) {
    kernels.float_product(packed_, x, rows, finish);
    return;
  }
  IntRows inputs = rounded(kernels, x, rows, packed_.inputs, room);
  inputs.nonnegative = use.nonnegative;
  kernels.int_product(packed_, inputs, rows, finish);
}

void Linear::raw_product(const Kernels& kernels, const float* x, int rows, int32_t* out) const {
  RoundingRoom room;
  Finish finish = {};
  finish.raw = out;
  finish.stride = packed_.outputs;
  kernels.int_product(packed_, rounded(kernels, x, rows, packed_.inputs, room), rows, finish);
}

}  // namespace memtx
