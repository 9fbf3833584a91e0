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

void Received::drop(int gone, int rows) {
  for (int n = 0; n < rows; n++) {
    float* numbers = of(n);
    std::copy(numbers + gone, numbers + most_, numbers);
    std::fill(numbers + most_ - gone, numbers + most_, 0.0f);
  }
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
  made_ = added_ = 0;
  numbers_.clear();
  const size_t size = times(times(sentences, beam), times(ring_, dim));
  keys_.fit(size);
  values_.fit(size);
  lists_.fit(times(times(sentences, beam), most));
  next_.fit(times(times(sentences, beam), most));
}

void Compressed::add(int count, const std::vector<int>& open, int rows) {
  added_ = made_;
  made_ += count;
  const int before = static_cast<int>(numbers_.size());
  for (int i = 0; i < count; i++) numbers_.push_back(added_ + i);
  const int gone = std::max(0, before + count - most_);
  numbers_.erase(numbers_.begin(), numbers_.begin() + gone);
  const int kept = std::max(0, before - gone);
  for (int n = 0; n < static_cast<int>(open.size()) * rows; n++) {
    int32_t* list = lists_.data() + static_cast<size_t>(n) * most_;
    std::copy(list + before - kept, list + before, list);
    for (size_t i = kept; i < numbers_.size(); i++) list[i] = slot(numbers_[i], n % rows);
  }
}

void Compressed::write(int i, int sentence, int row, const float* key, const float* value) {
  const size_t to = at(sentence, slot(added_ + i, row));
  memcpy(keys_.data() + to, key, sizeof(float) * dim_);
  memcpy(values_.data() + to, value, sizeof(float) * dim_);
}

void Compressed::move(int rows, const std::vector<int>& kept, const std::vector<int>& parents) {
  if (numbers_.empty()) return;
  int32_t* to = next_.data();
  for (size_t i = 0; i < kept.size(); i++)
    for (int r = 0; r < beam_; r++, to += most_)
      memcpy(to, list(kept[i] * rows + parents[i * beam_ + r]), sizeof(int32_t) * numbers_.size());
  lists_.swap(next_);
}

}  // namespace memtx
