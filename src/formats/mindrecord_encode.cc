// From values to bytes.
#include <algorithm>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "formats/integer_packing.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_header.h"
#include "formats/msgpack.h"

namespace cria {
namespace {

using Type = MindRecordColumn::Type;

template <class T>
const T& value_as(const MindRecordColumn& column, const MindRecordValue& value) {
  const T* v = std::get_if<T>(&value);
  require(v != nullptr, "MindRecord: the value of column \"{}\" is not of type {}", column.name,
          name_of(column.type));
  return *v;
}

void append_plain(const MindRecordColumn& column, const MindRecordValue& value,
                  std::vector<std::byte>& out) {
  switch (column.type) {
    case Type::int32:
    case Type::int64: {
      const int64_t v = value_as<int64_t>(column, value);
      require(column.type == Type::int64 || v == static_cast<int32_t>(v),
              "MindRecord: {} does not fit column \"{}\" of type int32", v, column.name);
      return append_msgpack(out, v);
    }
    case Type::float32:
    case Type::float64:
      return append_msgpack(out, value_as<double>(column, value));
    default: {
      const auto& text = value_as<std::string>(column, value);
      require(!find_invalid_utf8(text), "MindRecord: the text of column \"{}\" is not UTF-8",
              column.name);
      return append_msgpack(out, std::string_view(text));
    }
  }
}

}  // namespace

MindRecordCodec::MindRecordCodec(MindRecordSchema schema, bool packed_integers)
    : schema_(std::move(schema)), packed_(packed_integers) {
  for (size_t i = 0; i < schema_.columns.size(); ++i)
    (schema_.columns[i].is_blob() ? blobs_ : raws_).push_back(i);
  const auto by_name = [&](size_t a, size_t b) {
    return schema_.columns[a].name < schema_.columns[b].name;
  };
  std::sort(blobs_.begin(), blobs_.end(), by_name);
  std::sort(raws_.begin(), raws_.end(), by_name);
}

bool MindRecordCodec::only_int32_arrays() const {
  return std::all_of(schema_.columns.begin(), schema_.columns.end(),
                     [](const auto& c) { return c.has_shape && c.type == Type::int32; });
}

std::string shape_fault(const MindRecordColumn& column, uint64_t count) {
  uint64_t fixed = 1;
  bool open = false;
  for (const int64_t d : column.shape) {
    open = open || d < 0;
    const auto product = checked_mul(fixed, d < 0 ? 1 : static_cast<uint64_t>(d));
    if (!product) return "a shape whose size overflows";
    fixed = *product;
  }
  if (open ? count % fixed == 0 : count == fixed) return {};
  return fmt::format("{} elements where its shape asks for {}{}", count,
                     open ? "a multiple of " : "", fixed);
}

template <class T>
void MindRecordCodec::append_array(size_t column, std::span<const T> values,
                                   std::vector<std::byte>& out) {
  const std::string fault = shape_fault(schema_.columns[column], values.size());
  require(fault.empty(), "MindRecord: column \"{}\" has {}", schema_.columns[column].name, fault);
  if constexpr (std::is_integral_v<T>) {
    if (packed_) {
      const size_t before = out.size();
      pack_integers(values, out);
      saved_bytes_ +=
          static_cast<int64_t>(values.size_bytes()) - static_cast<int64_t>(out.size() - before);
      return;
    }
  }
  append_bytes(out, std::as_bytes(values));
}

void MindRecordCodec::append_column(size_t column, const MindRecordValue& value,
                                    std::vector<std::byte>& out) {
  const MindRecordColumn& c = schema_.columns[column];
  const auto array = [&]<class T>(const std::vector<T>& values) {
    append_array(column, std::span<const T>(values), out);
  };
  switch (c.type) {
    case Type::int32:
      return array(value_as<std::vector<int32_t>>(c, value));
    case Type::int64:
      return array(value_as<std::vector<int64_t>>(c, value));
    case Type::float32:
      return array(value_as<std::vector<float>>(c, value));
    case Type::float64:
      return array(value_as<std::vector<double>>(c, value));
    default:
      return append_bytes(out, raw_bytes(value_as<std::string>(c, value)));
  }
}

void MindRecordCodec::append_blob(std::vector<std::byte>& out,
                                  const std::function<void(size_t)>& append_column_bytes) {
  out.clear();
  if (blobs_.empty()) return append_le(out, uint32_t{0});
  if (blobs_.size() == 1) return append_column_bytes(blobs_[0]);
  for (const size_t column : blobs_) {
    const size_t at = out.size();
    append_be(out, uint64_t{0});
    append_column_bytes(column);
    const uint64_t size = out.size() - at - 8;
    for (size_t i = 0; i < 8; ++i) out[at + i] = static_cast<std::byte>(size >> (56 - 8 * i));
  }
}

void MindRecordCodec::encode_blob(const MindRecordRow& row, std::vector<std::byte>& out) {
  require(row.values.size() == schema_.columns.size(),
          "MindRecord: a row of {} values for a schema of {} columns", row.values.size(),
          schema_.columns.size());
  append_blob(out, [&](size_t column) { append_column(column, row.values[column], out); });
}

void MindRecordCodec::encode_blob(std::span<const std::span<const int32_t>> columns,
                                  std::vector<std::byte>& out) {
  check(only_int32_arrays(), "this schema's rows are written as MindRecordRow");
  require(columns.size() == schema_.columns.size(),
          "MindRecord: a row of {} values for a schema of {} columns", columns.size(),
          schema_.columns.size());
  append_blob(out, [&](size_t column) { append_array(column, columns[column], out); });
}

void MindRecordCodec::encode_raw(const MindRecordRow& row, std::vector<std::byte>& out) const {
  out.clear();
  if (only_blobs()) {
    append_map_header(out, 1);
    append_msgpack(out, std::string_view("id"));
    return append_msgpack(out, int64_t{0});
  }
  append_map_header(out, static_cast<uint32_t>(raws_.size()));
  for (const size_t column : raws_) {
    append_msgpack(out, std::string_view(schema_.columns[column].name));
    append_plain(schema_.columns[column], row.values[column], out);
  }
}

}  // namespace cria
