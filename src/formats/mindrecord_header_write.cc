// The header's JSON, with keys in the order of MindSpore's own files.
#include <map>
#include <nlohmann/json.hpp>

#include "formats/mindrecord_header.h"

namespace cria {
namespace {

using Ordered = nlohmann::ordered_json;
using Sorted = nlohmann::json;  // keeps keys in byte order, as MindSpore does inside the header

Sorted page_json(const MindRecordPage& page, uint64_t shard_id) {
  Sorted groups = Sorted::array();
  for (const MindRecordGroup& g : page.groups)
    groups.push_back({{"id", g.blob_page}, {"offset", g.offset}});
  return {{"page_id", page.page_id},
          {"shard_id", shard_id},
          {"page_type", page.is_blob ? "BLOB_DATA" : "RAW_DATA"},
          {"page_type_id", page.type_id},
          {"start_row_id", page.start_row},
          {"end_row_id", page.end_row},
          {"page_size", page.used},
          {"row_group_ids", groups}};
}

Sorted schema_json(const MindRecordSchema& schema) {
  Sorted columns = Sorted::object(), blobs = Sorted::array();
  for (const MindRecordColumn& column : schema.columns) {
    Sorted& entry = columns[column.name];
    entry["type"] = name_of(column.type);
    if (column.has_shape) entry["shape"] = column.shape;
  }
  for (const MindRecordColumn& column : schema.columns) {
    if (column.is_blob()) blobs.push_back(column.name);
  }
  return {{"blob_fields", blobs}, {"desc", schema.description}, {"schema", columns}};
}

}  // namespace

std::string mindrecord_header_json(const MindRecordHeader& header) {
  Sorted index, pages;
  for (const std::string& name : header.index_fields)
    index.push_back({{"index_field", name}, {"schema_id", 0}});
  for (const MindRecordPage& page : header.pages) pages.push_back(page_json(page, header.shard_id));
  // Objects inside go through their text: an ordered object keeps the order it is read in.
  const auto nested = [](const Sorted& v) { return Ordered::parse(v.dump()); };
  Ordered top;
  top["header_size"] = header.header_size;
  top["index_fields"] = nested(index);
  top["page"] = nested(pages);
  top["page_size"] = header.page_size;
  top["compression_size"] = header.compression_size;
  top["schema"] = Ordered::array({nested(schema_json(header.schema))});
  top["shard_addresses"] = header.shard_names;
  top["shard_id"] = header.shard_id;
  top["statistics"] = nullptr;
  top["version"] = header.packed_integers ? "3.0" : "2.0";
  return top.dump();
}

}  // namespace cria
