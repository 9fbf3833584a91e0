// Beam search by the rules of fairseq_memtx/decoding/beam_search.py, which say more about each.
//
// Size legend: B sentences, K beam, R rows a sentence, N rows, V words, T steps.
#pragma once

#include <limits>
#include <vector>

#include "decoding.h"

namespace memtx {

// The model's output is not a number.
struct Diverged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct SearchOptions {
  int beam, max_len, min_len;
  int pad, unk, eos, bos;
  int no_repeat_ngram_size;  // 0 for none
  float unk_penalty, temperature;
  bool attention;
};

struct Sentence {
  std::vector<int> source;
  std::vector<int> prefix;                        // forced words, padded at the end
  int exact_length = -1;                          // words of a hypothesis; -1 for any number
  int longest = std::numeric_limits<int>::max();  // words of a hypothesis, where that is its own
  std::vector<Carried> before;                    // of each model; empty for nothing
};

struct Hypothesis {
  std::vector<int64_t> words;
  std::vector<float> word_scores;
  std::vector<float> attention;  // (words, source words), where it is wanted
  float total;
};

// A model with the words that this batch may have.
struct Member {
  const Model* model;
  const Linear* output;
};

// What a thread works with; kept from call to call, for its memory.
struct Worker {
  Room room;
  std::vector<Decoding> decodings;  // of the members
  Buffer<float> logits, others, block_largest;

  size_t state_bytes() const {
    size_t found = 0;
    for (const Decoding& decoding : decodings) found += decoding.state_bytes();
    return found;
  }
};

class Search {
 public:
  // `words` are the dictionary's numbers of the outputs, sorted; empty for all in their order.
  // With it all words here are places in it, also those of `options` and of prefixes.
  Search(const std::vector<Member>& members, const std::vector<int32_t>& words,
         const SearchOptions& options, Worker& worker);

  // The hypotheses of each sentence, in the order in which they are found.
  std::vector<std::vector<Hypothesis>> run(const std::vector<const Sentence*>& sentences);

 private:
  struct Candidate {
    float score;
    int word, row;
  };
  struct Step {  // what a step did; (b, K) but for `place` (B,)
    std::vector<int> place, words, parents;
    std::vector<float> scores;
  };
  struct Look {  // the attention to the source before a step
    std::vector<int> place;
    int rows, longest;
    std::vector<float> probs;  // (b, R, longest)
  };
  struct End {
    int sentence, step, row;  // the row before the step
    float score;
  };

  void start();
  bool step(int number);
  void compute_logits();
  void note_attention();
  std::vector<int> places() const;
  void mean_of_members(int rows);
  void log_normalise(const Kernels& kernels, int rows);
  void find_candidates(int place, int number);
  void force(int place, int word);
  void force_end(int place);
  void scan(int row, int row_of_all);
  void put(float score, int word, int row);
  void ban(int row_of_all, int word);
  void apply_rules(int place, int number, int row_of_all);
  void ban_repeated(int row_of_all);
  void end(int place, int number);
  void go_on();
  int most(const Sentence& sentence) const;
  float total(int word, int row_of_all) const;
  Hypothesis read_off(const End& end) const;
  int named(int word) const { return words_.empty() ? word : words_[word]; }

  const std::vector<Member>& members_;
  const std::vector<int32_t>& words_;
  const SearchOptions options_;
  Worker& worker_;
  int num_words_;
  size_t num_blocks_;

  std::vector<const Sentence*> sentences_;
  std::vector<int> open_, num_ended_;  // numbers of the open sentences; hypotheses of all
  int rows_ = 1;                       // R
  std::vector<int> tokens_;            // (N,)
  std::vector<float> scores_, log_sums_;
  std::vector<std::vector<int>> prefixes_;  // what rows have so far, with their start; for n-grams
  size_t wanted_ = 0;                       // candidates of a sentence
  std::vector<Candidate> found_;
  std::vector<int> kept_;  // places of the sentences that go on
  Step now_;
  std::vector<Step> steps_;
  std::vector<Look> looks_;  // empty where attention is not wanted
  std::vector<End> ends_;
};

// The hypotheses of each sentence, by as many threads as there are workers.
std::vector<std::vector<Hypothesis>> search(const std::vector<Member>& members,
                                            const std::vector<int32_t>& words,
                                            const SearchOptions& options,
                                            const std::vector<Sentence>& sentences,
                                            const std::vector<Worker*>& workers);

}  // namespace memtx
