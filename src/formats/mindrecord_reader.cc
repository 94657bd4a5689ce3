// Sets of shards: which files belong together, and rows numbered over all of them.
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/side_manifest.h"
#include "formats/mindrecord.h"
#include "formats/mindrecord_codec.h"
#include "formats/mindrecord_index.h"
#include "formats/mindrecord_shard.h"

namespace cria {
namespace {

struct OpenShard {
  MappedFile file;
  MindRecordShard shard;
  explicit OpenShard(const std::string& path) : file(checked(path)), shard(file.bytes(), path) {}

  // The sums first: where they differ, what a parser finds wrong is only a consequence.
  static std::string checked(const std::string& path) {
    check_side_manifest(path);
    return path;
  }
};

[[noreturn]] void fail(const std::string& path, std::string reason, std::string expected = {},
                       std::string found = {}, std::string hint = {}) {
  throw FormatError(describe({.what = "MindRecord",
                              .path = path,
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found),
                              .hint = std::move(hint)}));
}

void check_same_set(const MindRecordShard& first, const MindRecordShard& other) {
  const MindRecordHeader &a = first.header(), &b = other.header();
  const auto differ = [&](const char* what) {
    fail(other.path(),
         fmt::format("its {} differs from that of {}: not one data set", what, first.path()));
  };
  if (a.schema != b.schema) differ("schema");
  if (a.header_size != b.header_size) differ("header_size");
  if (a.page_size != b.page_size) differ("page_size");
  if (a.packed_integers != b.packed_integers) differ("version");
  if (a.index_fields != b.index_fields) differ("index_fields");
}

}  // namespace

struct MindRecordReader::State {
  std::vector<std::unique_ptr<OpenShard>> shards;
  std::vector<int64_t> ends;  // rows up to and with each shard
  std::unique_ptr<MindRecordCodec> codec;

  void add(std::unique_ptr<OpenShard> next) {
    if (!shards.empty()) check_same_set(shards.front()->shard, next->shard);
    const int64_t before = ends.empty() ? 0 : ends.back();
    ends.push_back(before + static_cast<int64_t>(next->shard.rows()));
    shards.push_back(std::move(next));
  }
  void finish() {
    const MindRecordHeader& header = shards.front()->shard.header();
    codec = std::make_unique<MindRecordCodec>(header.schema, header.packed_integers);
  }
  [[nodiscard]] std::pair<const MindRecordShard&, uint64_t> find(int64_t row) const {
    require(row >= 0 && row < ends.back(), "MindRecord: row {} of {} rows", row, ends.back());
    const auto it = std::upper_bound(ends.begin(), ends.end(), row);
    const int64_t before = it == ends.begin() ? 0 : *(it - 1);
    return {shards[static_cast<size_t>(it - ends.begin())]->shard,
            static_cast<uint64_t>(row - before)};
  }
};

MindRecordReader::MindRecordReader(const std::string& path) : state_(std::make_unique<State>()) {
  auto given = std::make_unique<OpenShard>(path);
  const std::vector<std::string> names = given->shard.header().shard_names;
  const uint64_t place = given->shard.header().shard_id;
  if (names[place] != base_name(path))
    fail(path, "the file was renamed: MindSpore would not open it either",
         fmt::format("the name \"{}\"", escaped(names[place], 100)), "", "give it its old name");
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == place) {
      state_->add(std::move(given));
      continue;
    }
    auto next = std::make_unique<OpenShard>(join_path(parent_folder(path), names[i]));
    if (next->shard.header().shard_id != i || next->shard.header().shard_names != names)
      fail(next->shard.path(), fmt::format("is not shard {} of the set of {}", i, path));
    state_->add(std::move(next));
  }
  state_->finish();
}

MindRecordReader::MindRecordReader(const std::vector<std::string>& files)
    : state_(std::make_unique<State>()) {
  require(!files.empty(), "MindRecord: no files are given");
  for (const std::string& path : files) state_->add(std::make_unique<OpenShard>(path));
  state_->finish();
}

MindRecordReader::~MindRecordReader() = default;
MindRecordReader::MindRecordReader(MindRecordReader&&) noexcept = default;
MindRecordReader& MindRecordReader::operator=(MindRecordReader&&) noexcept = default;

int64_t MindRecordReader::rows() const { return state_->ends.back(); }
const MindRecordSchema& MindRecordReader::schema() const { return state_->codec->schema(); }
std::vector<std::string> MindRecordReader::files() const {
  std::vector<std::string> out;
  for (const auto& open : state_->shards) out.push_back(open->file.path());
  return out;
}
const std::vector<std::string>& MindRecordReader::index_fields() const {
  return state_->shards.front()->shard.header().index_fields;
}

MindRecordRow MindRecordReader::read(int64_t row) const {
  const auto [shard, local] = state_->find(row);
  const auto blob = shard.blob(local), raw = shard.raw(local);
  return state_->codec->decode(blob.content, raw.content, {shard.path(), blob.offset + 8},
                               {shard.path(), raw.offset + 8});
}

void MindRecordReader::read_int32(int64_t row, size_t column, std::vector<int32_t>& out) const {
  const auto [shard, local] = state_->find(row);
  const auto blob = shard.blob(local);
  state_->codec->decode_int32(blob.content, column, out, {shard.path(), blob.offset + 8});
}

void MindRecordReader::verify_index() const {
  for (const auto& open : state_->shards) {
    const std::string& path = open->file.path();
    verify_mindrecord_index(path + ".db", open->shard, base_name(path));
  }
}

}  // namespace cria
