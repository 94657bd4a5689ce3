// cria eval: how well a model foretells a text, and how far it strays from a reference.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/generation_model.h"
#include "cli/open_model.h"
#include "cli/text_tokens.h"
#include "generate/quality.h"

namespace cria::cli {
namespace {

struct EvalFlags {
  std::string model, weights, dtype, cache, reference, reference_weights, reference_dtype, text,
      vocab_file, config_path, device = "cpu";
  int64_t context = 512, tokens = 0, threads = 0;
  bool json = false;
};

void declare(Flags& flags, EvalFlags& f) {
  flags.text("model", f.model, "weights: a folder or file of any format we read");
  flags.text("weights", f.weights, "how they are held, as for cria generate");
  flags.text("dtype", f.dtype, "compute type, as for cria generate");
  flags.text("cache_dtype", f.cache, kCacheHelp);
  flags.text("reference", f.reference, "weights to compare with; the same ones may be given");
  flags.text("reference_weights", f.reference_weights, "how the reference is held");
  flags.text("reference_dtype", f.reference_dtype, "compute type of the reference");
  flags.text("device", f.device, kDeviceHelp);
  flags.text("text", f.text, "a file of plain text");
  flags.integer("context", f.context, "tokens of a window; each begins anew");
  flags.integer("tokens", f.tokens, "at most so many tokens of the text; 0: all");
  flags.text("vocab_file", f.vocab_file,
             "vocabulary; by default the one beside or inside the weights");
  flags.text("config", f.config_path, "config.json, where the weights carry none");
  flags.boolean("json", f.json, "one JSON line on stdout");
  flags.integer("threads", f.threads, "0: one per core");
  flags.require_flag("model");
  flags.require_flag("text");
}

/// A model in the form that flags ask for.
struct Compared {
  Compared(const OpenedModel& m, const std::string& weights, const std::string& dtype,
           const std::string& cache, ops::Device* gpu)
      : opened(m),
        form(form_for_generation(m.source, m.config, weights, dtype, cache, gpu)),
        device(gpu) {}
  [[nodiscard]] int shards(const MemoryNodes& nodes) const {
    return device != nullptr ? 1 : shards_for(opened.config, form.weights.packed, nodes);
  }
  [[nodiscard]] LoadedModel load(const Shard& shard) const {
    return load_for_generation(opened.source, opened.config, form, shard, device);
  }
  const OpenedModel& opened;
  ModelForm form;
  ops::Device* device;
};

void print_table(const Quality& q, bool compared) {
  fmt::print("tokens              {}\n", q.tokens);
  fmt::print("perplexity          {:.4f}\n", std::exp(q.loss));
  if (!compared) return;
  fmt::print("  of the reference  {:.4f} ({:+.2f} %)\n", std::exp(q.reference_loss),
             100 * (std::exp(q.loss - q.reference_loss) - 1));
  fmt::print("KL divergence       {:.6f} nats a token, 99 % below {:.4f}, largest {:.4f}\n",
             q.divergence, q.divergence_99, q.largest_divergence);
  fmt::print("same top token      {:.2f} %\n", 100 * q.same_top);
}

void print_json(const Quality& q, bool compared, size_t weight_bytes) {
  nlohmann::json out = {{"tokens", q.tokens},
                        {"loss", q.loss},
                        {"perplexity", std::exp(q.loss)},
                        {"weight_bytes", weight_bytes}};
  if (compared) {
    out["reference_perplexity"] = std::exp(q.reference_loss);
    out["kl_divergence"] = q.divergence;
    out["kl_divergence_99"] = q.divergence_99;
    out["kl_divergence_largest"] = q.largest_divergence;
    out["same_top_token"] = q.same_top;
  }
  fmt::print("{}\n", out.dump());
}

}  // namespace

int eval(const std::string& name, const std::vector<std::string>& arguments) {
  EvalFlags f;
  Flags flags(name,
              "Foretells a text token by token: perplexity, and the divergence from a reference.",
              "  cria eval --model SmolLM2.gguf --text book.txt\n"
              "  cria eval --model llama-8b/ --weights q4_0 --reference llama-8b/ "
              "--reference_dtype bf16 --text book.txt");
  declare(flags, f);
  if (!flags.parse(arguments)) return 0;
  require(f.tokens >= 0, "{}: --tokens is {}, expected 0 or more", name, f.tokens);
  require(!f.reference.empty() || (f.reference_weights.empty() && f.reference_dtype.empty()),
          "{}: --reference_weights and --reference_dtype need --reference", name);
  ThreadPool pool(static_cast<int>(f.threads));
  const OpenedModel opened = open_model(f.model, f.config_path, "");
  const std::vector<int32_t> ids =
      tokens_of_text(f.text, f.vocab_file, opened.source, opened.config, f.tokens, name);
  const std::unique_ptr<ops::Device> device = open_device(f.device);
  const Compared model(opened, f.weights, f.dtype, f.cache, device.get());
  std::optional<OpenedModel> other;
  std::optional<Compared> reference;
  if (!f.reference.empty()) {
    other.emplace(open_model(f.reference, f.config_path, ""));
    reference.emplace(*other, f.reference_weights, f.reference_dtype, "", device.get());
  }
  QualitySettings settings{.context = f.context, .cache = cache_type(f.cache, model.form.cache)};
  if (reference) settings.reference_cache = reference->form.cache;
  const MemoryNodes nodes = memory_nodes_to_use();
  int shards = model.shards(nodes);
  if (reference) shards = std::min(shards, reference->shards(nodes));
  Progress progress("eval", std::ssize(ids), "tokens");
  // Every shard makes the same calls; one tells what came out.
  Quality quality;
  size_t weight_bytes = 0;
  std::mutex mutex;
  run_shards(shards, nodes, pool, [&](const Shard& shard) {
    ops::Exec exec{.pool = shard.pool, .device = device.get()};
    const LoadedModel loaded = model.load(shard);
    Decoder decoder = loaded.decoder(exec, shard.groups);
    std::optional<LoadedModel> wanted;
    std::optional<Decoder> judge;
    if (reference) {
      wanted.emplace(reference->load(shard));
      judge.emplace(wanted->decoder(exec, shard.groups));
    }
    const Quality q = evaluate_text(decoder, judge ? &*judge : nullptr, ids, settings, shard.pool,
                                    [&](int64_t count) {
                                      if (shard.speaks()) progress.advance(count);
                                    });
    const std::scoped_lock lock(mutex);
    if (shard.speaks()) quality = q;
    weight_bytes += loaded.weights.size_bytes();
  });
  f.json ? print_json(quality, reference.has_value(), weight_bytes)
         : print_table(quality, reference.has_value());
  return 0;
}

}  // namespace cria::cli
