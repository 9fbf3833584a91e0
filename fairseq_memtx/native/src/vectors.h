// Vectors of floats at one level, and the exponential.
//
// GCC's and Clang's vector types write most of it: +, *, < work on all lanes. Intrinsics stand
// where they do not do well, each explained. Everything has internal linkage, see levels.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "levels.h"

#if MEMTX_X86
#if defined(__clang__)
#include <immintrin.h>
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define MEMTX_UNROLL _Pragma("GCC unroll 16")

namespace memtx {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef float LooseFloats __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef int32_t LooseInts __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline Floats load(const float* p) { return *reinterpret_cast<const LooseFloats*>(p); }

inline void store(float* p, Floats v) { *reinterpret_cast<LooseFloats*>(p) = v; }

// The first n lanes, zeros behind them.
inline Floats load_some(const float* p, int n) {
  if (n >= LANES) return load(p);
  Floats v = {};
  memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
}

inline void store_some(float* p, Floats v, int n) {
  if (n >= LANES)
    store(p, v);
  else
    memcpy(p, &v, static_cast<size_t>(n) * 4);
}

// v with zeros behind its first n lanes.
inline Floats first_lanes(Floats v, int n) {
  if (n >= LANES) return v;
  Floats kept = {};
  memcpy(&kept, &v, static_cast<size_t>(n) * 4);
  return kept;
}

inline Floats spread(float x) { return x - Floats{}; }

// b where one of the two is NaN.
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

inline float sum(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX2__)
  // halves added, then pairs (movehl), then the last two
  __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
#else
  return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

inline float largest(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
  // as in `sum`
  __m128 s = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
#else
  const float left = v[0] > v[2] ? v[0] : v[2], right = v[1] > v[3] ? v[1] : v[3];
  return left > right ? left : right;
#endif
}

// Whether each lane of a is greater than that of b: a bit for each.
inline uint32_t greater(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)));
#else
  uint32_t found = 0;
  for (int i = 0; i < LANES; i++) found |= static_cast<uint32_t>(a[i] > b[i]) << i;
  return found;
#endif
}

// The nearest whole numbers: adding 1.5 * 2^23 leaves no place for fractions.
inline Floats round_to_whole(Floats x) {
  const Floats magic = spread(12582912.0f);
  return (x + magic) - magic;
}

// e^x within 2 units in the last place for x of -87 to 88; below, e^-87; NaN stays NaN.
// x = n log 2 + r with |r| <= log(2) / 2; e^r by the polynomial of Cephes' expf (S. Moshier),
// 2^n by writing n into the exponent's bits.
inline Floats exponential(Floats x) {
  x = larger(spread(-87.0f), x);
  const Floats n = round_to_whole(x * 1.44269504f);
  Floats r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = spread(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return p * (Floats)power;
}

}  // namespace
}  // namespace memtx
