// MindRecord files that must be refused, each with its reason.
#include <functional>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_fixtures.h"
#include "formats/mindrecord_shard.h"
#include "formats/sqlite.h"

namespace cria::test {
namespace {

using Json = nlohmann::json;
constexpr size_t kBlobPage = 16384, kRawPage = kBlobPage + 32768;

// A valid shard of three rows: int32 array "ids", int64 "n", string "s".
std::string good_shard() {
  const Scratch scratch;
  const MindRecordSchema schema{.columns = {{.name = "ids", .shape = {-1}, .has_shape = true},
                                            {.name = "n", .type = MindRecordColumn::Type::int64},
                                            {.name = "s", .type = MindRecordColumn::Type::string}}};
  MindRecordWriter writer(scratch.path("x.mindrecord"), schema,
                          {.header_size = 16384, .page_size = 32768});
  for (int32_t i = 0; i < 3; ++i)
    writer.write_row({{std::vector<int32_t>{i, 1000 * i}, int64_t{i}, std::string("hi")}});
  writer.commit();
  return slurp(scratch.path("x.mindrecord"));
}

std::string with_header(const std::string& shard, const std::string& json) {
  std::string out = shard;
  const uint64_t size = json.size();
  std::fill(out.begin(), out.begin() + 16384, '\0');
  std::memcpy(out.data(), &size, 8);
  std::memcpy(out.data() + 8, json.data(), std::min<size_t>(json.size(), 16376));
  return out;
}
Json header_of(const std::string& shard) {
  return Json::parse(shard.substr(8, load_le<uint64_t>(as_span(shard), 0)));
}

// Opens and reads everything that a shard has.
void read_all(std::span<const std::byte> bytes, const std::string& path) {
  const MindRecordShard shard(bytes, path);
  const MindRecordCodec codec(shard.header().schema, shard.header().packed_integers);
  for (uint64_t row = 0; row < shard.rows(); ++row) {
    const auto blob = shard.blob(row), raw = shard.raw(row);
    (void)codec.decode(blob.content, raw.content, {shard.path(), blob.offset + 8},
                       {shard.path(), raw.offset + 8});
  }
}

struct HeaderCase {
  const char* claim;
  std::function<void(Json&)> change;
  const char* message;
};

std::vector<HeaderCase> header_cases() {
  const auto set = [](const char* pointer, Json value) {
    return [=](Json& h) { h[Json::json_pointer(pointer)] = value; };
  };
  const auto drop = [](const char* key) { return [=](Json& h) { h.erase(key); }; };
  const char* ids = "/schema/0/schema/ids/shape";
  return {
      {"no version", drop("version"), "no \"version\""},
      {"version 4.0", set("/version", "4.0"), "unknown version"},
      {"a header_size too small", set("/header_size", 16380), "header_size"},
      {"a header_size that is odd", set("/header_size", 16385), "multiple of 4"},
      {"a header_size as text", set("/header_size", "16384"), "header_size"},
      {"a page_size of 0", set("/page_size", 0), "page_size"},
      {"a page_size of 512 MiB", set("/page_size", 536870912), "page_size"},
      {"a negative page_size", set("/page_size", -32768), "page_size"},
      {"a page_size as float", set("/page_size", 32768.0), "page_size"},
      {"a larger header_size", set("/header_size", 65536), "ends beyond the file"},
      {"no schema", set("/schema", Json::array()), "exactly one"},
      {"a schema that is text", set("/schema/0", "x"), "no object"},
      {"an unknown type", set("/schema/0/schema/n/type", "int8"), "unknown type"},
      {"a shape with 0", set(ids, {0}), "dim of 0"},
      {"a shape with -2", set(ids, {-2}), "dim of -2"},
      {"two open dims", set(ids, {-1, -1}), "more than one -1"},
      {"a shape as number", set(ids, 3), "no list"},
      {"a dim as float", set(ids, {1.5}), "no integer"},
      {"a dim of 2^63", set(ids, {uint64_t{1} << 63}), "too large"},
      {"a shape for a text", set("/schema/0/schema/s/shape", {-1}), "only numbers"},
      {"a column with a slash", set("/schema/0/schema/a~1b", {{"type", "int32"}}), "column name"},
      {"blob_fields that lie", set("/schema/0/blob_fields", {"n"}), "blob_fields"},
      {"101 columns",
       [](Json& h) {
         for (int i = 0; i < 101; ++i)
           h["schema"][0]["schema"]["c" + std::to_string(i)]["type"] = "int32";
       },
       "too many columns"},
      {"an index field that is none", set("/index_fields/0/index_field", "ids"), "no plain column"},
      {"an index field twice", set("/index_fields/1/index_field", "n"), "twice"},
      {"no shard names", set("/shard_addresses", Json::array()), "number of shards"},
      {"a shard name with a path", set("/shard_addresses/0", "../x"), "plain file name"},
      {"a shard name twice", set("/shard_addresses", {"x", "x"}), "twice"},
      {"a shard_id beyond the set", set("/shard_id", 1), "shard_id"},
      {"a page of another shard", set("/page/0/shard_id", 1), "shard_id"},
      {"an unknown page type", set("/page/0/page_type", "X"), "unknown type"},
      {"a page_id of 2^63", set("/page/1/page_id", uint64_t{1} << 63), "page_id"},
      {"pages in reverse", [](Json& h) { std::swap(h["page"][0], h["page"][1]); }, "out of order"},
      {"a page that is used beyond its size", set("/page/0/page_size", 32769), "page_size"},
      {"a page that ends beyond the file", set("/page/1/page_size", 32768), "beyond the file"},
      {"a blob page number out of order", set("/page/0/page_type_id", 1), "numbered"},
      {"rows that begin late", set("/page/0/start_row_id", 1), "row range"},
      {"rows that end before they begin", set("/page/0/start_row_id", 4), "row range"},
      {"more rows than bytes", set("/page/0/end_row_id", uint64_t{1} << 40), "row range"},
      {"a row too many", set("/page/0/end_row_id", 4), "ends before its last row"},
      {"a row too few", set("/page/0/end_row_id", 2), "after the last row"},
      {"a group of no blob page", set("/page/1/row_group_ids/0/id", 1), "not there"},
      {"a group twice",
       [](Json& h) {
         auto& groups = h["page"][1]["row_group_ids"];
         groups.push_back(Json(groups[0]));
       },
       "two groups"},
      {"no group", set("/page/1/row_group_ids", Json::array()), "no raw page"},
      {"a group beyond its page", set("/page/1/row_group_ids/0/offset", 40000), "offset"},
      {"a group at the end", set("/page/1/row_group_ids/0/offset", 50), "page"},
      {"no page list", set("/page", 1), "no list"},
  };
}

TEST(MindRecordHostile, each_bad_header_is_refused_with_its_path_and_reason) {
  const std::string shard = good_shard(), path = "folder/x.mindrecord";
  ASSERT_NO_THROW(read_all(as_span(shard), path));
  for (const HeaderCase& c : header_cases()) {
    SCOPED_TRACE(c.claim);
    Json header = header_of(shard);
    c.change(header);
    const std::string bytes = with_header(shard, header.dump());
    const std::string message = format_error([&] { read_all(as_span(bytes), path); });
    EXPECT_THAT(message, testing::HasSubstr(path));
    EXPECT_THAT(message, testing::HasSubstr(c.message));
    EXPECT_LT(message.size(), 480U);
  }
}

struct ByteCase {
  const char* claim;
  size_t at;
  std::string bytes;
  const char* message;
};

// The records: blob 8+7 bytes each (4 count, 1 codes, 2 or 3 elements), raw 8 + n.
TEST(MindRecordHostile, each_bad_record_is_refused_with_its_path_and_reason) {
  using namespace std::string_literals;
  const std::string shard = good_shard(), path = "folder/x.mindrecord";
  const ByteCase cases[] = {
      {"a header length over the file", 0, "\xff\xff\xff\xff\xff\xff\xff\xff", "does not fit"},
      {"a header length near 2^63", 0, "\xc0\xff\xff\xff\xff\xff\xff\x7f", "does not fit"},
      {"a header length of 0", 0, std::string(8, 0), "not valid JSON"},
      {"a blob length over its page", kBlobPage, "\xff\xff\0\0\0\0\0\0"s, "does not fit its page"},
      {"a blob length of 2^64-1", kBlobPage, std::string(8, '\xff'), "does not fit its page"},
      {"a count too large", kBlobPage + 8, "\xff\xff\xff\xff", "packed array"},
      {"a count too small", kBlobPage + 8, "\0\0\0\x01"s, "packed array"},
      {"an element of 64 bits", kBlobPage + 12, "\xc0", "packed array"},
      {"width codes without an element", kBlobPage + 12, "\x01", "packed array"},
      {"a raw length over its page", kRawPage, "\xff\0\0\0\0\0\0\0"s, "does not fit its page"},
      {"a raw record that is no map", kRawPage + 8, "\x90", "no MessagePack map"},
      {"a raw record cut short", kRawPage + 8, "\x83", "no MessagePack map"},
      {"a renamed value", kRawPage + 9, "\xa1m", "lacks column \"n\""},
      {"a value twice", kRawPage + 12, "\xa1n", "twice"},
      {"a text for a number", kRawPage + 11, "\xa0", "no integer"},
      {"nil for a number", kRawPage + 11, "\xc0", "no integer"},
      {"a text that is not UTF-8", kRawPage + 15, "\xff", "UTF-8"},
  };
  for (const ByteCase& c : cases) {
    SCOPED_TRACE(c.claim);
    std::string bytes = shard;
    bytes.replace(c.at, c.bytes.size(), c.bytes);
    const std::string message = format_error([&] { read_all(as_span(bytes), path); });
    EXPECT_THAT(message, testing::HasSubstr(path));
    EXPECT_THAT(message, testing::HasSubstr(c.message));
  }
  const std::string encrypted = shard + "AES-GCMENCRYPT";
  EXPECT_THAT(format_error([&] { read_all(as_span(encrypted), path); }),
              testing::HasSubstr("encrypted"));
}

TEST(MindRecordHostile, older_files_and_unknown_keys_are_read) {
  const std::string shard = good_shard();
  Json header = header_of(shard);
  header.erase("compression_size");
  header["new_key"] = {1, 2};
  EXPECT_NO_THROW(read_all(as_span(with_header(shard, header.dump())), "x"));

  // Version 2.0 keeps integers raw: 8 bytes of blob are two elements.
  header["version"] = "2.0";
  header["page"][0]["page_size"] = 16;
  header["page"][0]["end_row_id"] = 1;
  std::string old = with_header(shard, header.dump());
  old.replace(kBlobPage, 16, std::string("\x08\0\0\0\0\0\0\0\x05\0\0\0\xfe\xff\xff\xff", 16));
  const MindRecordShard opened(as_span(old), "x");
  const MindRecordCodec codec(opened.header().schema, opened.header().packed_integers);
  std::vector<int32_t> ids;
  codec.decode_int32(opened.blob(0).content, 0, ids, {"x", 0});
  EXPECT_EQ(ids, (std::vector<int32_t>{5, -2}));
}

TEST(MindRecordHostile, a_file_cut_at_any_byte_or_with_any_byte_changed_loads_or_is_refused) {
  const std::string good = good_shard();
  std::mt19937 random(3);
  for (size_t at = 0; at < good.size(); ++at) {
    // Every byte that means something, and some of the holes.
    if (good[at] == 0 && at % 97 != 0) continue;
    format_error([&] { read_all(as_span(good.substr(0, at)), "x"); });
    for (int trial = 0; trial < 3; ++trial) {
      std::string bad = good;
      bad[at] = static_cast<char>(random());
      try {
        read_all(as_span(bad), "x");
      } catch (const FormatError&) {
      }
    }
  }
}

TEST(MindRecordHostile, shards_that_do_not_belong_together_are_refused) {
  const Scratch scratch;
  const auto write = [&](const std::string& name, int shards, uint64_t page_size) {
    MindRecordWriter(
        scratch.path(name), lm_schema(),
        {.shards = shards, .header_size = 16384, .page_size = page_size, .expected_rows = 0})
        .commit();
  };
  write("a", 2, 32768);
  write("b", 2, 65536);
  EXPECT_THAT(
      format_error([&] { MindRecordReader(std::vector{scratch.path("a0"), scratch.path("b0")}); }),
      testing::HasSubstr("page_size differs"));
  std::filesystem::copy_file(scratch.path("a0"), scratch.path("c0"));
  EXPECT_THAT(format_error([&] { MindRecordReader{scratch.path("c0")}; }),
              testing::HasSubstr("renamed"));
  std::filesystem::rename(scratch.path("b1"), scratch.path("keep"));
  std::filesystem::remove(scratch.path("b.sum.json"));
  EXPECT_THROW(MindRecordReader{scratch.path("b0")}, IoError);
  std::filesystem::copy_file(scratch.path("b0"), scratch.path("b1"));
  EXPECT_THAT(format_error([&] { MindRecordReader{scratch.path("b0")}; }),
              testing::HasSubstr("is not shard 1"));
}

struct IndexCase {
  const char *sql, *message;
};

TEST(MindRecordHostile, an_index_that_lies_or_is_damaged_is_refused) {
  const Scratch scratch;
  const std::string path = scratch.path("x.mindrecord");
  const auto make = [&] {
    MindRecordWriter writer(path,
                            {.columns = {{.name = "n", .type = MindRecordColumn::Type::int64}}},
                            {.header_size = 16384, .page_size = 32768, .overwrite = true});
    for (int64_t i = 0; i < 50; ++i) writer.write_row({{i}});
    writer.commit();
    MindRecordReader(path).verify_index();
  };
  const IndexCase cases[] = {
      {"UPDATE INDEXES SET PAGE_OFFSET_BLOB=1 WHERE ROW_ID=3", "row 3: column 6"},
      {"UPDATE INDEXES SET PAGE_OFFSET_RAW='x' WHERE ROW_ID=3", "row 3: column 2"},
      {"UPDATE INDEXES SET n_0=7 WHERE ROW_ID=8", "row 8: \"n\""},
      {"DELETE FROM INDEXES WHERE ROW_ID=49", "49 rows, expected 50"},
      {"UPDATE SHARD_NAME SET NAME='y'", "renamed"},
      {"DELETE FROM SHARD_NAME", "names no shard"},
      {"DROP TABLE INDEXES", "no table INDEXES"},
      {"DROP TABLE SHARD_NAME", "no table SHARD_NAME"},
      {"ALTER TABLE INDEXES RENAME COLUMN n_0 TO m_0", "no such column"},
      {"DROP TABLE INDEXES; CREATE VIEW INDEXES AS SELECT 1", "no table INDEXES"},
  };
  for (const IndexCase& c : cases) {
    SCOPED_TRACE(c.sql);
    make();
    {
      SqliteDatabase db(path + ".db", SqliteDatabase::Mode::fill);
      db.run(c.sql);
      db.run("COMMIT");
    }
    const std::string message = format_error([&] { MindRecordReader(path).verify_index(); });
    EXPECT_THAT(message, testing::HasSubstr(path + ".db"));
    EXPECT_THAT(message, testing::HasSubstr(c.message));
  }
  make();
  spew(path + ".db", "not a database at all, but long enough to look at" + std::string(4096, 'x'));
  EXPECT_THAT(format_error([&] { MindRecordReader(path).verify_index(); }),
              testing::HasSubstr("not a database"));
  std::filesystem::remove(path + ".db");
  EXPECT_THROW(MindRecordReader(path).verify_index(), IoError);
  EXPECT_EQ(MindRecordReader(path).rows(), 50);
}

}  // namespace
}  // namespace cria::test
