// What a sentence begins with: the memory that the text before it has left, for one model.
//
// Size legend: C model dimension.
#pragma once

#include <cstddef>

namespace memtx {

// Rows of numbers of each of several kinds, oldest first.
struct Kinds {
  int count = 0;                 // rows of each kind
  const float* first = nullptr;  // those of the first kind
  size_t stride = 0;             // numbers from one kind to the next

  const float* of(int kind) const { return first + kind * stride; }
};

struct Carried {
  // Rows of C, the last of them just before the sentence: keys and values of each pair of the
  // Feedback decoder, one kind after the other; inputs of each layer of the others.
  Kinds entries;
  Kinds compressed;  // states of each layer, older than the entries
  Kinds received;    // attention that the entries of each layer have received; of none, nothing
};

}  // namespace memtx
