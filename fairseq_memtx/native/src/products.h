// Products of a few rows with a packed weight, at one level.
//
// A tile is R rows by one panel of VECTORS vectors of outputs; its sums stay in registers while the
// inputs go by. R is a template parameter, so that all loops over it are unrolled: an accumulator
// whose number is only known at run time would live in memory. Each output is summed in the order
// of the inputs whatever R is, so that a row's result does not depend on the rows beside it.
#pragma once

#include "levels.h"
#include "vectors.h"

namespace memtx {
namespace {

// Their sums, VECTORS * MOST_ROWS, and a few more fill the registers. AVX2 takes its weights from
// memory as it computes; few rows by many outputs need the fewest loads.
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
constexpr int VECTORS = 4, MOST_ROWS = 3;
#else
constexpr int VECTORS = 2, MOST_ROWS = LANES == 16 ? 8 : 5;
#endif
constexpr int PANEL = VECTORS * LANES;

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

// Whole numbers of -127 to 127, from x on, as bytes in the layout of the level; the sum of the
// sizes of the negative ones. `n` of LANES are stored.
inline int32_t store_bytes(Ints whole, uint8_t* out, int depth, int n) {
  int32_t numbers[LANES], negative = 0;
  memcpy(numbers, &whole, sizeof numbers);
  for (int j = 0; j < n; j++) {
    if (PARTS == 1) {
      out[j] = static_cast<uint8_t>(numbers[j] + INPUT_SHIFT);
      continue;
    }
    const int32_t sign = numbers[j] >> 31;  // 0 or -1
    const int32_t size = (numbers[j] ^ sign) - sign;
    out[j] = static_cast<uint8_t>(size);
    out[depth + j] = static_cast<uint8_t>(sign);
    negative += size & sign;
  }
  return negative;
}

inline Ints to_whole(const float* x, float inverse) {
  return __builtin_convertvector(round_to_whole(load(x) * inverse), Ints);
}

#if defined(__AVX512VNNI__)

// The head of a row, 16 at a time; how many were done.
int store_head(const float* x, int inputs, float inverse, uint8_t* out, int, int32_t*) {
  int i = 0;
  for (; i + 16 <= inputs; i += 16) {
    const __m512i shifted = (__m512i)(to_whole(x + i, inverse) + INPUT_SHIFT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(shifted));
  }
  return i;
}

#elif defined(__AVX2__)

// The same, 32 at a time. packs narrows two vectors to one, half by half, so that the groups of
// four come out of order: 0 2 4 6 1 3 5 7.
int store_head(const float* x, int inputs, float inverse, uint8_t* out, int depth,
               int32_t* negative) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i lacking = _mm256_setzero_si256();
  int i = 0;
  for (; i + 32 <= inputs; i += 32) {
    const __m256i low = _mm256_packs_epi32((__m256i)to_whole(x + i, inverse),
                                           (__m256i)to_whole(x + i + 8, inverse));
    const __m256i high = _mm256_packs_epi32((__m256i)to_whole(x + i + 16, inverse),
                                            (__m256i)to_whole(x + i + 24, inverse));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    auto* to = reinterpret_cast<__m256i*>(out + i);
    if (PARTS == 1) {
      _mm256_storeu_si256(to, _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)));  // adds 128
      continue;
    }
    const __m256i signs = _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
    const __m256i sizes = _mm256_abs_epi8(bytes);
    _mm256_storeu_si256(to, sizes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + depth + i), signs);
    // sad adds bytes up, eight to a number
    lacking = _mm256_add_epi64(
        lacking, _mm256_sad_epu8(_mm256_and_si256(sizes, signs), _mm256_setzero_si256()));
  }
  int64_t sums[4];
  memcpy(sums, &lacking, sizeof sums);
  *negative += static_cast<int32_t>(sums[0] + sums[1] + sums[2] + sums[3]);
  return i;
}

#else

int store_head(const float*, int, float, uint8_t*, int, int32_t*) { return 0; }

#endif

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
  *shift = 0;
  const int depth = whole_fours(inputs);
  for (int i = store_head(x, inputs, inverse, out, depth, shift); i < depth; i += LANES) {
    const Floats v = i < inputs ? load_some(x + i, inputs - i) : Floats{};
    const Ints whole = __builtin_convertvector(round_to_whole(v * inverse), Ints);
    *shift += store_bytes(whole, out + i, depth, depth - i < LANES ? depth - i : LANES);
  }
}

void round_rows(const float* x, int rows, int inputs, const IntRows& out) {
  for (int n = 0; n < rows; n++)
    round_row(x + static_cast<size_t>(n) * inputs, inputs, out.bytes + n * out.stride,
              out.scales + n, out.shifts + n);
}

// --- Sums to outputs -----------------------------------------------------------------------------

// One vector of outputs of R rows, from output `o` and row `first` on; WHOLE says that all of its
// lanes exist.
template <int R, bool WHOLE>
inline void store_vectors(const Packed& w, const Floats (&sums)[R], int o, int first,
                          const Finish& f) {
  const int count = WHOLE ? LANES : w.outputs - o;
  const size_t stride = f.stride, at = first * stride + o;
  const Floats bias = load(w.bias + o);
  const float* add = f.add;
  const bool relu = f.relu;
  float* out = f.out + at;
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    Floats y = sums[r] + bias;
    if (relu) y = larger(Floats{}, y);
    if (add != nullptr) y += load_some(add + at + r * stride, count);
    store_some(out + r * stride, y, count);
  }
}

template <int R>
inline void store_rows(const Packed& w, const Floats (&sums)[R], int o, int first,
                       const Finish& f) {
  if (w.outputs - o >= LANES)
    store_vectors<R, true>(w, sums, o, first, f);
  else if (w.outputs > o)
    store_vectors<R, false>(w, sums, o, first, f);
}

template <int R>
inline void store_rows(const Packed& w, Ints (&sums)[R], const float* scales, int o, int first,
                       const Finish& f) {
  const int count = w.outputs - o;
  if (count <= 0) return;
  const Ints offsets = *reinterpret_cast<const LooseInts*>(w.offsets + o);
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) sums[r] -= offsets;
  if (f.raw != nullptr) {
    const size_t bytes = sizeof(int32_t) * (count < LANES ? count : LANES);
    for (int r = 0; r < R; r++) memcpy(f.raw + (first + r) * f.stride + o, &sums[r], bytes);
    return;
  }
  const Floats of_outputs = load(w.scales + o);
  Floats products[R];
  MEMTX_UNROLL
  for (int r = 0; r < R; r++)
    products[r] = __builtin_convertvector(sums[r], Floats) * (of_outputs * scales[first + r]);
  store_rows<R>(w, products, o, first, f);
}

// --- Tiles ---------------------------------------------------------------------------------------

template <int R>
void float_tile(const Packed& w, const float* x, int panel, int first, const Finish& f) {
  const float* weight = w.floats + static_cast<size_t>(panel) * w.inputs * PANEL;
  const size_t stride = w.inputs;
  x += first * stride;
  Floats sums[VECTORS][R] = {};
  for (int k = 0; k < w.inputs; k++, weight += PANEL) {
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const Floats v = spread(x[r * stride + k]);
      MEMTX_UNROLL
      for (int part = 0; part < VECTORS; part++) sums[part][r] += v * load(weight + part * LANES);
    }
  }
  MEMTX_UNROLL
  for (int part = 0; part < VECTORS; part++)
    store_rows<R>(w, sums[part], panel * PANEL + part * LANES, first, f);
}

inline int32_t four_bytes(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return four;
}

// The sums (R, PANEL) of the products of integers; `bytes` is the first row.
template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
              const int32_t* shifts, bool nonnegative, Ints (&out)[VECTORS][R]);

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

// vpdpbusd adds to each lane the products of four unsigned inputs with four signed weights. Written
// as assembly: GCC 12 copies the sums of the intrinsic from register to register, which takes half
// of the speed.
#if defined(__AVX512VNNI__)
#define MEMTX_DOT(sums, inputs, weights) \
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(inputs), "v"(weights))
#else
#define MEMTX_DOT(sums, inputs, weights) \
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(inputs), "x"(weights))
#endif

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[VECTORS][R]) {
  Ints sums[2][R] = {};
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    const Ints left = *reinterpret_cast<const LooseInts*>(weight);
    const Ints right = *reinterpret_cast<const LooseInts*>(weight + 4 * LANES);
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const Ints inputs = four_bytes(bytes + r * stride + k) - Ints{};
      MEMTX_DOT(sums[0][r], inputs, left);
      MEMTX_DOT(sums[1][r], inputs, right);
    }
  }
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    out[0][r] = sums[0][r];
    out[1][r] = sums[1][r];
  }
}

#elif defined(__AVX2__)

// maddubs multiplies unsigned bytes with signed ones and adds pairs to 16 bits, madd with ones adds
// pairs of these to 32. With sizes of up to 127 and weights of -128 to 127 no pair overflows. A
// negative input flips its weights' bits, which makes -w - 1 of w: what that lacks, the sum of the
// negative inputs' sizes, is the same for all outputs, and is the row's shift.
// Written as assembly, so that the weights come from memory: in registers of their own, which the
// compiler would give them, there would be too few for the sums.
inline void add_products(Ints& sums, const int8_t* weight, __m256i sizes, __m256i ones) {
  __m256i pairs;
  asm("vpmaddubsw %2, %3, %1\n\t"
      "vpmaddwd %4, %1, %1\n\t"
      "vpaddd %1, %0, %0"
      : "+x"(sums), "=&x"(pairs)
      : "m"(*reinterpret_cast<const __m256i*>(weight)), "x"(sizes), "x"(ones));
}

inline void add_products(Ints& sums, const int8_t* weight, __m256i sizes, __m256i signs,
                         __m256i ones) {
  __m256i pairs;
  asm("vpxor %2, %4, %1\n\t"
      "vpmaddubsw %1, %3, %1\n\t"
      "vpmaddwd %5, %1, %1\n\t"
      "vpaddd %1, %0, %0"
      : "+x"(sums), "=&x"(pairs)
      : "m"(*reinterpret_cast<const __m256i*>(weight)), "x"(sizes), "x"(signs), "x"(ones));
}

template <int R, bool SIGNED>
void signed_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
                 Ints (&sums)[VECTORS][R]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const uint8_t* row = bytes + r * stride + k;
      const __m256i sizes = _mm256_set1_epi32(four_bytes(row));
      const __m256i signs = _mm256_set1_epi32(four_bytes(row + (SIGNED ? depth : 0)));
      MEMTX_UNROLL
      for (int part = 0; part < VECTORS; part++) {
        const int8_t* weights = weight + part * 4 * LANES;
        if (SIGNED)
          add_products(sums[part][r], weights, sizes, signs, ones);
        else
          add_products(sums[part][r], weights, sizes, ones);
      }
    }
  }
}

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth,
              const int32_t* shifts, bool nonnegative, Ints (&out)[VECTORS][R]) {
  Ints sums[VECTORS][R] = {};
  if (nonnegative)
    signed_sums<R, false>(weight, bytes, stride, depth, sums);
  else
    signed_sums<R, true>(weight, bytes, stride, depth, sums);
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    MEMTX_UNROLL
    for (int part = 0; part < VECTORS; part++) out[part][r] = sums[part][r] + shifts[r];
  }
}

#elif defined(__ARM_FEATURE_DOTPROD)

// vdotq adds to each lane the products of four signed inputs with four signed weights.
template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[VECTORS][R]) {
  int32x4_t sums[2][R];
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) sums[0][r] = sums[1][r] = vdupq_n_s32(0);
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL) {
    const int8x16_t left = vld1q_s8(weight), right = vld1q_s8(weight + 16);
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      const int8x16_t inputs =
          vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(bytes + r * stride + k)));
      sums[0][r] = vdotq_s32(sums[0][r], left, inputs);
      sums[1][r] = vdotq_s32(sums[1][r], right, inputs);
    }
  }
  MEMTX_UNROLL
  for (int r = 0; r < R; r++) {
    out[0][r] = (Ints)sums[0][r];
    out[1][r] = (Ints)sums[1][r];
  }
}

#else

template <int R>
void int_sums(const int8_t* weight, const uint8_t* bytes, size_t stride, int depth, const int32_t*,
              bool, Ints (&out)[VECTORS][R]) {
  int32_t sums[2][R][LANES] = {};
  for (int k = 0; k < depth; k += 4, weight += 4 * PANEL)
    for (int r = 0; r < R; r++) {
      int32_t inputs[4];
      for (int i = 0; i < 4; i++) inputs[i] = static_cast<int8_t>(bytes[r * stride + k + i]);
      for (int half = 0; half < 2; half++)
        for (int o = 0; o < LANES; o++)
          for (int i = 0; i < 4; i++)
            sums[half][r][o] += inputs[i] * weight[4 * (half * LANES + o) + i];
    }
  memcpy(out, sums, sizeof sums);
}

#endif

template <int R>
void int_tile(const Packed& w, const IntRows& x, int panel, int first, const Finish& f) {
  Ints sums[VECTORS][R];
  int_sums<R>(w.ints + static_cast<size_t>(panel) * w.depth * PANEL, x.bytes + first * x.stride,
              x.stride, w.depth, x.shifts + first, x.nonnegative, sums);
  MEMTX_UNROLL
  for (int part = 0; part < VECTORS; part++)
    store_rows<R>(w, sums[part], x.scales, panel * PANEL + part * LANES, first, f);
}

// --- All rows and panels -------------------------------------------------------------------------

// Call `tile<R>(panel, first row)` for all panels and groups of at most MOST_ROWS rows, as even as
// can be. A panel stays in the nearest cache while all rows meet it.
#define MEMTX_FOR_TILES(tile, w, x, rows, finish)                            \
  const int panels = ((w).outputs + PANEL - 1) / PANEL;                      \
  const int groups = ((rows) + MOST_ROWS - 1) / MOST_ROWS;                   \
  for (int p = 0; p < panels; p++)                                           \
    for (int g = 0, first = 0; g < groups; g++) {                            \
      const int size = ((rows) - first + groups - g - 1) / (groups - g);     \
      switch (size) {                                                        \
        case 1: tile<1>(w, x, p, first, finish); break;                      \
        case 2: tile<2>(w, x, p, first, finish); break;                      \
        case 3: tile<3>(w, x, p, first, finish); break;                      \
        case 4: tile<MOST_ROWS >= 5 ? 4 : 1>(w, x, p, first, finish); break; \
        case 5: tile<MOST_ROWS >= 5 ? 5 : 1>(w, x, p, first, finish); break; \
        case 6: tile<MOST_ROWS == 8 ? 6 : 1>(w, x, p, first, finish); break; \
        case 7: tile<MOST_ROWS == 8 ? 7 : 1>(w, x, p, first, finish); break; \
        default: tile<MOST_ROWS>(w, x, p, first, finish); break;             \
      }                                                                      \
      first += size;                                                         \
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
