// How much memory a run will take, and how much there is.
#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "base/error.h"
#include "recipe/model_setup.h"

namespace cria::recipe {
namespace {

double bytes_in(DType dtype, double elements) {
  return elements * static_cast<double>(block_bytes(dtype));
}

// One layer's activations per token: input, normed, q k v, attended, middle, gate and up, product.
double layer_elements(const LlamaConfig& c) {
  const auto heads = static_cast<double>(c.num_attention_heads + 2 * c.num_key_value_heads);
  return 2 * static_cast<double>(c.hidden_size) +
         (heads + static_cast<double>(c.num_attention_heads)) * static_cast<double>(c.head_dim) +
         2 * static_cast<double>(c.intermediate_size);
}

double read_number(const char* path) {
  std::ifstream in(path);
  double value = 0;
  return in >> value ? value : 0;  // "max" is no number
}

}  // namespace

std::vector<MemoryItem> training_memory(const LlamaConfig& whole, const RecipeSettings& s,
                                        const ModelPart& part, const OptimizerShard& shard) {
  double n = 0, state = 0;
  for (const Param& p : part_params(whole, part)) n += static_cast<double>(p.elements());
  for (const Param& p : part_params(whole, part, shard)) state += static_cast<double>(p.elements());
  const LlamaConfig c = local_config(whole, part);
  const bool half = s.model.param != DType::f32;
  const double master =
      !half || !s.optimizer.master_weights ? 0 : state * (s.model.param == DType::bf16 ? 2 : 4);
  const auto tokens = static_cast<double>(s.batch_size * s.model.seq_length);
  const auto layers = static_cast<double>(c.num_hidden_layers);
  const double kept = s.recompute.all
                          ? static_cast<double>(c.hidden_size) * layers + layer_elements(c)
                          : layer_elements(c) * layers;
  // The first stage has the most micro batches under way.
  const auto under_way = static_cast<double>(part.embedding ? s.parallel.pp : 1);
  const double shared = 2 * layer_elements(c);  // gradients of one layer, and the workspace
  return {{"weights", bytes_in(s.model.param, n)},
          {"exact master", master},
          {"gradients", 4 * n},
          {"optimizer moments", 8 * state},
          {"activations", bytes_in(s.model.compute, tokens * (kept * under_way + shared))}};
}

std::vector<MemoryItem> inference_memory(const LlamaConfig& whole, const RecipeSettings& s,
                                         const ModelPart& part, int64_t sequences) {
  double n = 0;
  for (const Param& p : part_params(whole, part)) n += static_cast<double>(p.elements());
  const LlamaConfig c = local_config(whole, part);
  const auto keys = static_cast<double>(2 * c.num_key_value_heads * c.head_dim) *
                    static_cast<double>(c.num_hidden_layers);
  const auto tokens = static_cast<double>(sequences * s.model.seq_length);
  return {{"weights", bytes_in(s.model.param, n)},
          {"keys and values", bytes_in(s.model.compute, keys * tokens)},
          {"activations", bytes_in(s.model.compute, 3 * layer_elements(c) *
                                                        static_cast<double>(s.model.seq_length))}};
}

double available_memory() {
  double available = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string key; in >> key;) {
    double kib = 0;
    if (key == "MemAvailable:" && in >> kib) available = kib * 1024;
    in.ignore(256, '\n');
  }
  const std::pair<const char*, const char*> groups[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
       "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto& [limit_file, used_file] : groups) {
    const double limit = read_number(limit_file);
    if (limit <= 0 || limit > 1e15) continue;
    // Pages of files count as used and go when they are needed; half is a cautious share.
    const double left = std::max(limit - read_number(used_file), limit / 2);
    available = available > 0 ? std::min(available, left) : left;
  }
  return available;
}

std::string check_memory(std::vector<MemoryItem> items, double available) {
  std::erase_if(items, [](const MemoryItem& i) { return i.bytes <= 0; });
  std::sort(items.begin(), items.end(),
            [](const MemoryItem& a, const MemoryItem& b) { return a.bytes > b.bytes; });
  const auto gib = [](double bytes) { return bytes / (1 << 30); };
  double total = 0;
  std::string list;
  for (size_t i = 0; i < items.size(); ++i) {
    total += items[i].bytes;
    if (i < 3)
      list += fmt::format("{}{} {:.2f}", i == 0 ? "" : ", ", items[i].name, gib(items[i].bytes));
  }
  const std::string line = fmt::format("Memory estimate: {:.2f} GiB of {:.2f} GiB available ({})",
                                       gib(total), gib(available), list);
  if (available > 0 && total > 0.95 * available) {
    throw Error(ExitCode::memory,
                fmt::format("memory: this run needs about {:.2f} GiB and {:.2f} are available; the "
                            "largest items in GiB: {}; try: a smaller batch_size or recompute",
                            gib(total), gib(available), list));
  }
  return line;
}

}  // namespace cria::recipe
