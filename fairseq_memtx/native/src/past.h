// What the rows of a beam search remember: the keys and values of their past.
//
// A row's entry of each position lies in a slot of its own; which slots are a row's ancestors is
// told by a list. When beams change only the lists are copied, never an entry. Positions whose
// ancestor is the same for all rows of a sentence are settled: no later row can have another. Their
// entries move to one place for all rows, which then read them together, and their slots are used
// again. docs/engine.md has a drawing.
//
// Positions are counted from the beginning of the sentence. What it begins with (carried.h) has
// negative ones, -1 the last, and is settled from the start.
//
// Size legend: B sentences, K beam, R rows a sentence (1 at the first step, then K), C dimension.
#pragma once

#include <vector>

#include "levels.h"
#include "memory.h"

namespace memtx {

// Entries of one kind, say of one layer, in a ring of `window` positions and, once settled, with
// room for `room` of them, which are counted from the first that a sentence begins with.
class Entries {
 public:
  // With `states`, the layer's inputs are kept too.
  void start(int sentences, int beam, int dim, int window, int room, bool states);
  void write(int sentence, int slot, const float* key, const float* value);
  void write_state(int sentence, int slot, const float* state);
  void settle(int sentence, int slot, int place);
  void write_settled(int sentence, int place, const float* key, const float* value);
  void write_settled_state(int sentence, int place, const float* state);
  // Keep the entries of the positions from settled[b] to `position` - 1 of each open sentence.
  void widen(int window, const std::vector<int>& open, const std::vector<int>& settled,
             int position);
  // Keep the first filled[b] settled entries of each open sentence.
  void make_room(int room, const std::vector<int>& open, const std::vector<int>& filled);

  const float* keys(int sentence) const { return keys_.data() + slots_at(sentence); }
  const float* values(int sentence) const { return values_.data() + slots_at(sentence); }
  const float* state(int sentence, int slot) const {
    return states_.data() + slots_at(sentence) + static_cast<size_t>(slot) * dim_;
  }
  const float* settled_state(int sentence, int place) const {
    return settled_states_.data() + settled_at(sentence) + static_cast<size_t>(place) * dim_;
  }
  // Of memory for all sentences, used or not.
  size_t bytes() const {
    return sizeof(float) * (keys_.size() + values_.size() + states_.size() + settled_keys_.size() +
                            settled_values_.size() + settled_states_.size());
  }
  // From the feature `feature` and the place `first` on.
  SharedKeys settled(int sentence, int feature, int first, int count) const;

 private:
  size_t slots_at(int sentence) const {
    return static_cast<size_t>(sentence) * window_ * beam_ * dim_;
  }
  size_t settled_at(int sentence) const { return static_cast<size_t>(sentence) * room_ * dim_; }

  bool keeps_states_ = false;
  int sentences_ = 0, beam_ = 0, dim_ = 0, window_ = 0, room_ = 0;
  Buffer<float> keys_, values_, states_;  // (B, window, K, C)
  // (B, C, room), transposed; (B, room, C); (B, room, C)
  Buffer<float> settled_keys_, settled_values_, settled_states_;
};

class Past {
 public:
  // Forget everything. Each sentence begins with before[b] entries, to be written by `write_before`
  // as far as they are ever read. Kinds of entries, each of `dim` features, may keep the layer's
  // inputs too.
  void start(const std::vector<int>& before, int beam, int dim,
             const std::vector<bool>& keeps_states);
  void write_before(int kind, int sentence, int position, const float* key, const float* value) {
    entries_[kind].write_settled(sentence, before_[sentence] + position, key, value);
  }
  void write_state_before(int kind, int sentence, int position, const float* state) {
    entries_[kind].write_settled_state(sentence, before_[sentence] + position, state);
  }

  // Begin a position with `rows` rows for each of the `open` sentences. Each has its slot at the
  // end of its list.
  void begin(const std::vector<int>& open, int rows);
  void write(int kind, int sentence, int row, const float* key, const float* value) {
    entries_[kind].write(sentence, slot(position_, row), key, value);
  }
  void write_state(int kind, int sentence, int row, const float* state) {
    entries_[kind].write_state(sentence, slot(position_, row), state);
  }
  // The state of the row n of all rows at an earlier position.
  const float* state(int kind, int sentence, int n, int position) const {
    const int behind = position - settled_[sentence];
    return behind < 0 ? entries_[kind].settled_state(sentence, before_[sentence] + position)
                      : entries_[kind].state(sentence, list(n)[behind]);
  }
  // End the position. Only the sentences at the places `kept` of `open` go on; their row r
  // continues their row parents[place * K + r].
  void move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
            const std::vector<int>& parents);

  size_t bytes() const {
    size_t found = 0;
    for (const Entries& entries : entries_) found += entries.bytes();
    return found;
  }
  int position() const { return position_; }
  int before(int sentence) const { return before_[sentence]; }
  int settled(int sentence) const { return settled_[sentence]; }
  // Of a kind, `count` of them from the feature `feature` and the position `first` on.
  SharedKeys settled(int kind, int sentence, int feature, int first, int count) const {
    return entries_[kind].settled(sentence, feature, before_[sentence] + first, count);
  }
  // Slots of the row n of all rows, of the positions from settled() to position().
  const int32_t* list(int n) const { return lists_.data() + static_cast<size_t>(n) * window_; }
  const Entries& entries(int kind) const { return entries_[kind]; }

 private:
  int slot(int position, int row) const { return position % window_ * beam_ + row; }
  void widen(const std::vector<int>& open, int rows);
  int settle(int sentence, const int32_t* const* lists);
  void make_room(const std::vector<int>& open);

  int sentences_ = 0, beam_ = 0, position_ = 0, window_ = 0, room_ = 0;
  std::vector<Entries> entries_;
  std::vector<int> before_;       // entries that each sentence begins with
  std::vector<int> settled_;      // positions of each sentence
  Buffer<int32_t> lists_, next_;  // (rows, window)
};

}  // namespace memtx
