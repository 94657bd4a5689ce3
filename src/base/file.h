// Files: read-only mappings of regular files, whole reads, and writes that appear whole or not at
// all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// A regular file mapped read-only. Its size is the one at opening; a file that shrinks while it is
/// mapped ends the program with exit 4 and its name, not with a bus error.
/// Throws IoError when the file is missing, unreadable or not a regular file.
class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const {
    return {reinterpret_cast<const char*>(data_), size_};
  }
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Tells the kernel what comes: reads run ahead (sequential) or pages may go again (done).
  void advise_sequential() const;
  void advise_done(uint64_t offset, uint64_t size) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole file as text. Throws FormatError when it is larger than `limit` bytes.
std::string read_text(const std::string& path, uint64_t limit = 128 << 20);

/// A new file that is seen under its name only after commit(): written to `<path>.part-<random>`,
/// every write checked, synced, renamed, the folder synced. Without commit() nothing is left
/// behind, and an older file of that name stays as it was.
class AtomicFile {
 public:
  /// Parent folders are not created. Throws IoError.
  explicit AtomicFile(std::string path, unsigned mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Writes at an absolute place; does not move the end used by write().
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// Moves the end; a gap reads as zeros (a hole).
  void seek(uint64_t offset);
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The temporary name, for libraries that want to write themselves (SQLite).
  [[nodiscard]] const std::string& temporary_path() const { return temporary_; }
  void commit();

  // commit() in two steps, for files that belong together: every one is synced before the first one
  // gets its name.
  /// Everything written is on the disk, under the temporary name. May be called again.
  void sync();
  /// Gives a synced file its name; the folder is the caller's to sync.
  void publish();

 private:
  void flush();
  std::string path_, temporary_;
  int fd_ = -1;
  uint64_t position_ = 0, flushed_ = 0;
  std::vector<std::byte> buffer_;
};

/// Writes a whole small file by the protocol of AtomicFile.
void write_file(const std::string& path, std::string_view text);
/// mkdir -p. Throws IoError.
void make_folders(const std::string& path);
/// fsync of a folder, so that names in it survive a power loss. Throws IoError.
void sync_folder(const std::string& path);

/// Regular files directly inside a folder, sorted by name. Throws IoError.
std::vector<std::string> list_files(const std::string& folder);
bool is_file(const std::string& path);
bool is_folder(const std::string& path);
std::string parent_folder(const std::string& path);
std::string base_name(const std::string& path);
std::string join_path(std::string_view folder, std::string_view name);
/// A name that a file may give for its neighbour: no separators, NUL, "", "." or "..".
bool is_plain_name(std::string_view name);

/// Where the running program lies; empty when /proc does not say.
std::string program_path();
/// Its folder; "." when that is not known.
std::string program_folder();

}  // namespace cria
