// The parts of a model as they are handed over: numbers, vectors and linear maps by name.
//
// Names and their meanings are listed in docs/engine.md. A part that is missing or has the wrong
// size is an error that names it.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "linear.h"

namespace memtx {

// What the caller did wrong.
struct BadCall : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Parts {
 public:
  explicit Parts(const Kernels& of_level) : kernels(of_level) {}

  const Kernels& kernels;

  void set_number(const std::string& name, double value) { numbers_[name] = value; }
  // Not copied: the caller keeps them.
  void set_floats(const std::string& name, const float* values, size_t count) {
    floats_[name] = {values, count};
  }
  // Packed at once, or kept as it is (not copied) for shortlists.
  void set_linear(const std::string& name, const WeightRows& rows, bool as_rows);

  double number(const std::string& name) const;
  // A whole number of `least` to `most`.
  int whole(const std::string& name, int least, int most) const;
  bool flag(const std::string& name) const { return whole(name, 0, 1) == 1; }
  bool has_floats(const std::string& name) const { return floats_.count(name) > 0; }
  const float* floats(const std::string& name, size_t count) const;
  std::vector<float> copied(const std::string& name, size_t count) const;
  size_t count(const std::string& name) const;
  // Taken away, so that each is used once.
  Linear linear(const std::string& name, int inputs, int outputs);
  bool has_rows(const std::string& name) const { return rows_.count(name) > 0; }
  WeightRows rows(const std::string& name, int inputs, int outputs) const;

 private:
  struct Span {
    const float* values;
    size_t count;
  };
  std::map<std::string, double> numbers_;
  std::map<std::string, Span> floats_;
  std::map<std::string, Linear> linears_;
  std::map<std::string, WeightRows> rows_;
};

}  // namespace memtx
