#include "compressed.h"

#include <algorithm>
#include <cstring>

namespace memtx {

void Received::start(int sentences, int beam, int most) {
  beam_ = beam, most_ = most;
  const size_t size = times(times(sentences, beam), most);
  numbers_.zeros(size);
  next_.fit(size);
}

void Received::drop(int gone, int n) {
  float* numbers = of(n);
  std::copy(numbers + gone, numbers + most_, numbers);
  std::fill(numbers + most_ - gone, numbers + most_, 0.0f);
}

void Received::move(int rows, const std::vector<int>& kept, const std::vector<int>& parents) {
  float* to = next_.data();
  for (size_t i = 0; i < kept.size(); i++)
    for (int r = 0; r < beam_; r++, to += most_)
      memcpy(to, of(kept[i] * rows + parents[i * beam_ + r]), sizeof(float) * most_);
  numbers_.swap(next_);
}

void Compressed::start(int sentences, int beam, int dim, int most, int at_once) {
  beam_ = beam, dim_ = dim, most_ = most, ring_ = most + at_once;
  made_.assign(sentences, 0), made_before_.assign(sentences, 0), counts_.assign(sentences, 0);
  const size_t size = times(times(sentences, beam), times(ring_, dim));
  keys_.fit(size);
  values_.fit(size);
  lists_.fit(times(times(sentences, beam), most));
  next_.fit(times(times(sentences, beam), most));
}

void Compressed::add(int count, int sentence, int first_row, int rows) {
  const int before = counts_[sentence];
  made_before_[sentence] = made_[sentence];
  made_[sentence] += count;
  const int after = counts_[sentence] = std::min(before + count, most_);
  const int kept = std::max(0, after - count), oldest = made_[sentence] - after;
  for (int r = 0; r < rows; r++) {
    int32_t* list = lists_.data() + static_cast<size_t>(first_row + r) * most_;
    std::copy(list + before - kept, list + before, list);
    for (int i = kept; i < after; i++) list[i] = slot(oldest + i, r);
  }
}

void Compressed::write(int i, int sentence, int row, const float* key, const float* value) {
  const size_t to = at(sentence, slot(made_before_[sentence] + i, row));
  memcpy(keys_.data() + to, key, sizeof(float) * dim_);
  memcpy(values_.data() + to, value, sizeof(float) * dim_);
}

void Compressed::move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
                      const std::vector<int>& parents) {
  int32_t* to = next_.data();
  for (size_t i = 0; i < kept.size(); i++) {
    const size_t bytes = sizeof(int32_t) * counts_[open[kept[i]]];
    for (int r = 0; r < beam_; r++, to += most_)
      memcpy(to, list(kept[i] * rows + parents[i * beam_ + r]), bytes);
  }
  lists_.swap(next_);
}

}  // namespace memtx
