// The table of one level. Compiled once for each, with MEMTX_LEVEL saying which and the compiler's
// flags saying what it may use; where the compiler was not given what the level needs, the table
// is missing.
#include "attention.h"
#include "levels.h"
#include "products.h"

#define MEMTX_PORTABLE 0
#define MEMTX_NEON 1
#define MEMTX_AVX2 2
#define MEMTX_AVXVNNI 3
#define MEMTX_AVX512 4

namespace memtx {
namespace {

[[maybe_unused]] constexpr Kernels table(const char* name) {
  return {name,          PANEL,       INPUT_SHIFT,  row_bytes,  round_rows, int_product,
          float_product, layer_norm,  dot_shared,   mix_shared, dot_slots,  mix_slots,
          softmax,       log_sum_exp, find_greater, scaled_sum};
}

}  // namespace

#define MEMTX_TABLE(function, name)           \
  const Kernels* function() {                 \
    static constexpr Kernels t = table(name); \
    return &t;                                \
  }
#define MEMTX_NO_TABLE(function) \
  const Kernels* function() { return nullptr; }

#if MEMTX_LEVEL == MEMTX_PORTABLE
MEMTX_TABLE(portable_kernels, "portable")
#elif MEMTX_LEVEL == MEMTX_NEON
#if defined(__ARM_FEATURE_DOTPROD)
MEMTX_TABLE(neon_kernels, "neon")
#else
MEMTX_NO_TABLE(neon_kernels)
#endif
#elif MEMTX_LEVEL == MEMTX_AVX2
#if defined(__AVX2__) && defined(__FMA__)
MEMTX_TABLE(avx2_kernels, "avx2")
#else
MEMTX_NO_TABLE(avx2_kernels)
#endif
#elif MEMTX_LEVEL == MEMTX_AVXVNNI
#if defined(__AVXVNNI__) && defined(__FMA__)
MEMTX_TABLE(avxvnni_kernels, "avxvnni")
#else
MEMTX_NO_TABLE(avxvnni_kernels)
#endif
#else
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
MEMTX_TABLE(avx512_kernels, "avx512")
#else
MEMTX_NO_TABLE(avx512_kernels)
#endif
#endif

}  // namespace memtx
