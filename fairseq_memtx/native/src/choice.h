// Which levels the processor has.
#pragma once

#include "levels.h"

namespace memtx {

// The n-th level of this processor, best first; null where there are no more.
const Kernels* level(int n);
// By its name; null where the processor has none of that name.
const Kernels* level(const char* name);

// Whether the kernels compute what plain loops compute, on small products and rows.
bool self_test(const Kernels& kernels);

}  // namespace memtx
