#include "parts.h"

#include <cmath>

namespace memtx {
namespace {

constexpr int MOST_INPUTS = 1 << 17;  // sums of 127 * 128 * I must fit into 32 bits
constexpr int MOST_OUTPUTS = 1 << 28;

template <class T>
const T& found(const std::map<std::string, T>& parts, const std::string& name) {
  const auto at = parts.find(name);
  if (at == parts.end()) throw BadCall("the part `" + name + "` is missing");
  return at->second;
}

void check_size(const std::string& name, int inputs, int outputs, int of_inputs, int of_outputs) {
  if (inputs != of_inputs || outputs != of_outputs)
    throw BadCall("the map `" + name + "` must have " + std::to_string(inputs) + " inputs and " +
                  std::to_string(outputs) + " outputs, but has " + std::to_string(of_inputs) +
                  " and " + std::to_string(of_outputs));
}

}  // namespace

void Parts::set_linear(const std::string& name, const WeightRows& rows, bool as_rows) {
  const bool weight = rows.ints != nullptr ? rows.scales != nullptr : rows.floats != nullptr;
  if (!weight || rows.inputs < 1 || rows.outputs < 1)
    throw BadCall("the map `" + name + "` must have a weight of at least one row and column");
  if (rows.inputs > MOST_INPUTS || rows.outputs > MOST_OUTPUTS)
    throw BadCall("the map `" + name + "` is too large");
  if (as_rows)
    rows_[name] = rows;
  else
    linears_[name] = Linear(kernels, rows);
}

double Parts::number(const std::string& name) const { return found(numbers_, name); }

int Parts::whole(const std::string& name, int least, int most) const {
  const double value = number(name);
  if (!(value >= least && value <= most) || value != std::floor(value))
    throw BadCall("the number `" + name + "` must be a whole one of " + std::to_string(least) +
                  " to " + std::to_string(most));
  return static_cast<int>(value);
}

size_t Parts::count(const std::string& name) const { return found(floats_, name).count; }

const float* Parts::floats(const std::string& name, size_t count) const {
  const Span& span = found(floats_, name);
  if (span.count != count)
    throw BadCall("the vector `" + name + "` must have " + std::to_string(count) +
                  " numbers, but has " + std::to_string(span.count));
  return span.values;
}

std::vector<float> Parts::copied(const std::string& name, size_t count) const {
  const float* values = floats(name, count);
  return std::vector<float>(values, values + count);
}

Linear Parts::linear(const std::string& name, int inputs, int outputs) {
  const Linear& part = found(linears_, name);
  check_size(name, inputs, outputs, part.inputs(), part.outputs());
  Linear taken = std::move(linears_[name]);
  linears_.erase(name);
  return taken;
}

WeightRows Parts::rows(const std::string& name, int inputs, int outputs) const {
  const WeightRows& part = found(rows_, name);
  check_size(name, inputs, outputs, part.inputs, part.outputs);
  return part;
}

}  // namespace memtx
