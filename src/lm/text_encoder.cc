#include "lm/text_encoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/cpu.h"
#include "base/interrupt.h"
#include "base/strings.h"
#include "lm/bert_encoder.h"

namespace candor {

struct TextEncoder::Impl {
  BertEncoder encoder;
  int threads = 1;
};

Result<TextEncoder> TextEncoder::load(const std::filesystem::path& folder, int threads) {
  auto impl = std::make_shared<Impl>();
  CANDOR_TRY(impl->encoder, BertEncoder::load(folder));
  impl->threads = threads > 0 ? threads : core_count();
  return TextEncoder(std::move(impl));
}

int64_t TextEncoder::width() const { return impl_->encoder.config.width; }
int64_t TextEncoder::max_tokens() const { return impl_->encoder.max_tokens; }

Result<std::vector<float>> TextEncoder::embed(std::span<const std::string> texts,
                                              const ProgressSink& progress) const {
  // Batches of one length each: nothing is padded, so a text's embedding does not depend on its
  // neighbours' lengths. Larger batches are no faster and take twice the memory.
  static constexpr size_t kBatchTokens = 1024;
  at::set_num_threads(impl_->threads);
  std::vector<std::vector<int32_t>> token_ids;
  for (size_t i = 0; i < texts.size(); ++i) {
    Result<std::vector<int32_t>> encoded = impl_->encoder.encode(texts[i]);
    if (!encoded.ok()) {
      return Error{encoded.error().code, str_cat("text ", i + 1, ": ", encoded.error().message)};
    }
    token_ids.push_back(std::move(encoded).value());
  }
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return token_ids[a].size() < token_ids[b].size(); });
  std::vector<float> out(texts.size() * static_cast<size_t>(width()));
  size_t done = 0;
  while (done < order.size()) {
    CANDOR_RETURN_IF_ERROR(check_interrupted());
    const size_t length = token_ids[order[done]].size();
    size_t end = done;
    while (end < order.size() && token_ids[order[end]].size() == length &&
           (end - done) * length < kBatchTokens) {
      ++end;
    }
    at::Tensor ids =
        at::empty({static_cast<int64_t>(end - done), static_cast<int64_t>(length)}, at::kLong);
    int64_t* place = ids.data_ptr<int64_t>();
    for (size_t i = done; i < end; ++i)
      place = std::copy(token_ids[order[i]].begin(), token_ids[order[i]].end(), place);
    const c10::InferenceMode inference;
    const at::Tensor embedded = impl_->encoder.forward(ids).contiguous();
    const float* row = embedded.data_ptr<float>();
    for (size_t i = done; i < end; ++i, row += width()) {
      std::copy_n(row, width(), out.begin() + static_cast<ptrdiff_t>(order[i]) * width());
    }
    done = end;
    if (progress) progress(done, order.size(), "texts embedded");
  }
  return out;
}

}  // namespace candor
