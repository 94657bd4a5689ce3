// Any bytes are a PyTorch file or a FormatError. Sums are off, or hardly an input would get past
// them; every record and every tensor is read.
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const cria::ZipReader zip(bytes, "fuzz.pth");
    for (const cria::ZipRecord& record : zip.records()) (void)zip.contents(record);
  } catch (const cria::FormatError&) {
  }
  try {
    const cria::TorchReader reader(bytes, "fuzz.pth", false);
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
      std::vector<std::byte> contents(static_cast<size_t>(reader.tensors()[i].size_bytes()));
      reader.read(i, 0, contents);
    }
  } catch (const cria::FormatError&) {
  }
  return 0;
}
