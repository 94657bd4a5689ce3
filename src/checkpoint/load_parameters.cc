// Weights from a source into memory: an arena, or packed.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "checkpoint/block_types.h"
#include "checkpoint/weight_source.h"
#include "formats/quantise.h"
#include "model/packed_weights.h"
#include "model/params.h"

namespace cria {
namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < 5; ++i) out += (i ? ", " : "") + escaped(names[i], 64);
  if (names.size() > 5) out += fmt::format(" and {} more", names.size() - 5);
  return out;
}

/// Where each of the parameters is in the source, after names and shapes were compared.
std::vector<size_t> find_all(const WeightSource& source, const LlamaConfig& config,
                             const std::vector<Param>& params) {
  std::vector<std::string> missing, extra;
  std::vector<size_t> places;
  for (const Param& p : params) {
    const auto index = source.find(p.name);
    if (!index) {
      missing.push_back(p.name);
      continue;
    }
    const TensorInfo& t = source.tensors()[*index];
    require<MismatchError>(t.shape == p.shape, "weights: {}: \"{}\" has shape [{}], expected [{}]",
                           source.path(), p.name, fmt::join(t.shape, ", "),
                           fmt::join(p.shape, ", "));
    places.push_back(*index);
  }
  const bool tied = config.tie_word_embeddings;
  const std::vector<Param> whole = llama_params(config);
  for (const TensorInfo& t : source.tensors()) {
    const bool known =
        std::any_of(whole.begin(), whole.end(), [&](const Param& p) { return p.name == t.name; });
    const bool copy_of_embedding = tied && t.name == "lm_head.weight";
    if (!known && !copy_of_embedding) extra.push_back(t.name);
  }
  require<MismatchError>(missing.empty() && extra.empty(), "weights: {}: {}{}{}", source.path(),
                         missing.empty() ? "" : "missing " + listed(missing),
                         missing.empty() || extra.empty() ? "" : "; ",
                         extra.empty() ? "" : "not in this model " + listed(extra));
  if (tied && source.find("lm_head.weight")) {
    require<MismatchError>(
        looks_tied(source),
        "weights: {}: lm_head differs from the embedding, but the config ties them", source.path());
  }

  return places;
}

/// Runs of about a million elements, of 16 rows or a multiple (a panel of packed weights) or of fewer if these are large, so that large tables and small norms share the threads evenly: body(parameter, first row,
/// rows).
template <class Body>
void for_runs(const std::vector<Param>& params, ThreadPool& pool, const Body& body) {
  struct Run {
    size_t param;
    int64_t begin, rows;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < params.size(); ++i) {
    const int64_t most = std::max<int64_t>(1, (1 << 20) / params[i].cols());
    const int64_t step = most >= 16 ? most / 16 * 16 : most;
    for (int64_t r = 0; r < params[i].rows(); r += step)
      runs.push_back({i, r, std::min(step, params[i].rows() - r)});
  }
  pool.parallel_for(std::ssize(runs), [&](int64_t i) {
    const Run& run = runs[static_cast<size_t>(i)];
    body(run.param, run.begin, run.rows);
  });
}

/// Rows [begin, begin + count) of a parameter's box.
void read_rows_of(const WeightSource& source, size_t place, const Param& p, int64_t begin,
                  int64_t count, DType dtype, std::span<std::byte> out) {
  source.read_box(place, p.first_row() + begin, count, p.begin.back(), p.cols(), dtype, out);
}

}  // namespace

void load_parameters(const WeightSource& source, ParamArena& weights, ThreadPool& pool) {
  const std::vector<Param>& params = weights.params();
  const std::vector<size_t> places = find_all(source, weights.config(), params);
  for_runs(params, pool, [&](size_t i, int64_t begin, int64_t count) {
    const Param& p = params[i];
    const auto read = [&](std::span<std::byte> out) {
      read_rows_of(source, places[i], p, begin, count, weights.dtype(), out);
    };
    if (weights.memory() == nullptr)
      return read(bytes_of(weights[static_cast<int64_t>(i)].row_range(begin, count)));
    thread_local std::vector<std::byte> rows;
    rows.resize(static_cast<size_t>(bytes_of(weights.dtype(), count * p.cols())));
    read(rows);
    weights.write_rows(static_cast<int64_t>(i), begin, rows);
  });
}

std::vector<DType> packed_types(const WeightSource& source, const LlamaConfig& config,
                                const ModelPart& part, std::optional<DType> matrices, DType norms) {
  std::vector<DType> types;
  for (const Param& p : part_params(config, part)) {
    const auto index = source.find(p.name);
    const DType stored = index ? source.tensors()[*index].dtype : DType::bf16;
    DType type = is_quantised(stored) ? stored : DType::bf16;
    if (matrices && is_quantised(*matrices)) {
      const DType wanted = wanted_type(block_types(*matrices), {p.name, stored, p.shape});
      type = fitting_type(wanted, p.shape.back(), stored);
      if (!is_quantised(type)) type = DType::bf16;
    } else if (matrices) {
      type = *matrices;
    }
    types.push_back(p.is_norm() ? norms : type);
  }
  return types;
}

void load_parameters(const WeightSource& source, PackedWeights& weights, ThreadPool& pool) {
  const std::vector<Param>& params = weights.params();
  const std::vector<size_t> places = find_all(source, weights.config(), params);
  for_runs(params, pool, [&](size_t i, int64_t begin, int64_t count) {
    thread_local std::vector<std::byte> rows;
    thread_local std::vector<float> numbers;
    const DType type = weights.type(static_cast<int64_t>(i));
    const Param& p = params[i];
    const int64_t elements = count * p.cols();
    const auto read = [&](DType dtype, std::span<std::byte> out) {
      read_rows_of(source, places[i], p, begin, count, dtype, out);
    };
    rows.resize(static_cast<size_t>(bytes_of(type, elements)));
    if (is_quantised(type) && type != source.tensors()[places[i]].dtype) {
      numbers.resize(static_cast<size_t>(elements));
      read(DType::f32, std::as_writable_bytes(std::span(numbers)));
      quantise(type, numbers, rows);
    } else {
      read(type, rows);
    }
    weights.put_rows(static_cast<int64_t>(i), begin, rows);
  });
}

}  // namespace cria
