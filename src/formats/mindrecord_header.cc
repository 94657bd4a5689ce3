#include "formats/mindrecord_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace cria {
namespace {

using Type = MindRecordColumn::Type;

// Looks members up and turns every misfit into one sentence with the path.
class Fields {
 public:
  Fields(const Json& object, std::string where, const std::string& path)
      : object_(object), where_(std::move(where)), path_(path) {
    if (!object.is_object()) fail("is no object", "{...}");
  }
  const Json& get(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) fail(fmt::format("has no \"{}\"", key), "");
    return *it;
  }
  uint64_t number(const char* key, uint64_t low, uint64_t high) const {
    const Json& v = get(key);
    if (!v.is_number_unsigned() || v.get<uint64_t>() < low || v.get<uint64_t>() > high)
      fail(fmt::format("bad \"{}\"", key), fmt::format("an integer from {} to {}", low, high),
           v.dump().substr(0, 32));
    return v.get<uint64_t>();
  }
  uint64_t size(const char* key, uint64_t low, uint64_t high) const {
    const uint64_t v = number(key, low, high);
    if (v % 4 != 0) fail(fmt::format("bad \"{}\"", key), "a multiple of 4", std::to_string(v));
    return v;
  }
  std::string text(const char* key) const {
    const Json& v = get(key);
    if (!v.is_string()) fail(fmt::format("\"{}\" is no text", key), "");
    return v.get<std::string>();
  }
  const Json& list(const char* key) const {
    const Json& v = get(key);
    if (!v.is_array()) fail(fmt::format("\"{}\" is no list", key), "");
    return v;
  }
  bool is_null(const char* key) const { return get(key).is_null(); }
  bool has(const char* key) const { return object_.contains(key); }
  [[noreturn]] void fail(const std::string& reason, std::string expected,
                         const std::string& found = {}) const {
    throw FormatError(describe({.what = "MindRecord",
                                .path = path_,
                                .offset = 8,
                                .reason = fmt::format("header: {} {}", where_, reason),
                                .expected = std::move(expected),
                                .found = escaped(found)}));
  }

 private:
  const Json& object_;
  std::string where_;
  const std::string& path_;
};

Type parse_type(const Fields& fields, const std::string& name) {
  for (int i = 0; i < 6; ++i) {
    if (name_of(static_cast<Type>(i)) == name) return static_cast<Type>(i);
  }
  fields.fail("has an unknown type", "bytes, string, int32, int64, float32 or float64", name);
}

MindRecordColumn parse_column(const std::string& name, const Json& json, const std::string& path) {
  const Fields fields(json, fmt::format("column \"{}\"", escaped(name)), path);
  MindRecordColumn column{.name = name, .type = parse_type(fields, fields.text("type"))};
  column.has_shape = fields.has("shape");
  if (!column.has_shape) return column;
  for (const Json& d : fields.list("shape")) {
    if (!d.is_number_integer()) fields.fail("has a dim that is no integer", "", d.dump());
    if (d.is_number_unsigned() && d.get<uint64_t>() > INT32_MAX)
      fields.fail("has a dim that is too large", fmt::format("at most {}", INT32_MAX), d.dump());
    column.shape.push_back(d.get<int64_t>());
  }
  return column;
}

MindRecordSchema parse_schema(const Fields& top, const std::string& path) {
  const Json& list = top.list("schema");
  if (list.size() != 1) top.fail("schemas", "exactly one", std::to_string(list.size()));
  const Fields fields(list.front(), "schema", path);
  MindRecordSchema schema;
  schema.description = fields.text("desc");
  const Json& columns = fields.get("schema");
  if (!columns.is_object()) fields.fail("is no object", "");
  if (columns.size() > kMaxColumns)
    fields.fail("has too many columns", fmt::format("at most {}", kMaxColumns),
                std::to_string(columns.size()));
  for (const auto& [name, json] : columns.items())
    schema.columns.push_back(parse_column(name, json, path));
  std::sort(schema.columns.begin(), schema.columns.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  if (const auto fault = find_schema_fault(schema)) fields.fail(": " + *fault, "");

  std::vector<std::string> blobs;
  for (const auto& column : schema.columns) {
    if (column.is_blob()) blobs.push_back(column.name);
  }
  std::vector<std::string> listed;
  for (const Json& name : fields.list("blob_fields")) {
    if (!name.is_string()) fields.fail("\"blob_fields\" holds something that is no text", "");
    listed.push_back(name.get<std::string>());
  }
  std::sort(listed.begin(), listed.end());
  if (listed != blobs) fields.fail("\"blob_fields\" does not list the array and bytes columns", "");
  return schema;
}

std::vector<std::string> parse_index_fields(const Fields& top, const MindRecordSchema& schema,
                                            const std::string& path) {
  std::vector<std::string> out;
  if (top.is_null("index_fields")) return out;
  for (const Json& entry : top.list("index_fields")) {
    const Fields fields(entry, "index field", path);
    fields.number("schema_id", 0, 0);
    std::string name = fields.text("index_field");
    const auto known =
        std::find_if(schema.columns.begin(), schema.columns.end(),
                     [&](const auto& column) { return column.name == name && !column.is_blob(); });
    if (known == schema.columns.end()) fields.fail("names no plain column", "", name);
    if (std::find(out.begin(), out.end(), name) != out.end()) fields.fail("twice", "", name);
    out.push_back(std::move(name));
  }
  return out;
}

std::vector<std::string> parse_shard_names(const Fields& top) {
  std::vector<std::string> out;
  const Json& list = top.list("shard_addresses");
  if (list.empty() || list.size() > kMaxShardsRead)
    top.fail("bad number of shards", fmt::format("1 to {}", kMaxShardsRead),
             std::to_string(list.size()));
  std::set<std::string> seen;
  for (const Json& name : list) {
    if (!name.is_string() || !is_plain_name(name.get<std::string>()))
      top.fail("shard name that is no plain file name", "", name.dump());
    out.push_back(name.get<std::string>());
    if (!seen.insert(out.back()).second) top.fail("shard listed twice", "", out.back());
  }
  return out;
}

MindRecordPage parse_page(const Json& json, const MindRecordHeader& header,
                          const std::string& path) {
  const Fields fields(json, "page", path);
  MindRecordPage page;
  const uint64_t most_rows = uint64_t{1} << 48;
  page.page_id = fields.number("page_id", 0, UINT32_MAX);
  const std::string type = fields.text("page_type");
  if (type != "BLOB_DATA" && type != "RAW_DATA")
    fields.fail("has an unknown type", "BLOB_DATA or RAW_DATA", type);
  page.is_blob = type == "BLOB_DATA";
  page.type_id = fields.number("page_type_id", 0, UINT32_MAX);
  page.start_row = fields.number("start_row_id", 0, most_rows);
  page.end_row = fields.number("end_row_id", 0, most_rows);
  page.used = fields.number("page_size", 0, header.page_size);
  fields.number("shard_id", header.shard_id, header.shard_id);
  for (const Json& entry : fields.list("row_group_ids")) {
    const Fields group(entry, "row group", path);
    page.groups.push_back({.blob_page = group.number("id", 0, UINT32_MAX),
                           .offset = group.number("offset", 0, page.used)});
  }
  return page;
}

}  // namespace

MindRecordHeader parse_mindrecord_header(std::string_view json, const std::string& path) {
  const Json value = parse_json(json, "MindRecord", path, 8);
  const Fields top(value, "top level", path);
  MindRecordHeader header;
  const std::string version = top.text("version");
  if (version != "3.0" && version != "2.0")
    top.fail("has an unknown version", "3.0 or 2.0", version);
  header.packed_integers = version == "3.0";
  header.header_size = top.size("header_size", kMinHeaderSize, kMaxHeaderSize);
  header.page_size = top.size("page_size", kMinPageSize, kMaxPageSize);
  if (top.has("compression_size"))
    header.compression_size = top.number("compression_size", 0, UINT64_MAX);
  header.schema = parse_schema(top, path);
  header.index_fields = parse_index_fields(top, header.schema, path);
  header.shard_names = parse_shard_names(top);
  header.shard_id = top.number("shard_id", 0, header.shard_names.size() - 1);
  if (!top.is_null("page")) {
    for (const Json& page : top.list("page"))
      header.pages.push_back(parse_page(page, header, path));
  }
  return header;
}

}  // namespace cria
