// Writing a set: rows go to blob pages as they come; raw pages, header and index follow at the end.
#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "formats/mindrecord.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_header.h"
#include "formats/mindrecord_set.h"
#include "formats/mindrecord_shard_writer.h"

namespace cria {
namespace {

void check_path(const std::string& path) {
  const std::string name = base_name(path);
  require(
      !name.empty() && name.find_first_of("\\/:*?\"<>|`&';") == std::string::npos &&
          name.front() != ' ' && name.back() != ' ',
      "MindRecord: {}: MindSpore refuses this file name, expected none of \\ / : * ? \" < > | ` "
      "& ' ; and no blank at either end",
      path);
}

void check_size(std::string_view what, uint64_t value, uint64_t low, uint64_t high) {
  require(value >= low && value <= high && value % 4 == 0,
          "MindRecord: {} is {}, expected {} to {} and a multiple of 4", what, value, low, high);
}

void check_options(const MindRecordWriter::Options& o) {
  require(o.shards >= 1 && o.shards <= kMaxShardsWritten, "MindRecord: {} shards, expected 1 to {}",
          o.shards, kMaxShardsWritten);
  require(o.shards == 1 || o.expected_rows >= 0,
          "MindRecord: several shards need the number of rows beforehand");
  check_size("header_size", o.header_size, kMinHeaderSize, kMaxHeaderSize);
  check_size("page_size", o.page_size, kMinPageSize, kMaxPageSize);
}

// The fields that were asked for, or all plain columns in order; checked.
std::vector<std::string> choose_index_fields(const MindRecordSchema& schema,
                                             std::vector<std::string> fields) {
  if (fields.empty()) {
    for (const auto& column : schema.columns) {
      if (!column.is_blob()) fields.push_back(column.name);
    }
  }
  std::set<std::string> seen;
  for (std::string name : fields) {
    const bool plain = std::any_of(schema.columns.begin(), schema.columns.end(), [&](auto& column) {
      return column.name == name && !column.is_blob();
    });
    require(plain,
            "MindRecord: \"{}\" cannot be indexed, expected a column without shape and not "
            "of type bytes",
            escaped(name));
    std::replace(name.begin(), name.end(), '-', '_');
    require(seen.insert(name).second, "MindRecord: two index fields are called \"{}\"", name);
  }
  return fields;
}

MindRecordHeader make_header(const std::string& path, MindRecordSchema schema,
                             const MindRecordWriter::Options& options) {
  check_path(path);
  check_options(options);
  const auto fault = find_schema_fault(schema);
  require(!fault, "MindRecord: schema: {}", fault.value_or(""));
  require(!find_invalid_utf8(schema.description), "MindRecord: the description is not UTF-8");
  std::sort(schema.columns.begin(), schema.columns.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  MindRecordHeader header;
  header.header_size = options.header_size;
  header.page_size = options.page_size;
  header.index_fields = choose_index_fields(schema, options.index_fields);
  header.schema = std::move(schema);
  for (const std::string& shard : mindrecord_shard_paths(path, options.shards))
    header.shard_names.push_back(base_name(shard));
  return header;
}

}  // namespace

struct MindRecordWriter::State {
  std::string path;
  Options options;
  MindRecordHeader header;
  MindRecordCodec codec;
  std::vector<std::string> paths;
  std::vector<std::unique_ptr<MindRecordShardWriter>> shards;
  size_t current = 0;
  int64_t rows = 0, rows_in_current = 0;
  std::vector<std::byte> blob, raw;

  State(const std::string& set_path, const MindRecordSchema& schema, Options o)
      : path(set_path),
        options(std::move(o)),
        header(make_header(path, schema, options)),
        codec(schema, true),
        paths(mindrecord_shard_paths(path, options.shards)) {
    for (const std::string& shard : paths) {
      for (const std::string& file : {shard, shard + ".db"}) {
        require(options.overwrite || !is_file(file), "MindRecord: {} exists; try: overwrite", file);
      }
    }
    for (size_t i = 0; i < paths.size(); ++i) {
      MindRecordHeader own = header;
      own.shard_id = i;
      shards.push_back(
          std::make_unique<MindRecordShardWriter>(paths[i], std::move(own), !codec.only_blobs()));
    }
  }

  [[nodiscard]] int64_t share(size_t shard) const {
    const int64_t n = options.shards, i = static_cast<int64_t>(shard);
    return options.expected_rows / n + (i < options.expected_rows % n ? 1 : 0);
  }

  void add() {
    require(options.expected_rows < 0 || rows < options.expected_rows,
            "MindRecord: more rows than the {} announced", options.expected_rows);
    while (options.shards > 1 && rows_in_current == share(current)) {
      ++current;
      rows_in_current = 0;
    }
    shards[current]->add(blob, raw);
    ++rows;
    ++rows_in_current;
  }
};

MindRecordWriter::MindRecordWriter(const std::string& path, const MindRecordSchema& schema,
                                   Options options)
    : state_(std::make_unique<State>(path, schema, std::move(options))) {}
MindRecordWriter::MindRecordWriter(const std::string& path, const MindRecordSchema& schema)
    : MindRecordWriter(path, schema, Options{}) {}
MindRecordWriter::~MindRecordWriter() = default;
int64_t MindRecordWriter::rows() const { return state_->rows; }

void MindRecordWriter::write_row(std::span<const std::span<const int32_t>> int32_columns) {
  state_->codec.encode_blob(int32_columns, state_->blob);
  if (state_->raw.empty()) state_->codec.encode_raw({}, state_->raw);
  state_->add();
}

void MindRecordWriter::write_row(const MindRecordRow& row) {
  state_->codec.encode_blob(row, state_->blob);
  state_->codec.encode_raw(row, state_->raw);
  state_->add();
}

void MindRecordWriter::commit(const std::vector<std::pair<std::string, std::string>>& beside) {
  State& s = *state_;
  require(s.options.expected_rows < 0 || s.rows == s.options.expected_rows,
          "MindRecord: {} rows were written, {} announced", s.rows, s.options.expected_rows);
  const auto saved = static_cast<uint64_t>(std::max<int64_t>(0, s.codec.saved_bytes()));
  for (auto& shard : s.shards) shard->finish(saved);
  MindRecordSet set(s.path, s.options.before_change);
  for (auto& shard : s.shards) set.add(shard->file(), shard->index());
  for (const auto& [path, text] : beside) set.add_text(path, text);
  set.commit();
}

}  // namespace cria
