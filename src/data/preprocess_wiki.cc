#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "data/preprocess_job.h"
#include "data/wiki_text.h"

namespace cria::internal {
namespace {

// On its way through the threads. Slots are used again, so memory settles.
struct Paragraph {
  std::string text;
  std::vector<TokenId> ids;
  bool differs = false;
};

class WikiTokens {
 public:
  explicit WikiTokens(PreprocessJob& job)
      : job_(job), special_prefix_(common_special_prefix(job.tokenizer)) {}

  // [bos] tokens [eos] of every paragraph, one behind the other.
  void write(const MappedFile& text, AtomicFile& out) {
    WikiParagraphs paragraphs(text.text(), job_.options.compat_mindformers);
    uint64_t released = 0;
    while (const size_t n = take_batch(paragraphs)) {
      job_.pool.parallel_for(static_cast<int64_t>(n),
                             [&](int64_t i) { encode(slots_[static_cast<size_t>(i)]); });
      for (size_t i = 0; i < n; ++i) {
        out.write(std::as_bytes(std::span(slots_[i].ids)));
        job_.report.differing_from_recipe += slots_[i].differs ? 1 : 0;
      }
      text.advise_done(released, paragraphs.position() - released);
      released = paragraphs.position();
      if (job_.progress) job_.progress(released, text.size());
    }
  }

 private:
  static constexpr size_t kBatch = 512;
  static constexpr size_t kBatchBytes = 4 << 20;

  size_t take_batch(WikiParagraphs& paragraphs) {
    size_t n = 0;
    for (size_t bytes = 0; n < kBatch && bytes < kBatchBytes; bytes += slots_[n++].text.size())
      if (!paragraphs.next(slots_[n].text)) break;
    return n;
  }

  void encode(Paragraph& out) const {
    const std::string& text = out.text;
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
  std::vector<Paragraph> slots_{kBatch};
};

// The stream `repeat` times without a copy: any range of that is put together in `out`.
void take_range(std::span<const TokenId> stream, uint64_t begin, std::span<TokenId> out) {
  uint64_t at = begin % stream.size();
  for (size_t done = 0; done < out.size(); at = 0) {
    const size_t n = std::min<size_t>(out.size() - done, stream.size() - at);
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), n,
                out.begin() + static_cast<std::ptrdiff_t>(done));
    done += n;
  }
}

}  // namespace

void preprocess_wiki(PreprocessJob& job, const MappedFile& text) {
  OutputFolder folder(job.options.output);
  // How many rows there will be, and a second round through the tokens, take all of them: they wait
  // on the disk. The file has its name never and goes with this object.
  AtomicFile waiting(job.options.output + ".tokens", 0600);
  WikiTokens(job).write(text, waiting);
  waiting.seek(waiting.position());  // everything to the file
  const MappedFile mapped(waiting.temporary_path());
  const std::span stream(reinterpret_cast<const TokenId*>(mapped.bytes().data()),
                         mapped.size() / sizeof(TokenId));
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
    if (row % 1024 == 1023) mapped.advise_done(0, mapped.size());
  }
  output.commit();
  folder.keep();
}

}  // namespace cria::internal
