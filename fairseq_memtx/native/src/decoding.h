// A decoder in the middle of one search.
//
// Size legend: B sentences, K beam, R rows a sentence, N rows, C model dimension, S source
// positions.
#pragma once

#include <vector>

#include "carried.h"
#include "compressed.h"
#include "model.h"
#include "past.h"

namespace memtx {

class Decoding {
 public:
  // Begin a search for the sentences, given as numbers of source words and what each begins with.
  void start(const Model& model, const std::vector<std::vector<int>>& sentences,
             const std::vector<Carried>& before, int beam, bool attention, Room& room);

  // Feed the newest words (N,), R for each open sentence: features (N, C), kept until the next.
  const float* step(const std::vector<int>& open, int rows, const std::vector<int>& words,
                    Room& room);
  void move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
            const std::vector<int>& parents);

  // The attention to the source (N, longest source) of the last step, where it is wanted.
  const float* attention() const { return attention_.data(); }
  int longest() const { return longest_; }

  // Of memory for the keys and values of the past.
  size_t state_bytes() const { return past_.bytes(); }

 private:
  struct Rows {  // of a step
    const std::vector<int>& open;
    int each, count;
  };

  struct View {               // entries of a sentence's rows, in their order
    int compressed, skipped;  // compressed ones, and older ones out of view
    int first, settled;       // position of the first settled one
    int own, own_at;          // of each row, from that place of its list on
  };

  struct Block {              // states that leave a layer's memory, the oldest of it
    int gone;                 // of each row
    std::vector<int> places;  // of their sentences among the open ones
    int rows;                 // of these sentences
  };

  View view(int layer, int sentence) const;
  void read_source(const std::vector<std::vector<int>>& sentences, Room& room);
  void start_past(const std::vector<Carried>& before, int beam);
  void remember_before(int sentence, const Carried& before);
  void remember_before(int layer, int sentence, const Carried& before, Room& room);
  const float* project(const DecoderLayer& layer, const float* states, int rows, Room& room) const;
  void look_back(int layer, const Rows& rows, const float* joined, Room& room);
  void look_back(int layer, int place, const Rows& rows, const float* joined, Room& room);
  void add_distances(const DecoderLayer& layer, const float* queries, size_t stride, int rows,
                     int count, float* scores, size_t score_stride, Room& room) const;
  void look_at_source(int layer, const Rows& rows, const float* queries, Room& room);
  void run_layer(int layer, const Rows& rows, float* x, Room& room);
  void mix_state(int state, const Rows& rows, const float* x);
  void route(const Rows& rows, Room& room);
  void remember(const Rows& rows, Room& room);
  void note_received(int layer, int sentence, int row, const View& view, const float* probs,
                     size_t stride);
  void end_segment(int layer, const Rows& rows, Room& room);
  void compress(int layer, const Rows& rows, const Block& block, Room& room);
  void compress_block(int layer, const Rows& rows, const Block& block, float* out, Room& room);
  const float* leaving(int layer, const Rows& rows, const Block& block, int m, int i) const;
  void let_meet(const Compression& how, int blocks, int size, int missing, Room& room);
  void keep_most_used(int layer, const Rows& rows, const Block& block, float* out);

  const Model* model_ = nullptr;
  bool wants_attention_ = false;
  int longest_ = 0;
  std::vector<int> lengths_;
  std::vector<size_t> rows_before_, keys_before_;  // of the sentences before, in padded positions
  std::vector<Buffer<float>> source_keys_, source_values_;  // of layers: (b, C, S), (b, S, C)
  Past past_;
  std::vector<Compressed> compressed_;  // of layers; unused where a layer has none
  std::vector<Received> received_;      // the same
  Buffer<float> blocks_, around_, compressed_states_;
  Buffer<float> encoded_, x_, features_, entries_, attention_;
  Buffer<float> mixtures_;              // (channels, N, C)
  Buffer<float> states_, state_share_;  // where they are routed: (N, states, C), (N, weights)
};

}  // namespace memtx
