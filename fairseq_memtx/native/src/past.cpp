#include "past.h"

#include <algorithm>
#include <cstring>

namespace memtx {
namespace {

constexpr int FIRST_WINDOW = 16, FIRST_ROOM = 32;  // positions

void copy(float* to, const float* from, size_t count) { memcpy(to, from, count * sizeof(float)); }

}  // namespace

// --- Entries -------------------------------------------------------------------------------------

void Entries::start(int sentences, int beam, int dim, int window, int room, bool states) {
  keeps_states_ = states;
  sentences_ = sentences, beam_ = beam, dim_ = dim, window_ = window, room_ = room;
  const size_t slots = times(times(sentences, window), times(beam, dim));
  keys_.fit(slots);
  values_.fit(slots);
  const size_t settled = times(times(sentences, room), dim);
  settled_keys_.fit(settled);
  settled_values_.fit(settled);
  if (!states) return;
  states_.fit(slots);
  settled_states_.fit(settled);
}

void Entries::write(int sentence, int slot, const float* key, const float* value) {
  const size_t at = slots_at(sentence) + static_cast<size_t>(slot) * dim_;
  copy(keys_.data() + at, key, dim_);
  copy(values_.data() + at, value, dim_);
}

void Entries::write_state(int sentence, int slot, const float* state) {
  copy(states_.data() + slots_at(sentence) + static_cast<size_t>(slot) * dim_, state, dim_);
}

void Entries::settle(int sentence, int slot, int place) {
  const size_t from = slots_at(sentence) + static_cast<size_t>(slot) * dim_;
  write_settled(sentence, place, keys_.data() + from, values_.data() + from);
  if (keeps_states_) write_settled_state(sentence, place, states_.data() + from);
}

void Entries::write_settled(int sentence, int place, const float* key, const float* value) {
  const size_t to = settled_at(sentence);
  for (int c = 0; c < dim_; c++)
    settled_keys_[to + static_cast<size_t>(c) * room_ + place] = key[c];
  copy(settled_values_.data() + to + static_cast<size_t>(place) * dim_, value, dim_);
}

void Entries::write_settled_state(int sentence, int place, const float* state) {
  const size_t to = settled_at(sentence) + static_cast<size_t>(place) * dim_;
  copy(settled_states_.data() + to, state, dim_);
}

SharedKeys Entries::settled(int sentence, int feature, int first, int count) const {
  const size_t at = settled_at(sentence);
  return {settled_keys_.data() + at + static_cast<size_t>(feature) * room_ + first,
          static_cast<size_t>(room_),
          settled_values_.data() + at + static_cast<size_t>(first) * dim_ + feature,
          static_cast<size_t>(dim_), count};
}

void Entries::widen(int window, const std::vector<int>& open, const std::vector<int>& settled,
                    int position) {
  const size_t row = static_cast<size_t>(beam_) * dim_;
  const size_t slots = times(times(sentences_, window), row);
  Buffer<float> keys(slots), values(slots), states(keeps_states_ ? slots : 0);
  for (int b : open)
    for (int t = settled[b]; t < position; t++) {
      const size_t from = slots_at(b) + t % window_ * row;
      const size_t to = (static_cast<size_t>(b) * window + t % window) * row;
      copy(keys.data() + to, keys_.data() + from, row);
      copy(values.data() + to, values_.data() + from, row);
      if (keeps_states_) copy(states.data() + to, states_.data() + from, row);
    }
  keys_.swap(keys);
  values_.swap(values);
  if (keeps_states_) states_.swap(states);
  window_ = window;
}

void Entries::make_room(int room, const std::vector<int>& open, const std::vector<int>& filled) {
  const size_t size = times(times(sentences_, room), dim_);
  Buffer<float> keys(size), values(size), states(keeps_states_ ? size : 0);
  for (int b : open) {
    const size_t from = settled_at(b), to = static_cast<size_t>(b) * room * dim_;
    for (int c = 0; c < dim_; c++)
      copy(keys.data() + to + static_cast<size_t>(c) * room,
           settled_keys_.data() + from + static_cast<size_t>(c) * room_, filled[b]);
    copy(values.data() + to, settled_values_.data() + from, times(filled[b], dim_));
    if (keeps_states_)
      copy(states.data() + to, settled_states_.data() + from, times(filled[b], dim_));
  }
  settled_keys_.swap(keys);
  settled_values_.swap(values);
  if (keeps_states_) settled_states_.swap(states);
  room_ = room;
}

// --- Past ----------------------------------------------------------------------------------------

void Past::start(const std::vector<int>& before, int beam, int dim,
                 const std::vector<bool>& keeps_states) {
  const int sentences = static_cast<int>(before.size());
  sentences_ = sentences, beam_ = beam, position_ = 0;
  before_ = before;
  window_ = FIRST_WINDOW, room_ = FIRST_ROOM;
  for (int entries : before) room_ = std::max(room_, FIRST_ROOM + entries);
  entries_.resize(keeps_states.size());
  for (size_t kind = 0; kind < entries_.size(); kind++)
    entries_[kind].start(sentences, beam, dim, window_, room_, keeps_states[kind]);
  settled_.assign(sentences, 0);
  lists_.fit(times(times(sentences, beam), window_));
  next_.fit(times(times(sentences, beam), window_));
}

void Past::begin(const std::vector<int>& open, int rows) {
  int least = position_;
  for (int b : open) least = std::min(least, settled_[b]);
  if (position_ - least >= window_) widen(open, rows);
  int32_t* list = lists_.data();
  for (int b : open)
    for (int r = 0; r < rows; r++, list += window_)
      list[position_ - settled_[b]] = slot(position_, r);
}

void Past::widen(const std::vector<int>& open, int rows) {
  const int window = 2 * window_;
  for (Entries& entries : entries_) entries.widen(window, open, settled_, position_);
  Buffer<int32_t> lists(times(times(sentences_, beam_), window));
  int n = 0;
  for (int b : open)
    for (int r = 0; r < rows; r++, n++)
      for (int i = 0; i < position_ - settled_[b]; i++) {
        const int row = lists_[static_cast<size_t>(n) * window_ + i] % beam_;
        lists[static_cast<size_t>(n) * window + i] = (settled_[b] + i) % window * beam_ + row;
      }
  lists_.swap(lists);
  next_.fit(times(times(sentences_, beam_), window));
  window_ = window;
}

void Past::move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
                const std::vector<int>& parents) {
  position_++;
  std::vector<int> going_on;
  for (int place : kept) going_on.push_back(open[place]);
  make_room(going_on);
  std::vector<const int32_t*> from(beam_);
  int32_t* to = next_.data();
  for (size_t i = 0; i < kept.size(); i++) {
    const int b = going_on[i], length = position_ - settled_[b];
    for (int r = 0; r < beam_; r++) from[r] = list(kept[i] * rows + parents[i * beam_ + r]);
    const int same = settle(b, from.data());
    for (int r = 0; r < beam_; r++, to += window_)
      memcpy(to, from[r] + same, sizeof(int32_t) * (length - same));
  }
  lists_.swap(next_);
}

// Room for all that the open sentences may have settled by now.
void Past::make_room(const std::vector<int>& open) {
  int most = 0;
  for (int b : open) most = std::max(most, before_[b] + position_);
  if (most <= room_) return;
  std::vector<int> filled(sentences_, 0);
  for (int b : open) filled[b] = before_[b] + settled_[b];
  for (Entries& entries : entries_) entries.make_room(2 * room_, open, filled);
  room_ *= 2;
}

// Settle the positions at the head of the `lists` of all rows that are the same; how many.
int Past::settle(int sentence, const int32_t* const* lists) {
  const int first = settled_[sentence];
  while (settled_[sentence] < position_) {
    const int i = settled_[sentence] - first;
    const bool same = std::all_of(lists + 1, lists + beam_,
                                  [&](const int32_t* other) { return other[i] == lists[0][i]; });
    if (!same) break;
    for (Entries& entries : entries_)
      entries.settle(sentence, lists[0][i], before_[sentence] + settled_[sentence]);
    settled_[sentence]++;
  }
  return settled_[sentence] - first;
}

}  // namespace memtx
