// What the engine asks of a processor: a table of functions, one table for each level.
//
// A level is a set of instructions (say AVX2). `kernels.cpp` is compiled once for each with its
// own compiler flags; the rest of the engine is compiled for any processor and calls through the
// table. Nothing here may have code of its own: a function compiled twice with different
// instructions under one name would break the promise.
//
// Size legend: N rows, I inputs, O outputs, H heads, D head dimension, S keys, V words.
#pragma once

#include <cstddef>
#include <cstdint>

// Whether it may ask for an x86 processor's instructions; -DMEMTX_WITHOUT_X86 hides them (a test).
#if defined(__x86_64__) && !defined(MEMTX_WITHOUT_X86)
#define MEMTX_X86 1
#else
#define MEMTX_X86 0
#endif

namespace memtx {

// A linear map's weight, packed for one level: in panels of P outputs, see docs/engine.md.
struct Packed {
  int inputs, outputs;
  int depth;               // inputs of an int8 panel: I rounded up to a multiple of 4
  const int8_t* ints;      // panels (depth / 4, P, 4), or null for a weight in float32
  const float* floats;     // panels (I, P), or null
  const float* scales;     // of the outputs, int8 only; this and the next padded to whole panels
  const int32_t* offsets;  // what the shift of the inputs adds to each output, int8 only
  const float* bias;
};

// Input rows as eight-bit integers, in the layout of one level.
struct IntRows {
  uint8_t* bytes;
  size_t stride;     // bytes of a row
  float* scales;     // of each row
  int32_t* shifts;   // added to all products of a row
  bool nonnegative;  // no row has a negative input
};

// What becomes of a product: out = relu(product + bias) + add.
struct Finish {
  float* out;
  size_t stride;
  const float* add;  // (N, stride) or null; may be `out`
  bool relu;
  int32_t* raw;  // (N, stride): the integers themselves, for tests; null for floats
};

// Attention of several rows over keys that they share.
struct SharedKeys {
  const float* keys;  // (D, key_stride), of one head
  size_t key_stride;  // at least S rounded up to whole vectors
  const float* values;
  size_t value_stride;  // between two keys
  int count;            // S
};

struct Kernels {
  const char* name;
  int panel;        // P: outputs of a panel, a multiple of a vector's floats
  int input_shift;  // added to each integer input
  size_t (*row_bytes)(int inputs);
  void (*round_rows)(const float* x, int rows, int inputs, const IntRows& out);
  void (*int_product)(const Packed& weight, const IntRows& x, int rows, const Finish& finish);
  void (*float_product)(const Packed& weight, const float* x, int rows, const Finish& finish);
  void (*layer_norm)(const float* x, int rows, int dim, const float* weight, const float* bias,
                     float eps, float* out);
  // scores (R, score_stride) = queries (R, query_stride) times keys
  void (*dot_shared)(const float* queries, size_t query_stride, int rows, const SharedKeys& keys,
                     int head_dim, float* scores, size_t score_stride);
  // context (R, out_stride) = or, with `add`, += scores times values
  void (*mix_shared)(const float* scores, size_t score_stride, int rows, const SharedKeys& keys,
                     int head_dim, float* out, size_t out_stride, bool add);
  // scores (H, score_stride) of one row over `count` slots of keys (slots, H * D)
  void (*dot_slots)(const float* query, const float* keys, const int32_t* slots, int count,
                    int heads, int head_dim, float* scores, size_t score_stride);
  void (*mix_slots)(const float* scores, size_t score_stride, const float* values,
                    const int32_t* slots, int count, int heads, int head_dim, float* out, bool add);
  void (*softmax)(float* x, int count);
  // log of the sum of exponentials; the largest of each block of 64 beside it
  float (*log_sum_exp)(const float* x, int count, float* block_largest);
  // places of the numbers with (x - taken) + given > least, in order; how many
  int (*find_greater)(const float* x, int count, float taken, float given, float least,
                      int32_t* places);
  void (*scaled_sum)(float* out, const float* x, float scale, int count);  // out += scale * x
};

constexpr int BLOCK = 64;  // words whose largest logit stands for them

// The table of each level; null where the compiler or its target does not know the level.
const Kernels* portable_kernels();
const Kernels* neon_kernels();
const Kernels* avx2_kernels();
const Kernels* avxvnni_kernels();
const Kernels* avx512_kernels();

}  // namespace memtx
