// A set that replaces another, stopped before every change of a name.
#include "base/side_manifest.h"
#include "formats/mindrecord_fixtures.h"

namespace cria::test {
namespace {

struct Stop {};

constexpr int kShards = 2;
constexpr int32_t kRows = 6;

// Rows that all hold `value`, and a text beside them that says it too.
void write_set(const std::string& path, int32_t value,
               const std::function<void(const std::string&)>* before_change) {
  MindRecordWriter writer(path, lm_schema(),
                          {.shards = kShards,
                           .header_size = 16384,
                           .page_size = 32768,
                           .overwrite = true,
                           .expected_rows = kRows,
                           .before_change = before_change});
  for (int32_t i = 0; i < kRows; ++i) {
    const std::span<const int32_t> one(&value, 1), both[] = {one, one};
    writer.write_row(both);
  }
  writer.commit({{path + ".meta.json", std::to_string(value)}});
}

// The value of all rows and the text; 0 when the set is refused.
int32_t value_of(const std::string& path) {
  int32_t value = 0;
  try {
    const MindRecordReader reader(path + "0");
    EXPECT_EQ(reader.rows(), kRows);
    std::vector<int32_t> row;
    for (int64_t i = 0; i < reader.rows(); ++i) {
      reader.read_int32(i, 0, row);
      EXPECT_TRUE(i == 0 || row.at(0) == value) << "rows of two sets";
      value = row.at(0);
    }
  } catch (const Error&) {
    return 0;
  }
  EXPECT_EQ(slurp(path + ".meta.json"), std::to_string(value)) << "the text of another set";
  return value;
}

bool has_all_indexes(const std::string& path) {
  return is_file(path + "0.db") && is_file(path + "1.db");
}

TEST(MindRecordCommit, stopped_anywhere_it_leaves_no_mixed_set) {
  std::vector<int32_t> values;
  for (int stop = 0;; ++stop) {
    const Scratch scratch;
    const std::string path = scratch.path("x.mindrecord");
    write_set(path, 1, nullptr);
    int changes = 0;
    const std::function<void(const std::string&)> count = [&](const std::string&) {
      if (changes++ == stop) throw Stop();
    };
    bool stopped = false;
    try {
      write_set(path, 2, &count);
    } catch (const Stop&) {
      stopped = true;
    }
    values.push_back(value_of(path));
    if (has_all_indexes(path)) {
      // What MindSpore opens is whole and one.
      ASSERT_NE(values.back(), 0) << stop;
      EXPECT_NO_THROW(MindRecordReader(path + "0").verify_index()) << stop;
    }
    EXPECT_EQ(has_all_indexes(path), stop == 0 || !stopped) << stop;
    if (!stopped) break;
  }
  // Two indexes go; sums, text, shards and indexes come.
  EXPECT_EQ(values, (std::vector<int32_t>{1, 1, 1, 0, 0, 0, 2, 2, 2}));
}

TEST(MindRecordCommit, a_damaged_shard_is_refused_by_its_sums) {
  const Scratch scratch;
  const std::string path = scratch.path("x.mindrecord");
  write_set(path, 1, nullptr);
  EXPECT_NO_THROW(check_listed_files(path + ".sum.json"));
  std::string bytes = slurp(path + "1");
  bytes.at(bytes.size() - 3) ^= 1;  // inside a row's record: no structure is hurt
  spew(path + "1", bytes);
  try {
    const MindRecordReader reader(path + "0");
    ADD_FAILURE() << "opened";
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr(path + "1 at byte 0: this 4 MiB block is damaged"));
  }
  std::filesystem::remove(path + ".sum.json");
  EXPECT_NO_THROW(MindRecordReader(path + "0")) << "without sums only structure is checked";
}

}  // namespace
}  // namespace cria::test
