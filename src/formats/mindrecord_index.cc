#include "formats/mindrecord_index.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "formats/mindrecord_codec.h"
#include "formats/sqlite.h"

namespace cria {
namespace {

using Type = MindRecordColumn::Type;
constexpr int kPlaces = 8;  // fixed columns before those of the index fields

std::string column_name(const std::string& field) {
  std::string name = field + "_0";  // 0 is the schema's number
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string_view sql_type(Type type) {
  if (type == Type::string) return "TEXT";
  return type == Type::float32 || type == Type::float64 ? "REAL" : "INTEGER";
}

// What the index says about each row of a shard, computed from the shard itself.
class IndexRows {
 public:
  explicit IndexRows(const MindRecordShard& shard)
      : shard_(shard), codec_(shard.header().schema, shard.header().packed_integers) {
    for (const std::string& field : shard.header().index_fields) {
      const auto& columns = codec_.schema().columns;
      const auto it = std::find_if(columns.begin(), columns.end(),
                                   [&](const auto& column) { return column.name == field; });
      fields_.push_back(static_cast<size_t>(it - columns.begin()));
    }
    for (const MindRecordPage& page : shard.header().pages) {
      if (page.is_blob) blob_pages_.push_back(page.page_id);
    }
  }

  void compute(uint64_t row) {
    const MindRecordHeader& h = shard_.header();
    const auto blob = shard_.blob(row), raw = shard_.raw(row);
    const auto page = [&](uint64_t offset) { return (offset - h.header_size) / h.page_size; };
    const auto inside = [&](uint64_t offset) { return (offset - h.header_size) % h.page_size; };
    const uint64_t blob_page = page(blob.offset);
    const auto group = std::lower_bound(blob_pages_.begin(), blob_pages_.end(), blob_page);
    const auto end = [](uint64_t start, const MindRecordShard::Record& r) {
      return start + 8 + r.content.size();
    };
    const std::array<uint64_t, kPlaces> all = {row,
                                               page(raw.offset),
                                               inside(raw.offset),
                                               end(inside(raw.offset), raw),
                                               static_cast<uint64_t>(group - blob_pages_.begin()),
                                               blob_page,
                                               inside(blob.offset),
                                               end(inside(blob.offset), blob)};
    std::copy(all.begin(), all.end(), places.begin());
    if (!fields_.empty()) codec_.decode_raw(raw.content, values_, {shard_.path(), raw.offset + 8});
  }
  [[nodiscard]] size_t fields() const { return fields_.size(); }
  [[nodiscard]] const MindRecordValue& value(size_t field) const {
    return values_.values[fields_[field]];
  }
  [[nodiscard]] const MindRecordColumn& column(size_t field) const {
    return codec_.schema().columns[fields_[field]];
  }

  std::array<int64_t, kPlaces> places = {};

 private:
  const MindRecordShard& shard_;
  MindRecordCodec codec_;
  std::vector<size_t> fields_;
  std::vector<uint64_t> blob_pages_;
  MindRecordRow values_;
};

std::string create_table(const IndexRows& rows) {
  std::string sql =
      "CREATE TABLE INDEXES(  ROW_ID               INT  NOT NULL, PAGE_ID_RAW          INT  NOT "
      "NULL, PAGE_OFFSET_RAW      INT  NOT NULL, PAGE_OFFSET_RAW_END  INT  NOT NULL, ROW_GROUP_ID  "
      "       INT  NOT NULL, PAGE_ID_BLOB         INT  NOT NULL, PAGE_OFFSET_BLOB     INT  NOT "
      "NULL, PAGE_OFFSET_BLOB_END INT  NOT NULL";
  std::string key = "ROW_ID";
  for (size_t i = 0; i < rows.fields(); ++i) {
    const MindRecordColumn& column = rows.column(i);
    sql += fmt::format(",INC_{} INT, {} {}", i, column_name(column.name), sql_type(column.type));
    key += fmt::format(",INC_{}", i);
  }
  return sql + fmt::format(", PRIMARY KEY({}))", key);
}

std::string column_list(const IndexRows& rows) {
  std::string list =
      "ROW_ID,PAGE_ID_RAW,PAGE_OFFSET_RAW,PAGE_OFFSET_RAW_END,ROW_GROUP_ID,PAGE_ID_BLOB,"
      "PAGE_OFFSET_BLOB,PAGE_OFFSET_BLOB_END";
  for (size_t i = 0; i < rows.fields(); ++i)
    list += fmt::format(",INC_{},{}", i, column_name(rows.column(i).name));
  return list;
}

void bind_value(SqliteStatement& statement, int parameter, const MindRecordValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    statement.bind(parameter, *integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    statement.bind(parameter, *real);
  } else {
    statement.bind(parameter, std::string_view(std::get<std::string>(value)));
  }
}

bool same_value(const SqliteStatement& row, int column, const MindRecordValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value))
    return row.is_integer(column) && row.integer(column) == *integer;
  // SQLite keeps NaN as NULL, which reads as 0.
  if (const auto* real = std::get_if<double>(&value))
    return std::isnan(*real) ? row.real(column) == 0 : row.real(column) == *real;
  return row.text(column) == std::get<std::string>(value);
}

void verify_name(const SqliteDatabase& database, const std::string& shard_name) {
  SqliteStatement tables(database, "SELECT name FROM sqlite_master WHERE type='table' ORDER BY 1");
  for (const std::string_view expected : {"INDEXES", "SHARD_NAME"}) {
    if (!tables.step() || tables.text(0) != expected)
      database.fail(fmt::format("no table {}", expected));
  }
  SqliteStatement name(database, "SELECT NAME FROM SHARD_NAME");
  if (!name.step()) database.fail("names no shard");
  if (name.text(0) != shard_name)
    database.fail(fmt::format("belongs to \"{}\", expected \"{}\" (was the pair renamed?)",
                              escaped(name.text(0)), shard_name));
}

}  // namespace

void write_mindrecord_index(const std::string& database, const MindRecordShard& shard,
                            const std::string& shard_name) {
  SqliteDatabase db(database, SqliteDatabase::Mode::fill);
  IndexRows rows(shard);
  db.run(create_table(rows));
  db.run("CREATE TABLE SHARD_NAME(NAME TEXT NOT NULL)");
  SqliteStatement name(db, "INSERT INTO SHARD_NAME (NAME) VALUES (?)");
  name.bind(0, std::string_view(shard_name));
  name.step();

  std::string marks = "?";
  for (size_t i = 1; i < kPlaces + 2 * rows.fields(); ++i) marks += ",?";
  SqliteStatement insert(
      db, fmt::format("INSERT INTO INDEXES ({}) VALUES ({})", column_list(rows), marks));
  for (uint64_t row = 0; row < shard.rows(); ++row) {
    rows.compute(row);
    for (int i = 0; i < kPlaces; ++i) insert.bind(i, rows.places[static_cast<size_t>(i)]);
    for (size_t f = 0; f < rows.fields(); ++f) {
      const int at = kPlaces + 2 * static_cast<int>(f);
      insert.bind(at, int64_t{0});
      bind_value(insert, at + 1, rows.value(f));
    }
    insert.step();
  }
  db.run("COMMIT");
}

void verify_mindrecord_index(const std::string& database, const MindRecordShard& shard,
                             const std::string& shard_name) {
  const SqliteDatabase db(database, SqliteDatabase::Mode::read);
  verify_name(db, shard_name);
  IndexRows rows(shard);
  SqliteStatement select(db,
                         fmt::format("SELECT {} FROM INDEXES ORDER BY ROW_ID", column_list(rows)));
  uint64_t row = 0;
  for (; select.step(); ++row) {
    if (row == shard.rows()) db.fail(fmt::format("more rows than the shard's {}", row));
    rows.compute(row);
    for (int i = 0; i < kPlaces; ++i) {
      const int64_t expected = rows.places[static_cast<size_t>(i)];
      if (!select.is_integer(i) || select.integer(i) != expected)
        db.fail(fmt::format("row {}: column {} is {}, expected {}", row, i, select.integer(i),
                            expected));
    }
    for (size_t f = 0; f < rows.fields(); ++f) {
      if (!same_value(select, kPlaces + 2 * static_cast<int>(f) + 1, rows.value(f)))
        db.fail(fmt::format("row {}: \"{}\" is not the record's value", row, rows.column(f).name));
    }
  }
  if (row != shard.rows()) db.fail(fmt::format("{} rows, expected {}", row, shard.rows()));
}

}  // namespace cria
