#include "lm/rlhf_packing.h"

#include "base/check.h"

namespace candor {

namespace {

// One sequence after the other, each a prompt and its replies.
class Packer {
 public:
  Packer() {
    out_.sequences.offsets.push_back(0);
    out_.offsets.push_back(0);
  }

  void add(const RlhfReply& reply, const RlhfPrompt& prompt) {
    CANDOR_CHECK(!reply.token_ids.empty() && !prompt.token_ids.empty());
    const auto fed = static_cast<int64_t>(reply.token_ids.size()) - 1;
    const bool fits = length() + fed <= kLongestBranched;
    if (!open_ || reply.prompt != prompt_ || !fits) {
      close();
      begin(reply.prompt, prompt);
    }
    // Nothing is predicted from the last token. The first is predicted from the prompt's last.
    std::vector<int32_t>& ids = out_.sequences.token_ids;
    if (fed > 0) branches_.push_back(length());
    out_.rows.push_back(prompt_end_);
    for (int64_t t = 0; t < fed; ++t) {
      out_.rows.push_back(static_cast<int64_t>(ids.size()));
      ids.push_back(reply.token_ids[static_cast<size_t>(t)]);
    }
    out_.targets.insert(out_.targets.end(), reply.token_ids.begin(), reply.token_ids.end());
    out_.offsets.push_back(static_cast<int64_t>(out_.targets.size()));
  }

  PackedReplies take() {
    close();
    if (!any_branched_) out_.sequences.branches.clear();
    return std::move(out_);
  }

 private:
  [[nodiscard]] int64_t length() const {
    return static_cast<int64_t>(out_.sequences.token_ids.size()) - out_.sequences.offsets.back();
  }

  void begin(size_t index, const RlhfPrompt& prompt) {
    open_ = true;
    prompt_ = index;
    std::vector<int32_t>& ids = out_.sequences.token_ids;
    ids.insert(ids.end(), prompt.token_ids.begin(), prompt.token_ids.end());
    prompt_end_ = static_cast<int64_t>(ids.size()) - 1;
  }

  void close() {
    if (!open_) return;
    open_ = false;
    out_.sequences.offsets.push_back(static_cast<int64_t>(out_.sequences.token_ids.size()));
    if (branches_.size() < 2) branches_.clear();  // a single one just goes on
    any_branched_ |= !branches_.empty();
    out_.sequences.branches.push_back(std::move(branches_));
    branches_ = {};
  }

  PackedReplies out_;
  bool open_ = false;
  bool any_branched_ = false;
  size_t prompt_ = 0;       // of the open sequence
  int64_t prompt_end_ = 0;  // its prompt's last token
  std::vector<int64_t> branches_;
};

}  // namespace

PackedReplies pack_replies(std::span<const RlhfReply> replies, std::span<const RlhfPrompt> prompts,
                           std::span<const size_t> chosen) {
  Packer packer;
  for (const size_t index : chosen) {
    packer.add(replies[index], prompts[replies[index].prompt]);
  }
  return packer.take();
}

}  // namespace candor
