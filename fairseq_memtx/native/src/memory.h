// Memory that grows: aligned to cache lines, not initialised.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace memtx {

constexpr size_t CACHE_LINE = 64;

// a * b; too large a product is too much memory.
inline size_t times(size_t a, size_t b) {
  if (b != 0 && a > std::numeric_limits<size_t>::max() / b) throw std::bad_alloc();
  return a * b;
}

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable<T>::value, "elements are moved as bytes");

 public:
  Buffer() = default;
  explicit Buffer(size_t count) { fit(count); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Room for `count` elements; what was there may be lost.
  T* fit(size_t count) {
    if (count > count_) {
      std::free(data_);
      data_ = nullptr;
      count_ = 0;
      // a vector more than asked for, so that whole vectors can be read at the end
      const size_t bytes = times(count, sizeof(T)) + 2 * CACHE_LINE;
      void* found = nullptr;
      if (bytes < count || posix_memalign(&found, CACHE_LINE, bytes) != 0) throw std::bad_alloc();
      data_ = static_cast<T*>(found);
      count_ = count;
    }
    return data_;
  }

  T* zeros(size_t count) {
    fit(count);
    std::fill_n(data_, count, T());
    return data_;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace memtx
