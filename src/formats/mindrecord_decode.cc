// From bytes to values; every length is checked before it is used.
#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "formats/integer_packing.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_header.h"
#include "formats/msgpack.h"

namespace cria {
namespace {

using Type = MindRecordColumn::Type;

[[noreturn]] void fail(const MindRecordCodec::Place& place, std::string reason,
                       std::string expected = {}, std::string found = {}) {
  throw FormatError(describe({.what = "MindRecord",
                              .path = place.path,
                              .offset = static_cast<int64_t>(place.offset),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

// The column's value, or an empty text when the MessagePack value has another type or range.
std::string plain_value(const MindRecordColumn& column, const MsgpackValue& value,
                        MindRecordValue& out) {
  const auto* integer = std::get_if<int64_t>(&value);
  switch (column.type) {
    case Type::int32:
    case Type::int64:
      if (integer == nullptr) return "a value that is no integer";
      if (column.type == Type::int32 && *integer != static_cast<int32_t>(*integer))
        return fmt::format("{}, which is beyond int32", *integer);
      out = *integer;
      return {};
    case Type::float32:
    case Type::float64: {
      const auto* real = std::get_if<double>(&value);
      if (real == nullptr && integer == nullptr) return "a value that is no number";
      const double v = real != nullptr ? *real : static_cast<double>(*integer);
      out = column.type == Type::float32 ? static_cast<double>(static_cast<float>(v)) : v;
      return {};
    }
    default: {
      const auto* text = std::get_if<std::string_view>(&value);
      if (text == nullptr) return "a value that is no text";
      if (find_invalid_utf8(*text)) return "a text that is not UTF-8";
      out = std::string(*text);
      return {};
    }
  }
}

}  // namespace

std::vector<std::span<const std::byte>> MindRecordCodec::split(std::span<const std::byte> blob,
                                                               const Place& place) const {
  if (blobs_.size() == 1) return {blob};
  std::vector<std::span<const std::byte>> parts;
  if (blobs_.empty()) return parts;
  size_t at = 0;
  for (const size_t column : blobs_) {
    if (blob.size() - at < 8) fail(place, "the row's record ends before all columns");
    const auto size = load_be<uint64_t>(blob, at);
    at += 8;
    if (size > blob.size() - at)
      fail(place,
           fmt::format("column \"{}\" does not fit its record", schema_.columns[column].name),
           fmt::format("at most {} bytes", blob.size() - at), std::to_string(size));
    parts.push_back(blob.subspan(at, size));
    at += size;
  }
  if (at != blob.size()) fail(place, "bytes after the last column of the row's record");
  return parts;
}

std::span<const std::byte> MindRecordCodec::part(std::span<const std::byte> blob, size_t column,
                                                 const Place& place) const {
  if (blobs_.size() == 1) return blob;
  size_t at = 0;
  for (const size_t c : blobs_) {
    if (blob.size() - at < 8) break;
    const auto size = load_be<uint64_t>(blob, at);
    at += 8;
    if (size > blob.size() - at) break;
    if (c == column) return blob.subspan(at, size);
    at += size;
  }
  fail(place, fmt::format("column \"{}\" does not fit its record", schema_.columns[column].name));
}

template <class T>
void MindRecordCodec::decode_array(size_t column, std::span<const std::byte> bytes,
                                   std::vector<T>& out, const Place& place) const {
  const MindRecordColumn& c = schema_.columns[column];
  bool good = false;
  if constexpr (std::is_integral_v<T>) {
    if (packed_) {
      good = unpack_integers(bytes, out);
      if (!good) fail(place, fmt::format("column \"{}\" is no packed array", c.name));
    }
  }
  if (!good) {
    if (bytes.size() % sizeof(T) != 0)
      fail(place, fmt::format("bad size of column \"{}\"", c.name),
           fmt::format("a multiple of {} bytes", sizeof(T)), std::to_string(bytes.size()));
    out.resize(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  }
  const std::string fault = shape_fault(c, out.size());
  if (!fault.empty()) fail(place, fmt::format("column \"{}\" has {}", c.name, fault));
}

MindRecordValue MindRecordCodec::decode_column(size_t column, std::span<const std::byte> bytes,
                                               const Place& place) const {
  const auto array = [&]<class T>(std::vector<T> out) -> MindRecordValue {
    decode_array(column, bytes, out, place);
    return out;
  };
  switch (schema_.columns[column].type) {
    case Type::int32:
      return array(std::vector<int32_t>());
    case Type::int64:
      return array(std::vector<int64_t>());
    case Type::float32:
      return array(std::vector<float>());
    case Type::float64:
      return array(std::vector<double>());
    default:
      return std::string(text_of(bytes));
  }
}

MindRecordRow MindRecordCodec::decode(std::span<const std::byte> blob,
                                      std::span<const std::byte> raw, const Place& blob_place,
                                      const Place& raw_place) const {
  MindRecordRow row;
  row.values.resize(schema_.columns.size());
  const auto parts = split(blob, blob_place);
  for (size_t i = 0; i < parts.size(); ++i)
    row.values[blobs_[i]] = decode_column(blobs_[i], parts[i], blob_place);
  decode_raw(raw, row, raw_place);
  return row;
}

void MindRecordCodec::decode_raw(std::span<const std::byte> raw, MindRecordRow& row,
                                 const Place& place) const {
  row.values.resize(schema_.columns.size());
  std::vector<bool> seen(schema_.columns.size());
  const bool valid = read_msgpack_map(raw, [&](std::string_view key, const MsgpackValue& value) {
    const auto it = std::find_if(raws_.begin(), raws_.end(),
                                 [&](size_t c) { return schema_.columns[c].name == key; });
    if (it == raws_.end()) return;  // not in the schema: dropped, as MindSpore does
    if (seen[*it]) fail(place, fmt::format("column \"{}\" appears twice in a row", key));
    seen[*it] = true;
    const std::string fault = plain_value(schema_.columns[*it], value, row.values[*it]);
    if (!fault.empty())
      fail(place, fmt::format("column \"{}\" of type {} holds {}", key,
                              name_of(schema_.columns[*it].type), fault));
  });
  if (!valid) fail(place, "the row's raw record is no MessagePack map");
  for (const size_t column : raws_) {
    if (!seen[column])
      fail(place, fmt::format("the row lacks column \"{}\"", schema_.columns[column].name));
  }
}

void MindRecordCodec::decode_int32(std::span<const std::byte> blob, size_t column,
                                   std::vector<int32_t>& out, const Place& place) const {
  require(column < schema_.columns.size() && schema_.columns[column].has_shape &&
              schema_.columns[column].type == Type::int32,
          "MindRecord: column {} is no int32 array", column);
  decode_array(column, part(blob, column, place), out, place);
}

}  // namespace cria
