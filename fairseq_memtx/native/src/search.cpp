#include "search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <system_error>
#include <thread>

namespace memtx {
namespace {

constexpr float NEVER = -std::numeric_limits<float>::infinity();
constexpr size_t FEWEST = 4;  // sentences of a group, where threads share a batch

}  // namespace

Search::Search(const std::vector<Member>& members, const std::vector<int32_t>& words,
               const SearchOptions& options, Worker& worker)
    : members_(members),
      words_(words),
      options_(options),
      worker_(worker),
      num_words_(members[0].output->outputs()),
      num_blocks_((num_words_ + BLOCK - 1) / BLOCK) {}

std::vector<std::vector<Hypothesis>> Search::run(const std::vector<const Sentence*>& sentences) {
  sentences_ = sentences;
  start();
  for (int number = 0; number <= options_.max_len; number++)
    if (!step(number)) break;
  std::vector<std::vector<Hypothesis>> found(sentences.size());
  for (const End& end : ends_) found[end.sentence].push_back(read_off(end));
  return found;
}

void Search::start() {
  std::vector<std::vector<int>> sources;
  for (size_t b = 0; b < sentences_.size(); b++) {
    sources.push_back(sentences_[b]->source);
    open_.push_back(static_cast<int>(b));
  }
  worker_.decodings.resize(members_.size());
  for (size_t m = 0; m < members_.size(); m++) {
    std::vector<Carried> before(sentences_.size());
    for (size_t b = 0; b < sentences_.size(); b++)
      if (!sentences_[b]->before.empty()) before[b] = sentences_[b]->before[m];
    worker_.decodings[m].start(*members_[m].model, sources, before, options_.beam,
                               options_.attention, worker_.room);
  }
  num_ended_.assign(sentences_.size(), 0);
  tokens_.assign(sentences_.size(), options_.bos);
  scores_.assign(sentences_.size(), 0.0f);
  if (options_.no_repeat_ngram_size > 0)
    prefixes_.assign(sentences_.size(), std::vector<int>(1, options_.bos));
}

// One position; false when no sentence is left.
bool Search::step(int number) {
  compute_logits();
  now_.words.clear(), now_.parents.clear(), now_.scores.clear();
  kept_.clear();
  const size_t choices = static_cast<size_t>(rows_) * num_words_;
  wanted_ = std::min(2 * static_cast<size_t>(options_.beam), choices - 1);
  for (size_t place = 0; place < open_.size(); place++) {
    find_candidates(static_cast<int>(place), number);
    end(static_cast<int>(place), number);
  }
  const bool goes_on = number < options_.max_len && !kept_.empty();
  if (goes_on) go_on();
  return goes_on;
}

// --- Words ---------------------------------------------------------------------------------------

void Search::compute_logits() {
  const int rows = static_cast<int>(tokens_.size());
  std::vector<int> words(rows);
  for (int n = 0; n < rows; n++) words[n] = named(tokens_[n]);
  const size_t size = times(rows, num_words_);
  worker_.logits.fit(size);
  worker_.block_largest.fit(times(rows, num_blocks_));
  log_sums_.resize(rows);
  for (size_t m = 0; m < members_.size(); m++) {
    const Member& member = members_[m];
    Decoding& decoding = worker_.decodings[m];
    const float* features = decoding.step(open_, rows_, words, worker_.room);
    if (m > 0) worker_.others.swap(worker_.logits);
    member.output->apply(member.model->kernels, features, rows, worker_.logits.fit(size),
                         worker_.room.rounding);
    log_normalise(member.model->kernels, rows);
    if (members_.size() > 1) mean_of_members(static_cast<int>(m));
  }
  if (options_.attention) note_attention();
}

// The mean over the members.
void Search::note_attention() {
  Look look = {places(), rows_, worker_.decodings[0].longest(), {}};
  look.probs.assign(times(tokens_.size(), look.longest), 0.0f);
  for (const Decoding& decoding : worker_.decodings)
    for (size_t i = 0; i < look.probs.size(); i++)
      look.probs[i] += decoding.attention()[i] / static_cast<float>(members_.size());
  looks_.push_back(std::move(look));
}

// Where each sentence stands among the open ones.
std::vector<int> Search::places() const {
  std::vector<int> found(sentences_.size(), 0);
  for (size_t i = 0; i < open_.size(); i++) found[open_[i]] = static_cast<int>(i);
  return found;
}

// Divide by the temperature and find the logarithms of the sums of exponentials.
void Search::log_normalise(const Kernels& kernels, int rows) {
  for (int n = 0; n < rows; n++) {
    float* logits = worker_.logits.data() + static_cast<size_t>(n) * num_words_;
    if (options_.temperature != 1.0f)
      for (int w = 0; w < num_words_; w++) logits[w] /= options_.temperature;
    log_sums_[n] =
        kernels.log_sum_exp(logits, num_words_, worker_.block_largest.data() + n * num_blocks_);
    if (std::isnan(log_sums_[n]))
      throw Diverged("the decoder's output is NaN: the model has diverged");
  }
}

// Turn the logits of member m to log-probabilities, and add them to those of the members before;
// after the last one the mean is left.
void Search::mean_of_members(int m) {
  const int rows = static_cast<int>(tokens_.size());
  const float mean =
      m + 1 == static_cast<int>(members_.size()) ? std::log(static_cast<float>(m + 1)) : 0.0f;
  for (int n = 0; n < rows; n++) {
    float* logits = worker_.logits.data() + static_cast<size_t>(n) * num_words_;
    const float* before = worker_.others.data() + static_cast<size_t>(n) * num_words_;
    float* largest = worker_.block_largest.data() + n * num_blocks_;
    std::fill(largest, largest + num_blocks_, NEVER);
    for (int w = 0; w < num_words_; w++) {
      float value = logits[w] - log_sums_[n];
      if (m > 0) {  // log(e^a + e^b)
        const float high = std::max(value, before[w]), low = std::min(value, before[w]);
        value = low == NEVER ? high : high + std::log1p(std::exp(low - high));
      }
      logits[w] = value - mean;
      largest[w / BLOCK] = std::max(largest[w / BLOCK], logits[w]);
    }
    log_sums_[n] = 0.0f;
  }
}

float Search::total(int word, int row_of_all) const {
  const size_t at = static_cast<size_t>(row_of_all) * num_words_ + word;
  return (worker_.logits[at] - log_sums_[row_of_all]) + scores_[row_of_all];
}

// Words of a sentence's hypotheses at most.
int Search::most(const Sentence& sentence) const {
  return std::min(options_.max_len, sentence.longest);
}

// The best `wanted_` continuations of a sentence, best first, as the rules allow.
void Search::find_candidates(int place, int number) {
  found_.clear();
  const Sentence& sentence = *sentences_[open_[place]];
  const bool in_prefix =
      number < std::min(static_cast<int>(sentence.prefix.size()), most(sentence));
  for (int r = 0; r < rows_; r++) apply_rules(place, number, place * rows_ + r);
  const int forced = in_prefix ? sentence.prefix[number] : options_.pad;
  if (forced != options_.pad) {
    force(place, forced);
    const bool at_length = sentence.exact_length >= 0 && number >= sentence.exact_length;
    if (at_length && forced != options_.eos) force_end(place);
  } else if (number >= most(sentence)) {
    force_end(place);
  } else {
    for (int r = 0; r < rows_; r++) scan(r, place * rows_ + r);
  }
  // as many rows as there must be, which lead nowhere
  while (found_.size() < wanted_) found_.push_back({NEVER, options_.unk, 0});
}

// Only `word` is allowed. Where it is the end, all rows are the first one.
void Search::force(int place, int word) {
  const bool ends = word == options_.eos;
  for (int r = 0; r < rows_; r++)
    put(total(word, place * rows_ + (ends ? 0 : r)), word, ends ? 0 : r);
}

void Search::force_end(int place) {
  for (int r = 0; r < rows_; r++) put(total(options_.eos, place * rows_ + r), options_.eos, r);
}

void Search::put(float score, int word, int row) {
  if (!(score > NEVER)) return;
  if (found_.size() == wanted_) {
    if (!(score > found_.back().score)) return;
    found_.pop_back();
  }
  const auto after =
      std::upper_bound(found_.begin(), found_.end(), score,
                       [](float mine, const Candidate& other) { return mine > other.score; });
  found_.insert(after, {score, word, row});
}

void Search::scan(int row, int row_of_all) {
  const Kernels& kernels = members_[0].model->kernels;
  const float* logits = worker_.logits.data() + static_cast<size_t>(row_of_all) * num_words_;
  const float* largest = worker_.block_largest.data() + row_of_all * num_blocks_;
  const float log_sum = log_sums_[row_of_all], score = scores_[row_of_all];
  float least = found_.size() == wanted_ ? found_.back().score : NEVER;
  for (size_t block = 0; block < num_blocks_; block++) {
    if (!((largest[block] - log_sum) + score > least)) continue;
    const int first = static_cast<int>(block) * BLOCK;
    const int size = std::min(num_words_ - first, BLOCK);
    int32_t places[BLOCK];
    const int found = kernels.find_greater(logits + first, size, log_sum, score, least, places);
    for (int i = 0; i < found; i++)
      put(total(first + places[i], row_of_all), first + places[i], row);
    if (found_.size() == wanted_) least = found_.back().score;
  }
}

// --- Rules ---------------------------------------------------------------------------------------

void Search::ban(int row_of_all, int word) {
  worker_.logits[static_cast<size_t>(row_of_all) * num_words_ + word] = NEVER;
}

void Search::apply_rules(int place, int number, int row_of_all) {
  const Sentence& sentence = *sentences_[open_[place]];
  float* logits = worker_.logits.data() + static_cast<size_t>(row_of_all) * num_words_;
  float* largest = worker_.block_largest.data() + row_of_all * num_blocks_;
  const auto raise = [&](int word, float to) {
    logits[word] = to;
    largest[word / BLOCK] = std::max(largest[word / BLOCK], to);
  };
  ban(row_of_all, options_.pad);
  if (options_.unk_penalty != 0.0f)
    raise(options_.unk, logits[options_.unk] - options_.unk_penalty);
  const bool in_prefix =
      number < std::min(static_cast<int>(sentence.prefix.size()), most(sentence));
  if (!in_prefix && number < options_.min_len) ban(row_of_all, options_.eos);
  if (options_.no_repeat_ngram_size > 0) ban_repeated(row_of_all);
  if (sentence.exact_length < 0) return;
  if (number < sentence.exact_length)
    ban(row_of_all, options_.eos);
  else
    raise(options_.eos, log_sums_[row_of_all]);  // a log-probability of 0
}

// Every word that would repeat an n-gram; the start counts as a word but for n = 1.
void Search::ban_repeated(int row_of_all) {
  const std::vector<int>& prefix = prefixes_[row_of_all];
  const int n = options_.no_repeat_ngram_size, first = n == 1 ? 1 : 0;
  const int length = static_cast<int>(prefix.size());
  for (int i = first; i + n <= length; i++)
    if (std::equal(prefix.begin() + i, prefix.begin() + i + n - 1, prefix.end() - (n - 1)))
      ban(row_of_all, prefix[i + n - 1]);
}

// --- Ends and beams ------------------------------------------------------------------------------

// Accept ends among the best K candidates, and continue the best K others.
void Search::end(int place, int number) {
  const int sentence = open_[place], beam = options_.beam;
  int& ended = num_ended_[sentence];
  const auto is_end = [&](const Candidate& c) {
    return c.word == options_.eos && std::isfinite(c.score);
  };
  const size_t best = std::min(found_.size(), static_cast<size_t>(beam));
  for (size_t i = 0; i < best; i++)
    if (is_end(found_[i]) && ended < beam) {
      ends_.push_back({sentence, number, found_[i].row, found_[i].score});
      ended++;
    }
  if (ended == beam || number >= most(*sentences_[sentence])) return;
  kept_.push_back(place);
  const size_t until = now_.words.size() + beam;
  for (const Candidate& c : found_) {
    if (now_.words.size() == until) break;
    if (is_end(c)) continue;
    now_.words.push_back(c.word), now_.parents.push_back(c.row), now_.scores.push_back(c.score);
  }
  while (now_.words.size() < until)
    now_.words.push_back(options_.unk), now_.parents.push_back(0), now_.scores.push_back(NEVER);
}

void Search::go_on() {
  const std::vector<int> open_before = open_;
  const int rows_before = rows_, beam = options_.beam;
  for (Decoding& decoding : worker_.decodings) decoding.move(open_, rows_, kept_, now_.parents);
  open_.clear();
  for (int place : kept_) open_.push_back(open_before[place]);
  rows_ = beam;
  tokens_ = now_.words;
  scores_ = now_.scores;
  if (options_.no_repeat_ngram_size > 0) {
    std::vector<std::vector<int>> prefixes;
    for (size_t i = 0; i < tokens_.size(); i++) {
      prefixes.push_back(prefixes_[kept_[i / beam] * rows_before + now_.parents[i]]);
      prefixes.back().push_back(tokens_[i]);
    }
    prefixes_.swap(prefixes);
  }
  now_.place = places();
  steps_.push_back(now_);
}

Hypothesis Search::read_off(const End& end) const {
  Hypothesis found;
  const int length = end.step + 1;
  found.total = end.score;
  found.words.assign(length, named(options_.eos));
  found.word_scores.assign(length, end.score);
  int row = end.row;
  const size_t source = sentences_[end.sentence]->source.size();
  if (!looks_.empty()) found.attention.resize(length * source);
  for (int t = end.step; t >= 0; t--) {
    if (!looks_.empty()) {
      const Look& look = looks_[t];
      const size_t at = static_cast<size_t>(look.place[end.sentence]) * look.rows + row;
      std::copy_n(look.probs.begin() + at * look.longest, source,
                  found.attention.begin() + t * source);
    }
    if (t == 0) break;
    const Step& step = steps_[t - 1];
    const size_t at = static_cast<size_t>(step.place[end.sentence]) * options_.beam + row;
    found.words[t - 1] = named(step.words[at]);
    found.word_scores[t - 1] = step.scores[at];
    row = step.parents[at];
  }
  for (int t = length - 1; t > 0; t--) found.word_scores[t] -= found.word_scores[t - 1];
  return found;
}

// --- Threads -------------------------------------------------------------------------------------

namespace {

// The sentences in groups, those of similar lengths together and the longest first: threads take
// group after group, so that none has much more to do than another. One thread has them all in one,
// which is best for it; more groups than twice the threads would make products of too few rows.
std::vector<std::vector<size_t>> in_groups(const std::vector<Sentence>& sentences, size_t threads) {
  std::vector<size_t> order(sentences.size());
  for (size_t b = 0; b < order.size(); b++) order[b] = b;
  if (threads == 1) return {order};
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return sentences[a].source.size() > sentences[b].source.size();
  });
  const size_t most = std::min(2 * threads, order.size() / FEWEST);
  const size_t count = std::min(order.size(), std::max(threads, most));
  std::vector<std::vector<size_t>> groups(count);
  for (size_t g = 0; g < count; g++)
    groups[g].assign(order.begin() + static_cast<ptrdiff_t>(g * order.size() / count),
                     order.begin() + static_cast<ptrdiff_t>((g + 1) * order.size() / count));
  return groups;
}

}  // namespace

std::vector<std::vector<Hypothesis>> search(const std::vector<Member>& members,
                                            const std::vector<int32_t>& words,
                                            const SearchOptions& options,
                                            const std::vector<Sentence>& sentences,
                                            const std::vector<Worker*>& workers) {
  const auto groups = in_groups(sentences, workers.size());
  std::vector<std::vector<Hypothesis>> found(sentences.size());
  std::vector<std::exception_ptr> errors(workers.size());
  std::atomic<size_t> next{0};
  const auto work = [&](size_t thread) {
    try {
      for (size_t g = next++; g < groups.size(); g = next++) {
        std::vector<const Sentence*> mine;
        for (size_t b : groups[g]) mine.push_back(&sentences[b]);
        auto of_mine = Search(members, words, options, *workers[thread]).run(mine);
        for (size_t i = 0; i < mine.size(); i++) found[groups[g][i]] = std::move(of_mine[i]);
      }
    } catch (...) {
      errors[thread] = std::current_exception();
      next = groups.size();  // the others need not go on
    }
  };
  std::vector<std::thread> others;
  others.reserve(workers.size());
  try {
    for (size_t thread = 1; thread < workers.size(); thread++) others.emplace_back(work, thread);
  } catch (const std::system_error&) {  // no more threads: those that there are do the work
  } catch (const std::bad_alloc&) {
  }
  work(0);
  for (std::thread& other : others) other.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  return found;
}

}  // namespace memtx
