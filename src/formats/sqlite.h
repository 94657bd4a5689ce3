// The few calls of SQLite that we need, with errors as exceptions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace cria {

class SqliteDatabase {
 public:
  enum class Mode {
    fill,  // an empty file, without journal or syncing: the caller makes it durable
    read,  // read-only and defensive, for files from strangers
  };
  /// Throws IoError, or in read mode FormatError when the file is no sound database.
  SqliteDatabase(std::string path, Mode mode);
  void run(const std::string& sql);
  [[noreturn]] void fail(const std::string& reason) const;

 private:
  friend class SqliteStatement;
  struct Close {
    void operator()(sqlite3* db) const;
  };
  std::string path_;
  Mode mode_;
  std::unique_ptr<sqlite3, Close> db_;
};

/// A prepared statement; parameters and columns count from 0.
class SqliteStatement {
 public:
  SqliteStatement(const SqliteDatabase& database, const std::string& sql);
  void bind(int parameter, int64_t value);
  void bind(int parameter, double value);
  /// `text` must stay until the next step().
  void bind(int parameter, std::string_view text);
  /// True when there is a row. A statement that is done starts anew at the next step().
  bool step();
  [[nodiscard]] bool is_integer(int column) const;
  [[nodiscard]] int64_t integer(int column) const;
  [[nodiscard]] double real(int column) const;
  [[nodiscard]] std::string_view text(int column) const;

 private:
  void require_ok(int result) const;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  const SqliteDatabase& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

}  // namespace cria
