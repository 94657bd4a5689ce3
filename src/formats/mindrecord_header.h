// The JSON header of a MindRecord shard as plain structs, and its limits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/mindrecord.h"

namespace cria {

/// Where the records of one blob page's rows begin in a raw page.
struct MindRecordGroup {
  uint64_t blob_page = 0;  // the blob page's number among blob pages
  uint64_t offset = 0;     // in the raw page
};

struct MindRecordPage {
  uint64_t page_id = 0;  // place in the file: header_size + page_id * page_size
  bool is_blob = false;
  uint64_t type_id = 0;  // number among blob pages; in raw pages without meaning
  uint64_t start_row = 0, end_row = 0;
  uint64_t used = 0;  // bytes
  std::vector<MindRecordGroup> groups;
};

struct MindRecordHeader {
  uint64_t header_size = 0, page_size = 0;
  uint64_t compression_size = 0;
  uint64_t shard_id = 0;
  bool packed_integers = true;  // version 3.0; 2.0 has them raw
  std::vector<std::string> shard_names;
  std::vector<std::string> index_fields;
  MindRecordSchema schema;  // columns in byte order of their names
  std::vector<MindRecordPage> pages;
};

/// Parses and checks everything that the header alone tells. Throws FormatError.
MindRecordHeader parse_mindrecord_header(std::string_view json, const std::string& path);
/// The JSON as MindSpore writes it, byte for byte.
std::string mindrecord_header_json(const MindRecordHeader& header);

/// What is wrong with a schema, if anything: names, types, shapes, duplicates, number of columns.
std::optional<std::string> find_schema_fault(const MindRecordSchema& schema);
/// The names a set of shards gets: the path alone, or with a number padded to the same width.
std::vector<std::string> mindrecord_shard_paths(const std::string& path, int shards);
std::string_view name_of(MindRecordColumn::Type type);
/// Bytes per element of an array of the type.
uint64_t element_bytes(MindRecordColumn::Type type);

inline constexpr uint64_t kMinHeaderSize = 16384, kMaxHeaderSize = 134217728;
inline constexpr uint64_t kMinPageSize = 32768, kMaxPageSize = 268435456;
inline constexpr int kMaxShardsWritten = 1000;
inline constexpr size_t kMaxShardsRead = 4096, kMaxColumns = 100;

}  // namespace cria
