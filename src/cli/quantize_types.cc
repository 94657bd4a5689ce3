#include "cli/quantize_types.h"

#include <algorithm>

#include "base/error.h"

namespace cria::cli {
namespace {

int64_t bits_of(const std::string& type) { return type == "int4" ? 4 : 8; }

/// The first matrix of a layer whose rows groups of so many do not divide, or null.
const TensorInfo* undivided(const std::vector<TensorInfo>& tensors, int64_t group) {
  const auto found = std::ranges::find_if(tensors, [&](const TensorInfo& t) {
    return t.shape.size() == 2 && t.name.starts_with("model.layers.") &&
           t.shape.back() % group != 0;
  });
  return found == tensors.end() ? nullptr : &*found;
}

/// 0 where none does.
int64_t largest_group(const std::vector<TensorInfo>& tensors) {
  for (const int64_t group : {128, 64, 32})
    if (undivided(tensors, group) == nullptr) return group;
  return 0;
}

BlockTypes types_of_groups(const QuantizeFlags& flags, const std::vector<TensorInfo>& tensors,
                           const std::string& name) {
  const int64_t largest = largest_group(tensors);
  const int64_t group = flags.group == 0 ? std::max<int64_t>(largest, 32) : flags.group;
  const TensorInfo* const odd = undivided(tensors, group);
  require(odd == nullptr, "{}: groups of {} do not divide the rows of {} in \"{}\"; try: {}", name,
          group, odd == nullptr ? 0 : odd->shape.back(), odd == nullptr ? "" : odd->name,
          largest > 0 ? fmt::format("--group {}", largest) : "--type q8_0");
  // Programs that read such folders want the embedding plain, and most the head.
  BlockTypes types{*int_group_type(bits_of(flags.type), group), DType::bf16, DType::bf16};
  const auto plain = [&](const std::string& text, const char* flag, DType& to) {
    if (text.empty()) return;
    to = parse_block_type(text, flag);
    require(!is_quantised(to), "{}: {} is {}, expected bf16, f16 or f32 beside {}", name, flag,
            escaped(text), flags.type);
  };
  plain(flags.embedding, "--embedding", types.embedding);
  plain(flags.head, "--head", types.head);
  return types;
}

}  // namespace

bool wants_groups(const QuantizeFlags& flags) {
  return flags.type == "int4" || flags.type == "int8";
}

BlockTypes quantize_types(const QuantizeFlags& flags, const std::vector<TensorInfo>& tensors,
                          const std::string& name) {
  require(flags.group == 0 || wants_groups(flags), "{}: --group goes with --type int4 or int8",
          name);
  require(flags.group == 0 || int_group_type(4, flags.group).has_value(),
          "{}: --group is {}, expected 32, 64 or 128", name, flags.group);
  if (wants_groups(flags)) return types_of_groups(flags, tensors, name);
  const auto parse = [&](const std::string& text, const char* flag) {
    const DType type = parse_block_type(text, flag);
    require(!is_int_group(type), "{}: {} {} is no type of a GGUF; try: --type int4 --group 128",
            name, flag, escaped(text));
    return type;
  };
  const DType matrices = parse(flags.type, "--type");
  require(is_quantised(matrices),
          "{}: --type {} is no type of blocks; try: cria convert --dtype {}", name,
          escaped(flags.type), escaped(flags.type));
  BlockTypes types = block_types(matrices);
  if (!flags.embedding.empty()) types.embedding = parse(flags.embedding, "--embedding");
  if (!flags.head.empty()) types.head = parse(flags.head, "--head");
  return types;
}

}  // namespace cria::cli
