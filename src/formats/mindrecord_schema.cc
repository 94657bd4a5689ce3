// Schema rules and names of MindRecord sets.
#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/error.h"
#include "formats/mindrecord_header.h"

namespace cria {
namespace {

std::optional<std::string> find_column_fault(const MindRecordColumn& column) {
  using Type = MindRecordColumn::Type;
  const bool plain = std::all_of(column.name.begin(), column.name.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '-';
  });
  if (column.name.empty() || column.name.size() > 64 || !plain)
    return fmt::format("column name \"{}\", expected 1 to 64 of letters, digits, _ and -",
                       escaped(column.name));
  if (!column.has_shape) return std::nullopt;
  if (column.type == Type::bytes || column.type == Type::string)
    return fmt::format("column \"{}\" of type {} has a shape, which only numbers may have",
                       column.name, name_of(column.type));
  if (column.shape.empty() || column.shape.size() > 8)
    return fmt::format("the shape of column \"{}\" has {} dims, expected 1 to 8", column.name,
                       column.shape.size());
  for (const int64_t d : column.shape) {
    if (d != -1 && (d < 1 || d > INT32_MAX))
      return fmt::format(
          "the shape of column \"{}\" has a dim of {}, expected -1 or a positive one", column.name,
          d);
  }
  if (std::count(column.shape.begin(), column.shape.end(), -1) > 1)
    return fmt::format("the shape of column \"{}\" has more than one -1", column.name);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> find_schema_fault(const MindRecordSchema& schema) {
  if (schema.columns.empty() || schema.columns.size() > kMaxColumns)
    return fmt::format("{} columns, expected 1 to {}", schema.columns.size(), kMaxColumns);
  std::set<std::string_view> names;
  for (const MindRecordColumn& column : schema.columns) {
    if (auto fault = find_column_fault(column)) return fault;
    if (!names.insert(column.name).second)
      return fmt::format("column \"{}\" appears twice", column.name);
  }
  return std::nullopt;
}

std::vector<std::string> mindrecord_shard_paths(const std::string& path, int shards) {
  if (shards == 1) return {path};
  const size_t width = std::to_string(shards - 1).size();
  std::vector<std::string> out;
  for (int i = 0; i < shards; ++i) out.push_back(fmt::format("{}{:0{}}", path, i, width));
  return out;
}

std::string_view name_of(MindRecordColumn::Type type) {
  constexpr std::array<std::string_view, 6> names = {"bytes", "string",  "int32",
                                                     "int64", "float32", "float64"};
  return names.at(static_cast<size_t>(type));
}

uint64_t element_bytes(MindRecordColumn::Type type) {
  constexpr std::array<uint64_t, 6> sizes = {1, 1, 4, 8, 4, 8};
  return sizes.at(static_cast<size_t>(type));
}

}  // namespace cria
