#include "data/loader.h"

#include <gmock/gmock.h>

#include <set>

#include "base/error.h"
#include "data/dataset_meta.h"
#include "data_testing.h"

namespace cria {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr TokenId kPad = 9;

using Rows = std::vector<std::vector<int32_t>>;

void write_records(const std::string& path, const Rows& ids, const Rows& labels = {}) {
  MindRecordSchema schema{.description = "test", .columns = {}};
  schema.columns.push_back({.name = "input_ids", .shape = {-1}, .has_shape = true});
  if (!labels.empty())
    schema.columns.push_back({.name = "labels", .shape = {-1}, .has_shape = true});
  MindRecordWriter writer(path, schema);
  for (size_t i = 0; i < ids.size(); ++i) {
    std::vector<std::span<const int32_t>> row = {ids[i]};
    if (!labels.empty()) row.emplace_back(labels[i]);
    writer.write_row(row);
  }
  writer.commit();
}

Rows numbered(int count) {
  Rows rows;
  for (int i = 0; i < count; ++i) rows.push_back({i, 1, 2});
  return rows;
}

struct Batch {
  std::vector<TokenId> ids;
  std::vector<int32_t> targets;
};

Batch take(const Dataset& data, int64_t seq_length, int64_t epoch, int64_t position,
           int64_t count) {
  Batch b;
  b.ids.resize(static_cast<size_t>(seq_length * count));
  b.targets.resize(b.ids.size());
  data.fill(epoch, position, count, b.ids, b.targets);
  return b;
}

TEST(Dataset, TargetsAreTheLabelsOnePlaceLaterExceptBehindPadding) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", {{1, 2, 3, kPad, kPad}}, {{-100, -100, 3, -100, -100}});
  const Dataset data({folder / "a.mindrecord"}, {.seq_length = 4, .pad = kPad});
  const Batch b = take(data, 4, 0, 0, 1);
  EXPECT_THAT(b.ids, ElementsAre(1, 2, 3, kPad));
  EXPECT_THAT(b.targets, ElementsAre(-100, 3, -100, -100));
}

TEST(Dataset, WithoutLabelsTheFirstPaddingIsATargetAsInTheRecipe) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", {{1, 2, 3, kPad, kPad}});
  const Dataset data({folder / "a.mindrecord"}, {.seq_length = 4, .pad = kPad});
  EXPECT_FALSE(data.has_labels());
  EXPECT_THAT(take(data, 4, 0, 0, 1).targets, ElementsAre(2, 3, kPad, -100));
}

TEST(Dataset, RecordsOfSeqLengthPredictInsideThemselves) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", {{1, 2, 3, kPad}}, {{-100, 2, 3, -100}});
  const Dataset plain({folder / "a.mindrecord"},
                      {.seq_length = 4, .pad = kPad, .use_labels = false});
  EXPECT_THAT(take(plain, 4, 0, 0, 1).ids, ElementsAre(1, 2, 3, kPad));
  EXPECT_THAT(take(plain, 4, 0, 0, 1).targets, ElementsAre(2, 3, -100, -100));
  const Dataset labelled({folder / "a.mindrecord"}, {.seq_length = 4, .pad = kPad});
  EXPECT_THAT(take(labelled, 4, 0, 0, 1).targets, ElementsAre(2, 3, -100, -100));
}

TEST(Dataset, OrderIsAFunctionOfSeedAndEpochAndAnyPositionStandsAlone) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", numbered(50));
  const Dataset data({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .seed = 4});
  const Dataset again({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .seed = 4});
  const Batch whole = take(data, 2, 3, 0, 50);
  std::set<int32_t> firsts;
  for (int64_t i = 0; i < 50; ++i) {
    const Batch one = take(again, 2, 3, i, 1);
    EXPECT_EQ(one.ids[0], whole.ids[static_cast<size_t>(2 * i)]);
    firsts.insert(one.ids[0]);
  }
  EXPECT_EQ(firsts.size(), 50U);
  EXPECT_NE(take(data, 2, 4, 0, 50).ids, whole.ids);
  const Dataset other({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .seed = 5});
  EXPECT_NE(take(other, 2, 3, 0, 50).ids, whole.ids);
}

TEST(Dataset, RepeatGoesOnWhereTheNextEpochWould) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", numbered(7));
  const Dataset once({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad});
  const Dataset twice({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .repeat = 2});
  EXPECT_EQ(twice.samples(), 14);
  for (int64_t i = 0; i < 14; ++i) EXPECT_EQ(twice.row_at(1, i), once.row_at(2 + i / 7, i % 7));
}

TEST(Dataset, NumSamplesCapsAPass) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", numbered(7));
  const Dataset data({folder / "a.mindrecord"},
                     {.seq_length = 2, .pad = kPad, .shuffle = false, .num_samples = 3});
  EXPECT_EQ(data.samples(), 3);
  EXPECT_EQ(data.row_at(5, 2), 2);
  const Dataset more({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .num_samples = 100});
  EXPECT_EQ(more.samples(), 7);
}

TEST(Dataset, RefusesRecordsOfAnotherLengthNamingBoth) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", {{1, 2, 3}, {1, 2, 3, 4, 5}});
  try {
    const Dataset data({folder / "a.mindrecord"}, {.seq_length = 8, .pad = kPad});
    FAIL() << "accepted";
  } catch (const MismatchError& e) {
    EXPECT_THAT(e.what(), HasSubstr("expected 9 or 8 tokens, found 3; try: seq_length 2"));
  }
  const Dataset data({folder / "a.mindrecord"}, {.seq_length = 2, .pad = kPad, .shuffle = false});
  EXPECT_THROW(take(data, 2, 0, 1, 1), MismatchError);
}

TEST(Dataset, RefusesOptionsThatMeanNothing) {
  const ScratchFolder folder;
  write_records(folder / "a.mindrecord", numbered(2));
  const std::vector<std::string> files = {folder / "a.mindrecord"};
  EXPECT_THROW(Dataset(files, {.seq_length = 0}), UsageError);
  EXPECT_THROW(Dataset(files, {.seq_length = 2, .num_samples = -1}), UsageError);
  EXPECT_THROW(Dataset(files, {.seq_length = 2, .repeat = 0}), UsageError);
  EXPECT_THROW(Dataset(files, {.seq_length = 2, .repeat = INT64_MAX}), UsageError);
}

TEST(Dataset, FingerprintSeesContentsAndNotThePlace) {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "b");
  std::filesystem::create_directory(folder / "c");
  write_records(folder / "a.mindrecord", numbered(5));
  write_records(folder / "b/a.mindrecord", numbered(5));
  Rows changed = numbered(5);
  changed[4][2] = 8;
  write_records(folder / "c/a.mindrecord", changed);
  const auto print = [&](const std::string& path) {
    return Dataset({path}, {.seq_length = 2, .pad = kPad}).fingerprint();
  };
  EXPECT_EQ(print(folder / "a.mindrecord").size(), 64U);
  EXPECT_EQ(print(folder / "a.mindrecord"), print(folder / "b/a.mindrecord"));
  EXPECT_NE(print(folder / "a.mindrecord"), print(folder / "c/a.mindrecord"));
  // What changes the order of samples changes it too: a resumed run could not find its place.
  const auto ordered = [&](Dataset::Options options) {
    options.seq_length = 2;
    options.pad = kPad;
    return Dataset({folder / "a.mindrecord"}, options).fingerprint();
  };
  const std::set<std::string> different = {ordered({}), ordered({.shuffle = false}),
                                           ordered({.num_samples = 2}), ordered({.repeat = 2})};
  EXPECT_EQ(different.size(), 4U);
}

TEST(FindRecordFiles, WalksFoldersAsTheRecipeDoes) {
  const ScratchFolder folder;
  std::filesystem::create_directories(folder / "d/e");
  for (const char* name : {"b.mindrecord", "a.mindrecord10", "mindrecord", "x.mindrecord.db",
                           "x.mindrecord.meta.json", "y.mindrecords", "d/e/z_mindrecord3"})
    folder.write(name, "");
  EXPECT_THAT(find_record_files(folder / ""),
              ElementsAre(folder / "a.mindrecord10", folder / "b.mindrecord",
                          folder / "d/e/z_mindrecord3", folder / "mindrecord"));
  EXPECT_THAT(find_record_files(folder / "y.mindrecords"), ElementsAre(folder / "y.mindrecords"));
  EXPECT_THROW(find_record_files(folder / "none"), IoError);
  std::filesystem::create_directory(folder / "empty");
  EXPECT_THROW(find_record_files(folder / "empty"), UsageError);
}

DatasetMeta sample_meta() {
  return {.dataset_type = "qa",
          .prompt_template = "vicuna",
          .compat = "none",
          .allow_special = true,
          .tokenizer_sha256 = "abc",
          .vocab_size = 300,
          .bos = 1,
          .eos = 2,
          .pad = 3,
          .seq_length = 8,
          .records = 4,
          .tokens = 30,
          .trained_tokens = 10,
          .truncated = 1,
          .cria_version = {}};
}

TEST(DatasetMeta, IsReadAsItWasWritten) {
  const ScratchFolder folder;
  DatasetMeta meta = sample_meta();
  const DatasetMeta read = read_dataset_meta(folder.write("m.json", meta_json(meta)));
  EXPECT_FALSE(read.cria_version.empty());
  meta.cria_version = read.cria_version;
  EXPECT_EQ(read, meta);
  for (const char* bad : {"", "[]", "{}", R"({"kind":"cria data set"})", "{\"kind\":1}"})
    EXPECT_THROW(read_dataset_meta(folder.write("bad.json", bad)), FormatError) << bad;
  std::string negative = meta_json(meta);
  negative.replace(negative.find("\"pad_token_id\": 3"), 17, "\"pad_token_id\": -3");
  EXPECT_THROW(read_dataset_meta(folder.write("bad.json", negative)), FormatError);
}

TEST(DatasetMeta, AMismatchNamesBothValues) {
  const DatasetMeta meta = sample_meta();
  check_dataset_matches(meta, "m", {});
  check_dataset_matches(meta, "m",
                        {.tokenizer_sha256 = "abc", .vocab_size = 300, .bos = 1, .seq_length = 8});
  const std::vector<std::pair<DatasetExpectation, std::string>> cases = {
      {{.tokenizer_sha256 = "abd"}, "tokenizer (sha256), expected abd, found abc"},
      {{.bos = 7}, "bos_token_id, expected 7, found 1"},
      {{.eos = 7}, "eos_token_id, expected 7, found 2"},
      {{.pad = 7}, "pad_token_id, expected 7, found 3"},
      {{.seq_length = 9}, "seq_length, expected 9, found 8"},
      {{.vocab_size = 299}, "expected at most 299, found 300"}};
  for (const auto& [expected, reason] : cases) {
    try {
      check_dataset_matches(meta, "m.json", expected);
      ADD_FAILURE() << reason;
    } catch (const MismatchError& e) {
      EXPECT_THAT(e.what(), HasSubstr(reason));
      EXPECT_THAT(e.what(), HasSubstr("m.json"));
    }
  }
}

}  // namespace
}  // namespace cria
