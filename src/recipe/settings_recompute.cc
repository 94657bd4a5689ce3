// recompute_config: which layers keep less for their backward.
#include <algorithm>
#include <limits>

#include "base/error.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
using Kind = YamlNode::Kind;

int64_t read_count(const YamlNode& n, std::string_view key) {
  if (n.kind == Kind::boolean) return n.boolean ? kAll : 0;
  require(n.kind == Kind::integer && n.integer >= 0,
          "config: {}: {} in the list, expected numbers of layers, True or False", key,
          escaped(n.text));
  return n.integer;
}

std::vector<int64_t> read_counts(const YamlNode& list, std::string_view key) {
  std::vector<int64_t> counts;
  for (const YamlNode& n : list.items) counts.push_back(read_count(n, key));
  return counts;
}

LayerCounts read_layer_counts(const Values& v, std::string_view key) {
  LayerCounts c;
  const YamlNode* node = v.node(key);
  if (node == nullptr || node->is_null()) return c;
  if (node->kind != Kind::list) {
    require(node->kind == Kind::boolean, "config: {} is {}, expected True, False or a list", key,
            escaped(node->text));
    c.all = node->boolean;
    return c;
  }
  const bool nested =
      std::ranges::any_of(node->items, [](const YamlNode& n) { return n.kind == Kind::list; });
  if (!nested) {
    c.of_stages = read_counts(*node, key);
    return c;
  }
  for (const YamlNode& n : node->items) {
    require(n.kind == Kind::list, "config: {}: {} between lists, expected only lists", key,
            escaped(n.text));
    c.of_runs.push_back(read_counts(n, key));
  }
  return c;
}

void check_length(size_t found, size_t expected, std::string_view key, std::string_view what) {
  require(found == expected, "config: {}: a list of {}, expected one for each of {} {}", key, found,
          expected, what);
}

/// [run][stage]: layers of each, from the first.
std::vector<std::vector<int64_t>> layers_of_runs(const LayerCounts& c, const StageRuns& runs,
                                                 std::string_view key) {
  const size_t stages = runs.size(), per_stage = runs.front().size();
  std::vector<std::vector<int64_t>> taken(per_stage, std::vector<int64_t>(stages, 0));
  if (!c.of_runs.empty()) {
    check_length(c.of_runs.size(), per_stage, key, "runs of a stage");
    for (size_t r = 0; r < per_stage; ++r) {
      check_length(c.of_runs[r].size(), stages, key, "stages");
      for (size_t s = 0; s < stages; ++s) taken[r][s] = std::min(c.of_runs[r][s], runs[s][r].count);
    }
    return taken;
  }
  check_length(c.of_stages.size(), stages, key, "stages");
  for (size_t s = 0; s < stages; ++s) {
    int64_t left = c.of_stages[s];
    for (bool took = true; took && left > 0;) {
      took = false;
      for (size_t r = 0; r < per_stage && left > 0; ++r) {
        if (taken[r][s] == runs[s][r].count) continue;
        ++taken[r][s];
        --left;
        took = true;
      }
    }
  }
  return taken;
}

/// Sets the policy of the layers that are counted.
void mark(const LayerCounts& c, Recompute as, std::string_view key, const StageRuns& runs,
          std::vector<Recompute>& layers) {
  if (c.of_stages.empty() && c.of_runs.empty()) {
    if (c.all) std::ranges::fill(layers, as);
    return;
  }
  const auto taken = layers_of_runs(c, runs, key);
  for (size_t s = 0; s < runs.size(); ++s)
    for (size_t r = 0; r < runs[s].size(); ++r)
      for (int64_t l = 0; l < taken[r][s]; ++l)
        layers[static_cast<size_t>(runs[s][r].first + l)] = as;
}

constexpr std::string_view kFull = "recompute_config.recompute";
constexpr std::string_view kGateUp = "recompute_config.recompute_gate_up";

}  // namespace

void read_recompute_settings(const YamlNode& root, RecipeSettings& s) {
  const Values v(root);
  s.recompute = read_layer_counts(v, kFull);
  s.recompute_gate_up = read_layer_counts(v, kGateUp);
}

RecomputePolicy recompute_policy(const RecipeSettings& s, const StageRuns& runs, int64_t layers) {
  const StageRuns one_stage = {{{.first = 0, .count = layers}}};
  const StageRuns& stages = runs.empty() ? one_stage : runs;
  std::vector<Recompute> of_layers(static_cast<size_t>(layers), Recompute::none);
  mark(s.recompute_gate_up, Recompute::gate_up, kGateUp, stages, of_layers);
  mark(s.recompute, Recompute::full, kFull, stages, of_layers);
  return RecomputePolicy(of_layers);
}

}  // namespace cria::recipe
