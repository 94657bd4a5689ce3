#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "formats/safetensors.h"
#include "formats/tensor_stream.h"

namespace cria {
namespace {

std::string header_json(const std::vector<TensorInfo>& infos, const SafetensorsMetadata& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  // Not json[name]: that looks through all earlier names.
  auto& members = json.get_ref<nlohmann::ordered_json::object_t&>();
  if (!metadata.empty()) members.emplace_back("__metadata__", metadata);
  int64_t at = 0;
  for (const TensorInfo& info : infos) {
    nlohmann::ordered_json entry;
    entry["dtype"] = name_of(info.dtype);
    entry["shape"] = info.shape;
    entry["data_offsets"] = {at, at + info.size_bytes()};
    at += info.size_bytes();
    members.emplace_back(info.name, std::move(entry));
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

class SafetensorsWriter : public TensorWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> infos,
                    const SafetensorsMetadata& metadata)
      : stream_(std::move(infos)), file_(path) {
    const std::string header = header_json(stream_.infos(), metadata);
    const uint64_t size = header.size();
    file_.write(std::as_bytes(std::span(&size, 1)));
    file_.write(header);
  }
  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto piece = stream_.take(bytes);
      file_.write(piece);
    }
  }
  void commit() override {
    stream_.check_complete();
    file_.commit();
  }

 private:
  TensorStream stream_;
  AtomicFile file_;
};

}  // namespace

std::unique_ptr<TensorWriter> make_safetensors_writer(const std::string& path,
                                                      std::vector<TensorInfo> infos,
                                                      const SafetensorsMetadata& metadata) {
  check_writable(infos, "safetensors", path);
  for (const TensorInfo& info : infos) {
    require(!is_quantised(info.dtype) && info.name != "__metadata__",
            "safetensors: {}: tensor \"{}\" of type {} cannot be stored", path, escaped(info.name),
            name_of(info.dtype));
  }
  for (const auto& [key, value] : metadata) {
    require(!find_invalid_utf8(key) && !find_invalid_utf8(value),
            "safetensors: {}: metadata is not UTF-8", path);
  }
  return std::make_unique<SafetensorsWriter>(path, std::move(infos), metadata);
}

}  // namespace cria
