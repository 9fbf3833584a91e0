// Products of a few rows with a packed weight, at one level.
//
// A tile is R rows by one panel of 2 * LANES outputs; its sums stay in registers while the inputs
// go by. R is a template parameter, so that all loops over it are unrolled: an accumulator whose
// number is only known at run time would live in memory. Each output is summed in the order of the
// inputs whatever R is, so that a row's result does not depend on the rows beside it.
#pragma once

#include "levels.h"
#include "vectors.h"

namespace memtx {
namespace {

constexpr int PANEL = 2 * LANES;
constexpr int MOST_ROWS = LANES == 16 ? 8 : 6;  // 2 R sums and a few more fill the registers

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr int INPUT_SHIFT = 128;  // the instruction wants unsigned inputs
#else
constexpr int INPUT_SHIFT = 0;
#endif

#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
constexpr int PARTS = 2;  // sizes, then signs
#else
constexpr int PARTS = 1;
#endif

inline int whole_fours(int n) { return (n + 3) / 4 * 4; }

size_t row_bytes(int inputs) { return static_cast<size_t>(PARTS) * whole_fours(inputs); }

// One row as integers of -127 to 127: x / scale to the nearest, ties to even. A row with a NaN or
// an infinity has the scale NaN.
void round_row(const float* x, int inputs, uint8_t* out, float* scale, int32_t* shift) {
  Floats most = {}, zeros = {};
  for (int i = 0; i < inputs; i += LANES) {
    const Floats v = load_some(x + i, inputs - i);
    most = larger(larger(v, -v), most);
    zeros += v * 0.0f;
  }
  const float size = largest(most);
  const float inverse = size > 0 ? 127.0f / size : 0.0f;
  *scale = size / 127.0f + sum(zeros);
  const int depth = whole_fours(inputs);
  int32_t negative = 0;
  int32_t whole[LANES];
  for (int i = 0; i < depth; i += LANES) {
    const Floats v = i < inputs ? load_some(x + i, inputs - i) : Floats{};
    const Ints n = __builtin_convertvector(round_to_whole(v * inverse), Ints);
    memcpy(whole, &n, sizeof whole);
    const int count = depth - i < LANES ? depth - i : LANES;
    for (int j = 0; j < count; j++) {
      if (PARTS == 1) {
        out[i + j] = static_cast<uint8_t>(whole[j] + INPUT_SHIFT);
        continue;
      }
      const int32_t sign = whole[j] >> 31;  // 0 or -1
      const int32_t absolute = (whole[j] ^ sign) - sign;
      out[i + j] = static_cast<uint8_t>(absolute);
      out[depth + i + j] = static_cast<uint8_t>(sign);
      negative += absolute & sign;
    }
  }
  *shift = negative;
}

void round_rows(const float* x, int rows, int inputs, const IntRows& out) {
  for (int n = 0; n < rows; n++)
    round_row(x + static_cast<size_t>(n) * inputs, inputs, out.bytes + n * out.stride,
              out.scales + n, out.shifts + n);
}

// --- Sums to outputs -----------------------------------------------------------------------------

// One vector of outputs of a row, from output `o` on.
inline void finish_floats(const Packed& w, Floats y, int row, int o, const Finish& f) {
  const int count = w.outputs - o;
  if (count <= 0) return;
  y += load(w.bias + o);
  if (f.relu) y = larger(Floats{}, y);
  const size_t at = row * f.stride + o;
  if (f.add != nullptr) y += load_some(f.add + at, count);
  store_some(f.out + at, y, count);
}

inline void finish_ints(const Packed& w, Ints sums, int row, float scale, int o, const Finish& f) {
  const int count = w.outputs - o;
  if (count <= 0) return;
  sums -= *reinterpret_cast<const LooseInts*>(w.offsets + o);
  if (f.raw != nullptr) {
    memcpy(f.raw + row * f.stride + o, &sums, sizeof(int32_t) * (count < LANES ? count : LANES));
    return;
  }
  const Floats y = __builtin_convertvector(sums, Floats) * (load(w.scales + o) * scale);
  finish_floats(w, y, row, o, f);
}

// --- Tiles ---------------------------------------------------------------------------------------

template <int R>
void float_tile(const Packed& w, const float* x, int panel, int first, const Finish& f) {
  const float* weight = w.floats + static_cast<size_t>(panel) * w.inputs * PANEL;
  const size_t stride = w.inputs;
  x += first * stride;
  Floats sums[R][2] = {};
  for (int k = 0; k < w.inputs; k++, weight += PANEL) {
    const Floats left = load(weight), right = load(weight + LANES);
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const Floats v = spread(x[r * stride + k]);
      sums[r][0] += v * left;
      sums[r][1] += v * right;
    }
  }
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    finish_floats(w, sums[r][0], first + r, panel * PANEL, f);
    finish_floats(w, sums[r][1], first + r, panel * PANEL + LANES, f);
  }
}

inline int32_t four_bytes(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return four;
}

// The sums (R, PANEL) of the products of integers; `bytes` is the first row.
template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
              const int32_t* shifts, bool nonnegative, Ints (&out)[R][2]);

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

// vpdpbusd adds to each lane the products of four unsigned inputs with four signed weights. Written
// as assembly: GCC 12 copies the sums of the intrinsic from register to register, which takes half
// of the speed. A NOT YET RUN warning stands in docs/engine.md for levels that nobody could test.
#if defined(__AVX512VNNI__)
#define MEMTX_DOT(sums, inputs, weights) \
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(inputs), "v"(weights))
#else
#define MEMTX_DOT(sums, inputs, weights) \
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(inputs), "x"(weights))
#endif

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[R][2]) {
  Ints sums[R][2] = {};
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    const Ints left = *reinterpret_cast<const LooseInts*>(weight);
    const Ints right = *reinterpret_cast<const LooseInts*>(weight + 4 * LANES);
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const Ints inputs = four_bytes(bytes + r * stride + k) - Ints{};
      MEMTX_DOT(sums[r][0], inputs, left);
      MEMTX_DOT(sums[r][1], inputs, right);
    }
  }
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    out[r][0] = sums[r][0];
    out[r][1] = sums[r][1];
  }
}

#elif defined(__AVX2__)

// maddubs multiplies unsigned bytes with signed ones and adds pairs to 16 bits, madd with ones adds
// pairs of these to 32. With sizes of up to 127 and weights of -128 to 127 no pair overflows. A
// negative input flips its weights' bits, which makes -w - 1 of w: what that lacks, the sum of the
// negative inputs' sizes, is the same for all outputs, and is the row's shift.
inline Ints add_four_products(Ints sums, __m256i sizes, __m256i weights) {
  const __m256i pairs = _mm256_maddubs_epi16(sizes, weights);
  return sums + (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

template <int R, bool SIGNED>
void signed_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
                 Ints (&sums)[R][2]) {
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(weight));
    const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(weight + 32));
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const uint8_t* row = bytes + r * stride + k;
      const __m256i sizes = _mm256_set1_epi32(four_bytes(row));
      const __m256i signs =
          SIGNED ? _mm256_set1_epi32(four_bytes(row + depth)) : _mm256_setzero_si256();
      const __m256i flipped_left = SIGNED ? _mm256_xor_si256(left, signs) : left;
      const __m256i flipped_right = SIGNED ? _mm256_xor_si256(right, signs) : right;
      sums[r][0] = add_four_products(sums[r][0], sizes, flipped_left);
      sums[r][1] = add_four_products(sums[r][1], sizes, flipped_right);
    }
  }
}

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
              const int32_t* shifts, bool nonnegative, Ints (&out)[R][2]) {
  Ints sums[R][2] = {};
  if (nonnegative)
    signed_sums<R, false>(weight, bytes, stride, depth, sums);
  else
    signed_sums<R, true>(weight, bytes, stride, depth, sums);
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    out[r][0] = sums[r][0] + shifts[r];
    out[r][1] = sums[r][1] + shifts[r];
  }
}

#elif defined(__ARM_FEATURE_DOTPROD)

// vdotq adds to each lane the products of four signed inputs with four signed weights.
template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[R][2]) {
  int32x4_t sums[R][2];
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) sums[r][0] = sums[r][1] = vdupq_n_s32(0);
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    const int8x16_t left = vld1q_s8(weight), right = vld1q_s8(weight + 16);
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const int8x16_t inputs =
          vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(bytes + r * stride + k)));
      sums[r][0] = vdotq_s32(sums[r][0], left, inputs);
      sums[r][1] = vdotq_s32(sums[r][1], right, inputs);
    }
  }
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    out[r][0] = (Ints)sums[r][0];
    out[r][1] = (Ints)sums[r][1];
  }
}

#else

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[R][2]) {
  int32_t sums[R][PANEL] = {};
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL)
    for (int r = 0; r < R; r++) {
      int32_t inputs[4];
      for (int i = 0; i < 4; i++) inputs[i] = static_cast<int8_t>(bytes[r * stride + k + i]);
      for (int o = 0; o < PANEL; o++)
        for (int i = 0; i < 4; i++) sums[r][o] += inputs[i] * weight[4 * o + i];
    }
  memcpy(out, sums, sizeof sums);
}

#endif

template <int R>
void int_tile(const Packed& w, const IntRows& x, int panel, int first, const Finish& f) {
  Ints sums[R][2];
  int_sums<R>(w.ints + static_cast<size_t>(panel) * w.depth * PANEL, x.bytes + first * x.stride,
              x.stride, w.depth, x.shifts + first, x.nonnegative, sums);
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    const int row = first + r;
    finish_ints(w, sums[r][0], row, x.scales[row], panel * PANEL, f);
    finish_ints(w, sums[r][1], row, x.scales[row], panel * PANEL + LANES, f);
  }
}

// --- All rows and panels -------------------------------------------------------------------------

// Call `tile<R>(panel, first row)` for all panels and groups of at most MOST_ROWS rows, as even as
// can be. A panel stays in the nearest cache while all rows meet it.
#define MEMTX_FOR_TILES(tile, w, x, rows, finish)                             \
  const int panels = ((w).outputs + PANEL - 1) / PANEL;                       \
  const int groups = ((rows) + MOST_ROWS - 1) / MOST_ROWS;                    \
  for (int p = 0; p < panels; p++)                                            \
    for (int g = 0, first = 0; g < groups; g++) {                             \
      const int size = ((rows) - first + groups - g - 1) / (groups - g);      \
      switch (size) {                                                         \
        case 1: tile<1>(w, x, p, first, finish); break;                       \
        case 2: tile<2>(w, x, p, first, finish); break;                       \
        case 3: tile<3>(w, x, p, first, finish); break;                       \
        case 4: tile<4>(w, x, p, first, finish); break;                       \
        case 5: tile<5>(w, x, p, first, finish); break;                       \
        case 6: tile<6>(w, x, p, first, finish); break;                       \
        case 7: tile<(MOST_ROWS > 6 ? 7 : 1)>(w, x, p, first, finish); break; \
        default: tile<MOST_ROWS>(w, x, p, first, finish); break;              \
      }                                                                       \
      first += size;                                                          \
    }

void float_product(const Packed& w, const float* x, int rows, const Finish& finish) {
  MEMTX_FOR_TILES(float_tile, w, x, rows, finish)
}

void int_product(const Packed& w, const IntRows& x, int rows, const Finish& finish) {
  MEMTX_FOR_TILES(int_tile, w, x, rows, finish)
}

#undef MEMTX_FOR_TILES

}  // namespace
}  // namespace memtx
