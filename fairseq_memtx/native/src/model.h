// A translation model: fairseq's Transformer encoder, and a decoder of one of the kinds below.
//
// Size legend: C model dimension, H heads, D = C / H, L layers, V words.
#pragma once

#include <vector>

#include "parts.h"

namespace memtx {

enum class Activation { relu, gelu, tanh, gelu_by_tanh };

// Scratch of one thread; nothing in it outlives a call.
struct Room {
  RoundingRoom rounding;
  Buffer<float> normed, hidden, joined, context, scores, keys, by_distance;
};

class Norm {
 public:
  Norm() = default;
  Norm(const Parts& parts, const std::string& name, int dim);  // none, where it is not there
  bool exists() const { return !weight_.empty(); }
  void apply(const Kernels& kernels, const float* x, int rows, float* out) const;

 private:
  std::vector<float> weight_, bias_;
  float eps_ = 0.0f;
};

class Embedding {
 public:
  Embedding() = default;
  Embedding(const Parts& parts, const std::string& side, int dim);
  int words() const { return words_; }
  // Positions that there are embeddings for; any number without such.
  int positions() const;
  void look_up(const Kernels& kernels, int word, int position, float* out) const;

 private:
  const float *table_ = nullptr, *positions_ = nullptr;
  int words_ = 0, num_positions_ = 0, dim_ = 0;
  float scale_ = 1.0f;
  Norm norm_;
};

struct FeedForward {
  Linear first, second;
  Norm norm;
};

struct EncoderLayer {
  Linear joined, out;  // queries (scaled), keys and values
  Norm norm;
  FeedForward forward;
};

// What a position sees: the last `compressed` compressed states, then whole ones.
struct Reach {
  int span = 0;       // past positions; 0 for all (Feedback)
  int segment = 0;    // positions of a segment; 0 for none
  int memory = 0;     // positions before the segment
  int furthest = -1;  // entries before the own one; -1 for no such limit
  int compressed = 0;

  // The first position that `position` sees, of a sentence that begins with `before` entries.
  int first(int position, int before) const;
};

// How the states that fall out of a layer's memory are compressed.
struct Compression {
  enum class Kind { mean, max, conv, dilated_conv, most_used };
  Kind kind = Kind::mean;
  int rate = 1;                 // states that become one
  Linear conv;                  // of `rate` states, one after the other
  std::vector<Linear> dilated;  // of a state between two others, of which the n-th is for n + 1

  // Compressed states of a block of `segment` states, of which only the last `existing` exist.
  int count(int segment, int existing) const;
};

// One memory of a position, of the Feedback decoder.
struct Channel {
  std::vector<float> mixture;  // weights of the states; empty where they are routed
  int groups = 0;              // pairs of keys and values that are made of it
  Linear project;
};

struct DecoderLayer {
  Reach reach;
  int group = 0;  // the pair of keys and values that it reads
  Compression compression;
  Linear joined;  // queries (scaled) and, but for the Feedback decoder, keys and values
  Linear out, cross_query, cross_out, cross_keys, cross_values;
  Norm norm, cross_norm;
  FeedForward forward;
  // Keys of distances, transposed: (1 or H, D, stride); what queries get before they meet them.
  Buffer<float> distance_keys;
  std::vector<float> distance_bias;
};

class Model {
 public:
  explicit Model(Parts& parts);

  const Kernels& kernels;
  Activation activation, encoder_activation;
  int dim, encoder_dim, heads, encoder_heads, words, source_pad;
  bool pre_norm, encoder_pre_norm;
  Embedding source, target;
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  Norm encoder_norm, decoder_norm, memory_norm;

  // The Feedback decoder: the memories of a position, of one or several pairs of keys and values.
  bool feedback;
  int groups = 0;  // pairs; L without feedback
  std::vector<Channel> channels;
  Linear router;                   // from the states, side by side, to their weights
  std::vector<int> routed_states;  // what the weights are for; empty where they do not depend on it

  int distances = 0, distance_heads = 0;  // of the keys of distances; 0 for none
  size_t distance_stride = 0;

  Linear output;
  WeightRows output_rows;  // for shortlists, in place of `output`
  std::vector<int32_t> output_sums;
  bool by_rows;

  // Kinds of entries that a sentence may begin with (carried.h); 0 where it has no memory.
  int carried_kinds() const;
  // Throw where a sentence that begins with a memory would see further than there are keys of
  // distances.
  void check_distances() const;

  // Encoded sources: (rows of all sentences, encoder's C), written to `out`.
  void encode(const std::vector<std::vector<int>>& sentences, Room& room, float* out) const;
  void feed_forward(const FeedForward& part, Activation kind, bool pre, float* x, int rows,
                    Room& room) const;

 private:
  void read_encoder(Parts& parts);
  void read_decoder(Parts& parts);
  void read_memory(Parts& parts);
  void read_reach(Parts& parts);
  void read_distances(Parts& parts);
  void attend_to_source(const EncoderLayer& layer, const std::vector<std::vector<int>>& sentences,
                        Room& room) const;
};

// Transpose x (rows, from_stride), `columns` of them, to (columns, to_stride).
void transpose(const float* x, int rows, int columns, size_t from_stride, float* to,
               size_t to_stride);

inline int rounded_up(int n, int step) { return (n + step - 1) / step * step; }

}  // namespace memtx
