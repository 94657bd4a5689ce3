#include "data/describe_row.h"

#include "base/error.h"
#include "data/loader.h"

namespace cria {

DescribedRow describe_row(const MindRecordReader& reader, int64_t row, const Tokenizer& tokenizer,
                          std::optional<TokenId> pad) {
  const std::string path = reader.files().front();
  require(row >= 0 && row < reader.rows(), "inspect: {}: there is no row {}, expected 0 to {}",
          path, row, reader.rows() - 1);
  const auto ids_column = find_int32_column(reader.schema(), "input_ids");
  require(ids_column.has_value(), "inspect: {}: the records have no int32 array input_ids", path);
  const auto labels_column = find_int32_column(reader.schema(), "labels");
  std::vector<TokenId> ids;
  std::vector<int32_t> labels;
  reader.read_int32(row, *ids_column, ids);
  if (labels_column) reader.read_int32(row, *labels_column, labels);
  require<FormatError>(!labels_column || labels.size() == ids.size(),
                       "inspect: {}: row {} has {} labels, expected {}", path, row, labels.size(),
                       ids.size());

  if (!pad) pad = tokenizer.vocabulary().pad;
  size_t size = ids.size();
  while (size > 0 && pad && ids[size - 1] == *pad) --size;
  DescribedRow out{.tokens = {}, .padding = static_cast<int64_t>(ids.size() - size)};
  for (size_t i = 0; i < size; ++i) {
    DescribedToken token{.id = ids[i], .trained = labels_column ? labels[i] != kIgnored : i > 0};
    if (ids[i] >= 0 && ids[i] < tokenizer.vocab_size()) {
      token.bytes = tokenizer.decode_bytes({&ids[i], 1});
      token.special = tokenizer.is_special(ids[i]);
    }
    out.tokens.push_back(std::move(token));
  }
  return out;
}

}  // namespace cria
