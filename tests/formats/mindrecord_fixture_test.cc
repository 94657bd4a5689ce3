// MindRecord against files that MindSpore itself made.
#include "base/sha256.h"
#include "formats/json_file.h"
#include "formats/mindrecord_fixtures.h"
#include "formats/mindrecord_header.h"
#include "formats/sqlite.h"

namespace cria::test {
namespace {

const nlohmann::json& manifest() {
  static const nlohmann::json json = load_json(mindrecord_fixture("manifest.json"));
  return json["sets"];
}

class MindRecordFixture : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    CRIA_NEED_FIXTURES();
    set_ = manifest().at(GetParam());
    path_ = mindrecord_fixture(set_["files"].back());
    if (!set_.contains("gzip")) return;
    const std::string name = set_["files"][0];
    path_ = scratch_.path(name);
    gunzip(mindrecord_fixture(name + ".gz"), path_);
    gunzip(mindrecord_fixture(name + ".db.gz"), path_ + ".db");
  }
  Scratch scratch_;
  nlohmann::json set_;
  std::string path_;
};

nlohmann::json as_json(const MindRecordValue& value) {
  return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

void expect_row(const MindRecordReader& reader, int64_t row, const nlohmann::json& expected) {
  const MindRecordRow found = reader.read(row);
  for (size_t c = 0; c < found.values.size(); ++c) {
    const nlohmann::json& want = expected.at(reader.schema().columns[c].name);
    if (want.is_object() && !want.contains("values")) continue;  // bytes: the hash has them
    EXPECT_EQ(as_json(found.values[c]), want.is_object() ? want["values"] : want)
        << "row " << row << " column " << c;
  }
}

TEST_P(MindRecordFixture, rows_equal_what_mindspore_reads) {
  const MindRecordReader reader(path_);
  ASSERT_EQ(reader.rows(), set_["num_rows"].get<int64_t>());
  EXPECT_EQ(reader.files().size(), set_["files"].size());
  EXPECT_EQ(reader.schema().description, set_["desc"]);
  EXPECT_EQ(reader.schema().columns.size(), set_["schema"].size());
  std::vector<std::byte> canonical;
  for (int64_t row = 0; row < reader.rows(); ++row) append_canonical(reader.read(row), canonical);
  EXPECT_EQ(sha256_hex(canonical), set_["row_sha256_canonical_all"]);
  if (set_.contains("rows")) {
    for (int64_t row = 0; row < reader.rows(); ++row)
      expect_row(reader, row, set_["rows"][static_cast<size_t>(row)]);
  } else {
    for (int64_t i = 0; i < 3; ++i) {
      expect_row(reader, i, set_["first_rows"][static_cast<size_t>(i)]);
      expect_row(reader, reader.rows() - 3 + i, set_["last_rows"][static_cast<size_t>(i)]);
    }
  }
}

TEST_P(MindRecordFixture, mindspores_index_agrees_with_the_records) {
  EXPECT_NO_THROW(MindRecordReader(path_).verify_index());
}

TEST_P(MindRecordFixture, the_hot_path_gives_the_same_numbers) {
  const MindRecordReader reader(path_);
  std::vector<int32_t> out;
  for (size_t c = 0; c < reader.schema().columns.size(); ++c) {
    const MindRecordColumn& column = reader.schema().columns[c];
    if (!column.has_shape || column.type != MindRecordColumn::Type::int32) {
      EXPECT_THROW(reader.read_int32(0, c, out), UsageError);
      continue;
    }
    for (int64_t row = 0; row < reader.rows(); ++row) {
      reader.read_int32(row, c, out);
      ASSERT_EQ(out, std::get<std::vector<int32_t>>(reader.read(row).values[c]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sets, MindRecordFixture,
    testing::Values("appended.mindrecord", "default_size.mindrecord", "floats.mindrecord",
                    "lm_10k.mindrecord", "lm_fixed.mindrecord", "lm_long.mindrecord",
                    "lm_pages4.mindrecord", "lm_var.mindrecord", "mixed.mindrecord",
                    "mixed3.mindrecord", "mixed_index.mindrecord", "one_blob.mindrecord",
                    "scalars.mindrecord", "sparse.mindrecord", "twelve.mindrecord"),
    [](const auto& set) {
      const std::string name = set.param;
      return name.substr(0, name.find('.'));
    });

TEST(MindRecordReading, a_list_of_files_is_read_in_its_order) {
  CRIA_NEED_FIXTURES();
  const MindRecordReader whole(mindrecord_fixture("mixed3.mindrecord0"));
  const MindRecordReader part(std::vector<std::string>{mindrecord_fixture("mixed3.mindrecord2"),
                                                       mindrecord_fixture("mixed3.mindrecord0")});
  const auto per_shard = manifest()["mixed3.mindrecord"]["rows_per_shard"];
  const int64_t first = per_shard[0], second = per_shard[1], third = per_shard[2];
  ASSERT_EQ(part.rows(), third + first);
  EXPECT_EQ(part.read(0), whole.read(first + second));
  EXPECT_EQ(part.read(third), whole.read(0));
}

// All that a query gives, as text.
std::string dump(const SqliteDatabase& db, const std::string& sql, int columns) {
  SqliteStatement query(db, sql);
  std::string out;
  while (query.step()) {
    for (int c = 0; c < columns; ++c) out += fmt::format("{}|", query.text(c));
    out += '\n';
  }
  return out;
}

class MindRecordWriterFixture : public MindRecordFixture {};

// A single file is deterministic in MindSpore too: ours must be the same to the byte.
TEST_P(MindRecordWriterFixture, writing_the_same_rows_gives_mindspores_bytes) {
  const MindRecordReader reader(path_);
  MindRecordWriter::Options options;
  options.header_size = set_["header_size"];
  options.page_size = set_["page_size"];
  options.index_fields = reader.index_fields();
  options.expected_rows = reader.rows();
  std::filesystem::create_directory(scratch_.path("ours"));
  const std::string ours = scratch_.path("ours/" + std::string(GetParam()));
  MindRecordWriter writer(ours, reader.schema(), options);
  for (int64_t row = 0; row < reader.rows(); ++row) writer.write_row(reader.read(row));
  writer.commit();
  EXPECT_TRUE(slurp(ours) == slurp(path_));

  const SqliteDatabase a(ours + ".db", SqliteDatabase::Mode::read);
  const SqliteDatabase b(path_ + ".db", SqliteDatabase::Mode::read);
  const int columns = 8 + 2 * static_cast<int>(reader.index_fields().size());
  for (const char* sql :
       {"SELECT type||name||tbl_name||coalesce(sql,'') FROM sqlite_master ORDER BY 1",
        "SELECT NAME FROM SHARD_NAME"})
    EXPECT_EQ(dump(a, sql, 1), dump(b, sql, 1));
  EXPECT_EQ(dump(a, "SELECT * FROM INDEXES", columns), dump(b, "SELECT * FROM INDEXES", columns));
  EXPECT_EQ(dump(a, "PRAGMA page_size", 1), dump(b, "PRAGMA page_size", 1));
}

INSTANTIATE_TEST_SUITE_P(Sets, MindRecordWriterFixture,
                         testing::Values("default_size.mindrecord", "floats.mindrecord",
                                         "lm_long.mindrecord", "lm_var.mindrecord",
                                         "mixed.mindrecord", "mixed_index.mindrecord",
                                         "one_blob.mindrecord", "scalars.mindrecord"),
                         [](const auto& set) {
                           const std::string name = set.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace cria::test
