#include <algorithm>
#include <exception>
#include <optional>

#include "base/error.h"
#include "data/preprocess_job.h"

namespace cria::internal {
namespace {

// One conversation on its way through the threads. Slots are used again, so memory settles.
struct Slot {
  JsonRecord record;
  Sample sample;
  bool kept = false, differs = false;
  std::optional<FormatError> bad;  // the record cannot be read
  std::exception_ptr failure;
};

class QaRun {
 public:
  QaRun(PreprocessJob& job, JsonRecords& records)
      : job_(job),
        records_(records),
        maker_(job.tokenizer, job.settings),
        bad_(job.options.skip_bad),
        slots_(kBatch) {}

  // Rows the output will have: a pass over the records without tokenising.
  // Bad records are only left out here: the pass that writes names them and minds the limit.
  int64_t count_rows() {
    int64_t rows = 0;
    while (const size_t n = take_batch()) {
      for_each(n, [&](Slot& slot) {
        slot.kept =
            has_round(parse_conversation(records_, slot.record)) || job_.options.compat_mindformers;
      });
      for (size_t i = 0; i < n; ++i) {
        if (slots_[i].bad && !bad_.allowed()) throw FormatError(*slots_[i].bad);
        rows += slots_[i].kept && !slots_[i].bad ? 1 : 0;
      }
    }
    return rows;
  }

  void write_all(RecordOutput& output) {
    while (const size_t n = take_batch()) {
      for_each(n, [&](Slot& slot) { make(slot); });
      for (size_t i = 0; i < n; ++i) {
        if (slots_[i].bad) {
          bad_.skip(*slots_[i].bad);
        } else {
          write(slots_[i], output);
        }
      }
      if (job_.progress) job_.progress(records_.position(), records_.size());
    }
    job_.report.bad_skipped = bad_.skipped();
  }

 private:
  static constexpr size_t kBatch = 512;
  static constexpr size_t kBatchBytes = 16 << 20;

  size_t take_batch() {
    size_t n = 0, bytes = 0;
    while (n < kBatch && bytes < kBatchBytes && records_.next(slots_[n].record))
      bytes += slots_[n++].record.text.size();
    return n;
  }

  // Whatever the threads do, the failure reported is that of the first record in the file. Records
  // that cannot be read are marked and left to the caller.
  template <class Body>
  void for_each(size_t n, Body&& body) {
    job_.pool.parallel_for(static_cast<int64_t>(n), [&](int64_t i) {
      Slot& slot = slots_[static_cast<size_t>(i)];
      slot.failure = nullptr;
      slot.bad.reset();
      try {
        body(slot);
      } catch (const FormatError& failure) {
        slot.bad = failure;
      } catch (...) {
        slot.failure = std::current_exception();
      }
    });
    for (size_t i = 0; i < n; ++i)
      if (slots_[i].failure) std::rethrow_exception(slots_[i].failure);
  }

  [[nodiscard]] bool has_round(const Conversation& c) const {
    for (size_t i = 0; i + 1 < c.turns.size(); i += 2)
      if (job_.options.keep_empty || !c.turns[i + 1].value.empty()) return true;
    return false;
  }

  void make(Slot& slot) const {
    const Conversation conversation = parse_conversation(records_, slot.record);
    if (job_.options.compat_mindformers) {
      maker_.make_as_recipe(conversation, slot.sample);
      slot.kept = true;
      slot.differs = false;
      return;
    }
    slot.kept = maker_.make(conversation, slot.sample);
    slot.differs = !slot.kept;
    if (slot.differs || maker_.surely_same(conversation)) return;
    Sample recipes;
    maker_.make_as_recipe(conversation, recipes);
    slot.differs = recipes.ids != slot.sample.ids || recipes.labels != slot.sample.labels;
  }

  void write(const Slot& slot, RecordOutput& output) {
    PreprocessReport& report = job_.report;
    report.empty_replies += slot.sample.empty_replies;
    report.differing_from_recipe += slot.differs ? 1 : 0;
    if (!slot.kept) {
      ++report.empty_skipped;
      return;
    }
    report.truncated += slot.sample.truncated ? 1 : 0;
    output.write(slot.sample.ids, slot.sample.labels);
  }

  PreprocessJob& job_;
  JsonRecords& records_;
  SampleMaker maker_;
  BadRecords bad_;
  std::vector<Slot> slots_;
};

}  // namespace

void preprocess_qa(PreprocessJob& job, JsonRecords& records) {
  int64_t rows = -1;
  if (job.options.file_partition > 1) {
    JsonRecords again(job.options.input, BadRecords(job.options.skip_bad).first());
    rows = QaRun(job, again).count_rows();
  }
  RecordOutput output(job, rows);
  QaRun(job, records).write_all(output);
  if (job.report.records == 0) {
    throw FormatError(describe({.what = "preprocess",
                                .path = job.options.input,
                                .reason = "no record has a reply to learn from",
                                .found = fmt::format("{} records", job.report.empty_skipped)}));
  }
  output.commit();
}

}  // namespace cria::internal
