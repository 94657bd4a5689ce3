#include "data/preprocess.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/dataset_meta.h"
#include "data/describe_row.h"
#include "data/loader.h"
#include "data_testing.h"

namespace cria {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Tokenizer& tiny() {
  static const Tokenizer tokenizer(tiny_vocabulary());
  return tokenizer;
}

std::string record(std::string_view question, std::string_view answer) {
  return fmt::format(
      R"({{"conversations":[{{"from":"human","value":"{}"}},{{"from":"gpt","value":"{}"}}]}})",
      question, answer);
}

std::string records(int count) {
  std::string out = "[";
  for (int i = 0; i < count; ++i)
    out += (i == 0 ? "" : ",") + record(fmt::format("say {}", i), fmt::format("the {}", i));
  return out + "]";
}

PreprocessOptions qa(const ScratchFolder& folder, std::string_view text) {
  PreprocessOptions o;
  o.dataset_type = DatasetType::qa;
  o.input = folder.write("in.json", text);
  o.output = folder / "x.mindrecord";
  o.seq_length = 255;
  return o;
}

template <class E>
std::string failure(const PreprocessOptions& o, const Tokenizer& tokenizer = tiny()) {
  try {
    preprocess(o, tokenizer);
  } catch (const E& e) {
    return e.what();
  }
  return "no such failure";
}

std::vector<int32_t> ids_of(const MindRecordReader& reader, int64_t row) {
  std::vector<int32_t> ids;
  reader.read_int32(row, 0, ids);
  return ids;
}

TEST(Preprocess, CountsWhatItWrote) {
  const ScratchFolder folder;
  const std::string text = "[" + record("a", "b") + "," + record("c", "") + "," +
                           record("d", "x ASSISTANT: y") + "," +
                           record(std::string(400, 'q'), "z") + "]";
  const PreprocessReport r = preprocess(qa(folder, text), tiny());
  EXPECT_EQ(r.records, 3);
  EXPECT_EQ(r.empty_skipped, 1);
  EXPECT_EQ(r.empty_replies, 1);
  EXPECT_EQ(r.truncated, 1);
  EXPECT_EQ(r.fully_masked, 1);
  EXPECT_EQ(r.differing_from_recipe, 2) << "the empty reply and the mark inside a reply";
  EXPECT_EQ(r.first_file, folder / "x.mindrecord");
  EXPECT_NEAR(r.padding_share, 1 - static_cast<double>(r.tokens) / (3 * 256), 1e-12);
  const DatasetMeta meta = read_dataset_meta(find_dataset_meta(r.first_file));
  EXPECT_EQ(meta.records, 3);
  EXPECT_EQ(meta.tokens, r.tokens);
  EXPECT_EQ(meta.trained_tokens, r.trained_tokens);
  EXPECT_EQ(meta.tokenizer_sha256, tiny().fingerprint());
  EXPECT_EQ(std::vector<TokenId>({meta.bos, meta.eos, meta.pad}),
            std::vector<TokenId>({270, 271, 272}));
}

TEST(Preprocess, ThreadsDoNotChangeAByte) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, records(1500));
  std::vector<std::string> bytes;
  for (const int threads : {1, 2, 5}) {
    o.threads = threads;
    o.overwrite = true;
    preprocess(o, tiny());
    bytes.push_back(bytes_of_file(o.output) + bytes_of_file(o.output + ".meta.json"));
  }
  EXPECT_TRUE(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
}

TEST(Preprocess, PartitionsHoldTheSameRowsInTheSameOrder) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, records(23));
  preprocess(o, tiny());
  const MindRecordReader whole(o.output);
  o.output = folder / "p.mindrecord";
  o.file_partition = 3;
  EXPECT_EQ(preprocess(o, tiny()).first_file, folder / "p.mindrecord0");
  const MindRecordReader parts(folder / "p.mindrecord0");
  ASSERT_EQ(parts.rows(), 23);
  EXPECT_EQ(parts.files().size(), 3U);
  for (int64_t row = 0; row < 23; ++row) EXPECT_EQ(ids_of(parts, row), ids_of(whole, row));
  EXPECT_EQ(find_dataset_meta(folder / "p.mindrecord2"), folder / "p.mindrecord.meta.json");
}

TEST(Preprocess, LeavesBadRecordsOutInEveryPartition) {
  const ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 700; ++i)
    text += (i % 100 == 50 ? "{\"conversations\":[]}" : record("say", fmt::format("{}", i))) + "\n";
  for (const int parts : {1, 3}) {
    PreprocessOptions o = qa(folder, text);
    o.output = folder / fmt::format("x{}.mindrecord", parts);
    o.file_partition = parts;
    o.skip_bad = 6;
    EXPECT_THAT(failure<FormatError>(o), HasSubstr("line 651"));
    o.skip_bad = 7;
    const PreprocessReport r = preprocess(o, tiny());
    EXPECT_EQ(r.bad_skipped, 7);
    EXPECT_EQ(r.records, 693);
    EXPECT_EQ(MindRecordReader(r.first_file).rows(), 693);
  }
}

TEST(Preprocess, WikiRepeatsTheStreamAndCutsIt) {
  const ScratchFolder folder;
  PreprocessOptions o;
  o.input = folder.write("in.txt", "= Title =\n\nab\n\n\n\ncd");
  o.output = folder / "w.mindrecord";
  o.seq_length = 2;
  o.repeat = 2;
  const PreprocessReport r = preprocess(o, tiny());
  // bos a b eos bos c d eos, twice, in threes; one token is left over.
  EXPECT_EQ(r.records, 5);
  const MindRecordReader reader(o.output);
  EXPECT_EQ(reader.schema().columns.size(), 1U);
  EXPECT_THAT(ids_of(reader, 0), ElementsAre(270, 'a', 'b'));
  EXPECT_THAT(ids_of(reader, 1), ElementsAre(271, 270, 'c'));
  EXPECT_THAT(ids_of(reader, 2), ElementsAre('d', 271, 270));
  EXPECT_THAT(ids_of(reader, 4), ElementsAre(270, 'c', 'd'));
}

TEST(Preprocess, WikiCountsParagraphsTheRecipeReadsDifferently) {
  const ScratchFolder folder;
  PreprocessOptions o;
  o.input = folder.write("in.txt", "ab\n\n<|pad|>\n\ne\xcc\x81\n\n\xc3\xa9\n\n<|");
  o.output = folder / "w.mindrecord";
  o.seq_length = 3;
  EXPECT_EQ(preprocess(o, tiny()).differing_from_recipe, 2);
}

TEST(Preprocess, MakesTheOutputsFolderOneLevelDeep) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, records(1));
  o.output = folder / "new/x.mindrecord";
  preprocess(o, tiny());
  EXPECT_TRUE(std::filesystem::exists(o.output + ".db"));
  o.output = folder / "one/two/x.mindrecord";
  EXPECT_THAT(failure<IoError>(o), HasSubstr("make folder"));
  EXPECT_FALSE(std::filesystem::exists(folder / "one"));
}

TEST(Preprocess, RefusesAnExistingOutputUnlessTold) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, records(2));
  preprocess(o, tiny());
  const std::string before = bytes_of_file(o.output);
  EXPECT_THAT(failure<UsageError>(o), HasSubstr("exists already; try: --overwrite"));
  EXPECT_TRUE(before == bytes_of_file(o.output));
  o.overwrite = true;
  o.input = folder.write("in.json", records(3));
  EXPECT_EQ(preprocess(o, tiny()).records, 3);
}

TEST(Preprocess, RefusesPadEqualToEosWithTheHint) {
  const ScratchFolder folder;
  Vocabulary v = tiny_vocabulary();
  v.pad = v.eos;
  const Tokenizer tokenizer(std::move(v));
  PreprocessOptions o = qa(folder, records(1));
  EXPECT_THAT(failure<UsageError>(o, tokenizer), HasSubstr("try: --pad_token"));
  o.pad = parse_token(tokenizer, "<|eot_id|>");
  EXPECT_EQ(preprocess(o, tokenizer).records, 1);
  EXPECT_EQ(ids_of(MindRecordReader(o.output), 0).back(), 273);
}

TEST(ParseToken, TakesIdsAndSpecialTexts) {
  EXPECT_EQ(parse_token(tiny(), "<|pad|>"), 272);
  EXPECT_EQ(parse_token(tiny(), "17"), 17);
  for (const char* bad : {"", "-1", "274", "99999999999", "0x1", "1 ", "<|nothing|>"})
    EXPECT_THROW(parse_token(tiny(), bad), UsageError) << bad;
}

struct BadRun {
  std::string name;
  void (*change)(PreprocessOptions&);
  ExitCode code;
  std::string reason;
};

class BadPreprocess : public testing::TestWithParam<BadRun> {};

TEST_P(BadPreprocess, SaysWhyAndLeavesNothing) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, records(3));
  o.output = folder / "new/x.mindrecord";
  GetParam().change(o);
  try {
    preprocess(o, tiny());
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, GetParam().code);
    EXPECT_THAT(e.what(), HasSubstr(GetParam().reason));
    EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos);
  }
  EXPECT_EQ(folder.entries(), 1U) << "only the input may be there";
}

void put(const PreprocessOptions& o, std::string_view text) {
  std::ofstream(o.input, std::ios::binary) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Runs, BadPreprocess,
    testing::Values(
        BadRun{"NoInput", [](PreprocessOptions& o) { o.input += "x"; }, ExitCode::io, "open"},
        BadRun{"EmptyInputName", [](PreprocessOptions& o) { o.input = ""; }, ExitCode::usage,
               "no input file"},
        BadRun{"EmptyOutputName", [](PreprocessOptions& o) { o.output = ""; }, ExitCode::usage,
               "no output file"},
        BadRun{"SeqLengthZero", [](PreprocessOptions& o) { o.seq_length = 0; }, ExitCode::usage,
               "seq_length is 0"},
        BadRun{"SeqLengthNegative", [](PreprocessOptions& o) { o.seq_length = -5; },
               ExitCode::usage, "seq_length is -5"},
        BadRun{"SeqLengthHuge", [](PreprocessOptions& o) { o.seq_length = int64_t{1} << 40; },
               ExitCode::usage, "seq_length"},
        BadRun{"PartitionZero", [](PreprocessOptions& o) { o.file_partition = 0; }, ExitCode::usage,
               "file_partition is 0"},
        BadRun{"PartitionHuge", [](PreprocessOptions& o) { o.file_partition = 1001; },
               ExitCode::usage, "file_partition is 1001"},
        BadRun{"RepeatZero", [](PreprocessOptions& o) { o.repeat = 0; }, ExitCode::usage,
               "repeat is 0"},
        BadRun{"BosOutside", [](PreprocessOptions& o) { o.bos = 274; }, ExitCode::usage,
               "bos_token 274 is outside"},
        BadRun{"PadNegative", [](PreprocessOptions& o) { o.pad = -1; }, ExitCode::usage,
               "pad_token -1 is outside"},
        BadRun{"PadIsEos", [](PreprocessOptions& o) { o.pad = 271; }, ExitCode::usage,
               "pad and eos"},
        BadRun{"BadRecordAtTheEnd",
               [](PreprocessOptions& o) {
                 const std::string good = records(900);
                 put(o, good.substr(0, good.size() - 1) + R"(,{"conversations":[]}])");
               },
               ExitCode::format, "record 900"},
        BadRun{"FirstOfTwoBadRecordsIsNamed",
               [](PreprocessOptions& o) {
                 const std::string good = records(100);
                 put(o, good.substr(0, good.size() - 1) + R"(,{"x":1},{"y":2},{"z":3}])");
               },
               ExitCode::format, "record 100"},
        BadRun{"BadRecordWhileCounting",
               [](PreprocessOptions& o) {
                 o.file_partition = 2;
                 put(o, R"([{"conversations":[{"from":"x","value":""}]}])");
               },
               ExitCode::format, "record 0"},
        BadRun{"NoReplyAnywhere", [](PreprocessOptions& o) { put(o, "[" + record("a", "") + "]"); },
               ExitCode::format, "no record has a reply"},
        BadRun{"NoRecords", [](PreprocessOptions& o) { put(o, "[]"); }, ExitCode::format,
               "no record has a reply"},
        BadRun{"WikiTooShort",
               [](PreprocessOptions& o) {
                 o.dataset_type = DatasetType::wiki;
                 put(o, "short");
               },
               ExitCode::format, "shorter than one record"},
        BadRun{"WikiEmpty",
               [](PreprocessOptions& o) {
                 o.dataset_type = DatasetType::wiki;
                 put(o, "");
               },
               ExitCode::format, "shorter than one record"},
        BadRun{"WikiNotText",
               [](PreprocessOptions& o) {
                 o.dataset_type = DatasetType::wiki;
                 put(o, "ab\xff");
               },
               ExitCode::format, "at byte 2: not valid UTF-8"}),
    [](const auto& bad) { return bad.param.name; });

TEST(DescribeRow, MarksWhatIsTrainedAndLeavesPaddingOut) {
  const ScratchFolder folder;
  PreprocessOptions o = qa(folder, "[" + record("a", "b") + "]");
  preprocess(o, tiny());
  const MindRecordReader reader(o.output);
  const DescribedRow row = describe_row(reader, 0, tiny());
  std::string trained;
  for (const DescribedToken& t : row.tokens) trained += t.trained ? t.bytes : "";
  EXPECT_EQ(trained, " b<|end_of_text|>");
  EXPECT_TRUE(row.tokens.front().special);
  EXPECT_EQ(row.padding + static_cast<int64_t>(row.tokens.size()), 256);
  EXPECT_THROW(describe_row(reader, 1, tiny()), UsageError);
  EXPECT_THROW(describe_row(reader, -1, tiny()), UsageError);
}

}  // namespace
}  // namespace cria
