#include <algorithm>

#include "base/error.h"
#include "data/preprocess_job.h"
#include "data/wiki_text.h"

namespace cria::internal {
namespace {

struct Paragraph {
  std::vector<TokenId> ids;
  bool differs = false;
};

class WikiTokens {
 public:
  explicit WikiTokens(PreprocessJob& job)
      : job_(job), special_prefix_(common_special_prefix(job.tokenizer)) {}

  // [bos] tokens [eos] of every paragraph, one behind the other.
  std::vector<TokenId> collect(std::string_view text) {
    constexpr size_t kBatch = 512;
    const auto paragraphs = wiki_paragraphs(text);
    std::vector<TokenId> stream;
    std::vector<Paragraph> slots(std::min(kBatch, paragraphs.size()));
    for (size_t begin = 0; begin < paragraphs.size(); begin += kBatch) {
      const size_t n = std::min(kBatch, paragraphs.size() - begin);
      job_.pool.parallel_for(static_cast<int64_t>(n), [&](int64_t i) {
        const auto at = static_cast<size_t>(i);
        encode(paragraphs[begin + at], slots[at]);
      });
      for (size_t i = 0; i < n; ++i) {
        stream.insert(stream.end(), slots[i].ids.begin(), slots[i].ids.end());
        job_.report.differing_from_recipe += slots[i].differs ? 1 : 0;
      }
      const std::string_view last = paragraphs[begin + n - 1];
      if (job_.progress)
        job_.progress(static_cast<uint64_t>(last.data() + last.size() - text.data()), text.size());
    }
    return stream;
  }

 private:
  void encode(std::string_view text, Paragraph& out) const {
    const bool compat = job_.options.compat_mindformers;
    const EncodeOptions recipe{.allow_special = true, .nfc = true};
    const EncodeOptions ours{.allow_special = job_.options.allow_special};
    out.ids.assign(1, job_.settings.bos);
    job_.tokenizer.encode(text, compat ? recipe : ours, out.ids);
    out.differs = false;
    if (!compat && !plain_for_recipe(text, special_prefix_)) {
      const auto theirs = job_.tokenizer.encode(text, recipe);
      out.differs = !std::equal(out.ids.begin() + 1, out.ids.end(), theirs.begin(), theirs.end());
    }
    out.ids.push_back(job_.settings.eos);
  }

  PreprocessJob& job_;
  std::string special_prefix_;
};

// The stream `repeat` times without a copy: any range of that is put together in `out`.
void take_range(const std::vector<TokenId>& stream, uint64_t begin, std::span<TokenId> out) {
  uint64_t at = begin % stream.size();
  for (size_t done = 0; done < out.size(); at = 0) {
    const size_t n = std::min<size_t>(out.size() - done, stream.size() - at);
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), n,
                out.begin() + static_cast<std::ptrdiff_t>(done));
    done += n;
  }
}

}  // namespace

void preprocess_wiki(PreprocessJob& job, std::string text) {
  text = clean_wiki_text(text, job.options.compat_mindformers);
  const std::vector<TokenId> stream = WikiTokens(job).collect(text);
  const auto length = static_cast<uint64_t>(job.settings.record_length);
  const uint64_t tokens = stream.size() * static_cast<uint64_t>(job.options.repeat);
  const uint64_t rows = tokens / length;
  if (rows == 0) {
    throw FormatError(describe({.what = "preprocess",
                                .path = job.options.input,
                                .reason = "the text is shorter than one record",
                                .expected = fmt::format("at least {} tokens", length),
                                .found = fmt::format("{}", tokens),
                                .hint = "a smaller --seq_length or a larger --repeat"}));
  }
  RecordOutput output(job, static_cast<int64_t>(rows));
  std::vector<TokenId> record(length);
  for (uint64_t row = 0; row < rows; ++row) {
    take_range(stream, row * length, record);
    output.write(record, {});
  }
  output.commit();
}

}  // namespace cria::internal
