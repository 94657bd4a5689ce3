// A damaged index beside a sound shard. An input is a list of (place, byte) written over a true
// index, or with a first byte of 'R' the whole database. Files lie in a disk of memory: SQLite
// opens names only.
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "formats/mindrecord.h"
#include "formats/mindrecord_index.h"

namespace {

struct Sound {
  std::string folder = fmt::format("/dev/shm/cria-fuzz-{}", getpid());
  std::string index;  // the bytes
  std::unique_ptr<cria::MappedFile> file;
  std::unique_ptr<cria::MindRecordShard> shard;

  Sound() {
    cria::make_folders(folder);
    const std::string path = folder + "/rows.mindrecord";
    const cria::MindRecordSchema schema = {
        .columns = {{.name = "id", .type = cria::MindRecordColumn::Type::int64},
                    {.name = "text", .type = cria::MindRecordColumn::Type::string}}};
    cria::MindRecordWriter writer(path, schema, {.header_size = 16384, .page_size = 32768});
    for (int64_t row = 0; row < 40; ++row)
      writer.write_row(cria::MindRecordRow{.values = {row, fmt::format("row {}", row)}});
    writer.commit();
    index = cria::read_text(path + ".db");
    file = std::make_unique<cria::MappedFile>(path);
    shard = std::make_unique<cria::MindRecordShard>(file->bytes(), file->path());
  }
  ~Sound() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Sound sound;
  std::string index = sound.index;
  if (size > 0 && data[0] == 'R') {
    index.assign(reinterpret_cast<const char*>(data + 1), size - 1);
  } else {
    for (size_t i = 0; i + 3 <= size; i += 3)
      index[(data[i] | data[i + 1] << 8) % index.size()] = static_cast<char>(data[i + 2]);
  }
  const std::string path = sound.folder + "/fuzz.db";
  // Not by an AtomicFile: its syncing would take most of the time.
  if (FILE* out = std::fopen(path.c_str(), "wb")) {
    (void)std::fwrite(index.data(), 1, index.size(), out);
    (void)std::fclose(out);
  }
  try {
    cria::verify_mindrecord_index(path, *sound.shard, "rows.mindrecord");
  } catch (const cria::FormatError&) {
  }
  return 0;
}
