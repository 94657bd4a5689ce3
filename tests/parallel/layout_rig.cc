#include "parallel/layout_rig.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/random.h"
#include "train/data_parallel.h"
#include "train/gradient_sums.h"
#include "train/trainer.h"

namespace cria::test {
namespace {

int64_t tokens_of(const Layout& l) { return l.small ? 12 : 64; }

/// A pure function of the sample's number. Every third sample trains few tokens, every seventh none.
class SomeSamples : public SampleSource {
 public:
  SomeSamples(int64_t vocab_size, int64_t tokens)
      : vocab_(static_cast<uint64_t>(vocab_size)), tokens_(tokens) {}
  [[nodiscard]] int64_t samples_per_epoch() const override { return int64_t{1} << 20; }
  void fill(int64_t /*epoch*/, int64_t position, int64_t count, Samples& out) override {
    out.clear();
    for (int64_t s = position; s < position + count; ++s) {
      std::vector<int32_t> ids, targets;
      const int64_t masked = s % 7 == 3 ? tokens_ : s % 3 == 0 ? tokens_ * 3 / 4 : s % 5;
      for (int64_t t = 0; t < tokens_; ++t) {
        const uint64_t bits = random_bits(11, static_cast<uint64_t>(s), static_cast<uint64_t>(t));
        ids.push_back(static_cast<int32_t>(bits % vocab_));
        targets.push_back(t < masked ? -100 : static_cast<int32_t>(bits / 512 % vocab_));
      }
      out.add(ids, targets);
    }
  }
  [[nodiscard]] std::string fingerprint() const override { return "rig"; }

 private:
  uint64_t vocab_;
  int64_t tokens_;
};

/// The first ranks of a larger run.
class FirstRanks : public Transport {
 public:
  FirstRanks(Transport& all, int size) : all_(all), size_(size) {}
  [[nodiscard]] int rank() const override { return all_.rank(); }
  [[nodiscard]] int size() const override { return size_; }
  [[nodiscard]] bool takes_device_memory() const override { return all_.takes_device_memory(); }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return all_.send(peer, channel, bytes);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return all_.receive(peer, channel, bytes);
  }

 private:
  Transport& all_;
  int size_;
};

/// One rank's part of a run, step by step.
class Rig {
 public:
  Rig(Transport& transport, const Layout& layout, std::unique_ptr<ops::Device> device)
      : layout_(layout),
        device_(std::move(device)),
        config_(rig_config(layout)),
        groups_(transport,
                make_grid(layout.dp, layout.tp, layout.pp, layout.ranks(), transport.rank(),
                          layout.shard),
                {.deadline = std::chrono::seconds(300), .memory = device_.get()}),
        pipeline_settings_(settings_of(layout, config_)),
        part_(part_of(config_, groups_.grid, pipeline_settings_)),
        state_(config_, DType::f32, true, part_, shard_of(groups_.grid), device_.get()) {
    settings_.pipeline = pipeline_settings_;
    settings_.gradient_accumulation_steps = layout.micros;
    settings_.compute = DType::f32;
    settings_.schedule.kind = Schedule::Kind::constant;
    settings_.schedule.lr = 1e-4;
    settings_.optimizer.weight_decay = 0.1;
    settings_.save_at_end = false;
    init_parameters(state_.weights, 3, pool_);
    check(device_ == nullptr || layout.mistake == Mistake::none, "mistakes are the host's");
    state_.start(exec_);
  }

  Outcome run(int steps) {
    Outcome out;
    if (layout_.mistake == Mistake::none) {
      settings_.max_steps = steps;
      Steps reporter(out);
      Trainer trainer(state_, settings_, samples_, groups_, exec_, reporter);
      trainer.run();
    } else {
      for (int s = 0; s < steps; ++s) faulty_step(s);
    }
    collect(state_.weights, out.weights, out.replicas_differ);
    collect(state_.m, out.moments, out.replicas_differ);
    return out;
  }

 private:
  struct Steps : Reporter {
    explicit Steps(Outcome& o) : out(o) {}
    void step(const StepReport& s) override {
      out.losses.push_back(s.loss);
      out.norms.push_back(s.grad_norm);
    }
    Outcome& out;
  };

  [[nodiscard]] OptimizerShard shard_of(const RankGrid& grid) const {
    if (layout_.zero == 0) return {};
    return {.count = grid.shard_size(),
            .index = grid.shard_index(),
            .threshold_bytes = 1 << 10,
            .zero = layout_.zero};
  }
  static PipelineSettings settings_of(const Layout& l, const LlamaConfig& config) {
    PipelineSettings p;
    p.sequence_parallel = l.sequence;
    p.vocab_split = l.vocab;
    if (l.pp > 1 && l.chunks > 1) {
      p.runs = split_interleaved(config.num_hidden_layers, l.pp, l.chunks);
    } else if (l.pp > 1) {
      p.runs = split_by_cost(config.num_hidden_layers, l.pp, 0.5);
    }
    return p;
  }

  /// What the trainer does in a step, with the fault of the layout.
  void faulty_step(int step) {
    const Mistake mistake = layout_.mistake;
    std::vector<Samples> micros(static_cast<size_t>(layout_.micros));
    std::array<int64_t, 1> trained{};
    for (size_t m = 0; m < micros.size(); ++m) {
      const int64_t place =
          (step * layout_.micros + static_cast<int64_t>(m)) * layout_.dp + groups_.grid.dp_index();
      samples_.fill(0, place, 1, micros[m]);
      trained[0] += micros[m].trained();
    }
    if (mistake == Mistake::micros_reversed) std::ranges::reverse(micros);
    if (mistake != Mistake::own_token_count) groups_.dp.all_reduce(trained);
    ParamArena grads(config_, DType::f32, part_);
    Pipeline pipeline(state_.weights, pipeline_settings_, DType::f32, Recompute::none, groups_,
                      exec_);
    Tensor entrance;
    if (grads.index().shared()) entrance = Tensor(DType::f32, grads[0].rows, grads[0].cols);
    const View apart = entrance.rows() > 0 ? entrance.view() : View();
    const float scale = 1.0f / static_cast<float>(std::max<int64_t>(1, trained[0]));
    GradientSums sums(state_, grads, 0, groups_, exec_);
    const bool early = mistake == Mistake::summed_too_early;
    if (early) sums.start(1);
    pipeline.train(micros, std::vector<float>(micros.size(), scale),
                   {grads, apart, early ? &sums : nullptr}, [](int64_t, std::span<const float>) {});
    sums.finish();
    Tensor partial;
    if (mistake == Mistake::own_copy_summed) partial = copy_of(grads.all());
    Tensor before_exchange;
    if (mistake == Mistake::tied_not_exchanged) before_exchange = copy_of(grads.all());
    combine_gradients(state_, grads, apart,
                      layout_.sequence && mistake != Mistake::norms_not_summed, groups_, exec_,
                      early ? sums.summed() : std::vector<bool>());
    if (mistake == Mistake::own_copy_summed) sum_own_copy(partial.view(), grads);
    if (mistake == Mistake::tied_not_exchanged)
      std::memcpy(grads.all().data, before_exchange.view().data, before_exchange.size_bytes());
    ExactSum squares;
    add_squared_gradients(state_, grads, groups_.grid, squares, exec_);
    groups_.world.all_reduce(squares.limbs());
    optimizer_step(state_, grads, settings_.optimizer, settings_.schedule.lr,
                   std::sqrt(squares.value()), 1, exec_);
    if (mistake != Mistake::weights_not_gathered) gather_weights(state_, groups_);
  }
  void sum_own_copy(ConstView partial, ParamArena& grads) {
    int64_t first = 0;
    for (int64_t i = 0; i < std::ssize(grads.params()); ++i) {
      const View sums = grads[i];
      const ConstView mine(partial.at(0, first), partial.dtype, sums.rows, sums.cols);
      first += sums.elements();
      if (state_.m.params()[static_cast<size_t>(i)].sharded)
        groups_.shard.reduce_scatter(mine, state_.rows_of_state(grads, i));
    }
  }
  static Tensor copy_of(ConstView v) {
    Tensor t(v.dtype, v.rows, v.cols);
    std::memcpy(t.view().data, v.data, t.size_bytes());
    return t;
  }

  /// Rank 0 puts the boxes of all ranks together.
  void collect(ParamArena& arena, std::map<std::string, std::vector<float>>& out,
               std::string& difference) {
    const int ranks = groups_.grid.size();
    const ParamArena here = arena.copy_to(nullptr);
    if (groups_.grid.rank != 0) return groups_.world.send(bytes_of(here.all()), 0).wait();
    for (int r = 0; r < ranks; ++r) {
      const RankGrid grid = make_grid(layout_.dp, layout_.tp, layout_.pp, ranks, r, layout_.shard);
      OptimizerShard cut = shard_of(grid);
      if (&arena == &state_.weights) cut = cut.of_weights();
      ParamArena theirs(config_, DType::f32, part_of(config_, grid, pipeline_settings_), cut);
      if (r == 0) {
        theirs.assign(here);
      } else {
        groups_.world.receive(bytes_of(theirs.all()), r);
      }
      for (int64_t i = 0; i < std::ssize(theirs.params()); ++i)
        place(theirs.params()[static_cast<size_t>(i)], theirs[i], out, difference);
    }
  }
  static void place(const Param& p, ConstView box, std::map<std::string, std::vector<float>>& out,
                    std::string& difference) {
    std::vector<float>& whole = out[p.name];
    const int64_t cols = p.shape.back();
    int64_t elements = 1;
    for (const int64_t n : p.shape) elements *= n;
    if (whole.empty()) whole.assign(static_cast<size_t>(elements), NAN);
    const int64_t first_col = p.begin.back();
    for (int64_t r = 0; r < box.rows; ++r) {
      float* const to = whole.data() + (p.first_row() + r) * cols + first_col;
      const auto row = box.row<float>(r);
      // What several ranks hold must be the same on all.
      for (size_t c = 0; c < row.size(); ++c) {
        if (!std::isnan(to[c]) && std::memcmp(&to[c], &row[c], 4) != 0)
          difference = fmt::format("{}: replicas differ in row {}", p.name, p.first_row() + r);
        to[c] = row[c];
      }
    }
  }

  Layout layout_;
  const std::unique_ptr<ops::Device> device_;
  LlamaConfig config_;
  Groups groups_;
  PipelineSettings pipeline_settings_;
  ModelPart part_;
  ThreadPool pool_{1};
  ops::Exec exec_{.pool = pool_, .device = device_.get()};
  TrainState state_;
  TrainSettings settings_;
  SomeSamples samples_{config_.vocab_size, tokens_of(layout_)};
};

}  // namespace

std::string Layout::name() const {
  return fmt::format(
      "dp{} tp{} pp{}{}{}{}{}{} micros{}{}{}{}", dp, tp, pp,
      zero > 0 ? fmt::format(" zero{}", zero) : "", shard > 0 ? fmt::format(" shard{}", shard) : "",
      sequence ? " sequence" : "", vocab ? " vocab" : "",
      chunks > 1 ? fmt::format(" chunks{}", chunks) : "", micros, tied ? " tied" : "",
      vocab_size != 512 ? fmt::format(" V{}", vocab_size) : "", small ? " small" : "");
}

LlamaConfig rig_config(const Layout& layout) {
  LlamaConfig c;
  c.hidden_size = layout.small ? 32 : 128;
  c.intermediate_size = layout.small ? 48 : 320;
  c.num_hidden_layers = (layout.small ? 2 : 8) * (layout.chunks > 1 ? 2 : 1);
  c.num_attention_heads = layout.small ? 8 : 16;
  c.num_key_value_heads = layout.small ? 4 : 8;
  c.head_dim = layout.small ? 4 : 8;
  c.vocab_size = layout.vocab_size;
  c.max_position_embeddings = tokens_of(layout);
  c.tie_word_embeddings = layout.tied;
  return c;
}

Outcome run_layout(Transport& transport, const Layout& layout, int steps,
                   const OpenDevice& device) {
  if (transport.rank() >= layout.ranks()) return {};
  FirstRanks first(transport, layout.ranks());
  return Rig(first, layout, device ? device() : nullptr).run(steps);
}

}  // namespace cria::test
