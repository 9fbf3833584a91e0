#include "model.h"

#include <algorithm>
#include <cmath>

namespace memtx {
namespace {

constexpr int MOST = 1 << 20;  // of any size that a model has

Activation activation_of(const Parts& parts, const std::string& name) {
  return static_cast<Activation>(parts.whole(name, 0, 3));
}

void activate(Activation kind, float* x, size_t count) {
  switch (kind) {
    case Activation::relu: break;  // part of the product
    case Activation::gelu:
      for (size_t i = 0; i < count; i++) x[i] *= 0.5f * (1.0f + erff(x[i] * 0.70710678f));
      break;
    case Activation::tanh:
      for (size_t i = 0; i < count; i++) x[i] = tanhf(x[i]);
      break;
    case Activation::gelu_by_tanh:
      for (size_t i = 0; i < count; i++)
        x[i] *= 0.5f * (1.0f + tanhf(0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
      break;
  }
}

FeedForward feed_forward_of(Parts& parts, const std::string& layer, int dim) {
  FeedForward made;
  const int hidden = parts.whole(layer + "hidden", 1, MOST);
  made.first = parts.linear(layer + "fc1", dim, hidden);
  made.second = parts.linear(layer + "fc2", hidden, dim);
  made.norm = Norm(parts, layer + "final_norm", dim);
  return made;
}

}  // namespace

Norm::Norm(const Parts& parts, const std::string& name, int dim) {
  if (!parts.has_floats(name + ".weight")) return;
  weight_ = parts.copied(name + ".weight", dim);
  bias_ = parts.copied(name + ".bias", dim);
  eps_ = static_cast<float>(parts.number(name + ".eps"));
}

void Norm::apply(const Kernels& kernels, const float* x, int rows, float* out) const {
  kernels.layer_norm(x, rows, static_cast<int>(weight_.size()), weight_.data(), bias_.data(), eps_,
                     out);
}

Embedding::Embedding(const Parts& parts, const std::string& side, int dim) : dim_(dim) {
  words_ = parts.whole(side + ".words", 1, 1 << 28);
  table_ = parts.floats(side + ".embedding", times(words_, dim));
  scale_ = static_cast<float>(parts.number(side + ".scale"));
  if (parts.has_floats(side + ".positions")) {
    num_positions_ = parts.whole(side + ".num_positions", 1, MOST);
    positions_ = parts.floats(side + ".positions", times(num_positions_, dim));
  }
  norm_ = Norm(parts, side + ".norm", dim);
}

int Embedding::positions() const { return positions_ == nullptr ? MOST : num_positions_; }

void Embedding::look_up(const Kernels& kernels, int word, int position, float* out) const {
  if (positions_ == nullptr)
    std::fill_n(out, dim_, 0.0f);
  else
    std::copy_n(positions_ + static_cast<size_t>(position) * dim_, dim_, out);
  kernels.scaled_sum(out, table_ + static_cast<size_t>(word) * dim_, scale_, dim_);
  if (norm_.exists()) norm_.apply(kernels, out, 1, out);
}

Model::Model(Parts& parts) : kernels(parts.kernels) {
  read_encoder(parts);
  read_decoder(parts);
  read_reach(parts);
  read_distances(parts);
}

void Model::read_encoder(Parts& parts) {
  encoder_dim = parts.whole("source.dim", 1, MOST);
  encoder_heads = parts.whole("encoder.heads", 1, encoder_dim);
  if (encoder_dim % encoder_heads != 0) throw BadCall("the encoder's heads must divide its size");
  source = Embedding(parts, "source", encoder_dim);
  source_pad = parts.whole("source.pad", 0, source.words() - 1);
  encoder_pre_norm = parts.flag("encoder.pre_norm");
  encoder_activation = activation_of(parts, "encoder.activation");
  const int layers = parts.whole("encoder.layers", 1, 1000);
  for (int l = 0; l < layers; l++) {
    const std::string name = "encoder." + std::to_string(l) + ".";
    EncoderLayer layer;
    layer.joined = parts.linear(name + "joined", encoder_dim, 3 * encoder_dim);
    layer.out = parts.linear(name + "out", encoder_dim, encoder_dim);
    layer.norm = Norm(parts, name + "norm", encoder_dim);
    layer.forward = feed_forward_of(parts, name, encoder_dim);
    encoder.push_back(std::move(layer));
  }
  encoder_norm = Norm(parts, "encoder.norm", encoder_dim);
}

void Model::read_decoder(Parts& parts) {
  dim = parts.whole("target.dim", 1, MOST);
  heads = parts.whole("decoder.heads", 1, dim);
  if (dim % heads != 0) throw BadCall("the decoder's heads must divide its size");
  target = Embedding(parts, "target", dim);
  words = target.words();
  pre_norm = parts.flag("decoder.pre_norm");
  activation = activation_of(parts, "decoder.activation");
  feedback = parts.flag("decoder.feedback");
  const int layers = parts.whole("decoder.layers", 1, 1000);
  for (int l = 0; l < layers; l++) {
    const std::string name = "decoder." + std::to_string(l) + ".";
    DecoderLayer layer;
    layer.joined = parts.linear(name + "joined", dim, feedback ? dim : 3 * dim);
    layer.out = parts.linear(name + "out", dim, dim);
    layer.cross_query = parts.linear(name + "cross_query", dim, dim);
    layer.cross_keys = parts.linear(name + "cross_keys", encoder_dim, dim);
    layer.cross_values = parts.linear(name + "cross_values", encoder_dim, dim);
    layer.cross_out = parts.linear(name + "cross_out", dim, dim);
    layer.norm = Norm(parts, name + "norm", dim);
    layer.cross_norm = Norm(parts, name + "cross_norm", dim);
    layer.forward = feed_forward_of(parts, name, dim);
    decoder.push_back(std::move(layer));
  }
  decoder_norm = Norm(parts, "decoder.norm", dim);
  groups = layers;
  if (feedback) {
    read_memory(parts);
  } else {
    for (int l = 0; l < layers; l++) decoder[l].group = l;
  }
  by_rows = parts.has_rows("output");
  if (by_rows) {
    output_rows = parts.rows("output", dim, words);
    output_sums = sums_of(output_rows);
    if (!output_sums.empty()) output_rows.sums = output_sums.data();
  } else {
    output = parts.linear("output", dim, words);
  }
}

void Model::read_memory(Parts& parts) {
  const int layers = static_cast<int>(decoder.size());
  groups = parts.whole("memory.groups", 1, layers);
  channels.resize(parts.whole("memory.channels", 1, groups));
  const bool routed = parts.flag("memory.routed");
  std::vector<float> mixtures;
  if (!routed) mixtures = parts.copied("memory.mixture", channels.size() * (layers + 1));
  int known = 0;
  for (size_t c = 0; c < channels.size(); c++) {
    const std::string name = "memory." + std::to_string(c) + ".";
    Channel& channel = channels[c];
    channel.groups = parts.whole(name + "groups", 1, layers);
    known += channel.groups;
    channel.project = parts.linear(name + "project", dim, 2 * channel.groups * dim);
    const auto first = mixtures.begin() + static_cast<std::ptrdiff_t>(c * (layers + 1));
    if (!routed) channel.mixture.assign(first, first + layers + 1);
  }
  if (known != groups) throw BadCall("the channels' groups must be those of the memory");
  if (routed) {
    const int states = parts.whole("memory.states", 1, MOST);
    for (int s = 0; s < states; s++)
      routed_states.push_back(parts.whole("memory.state." + std::to_string(s), 0, layers));
    router =
        parts.linear("memory.router", states * dim, static_cast<int>(channels.size()) * states);
  }
  for (int l = 0; l < layers; l++)
    decoder[l].group = parts.whole("decoder." + std::to_string(l) + ".group", 0, groups - 1);
  memory_norm = Norm(parts, "memory.norm", dim);
}

int Reach::first(int position, int before) const {
  int found = -before;
  if (span > 0) found = position - span;
  if (segment > 0) found = position / segment * segment - memory;
  return std::max(found, -before);
}

int Compression::count(int segment, int existing) const {
  if (kind == Kind::most_used) return std::min(segment / rate, existing);
  return segment / rate - (segment - existing) / rate;  // groups that have a state
}

void Model::read_reach(Parts& parts) {
  for (size_t l = 0; l < decoder.size(); l++) {
    const std::string name = "decoder." + std::to_string(l) + ".";
    Reach& reach = decoder[l].reach;
    reach.span = parts.whole(name + "span", 0, MOST);
    reach.segment = parts.whole(name + "segment", 0, MOST);
    reach.memory = parts.whole(name + "memory", 0, MOST);
    reach.furthest = parts.whole(name + "furthest", -1, 2 * MOST);
    reach.compressed = parts.whole(name + "compressed", 0, MOST);
    if (reach.compressed == 0) continue;
    Compression& compression = decoder[l].compression;
    compression.rate = parts.whole(name + "rate", 1, std::max(1, reach.segment));
    if (feedback) throw BadCall("a Feedback decoder compresses nothing");
    if (reach.segment == 0 || reach.segment % compression.rate != 0)
      throw BadCall("the segment must be a multiple of the rate of compression");
    compression.kind = static_cast<Compression::Kind>(parts.whole(name + "compression", 0, 4));
    const bool dilated = compression.kind == Compression::Kind::dilated_conv;
    if (dilated || compression.kind == Compression::Kind::conv)
      compression.conv = parts.linear(name + "conv", compression.rate * dim, dim);
    for (int d = 1; dilated && d <= 2; d++)
      compression.dilated.push_back(
          parts.linear(name + "dilated" + std::to_string(d), 3 * dim, dim));
  }
}

void Model::read_distances(Parts& parts) {
  distances = parts.whole("decoder.distances", 0, MOST);
  if (distances == 0) return;
  distance_heads = parts.flag("decoder.distances_by_head") ? heads : 1;
  distance_stride = rounded_up(distances, 16);
  const int head_dim = dim / heads;
  const bool shared = feedback;
  for (int l = 0; l < static_cast<int>(decoder.size()); l++) {
    const std::string name = shared ? "decoder." : "decoder." + std::to_string(l) + ".";
    DecoderLayer& layer = decoder[l];
    const size_t rows = times(distance_heads, head_dim);
    const float* given = parts.floats(name + "distance_keys", times(rows, distances));
    float* keys = layer.distance_keys.zeros(times(rows, distance_stride));
    for (size_t r = 0; r < rows; r++)
      std::copy(given + r * distances, given + (r + 1) * distances, keys + r * distance_stride);
    if (parts.has_floats(name + "distance_bias"))
      layer.distance_bias = parts.copied(name + "distance_bias", dim);
  }
}

int Model::carried_kinds() const {
  if (feedback) return 2 * groups;
  const bool remembers = std::all_of(decoder.begin(), decoder.end(), [](const DecoderLayer& layer) {
    return layer.reach.segment > 0;
  });
  return remembers ? static_cast<int>(decoder.size()) : 0;
}

void Model::check_distances() const {
  if (feedback || distances == 0) return;  // there the last key is that of all further distances
  for (const DecoderLayer& layer : decoder)
    if (layer.reach.compressed + layer.reach.memory + layer.reach.segment > distances)
      throw BadCall("the model has keys of too few distances for a memory");
}

void transpose(const float* x, int rows, int columns, size_t from_stride, float* to,
               size_t to_stride) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) to[c * to_stride + r] = x[r * from_stride + c];
}

void Model::feed_forward(const FeedForward& part, Activation kind, bool pre, float* x, int rows,
                         Room& room) const {
  const int size = part.second.outputs(), hidden = part.first.outputs();
  const float* input = x;
  if (pre) {
    float* normed = room.normed.fit(times(rows, size));
    part.norm.apply(kernels, x, rows, normed);
    input = normed;
  }
  float* y = room.hidden.fit(times(rows, hidden));
  Use use;
  use.relu = kind == Activation::relu;
  part.first.apply(kernels, input, rows, y, room.rounding, use);
  activate(kind, y, times(rows, hidden));
  Use back;
  back.add = x;
  back.nonnegative = use.relu;
  part.second.apply(kernels, y, rows, x, room.rounding, back);
  if (!pre) part.norm.apply(kernels, x, rows, x);
}

// Context in room.context of queries, keys and values in room.joined.
void Model::attend_to_source(const EncoderLayer& layer,
                             const std::vector<std::vector<int>>& sentences, Room& room) const {
  (void)layer;
  const int head_dim = encoder_dim / encoder_heads;
  const size_t stride = 3 * static_cast<size_t>(encoder_dim);
  size_t first = 0;
  for (const auto& sentence : sentences) {
    const int length = static_cast<int>(sentence.size()), padded = rounded_up(length, 16);
    const float* joined = room.joined.data() + first * stride;
    float* context = room.context.data() + first * encoder_dim;
    float* scores = room.scores.fit(times(length, padded));
    float* keys = room.keys.fit(times(head_dim, padded));
    for (int h = 0; h < encoder_heads; h++) {
      const float* query = joined + h * head_dim;
      transpose(query + encoder_dim, length, head_dim, stride, keys, padded);
      for (int d = 0; d < head_dim; d++)
        std::fill(keys + d * padded + length, keys + (d + 1) * padded, 0.0f);
      const SharedKeys shared = {keys, static_cast<size_t>(padded), query + 2 * encoder_dim, stride,
                                 length};
      kernels.dot_shared(query, stride, length, shared, head_dim, scores, padded);
      for (int s = 0; s < length; s++)
        kernels.softmax(scores + static_cast<size_t>(s) * padded, length);
      kernels.mix_shared(scores, padded, length, shared, head_dim, context + h * head_dim,
                         encoder_dim, false);
    }
    first += length;
  }
}

void Model::encode(const std::vector<std::vector<int>>& sentences, Room& room, float* out) const {
  int rows = 0;
  for (const auto& sentence : sentences)
    for (size_t s = 0; s < sentence.size(); s++, rows++)
      source.look_up(kernels, sentence[s], static_cast<int>(s),
                     out + static_cast<size_t>(rows) * encoder_dim);
  const size_t size = times(rows, encoder_dim);
  for (const EncoderLayer& layer : encoder) {
    const float* input = out;
    if (encoder_pre_norm) {
      float* normed = room.normed.fit(size);
      layer.norm.apply(kernels, out, rows, normed);
      input = normed;
    }
    layer.joined.apply(kernels, input, rows, room.joined.fit(times(size, 3)), room.rounding);
    room.context.fit(size);
    attend_to_source(layer, sentences, room);
    Use back;
    back.add = out;
    layer.out.apply(kernels, room.context.data(), rows, out, room.rounding, back);
    if (!encoder_pre_norm) layer.norm.apply(kernels, out, rows, out);
    feed_forward(layer.forward, encoder_activation, encoder_pre_norm, out, rows, room);
  }
  if (encoder_norm.exists()) encoder_norm.apply(kernels, out, rows, out);
}

}  // namespace memtx
