#include "decoding.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace memtx {

void Decoding::start(const Model& model, const std::vector<std::vector<int>>& sentences,
                     const std::vector<Carried>& before, int beam, bool attention, Room& room) {
  model_ = &model;
  wants_attention_ = attention;
  lengths_.clear(), rows_before_.clear(), keys_before_.clear();
  size_t rows = 0, keys = 0;
  longest_ = 0;
  for (const auto& sentence : sentences) {
    const int length = static_cast<int>(sentence.size());
    lengths_.push_back(length), rows_before_.push_back(rows), keys_before_.push_back(keys);
    rows += length, keys += rounded_up(length, 16);
    longest_ = std::max(longest_, length);
  }
  rows_before_.push_back(rows), keys_before_.push_back(keys);
  read_source(sentences, room);
  start_past(before, beam);
  for (int b = 0; b < static_cast<int>(before.size()); b++) {
    if (model.feedback) {
      remember_before(b, before[b]);
      continue;
    }
    for (int l = 0; l < static_cast<int>(model.decoder.size()); l++)
      remember_before(l, b, before[b], room);
  }
}

void Decoding::start_past(const std::vector<Carried>& before, int beam) {
  const Model& model = *model_;
  const int count = static_cast<int>(before.size());
  std::vector<int> entries;
  for (const Carried& carried : before) entries.push_back(carried.entries.count);
  std::vector<bool> keeps_states(model.groups, false);
  compressed_.resize(model.decoder.size());
  received_.resize(model.decoder.size());
  for (size_t l = 0; l < model.decoder.size(); l++) {
    const DecoderLayer& layer = model.decoder[l];
    if (layer.reach.compressed == 0) continue;
    keeps_states[l] = true;
    compressed_[l].start(count, beam, model.dim, layer.reach.compressed,
                         layer.reach.segment / layer.compression.rate);
    if (layer.compression.kind == Compression::Kind::most_used)
      received_[l].start(count, beam, layer.reach.memory + layer.reach.segment);
  }
  past_.start(entries, beam, model.dim, keeps_states);
}

// The keys and values that a sentence begins with, of the Feedback decoder.
void Decoding::remember_before(int sentence, const Carried& before) {
  const size_t dim = model_->dim;
  const Kinds& entries = before.entries;
  for (int g = 0; g < model_->groups; g++)
    for (int i = 0; i < entries.count; i++)
      past_.write_before(g, sentence, i - entries.count, entries.of(2 * g) + i * dim,
                         entries.of(2 * g + 1) + i * dim);
}

// What a layer of another decoder makes of the states that a sentence begins with. The search then
// has one row a sentence, which has the sentence's number.
void Decoding::remember_before(int index, int sentence, const Carried& before, Room& room) {
  const DecoderLayer& layer = model_->decoder[index];
  const Reach& reach = layer.reach;
  const size_t dim = model_->dim, stride = layer.joined.outputs();
  const int count = std::min(before.entries.count, reach.memory);  // the last ones
  if (count > 0) {
    const size_t unseen = before.entries.count - count;
    const float* states = before.entries.of(index) + unseen * dim;
    const float* keys = project(layer, states, count, room) + dim;
    for (int i = 0; i < count; i++)
      past_.write_before(index, sentence, i - count, keys + i * stride, keys + i * stride + dim);
    for (int i = 0; reach.compressed > 0 && i < count; i++)
      past_.write_state_before(index, sentence, i - count, states + i * dim);
    if (layer.compression.kind == Compression::Kind::most_used && before.received.count > 0)
      std::copy_n(before.received.of(index) + unseen, count, received_[index].of(sentence));
  }
  const int older = std::min(before.compressed.count, reach.compressed);
  if (older == 0) return;
  const float* states = before.compressed.of(index) + (before.compressed.count - older) * dim;
  const float* keys = project(layer, states, older, room) + dim;
  compressed_[index].add(older, sentence, sentence, 1);
  for (int i = 0; i < older; i++)
    compressed_[index].write(i, sentence, 0, keys + i * stride, keys + i * stride + dim);
}

// Queries, keys and values (rows, 3 C) of states (rows, C) as they enter the layer.
const float* Decoding::project(const DecoderLayer& layer, const float* states, int rows,
                               Room& room) const {
  const Model& model = *model_;
  if (model.pre_norm) {
    float* normed = room.normed.fit(times(rows, model.dim));
    layer.norm.apply(model.kernels, states, rows, normed);
    states = normed;
  }
  float* joined = room.joined.fit(times(rows, layer.joined.outputs()));
  layer.joined.apply(model.kernels, states, rows, joined, room.rounding);
  return joined;
}

void Decoding::move(const std::vector<int>& open, int rows, const std::vector<int>& kept,
                    const std::vector<int>& parents) {
  past_.move(open, rows, kept, parents);
  for (size_t l = 0; l < model_->decoder.size(); l++) {
    const DecoderLayer& layer = model_->decoder[l];
    if (layer.reach.compressed == 0) continue;
    compressed_[l].move(open, rows, kept, parents);
    if (layer.compression.kind == Compression::Kind::most_used)
      received_[l].move(rows, kept, parents);
  }
}

void Decoding::read_source(const std::vector<std::vector<int>>& sentences, Room& room) {
  const Model& model = *model_;
  const int rows = static_cast<int>(rows_before_.back()), dim = model.dim;
  float* encoded = encoded_.fit(times(rows, model.encoder_dim));
  model.encode(sentences, room, encoded);
  source_keys_.resize(model.decoder.size());
  source_values_.resize(model.decoder.size());
  for (size_t l = 0; l < model.decoder.size(); l++) {
    const DecoderLayer& layer = model.decoder[l];
    float* keys = room.joined.fit(times(rows, dim));
    layer.cross_keys.apply(model.kernels, encoded, rows, keys, room.rounding);
    float* transposed = source_keys_[l].fit(times(keys_before_.back(), dim));
    for (size_t b = 0; b < sentences.size(); b++) {
      const int length = lengths_[b], padded = rounded_up(length, 16);
      float* to = transposed + keys_before_[b] * dim;
      transpose(keys + rows_before_[b] * dim, length, dim, dim, to, padded);
      for (int c = 0; c < dim; c++)
        std::fill(to + static_cast<size_t>(c) * padded + length,
                  to + static_cast<size_t>(c + 1) * padded, 0.0f);
    }
    layer.cross_values.apply(model.kernels, encoded, rows, source_values_[l].fit(times(rows, dim)),
                             room.rounding);
  }
}

const float* Decoding::step(const std::vector<int>& open, int each, const std::vector<int>& words,
                            Room& room) {
  const Model& model = *model_;
  const Rows rows = {open, each, static_cast<int>(words.size())};
  const size_t size = times(rows.count, model.dim);
  float* x = x_.fit(size);
  for (int n = 0; n < rows.count; n++)
    model.target.look_up(model.kernels, words[n], past_.position(),
                         x + static_cast<size_t>(n) * model.dim);
  past_.begin(open, each);
  if (model.feedback) {
    mixtures_.zeros(model.channels.size() * size);
    states_.fit(model.routed_states.size() * size);
    mix_state(0, rows, x);
  }
  for (int l = 0; l < static_cast<int>(model.decoder.size()); l++) {
    run_layer(l, rows, x, room);
    if (model.feedback) mix_state(l + 1, rows, x);
  }
  if (model.feedback) remember(rows, room);
  if (!model.decoder_norm.exists()) return x;
  model.decoder_norm.apply(model.kernels, x, rows.count, features_.fit(size));
  return features_.data();
}

void Decoding::run_layer(int index, const Rows& rows, float* x, Room& room) {
  const Model& model = *model_;
  const Kernels& kernels = model.kernels;
  const DecoderLayer& layer = model.decoder[index];
  const size_t size = times(rows.count, model.dim);
  if (layer.reach.compressed > 0) {
    end_segment(index, rows, room);
    for (int n = 0; n < rows.count; n++)
      past_.write_state(index, rows.open[n / rows.each], n % rows.each,
                        x + static_cast<size_t>(n) * model.dim);
  }
  float* normed = room.normed.fit(size);
  float* joined = room.joined.fit(times(rows.count, layer.joined.outputs()));
  room.context.fit(size);
  Use back;
  back.add = x;

  if (model.pre_norm) layer.norm.apply(kernels, x, rows.count, normed);
  layer.joined.apply(kernels, model.pre_norm ? normed : x, rows.count, joined, room.rounding);
  look_back(index, rows, joined, room);
  layer.out.apply(kernels, room.context.data(), rows.count, x, room.rounding, back);
  if (!model.pre_norm) layer.norm.apply(kernels, x, rows.count, x);

  if (model.pre_norm) layer.cross_norm.apply(kernels, x, rows.count, normed);
  layer.cross_query.apply(kernels, model.pre_norm ? normed : x, rows.count, joined, room.rounding);
  look_at_source(index, rows, joined, room);
  layer.cross_out.apply(kernels, room.context.data(), rows.count, x, room.rounding, back);
  if (!model.pre_norm) layer.cross_norm.apply(kernels, x, rows.count, x);

  model.feed_forward(layer.forward, model.activation, model.pre_norm, x, rows.count, room);
}

// Add a state x (N, C) to the mixtures; or keep it, where its weights are known only in the end.
void Decoding::mix_state(int state, const Rows& rows, const float* x) {
  const Model& model = *model_;
  const size_t size = times(rows.count, model.dim), dim = model.dim;
  const size_t count = model.routed_states.size();
  for (size_t c = 0; count == 0 && c < model.channels.size(); c++)
    model.kernels.scaled_sum(mixtures_.data() + c * size, x, model.channels[c].mixture[state],
                             static_cast<int>(size));
  for (size_t s = 0; s < count; s++)
    for (int n = 0; model.routed_states[s] == state && n < rows.count; n++)
      std::copy(x + n * dim, x + (n + 1) * dim, states_.data() + (n * count + s) * dim);
}

// Mix the states that were kept, by the weights that are made of them.
void Decoding::route(const Rows& rows, Room& room) {
  const Model& model = *model_;
  const size_t dim = model.dim, count = model.routed_states.size();
  const size_t channels = model.channels.size();
  float* shares = state_share_.fit(times(rows.count, channels * count));
  model.router.apply(model.kernels, states_.data(), rows.count, shares, room.rounding);
  for (size_t n = 0; n < static_cast<size_t>(rows.count); n++)
    for (size_t c = 0; c < channels; c++) {
      float* share = shares + (n * channels + c) * count;
      float* mixture = mixtures_.data() + (c * rows.count + n) * dim;
      model.kernels.softmax(share, static_cast<int>(count));
      for (size_t s = 0; s < count; s++)
        model.kernels.scaled_sum(mixture, states_.data() + (n * count + s) * dim, share[s],
                                 model.dim);
    }
}

// The Feedback decoder's memories of this position, from the mixtures of all states.
void Decoding::remember(const Rows& rows, Room& room) {
  const Model& model = *model_;
  if (!model.routed_states.empty()) route(rows, room);
  int first = 0;
  for (size_t c = 0; c < model.channels.size(); c++) {
    const Channel& channel = model.channels[c];
    float* mixture = mixtures_.data() + c * times(rows.count, model.dim);
    if (model.memory_norm.exists())
      model.memory_norm.apply(model.kernels, mixture, rows.count, mixture);
    const size_t stride = channel.project.outputs();
    float* entries = entries_.fit(times(rows.count, stride));
    channel.project.apply(model.kernels, mixture, rows.count, entries, room.rounding);
    for (int n = 0; n < rows.count; n++)
      for (int g = 0; g < channel.groups; g++) {
        const float* key = entries + n * stride + 2 * static_cast<size_t>(g) * model.dim;
        past_.write(first + g, rows.open[n / rows.each], n % rows.each, key, key + model.dim);
      }
    first += channel.groups;
  }
}

// --- Compression ---------------------------------------------------------------------------------

// When a segment has ended, compress the states that fall out of the layer's memory.
void Decoding::end_segment(int index, const Rows& rows, Room& room) {
  const Model& model = *model_;
  const DecoderLayer& layer = model.decoder[index];
  const Reach& reach = layer.reach;
  const int position = past_.position();
  if (position == 0 || position % reach.segment != 0) return;
  std::map<int, std::vector<int>> places;  // of the sentences that so many states leave
  for (int place = 0; place < static_cast<int>(rows.open.size()); place++) {
    const int before = past_.before(rows.open[place]) + position - reach.segment;
    const int gone = std::min(reach.memory, before) + reach.segment - reach.memory;
    if (gone > 0) places[gone].push_back(place);
  }
  for (const auto& [gone, some] : places)
    compress(index, rows, {gone, some, static_cast<int>(some.size()) * rows.each}, room);
}

void Decoding::compress(int index, const Rows& rows, const Block& block, Room& room) {
  const Model& model = *model_;
  const DecoderLayer& layer = model.decoder[index];
  // a block is as long as a segment; what it lacks at first does not exist
  const int count = layer.compression.count(layer.reach.segment, block.gone);
  const size_t dim = model.dim, stride = layer.joined.outputs();
  float* states = compressed_states_.fit(times(times(block.rows, count), dim));
  compress_block(index, rows, block, states, room);
  const float* key = project(layer, states, block.rows * count, room) + dim;
  Compressed& compressed = compressed_[index];
  for (int place : block.places) {
    const int sentence = rows.open[place];
    compressed.add(count, sentence, place * rows.each, rows.each);
    for (int r = 0; r < rows.each; r++)
      for (int i = 0; i < count; i++, key += stride)
        compressed.write(i, sentence, r, key, key + dim);
  }
}

// The i-th state of the row m of the block's rows.
const float* Decoding::leaving(int index, const Rows& rows, const Block& block, int m,
                               int i) const {
  const int place = block.places[m / rows.each];
  const int first = past_.position() - model_->decoder[index].reach.memory - block.gone;
  return past_.state(index, rows.open[place], place * rows.each + m % rows.each, first + i);
}

// The groups of `rate` states of each row, as one state each.
void Decoding::compress_block(int index, const Rows& rows, const Block& block, float* out,
                              Room& room) {
  const Model& model = *model_;
  const Compression& how = model.decoder[index].compression;
  if (how.kind == Compression::Kind::most_used) {
    keep_most_used(index, rows, block, out);
    return;
  }
  const int gone = block.gone;
  const int dim = model.dim, rate = how.rate, lacking = model.decoder[index].reach.segment - gone;
  const int empty = lacking / rate, count = (lacking + gone) / rate - empty;
  const size_t group = times(rate, dim);
  float* blocks = blocks_.zeros(times(times(block.rows, count), group));
  for (int m = 0; m < block.rows; m++)
    for (int i = 0; i < count * rate; i++) {
      const int at = empty * rate + i - lacking;  // among the `gone`
      if (at < 0) continue;
      std::copy_n(leaving(index, rows, block, m, at), dim,
                  blocks + (static_cast<size_t>(m) * count * rate + i) * dim);
    }
  const int made = block.rows * count;
  if (how.kind == Compression::Kind::dilated_conv)
    let_meet(how, block.rows, count * rate, lacking - empty * rate, room);
  if (how.kind == Compression::Kind::conv || how.kind == Compression::Kind::dilated_conv) {
    how.conv.apply(model.kernels, blocks, made, out, room.rounding);
    return;
  }
  for (int m = 0; m < made; m++) {
    // only the first group can lack states
    const int missing = m % count == 0 ? lacking - empty * rate : 0;
    const float* states = blocks + m * group;
    float* to = out + static_cast<size_t>(m) * dim;
    for (int c = 0; c < dim; c++) {
      float found = states[static_cast<size_t>(missing) * dim + c];
      for (int i = missing + 1; i < rate; i++) {
        const float next = states[static_cast<size_t>(i) * dim + c];
        found = how.kind == Compression::Kind::mean ? found + next : std::max(found, next);
      }
      to[c] =
          how.kind == Compression::Kind::mean ? found / static_cast<float>(rate - missing) : found;
    }
  }
}

// The dilated convolutions over blocks (blocks, size, C), each added to its input after a ReLU. The
// first `missing` states of each do not exist.
void Decoding::let_meet(const Compression& how, int blocks, int size, int missing, Room& room) {
  const int dim = model_->dim, states = blocks * size;
  const size_t bytes = sizeof(float) * dim, stride = 3 * static_cast<size_t>(dim);
  for (int dilation = 1; dilation <= static_cast<int>(how.dilated.size()); dilation++) {
    float* around = around_.zeros(times(states, stride));
    for (int n = 0; n < states; n++)
      for (int k = -1; k <= 1; k++) {
        const int from = n % size + k * dilation;
        if (from < 0 || from >= size) continue;
        const size_t state = static_cast<size_t>(n - n % size + from);
        memcpy(around + n * stride + static_cast<size_t>(k + 1) * dim, blocks_.data() + state * dim,
               bytes);
      }
    Use use;
    use.add = blocks_.data();
    use.relu = true;
    how.dilated[dilation - 1].apply(model_->kernels, around, states, blocks_.data(), room.rounding,
                                    use);
    for (int n = 0; n < blocks; n++)
      std::fill_n(blocks_.data() + static_cast<size_t>(n) * size * dim,
                  static_cast<size_t>(missing) * dim, 0.0f);
  }
}

// The states of each row that received the most attention, in their order; among equals the older.
void Decoding::keep_most_used(int index, const Rows& rows, const Block& block, float* out) {
  const DecoderLayer& layer = model_->decoder[index];
  const int gone = block.gone, count = layer.compression.count(layer.reach.segment, gone);
  std::vector<int> order(gone);
  for (int m = 0; m < block.rows; m++) {
    const int n = block.places[m / rows.each] * rows.each + m % rows.each;
    const float* received = received_[index].of(n);
    for (int i = 0; i < gone; i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return received[a] > received[b]; });
    std::sort(order.begin(), order.begin() + count);
    for (int i = 0; i < count; i++, out += model_->dim)
      std::copy_n(leaving(index, rows, block, m, order[i]), model_->dim, out);
    received_[index].drop(gone, n);
  }
}

// Add the attention (H, stride) of a row of all rows to what its memory, the states before this
// segment, has received: the mean over the heads.
void Decoding::note_received(int index, int sentence, int row, const View& view, const float* probs,
                             size_t stride) {
  const Reach& reach = model_->decoder[index].reach;
  const int segment = past_.position() / reach.segment * reach.segment;
  const int oldest = std::max(-past_.before(sentence), segment - reach.memory);
  const int heads = model_->heads;
  float* received = received_[index].of(row);
  for (int position = view.first; position < segment; position++) {
    float sum = 0.0f;
    for (int h = 0; h < heads; h++)
      sum += probs[h * stride + view.compressed + position - view.first];
    received[position - oldest] += sum / static_cast<float>(heads);
  }
}

// --- The past ------------------------------------------------------------------------------------

void Decoding::look_back(int index, const Rows& rows, const float* joined, Room& room) {
  const Model& model = *model_;
  const size_t stride = model.decoder[index].joined.outputs();
  if (!model.feedback)
    for (int n = 0; n < rows.count; n++) {
      const float* key = joined + n * stride + model.dim;
      past_.write(index, rows.open[n / rows.each], n % rows.each, key, key + model.dim);
    }
  for (int place = 0; place < static_cast<int>(rows.open.size()); place++)
    look_back(index, place, rows, joined + place * rows.each * stride, room);
}

// What the rows of a sentence see: compressed states, then what is settled, then slots of their
// own.
Decoding::View Decoding::view(int index, int sentence) const {
  const Model& model = *model_;
  const Reach& reach = model.decoder[index].reach;
  View found;
  const int end = past_.position() + (model.feedback ? 0 : 1), settled = past_.settled(sentence);
  found.first = reach.first(past_.position(), past_.before(sentence));
  found.compressed = reach.compressed > 0 ? compressed_[index].count(sentence) : 0;
  found.skipped = 0;
  if (reach.furthest >= 0) {  // entries are counted, compressed ones too
    found.first = std::max(found.first, end - 1 - reach.furthest);
    const int visible = std::max(0, reach.furthest + 1 - (end - found.first));
    found.skipped = std::max(0, found.compressed - visible);
    found.compressed -= found.skipped;
  }
  found.settled = std::max(0, std::min(settled, end) - found.first);
  const int own_first = std::max(found.first, settled);
  found.own = end - own_first;
  found.own_at = own_first - settled;
  return found;
}

// The rows of one sentence: first all of them over what is settled, then each over its own slots.
void Decoding::look_back(int index, int place, const Rows& rows, const float* queries, Room& room) {
  const Model& model = *model_;
  const Kernels& kernels = model.kernels;
  const DecoderLayer& layer = model.decoder[index];
  const int heads = model.heads, head_dim = model.dim / heads, sentence = rows.open[place];
  const View view = this->view(index, sentence);
  const int count = view.compressed + view.settled + view.own;
  const size_t stride = layer.joined.outputs(), score_stride = rounded_up(count, 16);
  const size_t row_scores = heads * score_stride, size = times(rows.each, model.dim);
  float* scores = room.scores.fit(times(rows.each, row_scores));
  float* settled_scores = scores + view.compressed;
  float* own_scores = settled_scores + view.settled;
  float* context = room.context.data() + place * size;
  if (count == 0) {  // the Feedback decoder's first position: an empty memory adds nothing
    std::fill_n(context, size, 0.0f);
    return;
  }
  const Entries& entries = past_.entries(layer.group);
  const auto settled = [&](int head) {
    return past_.settled(layer.group, sentence, head * head_dim, view.first, view.settled);
  };

  for (int h = 0; view.settled > 0 && h < heads; h++)
    kernels.dot_shared(queries + h * head_dim, stride, rows.each, settled(h), head_dim,
                       settled_scores + h * score_stride, row_scores);
  for (int r = 0; r < rows.each; r++) {
    const int n = place * rows.each + r;
    if (view.compressed > 0)
      kernels.dot_slots(queries + r * stride, compressed_[index].keys(sentence),
                        compressed_[index].list(n) + view.skipped, view.compressed, heads, head_dim,
                        scores + r * row_scores, score_stride);
    kernels.dot_slots(queries + r * stride, entries.keys(sentence), past_.list(n) + view.own_at,
                      view.own, heads, head_dim, own_scores + r * row_scores, score_stride);
  }
  if (model.distances > 0)
    add_distances(layer, queries, stride, rows.each, count, scores, score_stride, room);
  for (int r = 0; r < rows.each; r++) {
    const int n = place * rows.each + r;
    float* to = context + static_cast<size_t>(r) * model.dim;
    for (int h = 0; h < heads; h++)
      kernels.softmax(scores + r * row_scores + h * score_stride, count);
    if (layer.compression.kind == Compression::Kind::most_used)
      note_received(index, sentence, n, view, scores + r * row_scores, score_stride);
    kernels.mix_slots(own_scores + r * row_scores, score_stride, entries.values(sentence),
                      past_.list(n) + view.own_at, view.own, heads, head_dim, to, false);
    if (view.compressed > 0)
      kernels.mix_slots(scores + r * row_scores, score_stride, compressed_[index].values(sentence),
                        compressed_[index].list(n) + view.skipped, view.compressed, heads, head_dim,
                        to, true);
  }
  for (int h = 0; view.settled > 0 && h < heads; h++)
    kernels.mix_shared(settled_scores + h * score_stride, row_scores, rows.each, settled(h),
                       head_dim, context + h * head_dim, model.dim, true);
}

// Add what the queries give with the keys of distances; the last entry has the nearest.
void Decoding::add_distances(const DecoderLayer& layer, const float* queries, size_t stride,
                             int rows, int count, float* scores, size_t score_stride,
                             Room& room) const {
  const Model& model = *model_;
  const int heads = model.heads, head_dim = model.dim / heads;
  const int known = std::min(model.distances, count);
  const size_t by_stride = rounded_up(known, 16);
  const size_t row_size = static_cast<size_t>(model.dim);
  float* biased = room.by_distance.fit(times(rows, row_size + heads * by_stride));
  float* by_distance = biased + rows * row_size;
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < model.dim; c++)
      biased[r * row_size + c] =
          queries[r * stride + c] + (layer.distance_bias.empty() ? 0.0f : layer.distance_bias[c]);
  for (int h = 0; h < heads; h++) {
    const size_t table = model.distance_heads > 1 ? h : 0;
    const float* keys = layer.distance_keys.data() + table * head_dim * model.distance_stride;
    const SharedKeys shared = {keys, model.distance_stride, nullptr, 0, known};
    model.kernels.dot_shared(biased + h * head_dim, row_size, rows, shared, head_dim,
                             by_distance + h * by_stride, heads * by_stride);
  }
  for (int r = 0; r < rows * heads; r++)
    for (int s = 0; s < count; s++)
      scores[r * score_stride + s] +=
          by_distance[r * by_stride + std::min(count - 1 - s, known - 1)];
}

// --- The source ----------------------------------------------------------------------------------

void Decoding::look_at_source(int index, const Rows& rows, const float* queries, Room& room) {
  const Model& model = *model_;
  const Kernels& kernels = model.kernels;
  const int heads = model.heads, head_dim = model.dim / heads, dim = model.dim;
  const bool last = index + 1 == static_cast<int>(model.decoder.size());
  const bool tell = wants_attention_ && last;
  float* scores = room.scores.fit(times(rows.each, rounded_up(longest_, 16)));
  if (tell) attention_.zeros(times(rows.count, longest_));
  for (size_t place = 0; place < rows.open.size(); place++) {
    const int b = rows.open[place], length = lengths_[b], padded = rounded_up(length, 16);
    const float* query = queries + place * rows.each * dim;
    float* context = room.context.data() + place * rows.each * dim;
    const float* keys = source_keys_[index].data() + keys_before_[b] * dim;
    const float* values = source_values_[index].data() + rows_before_[b] * dim;
    for (int h = 0; h < heads; h++) {
      const int at = h * head_dim;
      const SharedKeys shared = {keys + static_cast<size_t>(at) * padded,
                                 static_cast<size_t>(padded), values + at, static_cast<size_t>(dim),
                                 length};
      kernels.dot_shared(query + at, dim, rows.each, shared, head_dim, scores, padded);
      for (int r = 0; r < rows.each; r++) {
        float* row = scores + static_cast<size_t>(r) * padded;
        kernels.softmax(row, length);
        if (tell)
          kernels.scaled_sum(attention_.data() + (place * rows.each + r) * longest_, row,
                             1.0f / static_cast<float>(heads), length);
      }
      kernels.mix_shared(scores, padded, rows.each, shared, head_dim, context + at, dim, false);
    }
  }
}

}  // namespace memtx
