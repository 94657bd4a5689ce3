// One step of training, by all ranks together.
#include <array>
#include <numeric>

#include "base/error.h"
#include "train/replicas.h"
#include "train/trainer_impl.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kStartDeadline = 300, kLeastStepDeadline = 60;  // seconds

}  // namespace

// All micro batches are read first, because every gradient is scaled by the trained tokens of the whole step.
void Trainer::Impl::read_micro_batches(StepReport& report) {
  const int64_t epoch = batches_done / steps_per_epoch();
  const int64_t step_in_epoch = batches_done % steps_per_epoch();
  micro_trained.assign(micros.size(), 0);
  std::array<int64_t, 2> counts{};
  for (size_t m = 0; m < micros.size(); ++m) {
    const int64_t blocks = static_cast<int64_t>(m) * groups.grid.dp + groups.grid.dp_index();
    source.fill(epoch, step_in_epoch * global_batch() + blocks * settings.batch_size,
                settings.batch_size, micros[m]);
    micro_trained[m] = micros[m].trained();
    counts[0] += micros[m].tokens();
    counts[1] += micros[m].count();
  }
  groups.dp.all_reduce(micro_trained);
  groups.dp.all_reduce(counts);
  report.trained_tokens = std::accumulate(micro_trained.begin(), micro_trained.end(), int64_t{0});
  report.tokens = counts[0];
  report.samples = counts[1];
  const int64_t seq_len = report.tokens / std::max<int64_t>(1, report.samples);
  report.flops = 3 * forward_flops_per_token(config, seq_len) * static_cast<double>(report.tokens);
  report.epoch = epoch + 1;
  report.epochs = settings.epochs;
  report.step_in_epoch = step_in_epoch + 1;
  report.steps_per_epoch = steps_per_epoch();
}

void Trainer::Impl::forward_backward(const StepReport& report, ExactSum& loss) {
  const auto at_least_one = [](int64_t n) { return static_cast<double>(std::max<int64_t>(1, n)); };
  const double parts = static_cast<double>(micros.size());
  // Of each micro batch: what its losses count in the step's loss, and in its gradient.
  std::vector<double> shares;
  std::vector<float> scales;
  for (const int64_t trained : micro_trained) {
    shares.push_back(settings.strict_upstream ? 1 / (at_least_one(trained) * parts)
                                              : 1 / at_least_one(report.trained_tokens));
    const bool sum_of_means = settings.strict_upstream && groups.grid.pp == 1;
    scales.push_back(
        static_cast<float>(loss_scale.scale() * shares.back() * (sum_of_means ? parts : 1)));
  }
  const View apart = entrance.rows() > 0 ? entrance.view() : View();
  const bool speaks = groups.grid.tp_index() == 0;  // all ranks of a tp group see the same losses
  if (sums) sums->start(std::ssize(micros));
  pipeline.train(micros, scales, {grads, apart, sums ? &*sums : nullptr},
                 [&](int64_t micro, std::span<const float> token_loss) {
                   if (!speaks) return;
                   const double share = shares[static_cast<size_t>(micro)];
                   for (const float l : token_loss) loss.add(l * share);
                 });
  if (sums) sums->finish();
  combine_gradients(state, grads, apart, settings.pipeline.sequence_parallel, groups, exec,
                    sums ? sums->summed() : std::vector<bool>());
}

// What every rank must know alike: the loss, the gradient's norm, and whether anybody was asked to stop or save.
void Trainer::Impl::agree(StepReport& report, ExactSum& loss, ExactSum& squares) {
  std::vector<int64_t> message = {signals->stop_asked() ? 1 : 0,
                                  signals->take_save_asked() ? 1 : 0};
  for (ExactSum* sum : {&loss, &squares}) {
    const std::span<const int64_t> limbs = sum->limbs();
    message.insert(message.end(), limbs.begin(), limbs.end());
  }
  groups.world.all_reduce(message);
  stop_asked = message[0] > 0;
  save_asked = message[1] > 0;
  std::span<int64_t> rest(message.begin() + 2, message.end());
  for (ExactSum* sum : {&loss, &squares}) {
    const std::span<int64_t> limbs = sum->limbs();
    std::ranges::copy(rest.first(limbs.size()), limbs.begin());
    rest = rest.subspan(limbs.size());
  }
  report.loss = loss.value();
  report.grad_norm = std::sqrt(squares.value()) / report.loss_scale;
  report.overflow = !std::isfinite(report.loss) || !std::isfinite(report.grad_norm);
}

void Trainer::Impl::update(StepReport& report) {
  const bool hopeless = report.overflow && loss_scale.at_minimum();
  loss_scale.update(report.overflow);
  if (report.overflow) {
    ++skipped;
    skipped_in_a_row = hopeless ? skipped_in_a_row + 1 : 0;
    return;
  }
  skipped_in_a_row = 0;
  optimizer_step(state, grads, settings.optimizer, report.lr, report.grad_norm, report.loss_scale,
                 exec);
  gather_weights(state, groups);
}

void Trainer::Impl::set_step_deadline() {
  if (settings.step_timeout > 0) return set_deadline(settings.step_timeout);
  if (step_seconds.empty()) return set_deadline(kStartDeadline);
  std::vector<double> sorted = step_seconds;
  std::ranges::sort(sorted);
  set_deadline(std::max(kLeastStepDeadline, 10 * sorted[sorted.size() / 2]));
}

StepReport Trainer::Impl::train_step() {
  const auto start = Clock::now();
  const double waited = groups.shared.waited;
  set_step_deadline();
  StepReport report;
  report.lr = learning_rate(settings.schedule, state.step);
  report.loss_scale = loss_scale.scale();
  read_micro_batches(report);
  ExactSum loss, squares;
  forward_backward(report, loss);
  add_squared_gradients(state, grads, groups.grid, squares, exec);
  agree(report, loss, squares);
  finish_save();  // what it writes changes now
  update(report);
  ++batches_done;
  if (settings.check_replicas_every > 0 && batches_done % settings.check_replicas_every == 0)
    check_replicas(state.weights, groups, batches_done);
  samples_seen += report.samples;
  tokens_seen += report.tokens;
  report.batch = batches_done;
  report.total_batches = total_batches();
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  constexpr size_t kRemembered = 64;
  if (step_seconds.size() == kRemembered) step_seconds.erase(step_seconds.begin());
  step_seconds.push_back(report.seconds);
  const double busy = report.seconds - (groups.shared.waited - waited);
  for (const Straggler& s : stragglers.step(busy, groups.world)) reporter.slow_rank(s);
  return report;
}

}  // namespace cria
