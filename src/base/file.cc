#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "base/error.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

std::string system_reason() { return std::strerror(errno); }

// Mappings known to the SIGBUS handler. A handler may not lock, so this is a plain table of
// atomics.
struct Mapping {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<size_t> size{0};
  std::array<char, 400> path{};
};
std::array<Mapping, 1024> mappings;

void on_bus_error(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  for (const Mapping& m : mappings) {
    const std::byte* begin = m.begin.load();
    if (begin == nullptr || at < begin || at >= begin + m.size.load()) continue;
    const char* parts[] = {"error: read: ", m.path.data(), ": the file shrank while it was read\n"};
    for (const char* part : parts) {
      if (write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
    }
    _exit(static_cast<int>(ExitCode::io));
  }
  signal(SIGBUS, SIG_DFL);
  raise(SIGBUS);
}

void remember_mapping(const std::byte* data, size_t size, const std::string& path) {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, nullptr);
    return true;
  }();
  (void)installed;
  for (Mapping& m : mappings) {
    size_t free = 0;
    if (!m.size.compare_exchange_strong(free, size)) continue;
    const size_t n = std::min(path.size(), m.path.size() - 1);
    std::memcpy(m.path.data(), path.data(), n);
    m.path[n] = 0;
    m.begin.store(data);
    return;
  }
}

void forget_mapping(const std::byte* data) {
  for (Mapping& m : mappings) {
    if (m.begin.load() != data) continue;
    m.begin.store(nullptr);
    m.size.store(0);
    return;
  }
}

void write_all(int fd, const std::string& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      throw IoError(describe({.what = "write",
                              .path = path,
                              .offset = static_cast<int64_t>(offset),
                              .reason = n == 0 ? "nothing was written" : system_reason()}));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  struct stat info = {};
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw IoError(describe({.what = "open", .path = path_, .reason = system_reason()}));
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    throw IoError(describe({.what = "open", .path = path_, .reason = "not a regular file"}));
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* p = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
      const std::string reason = system_reason();
      close(fd);
      throw IoError(describe({.what = "map", .path = path_, .reason = reason}));
    }
    data_ = static_cast<const std::byte*>(p);
    remember_mapping(data_, size_, path_);
  }
  close(fd);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapping(data_);
  munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::advise_sequential() const {
  if (data_ != nullptr) madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL);
}

void MappedFile::advise_done(uint64_t offset, uint64_t size) const {
  constexpr uint64_t page = 4096;
  const uint64_t begin = (offset + page - 1) / page * page;
  const uint64_t end = std::min<uint64_t>(offset + size, size_) / page * page;
  if (data_ != nullptr && begin < end) {
    madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }
}

std::string read_text(const std::string& path, uint64_t limit) {
  const MappedFile file(path);
  require<FormatError>(file.size() <= limit, "read: {}: the file has {} bytes, expected at most {}",
                       path, file.size(), limit);
  return std::string(file.text());
}

AtomicFile::AtomicFile(std::string path, unsigned mode) : path_(std::move(path)) {
  std::random_device random;
  for (int attempt = 0; attempt < 16; ++attempt) {
    temporary_ = fmt::format("{}.part-{:08x}", path_, random());
    fd_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd_ >= 0 || errno != EEXIST) break;
  }
  if (fd_ < 0) throw IoError(describe({.what = "write", .path = path_, .reason = system_reason()}));
  buffer_.reserve(1 << 20);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  flush();  // or older bytes, still in the buffer, would land on top of these
  write_all(fd_, path_, offset, bytes);
}

void AtomicFile::flush() {
  write_all(fd_, path_, flushed_, buffer_);
  flushed_ += buffer_.size();
  buffer_.clear();
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > buffer_.capacity()) flush();
  if (bytes.size() >= buffer_.capacity()) {
    write_all(fd_, path_, flushed_, bytes);
    flushed_ += bytes.size();
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  position_ += bytes.size();
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::seek(uint64_t offset) {
  flush();
  flushed_ = position_ = offset;
}

void AtomicFile::sync() {
  flush();
  if (fsync(fd_) != 0)
    throw IoError(describe({.what = "sync", .path = path_, .reason = system_reason()}));
}

void AtomicFile::publish() {
  const auto fail = [&](const char* what) {
    const std::string reason = system_reason();
    unlink(temporary_.c_str());
    throw IoError(describe({.what = what, .path = path_, .reason = reason}));
  };
  if (close(std::exchange(fd_, -1)) != 0) fail("close");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename");
}

void AtomicFile::commit() {
  sync();
  publish();
  sync_folder(parent_folder(path_));
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void make_folders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    throw IoError(describe({.what = "make folder", .path = path, .reason = error.message()}));
}

void sync_folder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw IoError(describe({.what = "sync", .path = path, .reason = system_reason()}));
  const int result = fsync(fd);
  close(fd);
  if (result != 0)
    throw IoError(describe({.what = "sync", .path = path, .reason = system_reason()}));
}

std::vector<std::string> list_files(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) out.push_back(it->path().filename().string());
    error.clear();
  }
  if (error) throw IoError(describe({.what = "list", .path = folder, .reason = error.message()}));
  std::sort(out.begin(), out.end());
  return out;
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}
bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}
std::string parent_folder(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}
std::string base_name(const std::string& path) { return fs::path(path).filename().string(); }
std::string join_path(std::string_view folder, std::string_view name) {
  return (fs::path(folder) / fs::path(name)).string();
}
bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::string program_path() {
  std::array<char, PATH_MAX> path;
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0 || size >= PATH_MAX) return "";
  return {path.data(), static_cast<size_t>(size)};
}

std::string program_folder() {
  const std::string path = program_path();
  return path.empty() ? "." : parent_folder(path);
}

}  // namespace cria
