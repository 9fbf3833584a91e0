#include "interface.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "choice.h"
#include "search.h"

using namespace memtx;

struct memtx_parts {
  Parts parts;
};

struct memtx_model {
  Model model;
  std::mutex mutex;
  std::vector<std::unique_ptr<Worker>> idle;
};

namespace {

constexpr int MOST_THREADS = 256;
thread_local std::string message;

int32_t failed(int32_t kind, const char* what) {
  try {
    message = what;
  } catch (...) {
    message.clear();
  }
  return kind;
}

template <class Work>
int32_t guarded(const Work& work) {
  try {
    work();
    return MEMTX_OK;
  } catch (const BadCall& error) {
    return failed(MEMTX_BAD_CALL, error.what());
  } catch (const Diverged& error) {
    return failed(MEMTX_DIVERGED, error.what());
  } catch (const std::bad_alloc&) {
    return failed(MEMTX_NO_MEMORY, "there is not enough memory");
  } catch (const std::length_error&) {
    return failed(MEMTX_NO_MEMORY, "there is not enough memory");
  } catch (const std::exception& error) {
    return failed(MEMTX_FAILED, error.what());
  } catch (...) {
    return failed(MEMTX_FAILED, "an unknown error");
  }
}

void require(bool holds, const char* what) {
  if (!holds) throw BadCall(what);
}

const Kernels& known_level(const char* name) {
  require(name != nullptr, "a level must have a name");
  const Kernels* kernels = level(name);
  if (kernels == nullptr) throw BadCall("the processor has no level `" + std::string(name) + "`");
  return *kernels;
}

// The workers of one call, taken from those of a model and given back.
class Workers {
 public:
  Workers(memtx_model& model, size_t count) : model_(model) {
    {
      const std::lock_guard<std::mutex> lock(model_.mutex);
      while (taken_.size() < count && !model_.idle.empty()) {
        taken_.push_back(std::move(model_.idle.back()));
        model_.idle.pop_back();
      }
    }
    while (taken_.size() < count) taken_.push_back(std::make_unique<Worker>());
  }
  ~Workers() {
    const std::lock_guard<std::mutex> lock(model_.mutex);
    try {
      for (auto& worker : taken_) model_.idle.push_back(std::move(worker));
    } catch (const std::bad_alloc&) {  // then their memory goes
    }
  }
  std::vector<Worker*> all() const {
    std::vector<Worker*> found;
    for (const auto& worker : taken_) found.push_back(worker.get());
    return found;
  }

 private:
  memtx_model& model_;
  std::vector<std::unique_ptr<Worker>> taken_;
};

// --- Checks --------------------------------------------------------------------------------------

void check_options(const memtx_options& o, int words) {
  require(o.beam >= 1 && o.beam <= words - 2, "the beam must be 1 to the number of words less 2");
  require(o.max_len >= 0 && o.max_len < 1 << 20, "the maximum length must be 0 to 1,048,575");
  require(o.min_len <= o.max_len, "the minimum length must be at most the maximum");
  for (int32_t symbol : {o.pad, o.unk, o.eos, o.bos})
    require(symbol >= 0 && symbol < words, "the symbols must be words");
  require(o.pad != o.eos, "padding and end must be different");
  require(o.no_repeat_ngram_size >= 0, "the order of n-grams must be at least 0");
  require(!std::isnan(o.unk_penalty), "the unknown penalty must be a number");
  require(std::isfinite(o.temperature) && o.temperature > 0, "the temperature must be positive");
}

std::vector<int32_t> checked_words(const memtx_batch& batch, int words) {
  std::vector<int32_t> found;
  if (batch.words == nullptr) return found;
  require(batch.num_words >= 3, "the words to choose from must be at least 3");
  for (int32_t i = 0; i < batch.num_words; i++) {
    const int64_t word = batch.words[i];
    require(word >= 0 && word < words && (i == 0 || word > batch.words[i - 1]),
            "the words to choose from must rise and be words");
    found.push_back(static_cast<int32_t>(word));
  }
  return found;
}

// `words` that there are on the target's side; the limits of the source's are those of all models.
std::vector<Sentence> checked_sentences(const memtx_batch& batch, int words, int pad,
                                        int64_t source_words, int longest) {
  require(batch.sentences >= 0 && batch.width >= 0 && batch.prefix_width >= 0,
          "the sizes of a batch must be at least 0");
  require(batch.source != nullptr || batch.sentences == 0 || batch.width == 0,
          "a batch must have sources");
  std::vector<Sentence> found(batch.sentences);
  for (int32_t b = 0; b < batch.sentences; b++) {
    const int64_t* row = batch.source + static_cast<size_t>(b) * batch.width;
    for (int32_t s = 0; s < batch.width; s++) {
      require(row[s] >= 0 && row[s] < source_words, "the sources must be words");
      if (row[s] != pad) found[b].source.push_back(static_cast<int>(row[s]));
    }
    require(!found[b].source.empty(), "a source must have a word");
    require(static_cast<int64_t>(found[b].source.size()) <= longest,
            "a source has more words than there are positions");
    if (batch.exact_lengths != nullptr) {
      require(batch.exact_lengths[b] >= 0 && batch.exact_lengths[b] < 1 << 20,
              "exact lengths must be 0 to 1,048,575");
      found[b].exact_length = static_cast<int>(batch.exact_lengths[b]);
    }
    if (batch.longest != nullptr) {
      require(batch.longest[b] >= 0 && batch.longest[b] < 1 << 20,
              "the longest lengths must be 0 to 1,048,575");
      found[b].longest = static_cast<int>(batch.longest[b]);
    }
    for (int32_t p = 0; batch.prefix != nullptr && p < batch.prefix_width; p++) {
      const int64_t word = batch.prefix[static_cast<size_t>(b) * batch.prefix_width + p];
      require(word >= 0 && word < words, "the prefixes must be words");
      found[b].prefix.push_back(static_cast<int>(word));
    }
  }
  return found;
}

void check_memory(const memtx_memory& memory, const Model& model) {
  const int width = memory.width, older = memory.compressed_width;
  require(width >= 0 && older >= 0 && width < 1 << 20 && older < 1 << 20,
          "the widths of a memory must be 0 to 1,048,575");
  if (width == 0 && older == 0) return;
  require(memory.kinds >= 1 && memory.kinds == model.carried_kinds(),
          "a memory must have the kinds of entries that the model remembers");
  require(memory.dim == model.dim, "a memory must have the model's size");
  require(width == 0 || (memory.entries != nullptr && memory.first != nullptr),
          "a memory must have entries");
  require(older == 0 || (memory.compressed != nullptr && memory.compressed_first != nullptr),
          "a compressed memory must have states");
  require(older == 0 || !model.feedback, "a Feedback decoder has no compressed memory");
  model.check_distances();
}

// What the sentence b has of an array (kinds, sentences, width, dim) whose rows end with it.
Kinds filled(const float* numbers, const int64_t* counts, int width, int dim, size_t b,
             size_t sentences) {
  if (width == 0 || numbers == nullptr) return {};
  require(counts[b] >= 0 && counts[b] <= width,
          "a memory must have 0 entries to as many as there is room for");
  const size_t first = (b + 1) * width - static_cast<size_t>(counts[b]);
  return {static_cast<int>(counts[b]), numbers + first * dim, times(sentences, times(width, dim))};
}

// What the sentences begin with, for the next of the models.
void take_memory(const memtx_memory& m, const Model& model, std::vector<Sentence>& sentences) {
  const size_t count = sentences.size();
  if (count > 0) check_memory(m, model);
  for (size_t b = 0; b < count; b++)
    sentences[b].before.push_back(
        {filled(m.first, m.entries, m.width, m.dim, b, count),
         filled(m.compressed_first, m.compressed, m.compressed_width, m.dim, b, count),
         filled(m.received, m.entries, m.width, 1, b, count)});
}

// --- Results -------------------------------------------------------------------------------------

struct Result {
  memtx_result view;  // first, so that a pointer to it is one to the whole
  std::vector<int32_t> sentence, length;
  std::vector<float> total, word_scores, attention;
  std::vector<int64_t> words;
};

std::unique_ptr<Result> flattened(const std::vector<std::vector<Hypothesis>>& found) {
  auto made = std::make_unique<Result>();
  for (size_t b = 0; b < found.size(); b++)
    for (const Hypothesis& h : found[b]) {
      made->sentence.push_back(static_cast<int32_t>(b));
      made->length.push_back(static_cast<int32_t>(h.words.size()));
      made->total.push_back(h.total);
      made->words.insert(made->words.end(), h.words.begin(), h.words.end());
      made->word_scores.insert(made->word_scores.end(), h.word_scores.begin(), h.word_scores.end());
      made->attention.insert(made->attention.end(), h.attention.begin(), h.attention.end());
    }
  made->view = {static_cast<int32_t>(made->sentence.size()),
                static_cast<int64_t>(made->words.size()),
                static_cast<int64_t>(made->attention.size()),
                made->sentence.data(),
                made->length.data(),
                made->total.data(),
                made->words.data(),
                made->word_scores.data(),
                made->attention.data(),
                0};
  return made;
}

std::unique_ptr<Result> translate(memtx_model* const* models, int32_t num_models,
                                  const memtx_batch& batch, const memtx_options& options,
                                  int32_t threads) {
  require(num_models >= 1 && models[0] != nullptr, "there must be a model");
  const int num_words = models[0]->model.words;
  const std::vector<int32_t> words = checked_words(batch, num_words);
  const int choices = words.empty() ? num_words : static_cast<int>(words.size());
  check_options(options, choices);
  std::vector<Member> members;
  std::vector<Linear> selected(num_models);
  int64_t source_words = std::numeric_limits<int64_t>::max();
  int longest = std::numeric_limits<int>::max();
  for (int32_t m = 0; m < num_models; m++) {
    require(models[m] != nullptr, "there must be a model");
    const Model& model = models[m]->model;
    require(model.words == num_words, "the models must have the same words");
    require(options.max_len < model.target.positions(), "there are fewer positions than words");
    require(!model.by_rows || !words.empty(), "the model is one for lists of words");
    require(model.by_rows || words.empty(), "the model is none for lists of words");
    require(model.source_pad == models[0]->model.source_pad, "the models must pad alike");
    source_words = std::min<int64_t>(source_words, model.source.words());
    longest = std::min(longest, model.source.positions());
    if (model.by_rows) selected[m] = Linear(model.kernels, model.output_rows, words);
    members.push_back({&model, model.by_rows ? &selected[m] : &model.output});
  }
  auto sentences =
      checked_sentences(batch, choices, models[0]->model.source_pad, source_words, longest);
  for (int32_t m = 0; batch.memories != nullptr && m < num_models; m++)
    take_memory(batch.memories[m], models[m]->model, sentences);
  require(threads >= 1, "there must be a thread");
  const size_t most = std::max<size_t>(1, std::min<size_t>(sentences.size(), MOST_THREADS));
  const Workers workers(*models[0], std::min<size_t>(threads, most));
  const SearchOptions how = {
      options.beam,        options.max_len,     options.min_len,       options.pad,
      options.unk,         options.eos,         options.bos,           options.no_repeat_ngram_size,
      options.unk_penalty, options.temperature, options.attention != 0};
  const std::vector<Worker*> every = workers.all();
  auto made = flattened(search(members, words, how, sentences, every));
  for (const Worker* worker : every)
    made->view.state_bytes += static_cast<int64_t>(worker->state_bytes());
  return made;
}

}  // namespace

extern "C" {

const char* memtx_message() { return message.c_str(); }

const char* memtx_level(int32_t n) {
  const Kernels* kernels = level(static_cast<int>(n));
  return kernels == nullptr ? nullptr : kernels->name;
}

int32_t memtx_self_test(const char* name) {
  return guarded([&] {
    if (!self_test(known_level(name)))
      throw std::runtime_error("the kernels of the level `" + std::string(name) +
                               "` compute wrong results");
  });
}

int32_t memtx_parts_new(const char* name, memtx_parts** made) {
  return guarded([&] {
    require(made != nullptr, "there must be a place for the parts");
    *made = new memtx_parts{Parts(known_level(name))};
  });
}

void memtx_parts_free(memtx_parts* parts) { delete parts; }

int32_t memtx_set_number(memtx_parts* parts, const char* name, double value) {
  return guarded([&] {
    require(parts != nullptr && name != nullptr, "a number must have a name");
    parts->parts.set_number(name, value);
  });
}

int32_t memtx_set_floats(memtx_parts* parts, const char* name, const float* values, int64_t count) {
  return guarded([&] {
    require(parts != nullptr && name != nullptr, "a vector must have a name");
    require(values != nullptr && count >= 1, "a vector must have a number");
    parts->parts.set_floats(name, values, static_cast<size_t>(count));
  });
}

int32_t memtx_set_linear(memtx_parts* parts, const char* name, int32_t outputs, int32_t inputs,
                         const float* floats, const int8_t* ints, const float* scales,
                         const float* bias, int32_t as_rows) {
  return guarded([&] {
    require(parts != nullptr && name != nullptr, "a map must have a name");
    const WeightRows rows = {outputs, inputs, floats, ints, scales, bias};
    parts->parts.set_linear(name, rows, as_rows != 0);
  });
}

int32_t memtx_model_new(memtx_parts* parts, memtx_model** made) {
  return guarded([&] {
    require(parts != nullptr && made != nullptr, "a model must have parts");
    *made = new memtx_model{Model(parts->parts), {}, {}};
  });
}

void memtx_model_free(memtx_model* model) { delete model; }

int32_t memtx_translate(memtx_model* const* models, int32_t num_models, const memtx_batch* batch,
                        const memtx_options* options, int32_t threads, memtx_result** made) {
  return guarded([&] {
    require(models != nullptr && batch != nullptr && options != nullptr && made != nullptr,
            "models, batch, options and a place for the result must be given");
    *made = &translate(models, num_models, *batch, *options, threads).release()->view;
  });
}

void memtx_result_free(memtx_result* result) { delete reinterpret_cast<Result*>(result); }

int32_t memtx_int_products(const char* name, int32_t outputs, int32_t inputs, const int8_t* weight,
                           int32_t rows, const float* x, int32_t* products) {
  return guarded([&] {
    const Kernels& kernels = known_level(name);
    require(outputs >= 1 && inputs >= 1 && rows >= 1, "the sizes must be at least 1");
    require(weight != nullptr && x != nullptr && products != nullptr, "arrays must be given");
    const std::vector<float> scales(outputs, 1.0f);
    const WeightRows given = {outputs, inputs, nullptr, weight, scales.data(), nullptr};
    Linear(kernels, given).raw_product(kernels, x, rows, products);
  });
}
}
