// The C interface, all that Python sees. docs/engine.md has the order of calls.
//
// Functions return 0, or the kind of an error, whose message `memtx_message` then has. Pointers
// must be what these functions returned, or point to as many numbers as is said beside.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)

extern "C" {

enum { MEMTX_OK = 0, MEMTX_BAD_CALL, MEMTX_NO_MEMORY, MEMTX_DIVERGED, MEMTX_FAILED };

struct memtx_parts;
struct memtx_model;

struct memtx_options {
  int32_t beam, max_len, min_len;
  int32_t pad, unk, eos, bos;
  int32_t no_repeat_ngram_size;
  float unk_penalty, temperature;
  int32_t attention;
};

// What the sentences of a batch begin with, for one model: memories of the text before them. The
// last entries[b] of a sentence's `width` places are filled, the last of all just before the
// sentence. docs/engine.md says what the kinds are.
struct memtx_memory {
  int32_t kinds, dim, width, compressed_width;
  const int64_t* entries;         // (sentences,); null where the width is 0
  const float* first;             // (kinds, sentences, width, dim), likewise
  const float* received;          // (kinds, sentences, width) of attention, or null
  const int64_t* compressed;      // (sentences,); null where the compressed width is 0
  const float* compressed_first;  // (kinds, sentences, compressed_width, dim), likewise
};

struct memtx_batch {
  int32_t sentences, width;
  const int64_t* source;  // (sentences, width), padding anywhere
  int32_t prefix_width;
  const int64_t* prefix;         // (sentences, prefix_width), or null
  const int64_t* exact_lengths;  // (sentences,), or null
  const int64_t* longest;        // (sentences,) words at most, below the options', or null
  int32_t num_words;
  const int64_t* words;          // (num_words,) the outputs to choose from, rising; or null for all
  const memtx_memory* memories;  // of each model, or null
};

struct memtx_result {
  int32_t hypotheses;
  int64_t num_words;         // of all hypotheses together
  int64_t num_probs;         // of `attention`
  const int32_t* sentence;   // (hypotheses,)
  const int32_t* length;     // (hypotheses,)
  const float* total;        // (hypotheses,)
  const int64_t* words;      // (num_words,), one hypothesis after the other
  const float* word_scores;  // (num_words,)
  const float* attention;    // (words, source words) of each hypothesis
  int64_t state_bytes;       // of memory for keys and values of the targets' past
};

const char* memtx_message();

// The name of the processor's n-th level, best first; null where there are no more.
const char* memtx_level(int32_t n);
// Whether the kernels of a level compute what plain loops compute.
int32_t memtx_self_test(const char* level);

int32_t memtx_parts_new(const char* level, memtx_parts** made);
void memtx_parts_free(memtx_parts* parts);
int32_t memtx_set_number(memtx_parts* parts, const char* name, double value);
// Embeddings and positions are not copied: they must live as long as the model.
int32_t memtx_set_floats(memtx_parts* parts, const char* name, const float* values, int64_t count);
// A weight in float32 or in eight bits with a scale for each output; the bias may be null. With
// `as_rows` it is not copied, and must live as long as the model.
int32_t memtx_set_linear(memtx_parts* parts, const char* name, int32_t outputs, int32_t inputs,
                         const float* floats, const int8_t* ints, const float* scales,
                         const float* bias, int32_t as_rows);
int32_t memtx_model_new(memtx_parts* parts, memtx_model** made);
void memtx_model_free(memtx_model* model);

// Several models are an ensemble.
int32_t memtx_translate(memtx_model* const* models, int32_t num_models, const memtx_batch* batch,
                        const memtx_options* options, int32_t threads, memtx_result** made);
void memtx_result_free(memtx_result* result);

// For tests: the integer products (rows, outputs) of x (rows, inputs) with a weight.
int32_t memtx_int_products(const char* level, int32_t outputs, int32_t inputs, const int8_t* weight,
                           int32_t rows, const float* x, int32_t* products);
}

#pragma GCC visibility pop
