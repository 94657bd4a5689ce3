// What ranks that read or write one checkpoint say to each other.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/comm.h"

namespace cria {

/// Runs this rank's part of a common task, in which it does not wait for others, and agrees with all ranks on the outcome:
/// returns on all or throws on all. Then it throws what the lowest failing rank threw; on the other ranks an error of the same
/// kind, whose message names the rank.
void run_together(Comm& world, const std::function<void()>& part);

/// Everybody's text in the order of the ranks on rank 0 of the group; nothing elsewhere. The group is for this alone: in checked
/// groups, messages between two ranks and collectives do not mix.
std::vector<std::string> gather_texts(Comm& reports, std::string_view mine);
/// Where a group for gather_texts goes: the channels behind those of Groups.
inline constexpr int kReportsChannel = 64;
/// The text that rank `from` gives.
std::string share_text(Comm& world, std::string_view text, int from = 0);

}  // namespace cria
