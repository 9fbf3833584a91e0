// The compressed states of one layer (Rae et al. 2019, arXiv 1911.05507, Algorithm 1), as keys and
// values.
//
// Segments end for all rows at once, so that all rows of a sentence have equally many. Like the
// entries of `past` they lie in slots of their own, found by a list for each row.
//
// Size legend: B sentences, K beam, N rows, C model dimension.
#pragma once

#include <vector>

#include "memory.h"

namespace memtx {

// The attention that the states of each row's memory have received, the oldest first: a number for
// each of N rows and of `most` states.
class Received {
 public:
  // Forget everything.
  void start(int sentences, int beam, int most);
  float* of(int n) { return numbers_.data() + static_cast<size_t>(n) * most_; }
  // The oldest `gone` states of a row leave the memory; as many new ones have received nothing.
  void drop(int gone, int n);
  // As `Past::move`.
  void move(int rows, const std::vector<int>& kept, const std::vector<int>& parents);

 private:
  int beam_ = 0, most_ = 0;
  Buffer<float> numbers_, next_;
};

class Compressed {
 public:
  // Forget everything. The last `most` stay in view; at most `at_once` are added together.
  void start(int sentences, int beam, int dim, int most, int at_once);

  // Make room for `count` more of a sentence, whose `rows` rows are those from `first_row` of all
  // rows on; the i-th of them is then written for each.
  void add(int count, int sentence, int first_row, int rows);
  void write(int i, int sentence, int row, const float* key, const float* value);
  // As `Past::move`.
  void move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
            const std::vector<int>& parents);

  int count(int sentence) const { return counts_[sentence]; }
  const int32_t* list(int n) const { return lists_.data() + static_cast<size_t>(n) * most_; }
  const float* keys(int sentence) const { return keys_.data() + at(sentence, 0); }
  const float* values(int sentence) const { return values_.data() + at(sentence, 0); }

 private:
  size_t at(int sentence, int slot) const {
    return (static_cast<size_t>(sentence) * ring_ * beam_ + slot) * dim_;
  }
  int slot(int number, int row) const { return number % ring_ * beam_ + row; }

  int beam_ = 0, dim_ = 0, most_ = 0, ring_ = 0;
  // Of each sentence: how many were made, before the last addition too, and how many of them, the
  // last ones, are in view.
  std::vector<int> made_, made_before_, counts_;
  Buffer<float> keys_, values_;   // (B, ring, K, C)
  Buffer<int32_t> lists_, next_;  // (N, most)
};

}  // namespace memtx
