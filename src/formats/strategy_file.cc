#include "formats/strategy_file.h"

#include <limits>
#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "formats/tensor_file.h"
#include "formats/wire.h"

namespace cria {
namespace {

constexpr std::string_view kWhat = "MindSpore strategy file";
constexpr size_t kMaxItems = 1 << 16;  // of each kind; networks have a few thousand
constexpr size_t kMaxInputs = 64;      // of an operator
constexpr size_t kMaxDims = 16;
constexpr uint64_t kMaxFile = 64 << 20;
using Kind = WireField::Kind;

uint64_t number(const WireReader& reader, const WireField& field, uint64_t limit) {
  if (field.kind != Kind::varint) reader.fail(field.offset, "a field of the wrong type");
  if (field.value > limit)
    reader.fail(field.offset, "a number out of range", fmt::format("at most {}", limit),
                std::to_string(field.value));
  return field.value;
}

// Negative numbers come as 64-bit two's complement.
int64_t signed_number(const WireReader& reader, uint64_t offset, uint64_t value) {
  const auto out = static_cast<int64_t>(value);
  if (out < std::numeric_limits<int32_t>::min() || out > std::numeric_limits<int32_t>::max())
    reader.fail(offset, "a number beyond 32 bits", {}, std::to_string(out));
  return out;
}
int32_t signed_field(const WireReader& reader, const WireField& field) {
  if (field.kind != Kind::varint) reader.fail(field.offset, "a field of the wrong type");
  return static_cast<int32_t>(signed_number(reader, field.offset, field.value));
}

void need_bytes(const WireReader& reader, const WireField& field) {
  if (field.kind != Kind::bytes) reader.fail(field.offset, "a field of the wrong type");
}

std::string text(const WireReader& reader, const WireField& field) {
  need_bytes(reader, field);
  const std::string_view name = text_of(field.bytes);
  if (name.empty() || name.size() > 4096 || find_invalid_utf8(name))
    reader.fail(field.offset, "a bad name", "1 to 4096 bytes of UTF-8", escaped(name));
  return std::string(name);
}

// A message with nothing but `dim`, repeated, packed or not.
std::vector<int64_t> parse_dims(const WireReader& outer, const WireField& field) {
  need_bytes(outer, field);
  WireReader reader(field, outer);
  std::vector<int64_t> dims;
  const auto add = [&](uint64_t offset, uint64_t value) {
    if (dims.size() == kMaxDims) reader.fail(offset, "too many dims", "at most 16");
    dims.push_back(signed_number(reader, offset, value));
  };
  while (const auto f = reader.next()) {
    if (f->number != 1) continue;
    if (f->kind == Kind::varint) {
      add(f->offset, f->value);
      continue;
    }
    need_bytes(reader, *f);
    WireReader packed(*f, reader);
    while (const auto value = packed.next_varint()) add(f->offset, *value);
  }
  return dims;
}

// Marks a field that must come once.
void once(const WireReader& reader, const WireField& field, bool& seen) {
  if (std::exchange(seen, true)) reader.fail(field.offset, "a field that comes twice");
}

void parse_splits(const WireReader& outer, const WireField& field, StrategyOperator& out) {
  need_bytes(outer, field);
  WireReader reader(field, outer);
  bool staged = false;
  while (const auto f = reader.next()) {
    if (f->number == 1) {
      once(reader, *f, staged);
      out.stage = static_cast<uint32_t>(number(reader, *f, kMaxStrategyDevices));
    } else if (f->number == 2) {
      if (out.splits.size() == kMaxInputs) reader.fail(f->offset, "too many inputs", "at most 64");
      auto& split = out.splits.emplace_back();
      for (const int64_t dim : parse_dims(reader, *f)) {
        if (dim < 0) reader.fail(f->offset, "a negative split");
        split.push_back(static_cast<uint32_t>(dim));
      }
    }
  }
  if (!staged) reader.fail(field.offset, "an operator without a stage");
}

StrategyOperator parse_operator(const WireReader& outer, const WireField& field) {
  need_bytes(outer, field);
  WireReader reader(field, outer);
  StrategyOperator out;
  bool named = false, filled = false;
  while (const auto f = reader.next()) {
    if (f->number == 1) {
      once(reader, *f, named);
      out.name = text(reader, *f);
    } else if (f->number == 2) {
      once(reader, *f, filled);
      parse_splits(reader, *f, out);
    }
  }
  if (!named || !filled) reader.fail(field.offset, "an operator without name or strategy");
  return out;
}

ParamLayout parse_layout(const WireReader& outer, const WireField& field) {
  need_bytes(outer, field);
  WireReader reader(field, outer);
  ParamLayout out;
  bool grid = false, split = false, offset = false, kind = false, step = false, size = false;
  while (const auto f = reader.next()) {
    switch (f->number) {
      case 1:
        once(reader, *f, grid);
        out.dev_matrix = parse_dims(reader, *f);
        break;
      case 2:
        if (out.tensor_map.size() == 8) reader.fail(f->offset, "too many tensor maps", "at most 8");
        out.tensor_map.push_back(parse_dims(reader, *f));
        break;
      case 3:
        once(reader, *f, split);
        out.param_split_shape = parse_dims(reader, *f);
        break;
      case 4:
        once(reader, *f, offset);
        out.indices_offset = parse_dims(reader, *f);
        break;
      case 5:
        once(reader, *f, kind);
        out.field = signed_field(reader, *f);
        break;
      case 6:
        once(reader, *f, step);
        out.opt_weight_shard_step = signed_field(reader, *f);
        break;
      case 7:
        once(reader, *f, size);
        out.opt_weight_shard_size = signed_field(reader, *f);
        break;
      default:
        break;
    }
  }
  if (!kind || !step || !size) reader.fail(field.offset, "a layout without its optimizer shard");
  return out;
}

std::pair<std::string, ParamLayout> parse_item(const WireReader& outer, const WireField& field,
                                               const std::string& path) {
  need_bytes(outer, field);
  WireReader reader(field, outer);
  std::pair<std::string, ParamLayout> out;
  bool named = false, filled = false;
  while (const auto f = reader.next()) {
    if (f->number == 1) {
      once(reader, *f, named);
      out.first = text(reader, *f);
    } else if (f->number == 2) {
      once(reader, *f, filled);
      out.second = parse_layout(reader, *f);
    }
  }
  if (!named || !filled) reader.fail(field.offset, "a layout without name or content");
  validate_layout(out.first, out.second, path, static_cast<int64_t>(field.offset));
  return out;
}

}  // namespace

StrategyFile parse_strategy(std::span<const std::byte> file, const std::string& path) {
  WireReader reader(file, 0, kWhat, path);
  if (file.size() > kMaxFile) reader.fail(0, "too large a file", "at most 64 MiB");
  StrategyFile out;
  bool counted = false;
  std::unordered_set<std::string> names;
  while (const auto f = reader.next()) {
    if (f->number == 1) {
      once(reader, *f, counted);
      out.current_stage = static_cast<uint32_t>(number(reader, *f, UINT32_MAX));
    } else if (f->number == 2) {
      if (out.operators.size() == kMaxItems) reader.fail(f->offset, "more than 65536 operators");
      out.operators.push_back(parse_operator(reader, *f));
    } else if (f->number == 3) {
      if (out.layouts.size() == kMaxItems) reader.fail(f->offset, "more than 65536 layouts");
      out.layouts.push_back(parse_item(reader, *f, path));
      const std::string& name = out.layouts.back().first;
      if (!names.insert(name).second)
        reader.fail(f->offset, fmt::format("parameter \"{}\" appears twice", escaped(name)));
    } else {
      reader.fail(f->offset, "this is no strategy file", "fields 1 to 3",
                  fmt::format("field {}", f->number));
    }
  }
  if (!counted) reader.fail(0, "this is no strategy file", "current_stage", "none");
  return out;
}

StrategyFile read_strategy_file(const std::string& path) {
  if (path.ends_with(".json")) return parse_strategy_json(read_text(path, kMaxFile), path);
  const MappedFile file(path);
  return parse_strategy(file.bytes(), path);
}

}  // namespace cria
