// MindRecord sets of our own: round trips, shards, limits.
#include <chrono>

#include "formats/integer_packing.h"
#include "formats/mindrecord_fixtures.h"
#include "formats/msgpack.h"

namespace cria::test {
namespace {

using Type = MindRecordColumn::Type;

constexpr MindRecordWriter::Options kSmall = {.header_size = 16384, .page_size = 32768};

MindRecordSchema every_type() {
  MindRecordSchema schema{.description = "every type", .columns = {}};
  for (const Type type :
       {Type::float64, Type::bytes, Type::int32, Type::string, Type::int64, Type::float32}) {
    const std::string letter = fmt::format("c{}", static_cast<int>(type));
    schema.columns.push_back({.name = letter, .type = type});
    if (type == Type::bytes || type == Type::string) continue;
    schema.columns.push_back(
        {.name = letter + "-arr", .type = type, .shape = {2, -1}, .has_shape = true});
  }
  return schema;
}

MindRecordValue random_value(const MindRecordColumn& column, std::mt19937& random) {
  const auto integer = [&](Type type) {
    const auto v = static_cast<int64_t>(uint64_t{random()} << 32 | random()) >> (random() % 64);
    return type == Type::int32 ? static_cast<int32_t>(v) : v;
  };
  const auto array = [&]<class T>(std::vector<T> out) -> MindRecordValue {
    out.resize(2 * (random() % 20));
    for (T& v : out) v = static_cast<T>(integer(column.type));
    return out;
  };
  if (!column.has_shape) {
    switch (column.type) {
      case Type::int32:
      case Type::int64:
        return integer(column.type);
      case Type::float32:
        return static_cast<double>(static_cast<float>(integer(column.type)));
      case Type::float64:
        return static_cast<double>(integer(column.type)) / 3;
      default:
        return std::string(random() % 70, static_cast<char>('a' + random() % 26));
    }
  }
  switch (column.type) {
    case Type::int32:
      return array(std::vector<int32_t>());
    case Type::int64:
      return array(std::vector<int64_t>());
    case Type::float32:
      return array(std::vector<float>());
    default:
      return array(std::vector<double>());
  }
}

MindRecordRow random_row(const MindRecordSchema& schema, std::mt19937& random) {
  MindRecordRow row;
  for (const auto& column : schema.columns) row.values.push_back(random_value(column, random));
  return row;
}

// A row of `from`'s order in the reader's order (by name).
MindRecordRow reordered(const MindRecordRow& row, const MindRecordSchema& from,
                        const MindRecordSchema& to) {
  MindRecordRow out;
  for (const auto& column : to.columns) {
    for (size_t i = 0; i < from.columns.size(); ++i) {
      if (from.columns[i] == column) out.values.push_back(row.values[i]);
    }
  }
  return out;
}

TEST(MindRecord, every_type_and_number_of_shards_comes_back) {
  std::mt19937 random(5);
  const MindRecordSchema schema = every_type();
  for (const int shards : {1, 2, 3, 11}) {
    for (const int64_t rows : {0, 1, 7, 400}) {
      SCOPED_TRACE(fmt::format("{} shards, {} rows", shards, rows));
      const Scratch scratch;
      auto options = kSmall;
      options.shards = shards;
      options.expected_rows = rows;
      MindRecordWriter writer(scratch.path("set"), schema, options);
      std::vector<MindRecordRow> expected;
      for (int64_t i = 0; i < rows; ++i) {
        expected.push_back(random_row(schema, random));
        writer.write_row(expected.back());
      }
      EXPECT_EQ(writer.rows(), rows);
      writer.commit();
      EXPECT_EQ(scratch.entries(), static_cast<size_t>(2 * shards + 1)) << "and the sums";
      const MindRecordReader reader(scratch.path(shards == 1   ? "set"
                                                 : shards > 10 ? "set03"
                                                               : "set1"));
      ASSERT_EQ(reader.rows(), rows);
      EXPECT_EQ(reader.files().size(), static_cast<size_t>(shards));
      for (int64_t i = 0; i < rows; ++i)
        ASSERT_EQ(reader.read(i),
                  reordered(expected[static_cast<size_t>(i)], schema, reader.schema()));
      reader.verify_index();
    }
  }
}

TEST(MindRecord, shards_hold_contiguous_runs_with_the_extra_rows_first) {
  const Scratch scratch;
  auto options = kSmall;
  options.shards = 3;
  options.expected_rows = 8;
  MindRecordWriter writer(scratch.path("set"), lm_schema(), options);
  for (int32_t i = 0; i < 8; ++i) {
    const std::span<const int32_t> one(&i, 1), both[] = {one, one};
    writer.write_row(both);
  }
  writer.commit();
  for (const auto& [shard, rows, first] : {std::tuple{0, 3, 0}, {1, 3, 3}, {2, 2, 6}}) {
    const MindRecordReader reader(std::vector{scratch.path(fmt::format("set{}", shard))});
    EXPECT_EQ(reader.rows(), rows);
    std::vector<int32_t> out;
    reader.read_int32(0, 0, out);
    EXPECT_EQ(out, std::vector<int32_t>{first});
  }
}

TEST(MindRecord, rows_of_the_recipe_are_written_and_read_in_milliseconds) {
  const Scratch scratch;
  std::mt19937 random(1);
  std::vector<int32_t> ids(2049);
  for (auto& id : ids) id = static_cast<int32_t>(random() % 128256);
  const auto start = std::chrono::steady_clock::now();
  MindRecordWriter writer(scratch.path("set"), lm_schema());
  const std::span<const int32_t> both[] = {ids, ids};
  for (int i = 0; i < 300; ++i) writer.write_row(both);
  writer.commit();
  const auto written = std::chrono::steady_clock::now();
  const MindRecordReader reader(scratch.path("set"));
  std::vector<int32_t> out;
  for (int i = 0; i < 300; ++i) {
    for (const size_t column : {size_t{0}, size_t{1}}) {
      reader.read_int32(i, column, out);
      ASSERT_EQ(out, ids);
    }
  }
  const auto read = std::chrono::steady_clock::now();
  RecordProperty("write_us", std::to_string((written - start) / std::chrono::microseconds(1)));
  RecordProperty("read_us", std::to_string((read - written) / std::chrono::microseconds(1)));
  // Generous: a busy machine must pass, a quadratic loop must not.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::chrono::seconds kLimit(30);
#else
  constexpr std::chrono::seconds kLimit(2);
#endif
  EXPECT_LT(read - start, kLimit);
}

TEST(MindRecord, nothing_is_left_when_writing_is_refused_or_given_up) {
  const Scratch scratch;
  const std::string path = scratch.path("set");
  const auto refused = [&](MindRecordSchema schema, MindRecordWriter::Options options,
                           const char* reason, const std::string& name) {
    try {
      const MindRecordWriter writer(name, std::move(schema), std::move(options));
      ADD_FAILURE() << "not refused: " << reason;
    } catch (const UsageError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(reason));
    }
  };
  const MindRecordSchema lm = lm_schema();
  refused({}, kSmall, "0 columns", path);
  refused({.columns = {{.name = "a b"}}}, kSmall, "column name", path);
  refused({.columns = {{.name = "a"}, {.name = "a"}}}, kSmall, "twice", path);
  refused({.columns = {{.name = "a", .type = Type::string, .shape = {1}, .has_shape = true}}},
          kSmall, "only numbers", path);
  refused({.columns = {{.name = "a", .shape = {-1, -1}, .has_shape = true}}}, kSmall,
          "more than one -1", path);
  refused({.description = "\xff", .columns = lm.columns}, kSmall, "UTF-8", path);
  refused(lm, {.shards = 0}, "0 shards", path);
  refused(lm, {.shards = 1001, .expected_rows = 1}, "1001 shards", path);
  refused(lm, {.shards = 2}, "number of rows", path);
  refused(lm, {.header_size = 16383}, "header_size", path);
  refused(lm, {.page_size = 268435460}, "page_size", path);
  refused(lm, {.index_fields = {"labels"}}, "cannot be indexed", path);
  refused(lm, kSmall, "file name", scratch.path("a;b"));
  {
    MindRecordWriter writer(path, lm, kSmall);
    const std::vector<int32_t> large(20000, 1 << 30);
    const std::span<const int32_t> rows[] = {large, large};
    EXPECT_THROW(writer.write_row(rows), UsageError);
    EXPECT_THROW(writer.write_row(MindRecordRow{}), UsageError);
    EXPECT_THROW(writer.write_row(MindRecordRow{{int64_t{1}, int64_t{2}}}), UsageError);
  }
  {
    auto options = kSmall;
    options.expected_rows = 2;
    MindRecordWriter writer(path, lm, options);
    EXPECT_THROW(writer.commit(), UsageError);
  }
  EXPECT_EQ(scratch.entries(), 0U);
}

TEST(MindRecord, an_older_set_is_replaced_only_when_asked) {
  const Scratch scratch;
  MindRecordWriter(scratch.path("set"), lm_schema(), kSmall).commit();
  EXPECT_THROW(MindRecordWriter(scratch.path("set"), lm_schema(), kSmall), UsageError);
  auto options = kSmall;
  options.overwrite = true;
  MindRecordWriter(scratch.path("set"), lm_schema(), options).commit();
  EXPECT_EQ(MindRecordReader(scratch.path("set")).rows(), 0);
}

TEST(MindRecord, a_raw_page_takes_as_many_groups_as_fit) {
  const Scratch scratch;
  std::mt19937 random(2);
  const MindRecordSchema schema{.columns = {{.name = "s", .type = Type::string}}};
  MindRecordWriter writer(scratch.path("set"), schema, kSmall);
  for (int i = 0; i < 9000; ++i)
    writer.write_row({{std::string(random() % 40, 'x') + std::to_string(i)}});
  writer.commit();
  const MindRecordReader reader(scratch.path("set"));
  EXPECT_TRUE(std::get<std::string>(reader.read(8999).values[0]).ends_with("8999"));
  reader.verify_index();
}

// The worked example of the format's description.
TEST(IntegerPacking, the_smallest_width_is_chosen_for_each_element) {
  const std::vector<int32_t> ids = {1, -2, 300, -40000, 70000};
  std::vector<std::byte> out;
  pack_integers(ids, out);
  const std::string expected("\0\0\0\x05\x06\x80\x01\xfe\x2c\x01\xc0\x63\xff\xff\x70\x11\x01\0",
                             18);
  EXPECT_EQ(text_of(out), expected);
  std::vector<int32_t> again;
  EXPECT_TRUE(unpack_integers(out, again));
  EXPECT_EQ(again, ids);
}

TEST(IntegerPacking, values_beyond_int32_do_not_pass_for_int32) {
  std::vector<std::byte> out;
  pack_integers(std::vector<int64_t>{1, int64_t{1} << 40}, out);
  std::vector<int32_t> narrow;
  EXPECT_FALSE(unpack_integers(out, narrow));
  std::vector<int64_t> wide;
  EXPECT_TRUE(unpack_integers(out, wide));
}

TEST(Msgpack, any_encoding_of_the_same_map_is_read_and_other_things_are_skipped) {
  using namespace std::string_literals;
  const auto read = [](const std::string& bytes) -> std::string {
    std::string out;
    const bool good =
        read_msgpack_map(as_span(bytes), [&](std::string_view key, const auto& value) {
          out += fmt::format("{}={};", key, value.index());
        });
    return good ? out : "refused";
  };
  EXPECT_EQ(read("\x81\xa1k\x05"), "k=1;");
  EXPECT_EQ(read("\xde\0\x01\xd9\x01k\xd3\0\0\0\0\0\0\0\x05"s), "k=1;");
  EXPECT_EQ(read("\xdf\0\0\0\x01\xda\0\x01k\xca\0\0\0\0"s), "k=2;");
  EXPECT_EQ(read("\x82\xa1"
                 "a\x92\x81\xa1x\x93\x01\x02\x03\xc0\xa1k\xa2hi"),
            "a=0;k=4;");
  EXPECT_EQ(read("\x81\xa1k\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "k=0;");
  for (const std::string& bad :
       {""s, "\x81"s, "\x81\xa1k"s, "\x80\x80"s, "\x90"s, "\x81\x01\x01"s, "\x81\xa1k\xc1"s,
        "\x81\xa1k\xdd\xff\xff\xff\xff"s, "\xdf\xff\xff\xff\xff"s, "\x81\xa1k\xc6\xff\xff\xff\xff"s,
        "\x81\xa1k\xa5hi"s})
    EXPECT_EQ(read(bad), "refused");
  EXPECT_EQ(read("\x81\xa1k" + std::string(100000, '\x91') + "\x01"), "k=0;");
}

}  // namespace
}  // namespace cria::test
