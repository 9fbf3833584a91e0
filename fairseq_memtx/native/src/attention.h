// Attention, norms and log-sums at one level.
#pragma once

#include "levels.h"
#include "vectors.h"

namespace memtx {
namespace {

constexpr int QUERIES = 5;  // rows that share a load of a key; the usual beam

// --- Keys that several rows share ----------------------------------------------------------------
// The keys lie transposed, so that a vector holds one feature of LANES keys and no sum over lanes
// is needed.

template <int R>
void dot_shared_rows(const float* queries, size_t query_stride, const SharedKeys& keys, int dim,
                     float* scores, size_t score_stride) {
  for (int s = 0; s < keys.count; s += LANES) {
    Floats sums[R] = {};
    const float* key = keys.keys + s;
    for (int d = 0; d < dim; d++, key += keys.key_stride) {
      const Floats k = load(key);
      MEMTX_UNROLL
      for (int r = 0; r < R; r++) sums[r] += k * queries[r * query_stride + d];
    }
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) store_some(scores + r * score_stride + s, sums[r], keys.count - s);
  }
}

template <int R>
void mix_shared_rows(const float* scores, size_t score_stride, const SharedKeys& keys, int dim,
                     float* out, size_t out_stride, bool add) {
  for (int d = 0; d < dim; d += LANES) {
    const int left = dim - d;
    Floats sums[R] = {};
    for (int s = 0; s < keys.count; s++) {
      const Floats v = load_some(keys.values + s * keys.value_stride + d, left);
      MEMTX_UNROLL
      for (int r = 0; r < R; r++) sums[r] += v * scores[r * score_stride + s];
    }
    MEMTX_UNROLL
    for (int r = 0; r < R; r++) {
      float* to = out + r * out_stride + d;
      store_some(to, add ? load_some(to, left) + sums[r] : sums[r], left);
    }
  }
}

#define MEMTX_FOR_QUERIES(call)           \
  for (int r = 0; r < rows;) {            \
    const int left = rows - r;            \
    switch (left) {                       \
      case 1: call(1); break;             \
      case 2: call(2); break;             \
      case 3: call(3); break;             \
      case 4: call(4); break;             \
      default: call(QUERIES);             \
    }                                     \
    r += left < QUERIES ? left : QUERIES; \
  }

void dot_shared(const float* queries, size_t query_stride, int rows, const SharedKeys& keys,
                int head_dim, float* scores, size_t score_stride) {
#define MEMTX_CALL(R)                                                          \
  dot_shared_rows<R>(queries + r * query_stride, query_stride, keys, head_dim, \
                     scores + r * score_stride, score_stride)
  MEMTX_FOR_QUERIES(MEMTX_CALL)
#undef MEMTX_CALL
}

void mix_shared(const float* scores, size_t score_stride, int rows, const SharedKeys& keys,
                int head_dim, float* out, size_t out_stride, bool add) {
#define MEMTX_CALL(R)                                                         \
  mix_shared_rows<R>(scores + r * score_stride, score_stride, keys, head_dim, \
                     out + r * out_stride, out_stride, add)
  MEMTX_FOR_QUERIES(MEMTX_CALL)
#undef MEMTX_CALL
}

#undef MEMTX_FOR_QUERIES

// --- Slots of one row's own ----------------------------------------------------------------------

void dot_slots(const float* query, const float* keys, const int32_t* slots, int count, int heads,
               int head_dim, float* scores, size_t score_stride) {
  const size_t stride = static_cast<size_t>(heads) * head_dim;
  for (int s = 0; s < count; s++) {
    const float* key = keys + slots[s] * stride;
    for (int h = 0; h < heads; h++) {
      Floats sums = {};
      for (int d = 0; d < head_dim; d += LANES) {
        const size_t at = static_cast<size_t>(h) * head_dim + d;
        sums += load_some(query + at, head_dim - d) * load_some(key + at, head_dim - d);
      }
      scores[h * score_stride + s] = sum(sums);
    }
  }
}

void mix_slots(const float* scores, size_t score_stride, const float* values, const int32_t* slots,
               int count, int heads, int head_dim, float* out, bool add) {
  const size_t stride = static_cast<size_t>(heads) * head_dim;
  for (int h = 0; h < heads; h++)
    for (int d = 0; d < head_dim; d += LANES) {
      const size_t at = static_cast<size_t>(h) * head_dim + d;
      Floats sums = {};
      for (int s = 0; s < count; s++)
        sums +=
            load_some(values + slots[s] * stride + at, head_dim - d) * scores[h * score_stride + s];
      if (add) sums += load_some(out + at, head_dim - d);
      store_some(out + at, sums, head_dim - d);
    }
}

// --- Rows of numbers -----------------------------------------------------------------------------

// The largest of n > 0 numbers.
inline float largest_of(const float* x, int n) {
  if (n < LANES) {
    float found = x[0];
    for (int i = 1; i < n; i++) found = x[i] > found ? x[i] : found;
    return found;
  }
  Floats found = load(x);
  for (int i = LANES; i + LANES <= n; i += LANES) found = larger(load(x + i), found);
  return largest(larger(load(x + n - LANES), found));
}

// Divided by the sum of all exponentials, in place; n > 0.
void softmax(float* x, int n) {
  const float most = largest_of(x, n);
  Floats sums = {};
  int i = 0;
  for (; i + LANES <= n; i += LANES) {
    const Floats e = exponential(load(x + i) - most);
    store(x + i, e);
    sums += e;
  }
  if (i < n) {  // lanes that do not exist would add 1
    store_some(x + i, exponential(load_some(x + i, n - i) - most), n - i);
    sums += load_some(x + i, n - i);
  }
  const float inverse = 1.0f / sum(sums);
  for (i = 0; i < n; i += LANES) store_some(x + i, load_some(x + i, n - i) * inverse, n - i);
}

float log_sum_exp(const float* x, int count, float* block_largest) {
  float most = -__builtin_inff();
  for (int first = 0; first < count; first += BLOCK) {
    const int left = count - first;
    const float found = largest_of(x + first, left < BLOCK ? left : BLOCK);
    block_largest[first / BLOCK] = found;
    most = found > most ? found : most;
  }
  Floats sums[2] = {};
  int i = 0;
  for (; i + 2 * LANES <= count; i += 2 * LANES) {
    sums[0] += exponential(load(x + i) - most);
    sums[1] += exponential(load(x + i + LANES) - most);
  }
  float rest = 0.0f;
  for (; i < count; i++) rest += __builtin_expf(x[i] - most);
  return most + __builtin_logf(sum(sums[0] + sums[1]) + rest);
}

int find_greater(const float* x, int count, float taken, float given, float least,
                 int32_t* places) {
  int found = 0;
  const Floats limit = spread(least);
  for (int i = 0; i < count; i += LANES) {
    uint32_t bits = greater((load_some(x + i, count - i) - taken) + given, limit);
    if (count - i < LANES) bits &= (1u << (count - i)) - 1;
    for (; bits != 0; bits &= bits - 1) places[found++] = i + __builtin_ctz(bits);
  }
  return found;
}

void layer_norm(const float* x, int rows, int dim, const float* weight, const float* bias,
                float eps, float* out) {
  for (int n = 0; n < rows; n++, x += dim, out += dim) {
    Floats sums = {};
    for (int i = 0; i < dim; i += LANES) sums += load_some(x + i, dim - i);
    const float mean = sum(sums) / static_cast<float>(dim);
    Floats squares = {};
    for (int i = 0; i < dim; i += LANES) {
      Floats d = load_some(x + i, dim - i) - mean;
      d = first_lanes(d, dim - i);
      squares += d * d;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(dim) + eps);
    for (int i = 0; i < dim; i += LANES) {
      const int left = dim - i;
      const Floats y = (load_some(x + i, left) - mean) * scale;
      store_some(out + i, y * load_some(weight + i, left) + load_some(bias + i, left), left);
    }
  }
}

void scaled_sum(float* out, const float* x, float scale, int count) {
  for (int i = 0; i < count; i += LANES) {
    const int left = count - i;
    store_some(out + i, load_some(out + i, left) + load_some(x + i, left) * scale, left);
  }
}

}  // namespace
}  // namespace memtx
