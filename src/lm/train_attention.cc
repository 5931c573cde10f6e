#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "lm/train_kernels.h"
#include "lm/train_ops.h"

namespace candor {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t kLongestSquare = 512;     // above, LibTorch's kernel, which skips the future
constexpr int64_t kScoresAtOnce = 1 << 22;  // f32 numbers

// While it lives, products of f32 tensors round their factors to bf16 and keep f32 results, where
// the CPU can. Factors that are bf16 already lose nothing.
class RoundedProducts {
 public:
  RoundedProducts() : before_(at::globalContext().float32Precision(kBackend, kOperation)) {
    at::globalContext().setFloat32Precision(kBackend, kOperation, at::Float32Precision::BF16);
  }
  ~RoundedProducts() { at::globalContext().setFloat32Precision(kBackend, kOperation, before_); }
  RoundedProducts(const RoundedProducts&) = delete;
  RoundedProducts& operator=(const RoundedProducts&) = delete;

 private:
  static constexpr at::Float32Backend kBackend = at::Float32Backend::MKLDNN;
  static constexpr at::Float32Op kOperation = at::Float32Op::MATMUL;
  at::Float32Precision before_;
};

// Neighbouring sequences of one length: tokens begin .. begin + count * length - 1. Their scores
// are made as squares; the future and the holes of the layout are then left out of the softmax.
struct Run {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t length = 0;
};

std::vector<Run> runs_of(at::IntArrayRef offsets, int64_t heads) {
  std::vector<Run> runs;
  for (size_t s = 1; s < offsets.size(); ++s) {
    const int64_t length = offsets[s] - offsets[s - 1];
    const bool joins = !runs.empty() && runs.back().length == length &&
                       (runs.back().count + 1) * heads * length * length <= kScoresAtOnce;
    if (joins) {
      ++runs.back().count;
    } else {
      runs.push_back({offsets[s - 1], 1, length});
    }
  }
  return runs;
}

// [T, H, W] bf16 -> [count * groups, H / groups * length, W] f32: a batch has one key/value head
// and the query heads that share it, one below the other.
at::Tensor heads_of(const at::Tensor& x, const Run& run, int64_t groups) {
  const int64_t width = x.size(2);
  return x.narrow(0, run.begin, run.count * run.length)
      .view({run.count, run.length, groups, x.size(1) / groups, width})
      .permute({0, 2, 3, 1, 4})
      .to(at::kFloat, false, true, at::MemoryFormat::Contiguous)
      .view({run.count * groups, x.size(1) / groups * run.length, width});
}

// The way back, into the run's rows of `out` [T, H, W] bf16.
void put_heads(const at::Tensor& heads, const Run& run, int64_t groups, const at::Tensor& out) {
  const int64_t shared = out.size(1) / groups;
  const int64_t width = out.size(2);
  out.narrow(0, run.begin, run.count * run.length)
      .view({run.count, run.length, groups, shared, width})
      .copy_(heads.view({run.count, groups, shared, run.length, width}).permute({0, 3, 1, 2, 4}));
}

// Calls body(row, visible) for all rows of a run's squares [count * groups, shared * length,
// length], its holes filled with minus infinity before.
template <typename Body>
void for_rows(const at::Tensor& squares, const Run& run, const at::Tensor& holes,
              const Body& body) {
  const int64_t length = run.length;
  const int64_t rows_of_sequence = squares.size(0) / run.count * squares.size(1);
  auto* values = squares.mutable_data_ptr<float>();
  const int64_t* hole = holes.numel() > 0 ? holes.const_data_ptr<int64_t>() : nullptr;
  at::parallel_for(0, squares.size(0) * squares.size(1), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t i = row % length;
      if (hole != nullptr) {
        const int64_t* own = hole + 2 * (run.begin + row / rows_of_sequence * length + i);
        std::fill(values + row * length + own[0], values + row * length + own[1],
                  -std::numeric_limits<float>::infinity());
      }
      body(row, i + 1);
    }
  });
}

class AttentionFunction : public Function<AttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value, const at::Tensor& holes,
                            at::IntArrayRef offsets) {
    const RoundedProducts rounded;
    const int64_t groups = key.size(1);
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(query.size(2))));
    const at::Tensor out = at::empty(query.sizes(), at::kBFloat16);
    const at::Tensor log_sums = at::empty({query.size(0) * query.size(1)}, at::kFloat);
    for (const Run& run : runs_of(offsets, query.size(1))) {
      const at::Tensor scores =
          at::bmm(heads_of(query, run, groups), heads_of(key, run, groups).transpose(1, 2));
      auto* s = scores.mutable_data_ptr<float>();
      auto* sums = log_sums.mutable_data_ptr<float>() + run.begin * query.size(1);
      for_rows(scores, run, holes, [&](int64_t row, int64_t visible) {
        sums[row] = softmax_row(s + row * run.length, {visible, run.length, scale});
      });
      put_heads(at::bmm(scores, heads_of(value, run, groups)), run, groups, out);
    }
    context->save_for_backward({query, key, value, log_sums, holes});
    context->saved_data["offsets"] = offsets.vec();
    return out.view({query.size(0), -1});
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const RoundedProducts rounded;
    const variable_list saved = context->get_saved_variables();
    const at::Tensor given = gradients[0].to(at::kBFloat16).contiguous().view(saved[0].sizes());
    const std::vector<int64_t> offsets = context->saved_data["offsets"].toIntVector();
    variable_list out;
    for (size_t i = 0; i < 3; ++i) out.push_back(at::empty(saved[i].sizes(), at::kBFloat16));
    for (const Run& run : runs_of(offsets, saved[0].size(1))) {
      run_backward(saved, given, run, out);
    }
    out.resize(5);  // holes and offsets have none
    return out;
  }

 private:
  static void run_backward(const variable_list& saved, const at::Tensor& given, const Run& run,
                           const variable_list& out) {
    const int64_t groups = saved[1].size(1);
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(saved[0].size(2))));
    const at::Tensor query = heads_of(saved[0], run, groups);
    const at::Tensor key = heads_of(saved[1], run, groups);
    const at::Tensor dy = heads_of(given, run, groups);
    const at::Tensor shares = at::bmm(query, key.transpose(1, 2));
    const at::Tensor dscores = at::bmm(dy, heads_of(saved[2], run, groups).transpose(1, 2));
    auto* p = shares.mutable_data_ptr<float>();
    auto* d = dscores.mutable_data_ptr<float>();
    const auto* sums = saved[3].const_data_ptr<float>() + run.begin * saved[0].size(1);
    for_rows(shares, run, saved[4], [&](int64_t row, int64_t visible) {
      softmax_row_backward(p + row * run.length, {visible, run.length, scale}, sums[row],
                           d + row * run.length);
    });
    put_heads(at::bmm(shares.transpose(1, 2), dy), run, groups, out[2]);
    put_heads(at::bmm(dscores, key), run, groups, out[0]);
    put_heads(at::bmm(dscores.transpose(1, 2), query), run, groups, out[1]);
  }
};

// Sequences of one length side by side, by LibTorch's blocked kernel. [S, L, H, W] each.
at::Tensor equal_attention(const at::Tensor& query, const at::Tensor& key,
                           const at::Tensor& value) {
  const int64_t group = query.size(2) / key.size(2);
  const auto repeated = [&](const at::Tensor& x) {
    const at::Tensor heads = x.transpose(1, 2);
    return group == 1 ? heads : heads.repeat_interleave(group, 1);
  };
  const at::Tensor mixed = at::scaled_dot_product_attention(query.transpose(1, 2), repeated(key),
                                                            repeated(value), {}, 0.0, true);
  return mixed.transpose(1, 2).reshape({query.size(0) * query.size(1), -1});
}

// `holes`: of this sequence's tokens [L, 2], or [0, 2].
at::Tensor plain_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& holes) {
  const int64_t group = query.size(1) / key.size(1);
  const int64_t length = query.size(0);
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(2)));
  const at::Tensor keys = key.transpose(0, 1).repeat_interleave(group, 0);
  const at::Tensor values = value.transpose(0, 1).repeat_interleave(group, 0);
  at::Tensor unseen = at::ones({length, length}, at::kBool).triu(1);
  if (holes.numel() > 0) {
    const at::Tensor places = at::arange(length);
    unseen = unseen.logical_or(places.ge(holes.select(1, 0).unsqueeze(1))
                                   .logical_and(places.lt(holes.select(1, 1).unsqueeze(1))));
  }
  const at::Tensor scores = at::matmul(query.transpose(0, 1), keys.transpose(1, 2))
                                .mul(scale)
                                .masked_fill(unseen, -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(scores, -1), values).transpose(0, 1).reshape({length, -1});
}

}  // namespace

AttentionLayout attention_layout(const PackedSequences& sequences) {
  AttentionLayout out{.offsets = sequences.offsets, .holes = at::zeros({0, 2}, at::kLong)};
  if (sequences.branches.empty()) return out;
  out.holes = at::zeros({sequences.offsets.back(), 2}, at::kLong);
  auto* hole = out.holes.mutable_data_ptr<int64_t>();
  for (size_t s = 0; s < sequences.branches.size(); ++s) {
    const int64_t length = sequences.offsets[s + 1] - sequences.offsets[s];
    for (const VisibleTokens& token : visible_tokens(length, sequences.branches[s])) {
      *hole++ = token.shared;
      *hole++ = token.begin;
    }
  }
  return out;
}

at::Tensor packed_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const AttentionLayout& layout) {
  const std::vector<int64_t>& offsets = layout.offsets;
  int64_t longest = 0;
  for (size_t s = 1; s < offsets.size(); ++s) {
    longest = std::max(longest, offsets[s] - offsets[s - 1]);
  }
  const bool branched = layout.holes.numel() > 0;
  // LibTorch's blocked kernel knows no holes.
  const bool square = longest <= kLongestSquare || branched;
  if (query.scalar_type() == at::kBFloat16 && square) {
    return AttentionFunction::apply(query.contiguous(), key.contiguous(), value.contiguous(),
                                    layout.holes, at::IntArrayRef(offsets));
  }
  std::vector<at::Tensor> parts;
  const bool blocked = query.scalar_type() == at::kBFloat16;
  for (size_t s = 1; s < offsets.size();) {
    const int64_t length = offsets[s] - offsets[s - 1];
    size_t end = s + 1;  // sequences s .. end - 1 have one length
    while (blocked && end < offsets.size() && offsets[end] - offsets[end - 1] == length) ++end;
    const auto count = static_cast<int64_t>(end - s);
    const auto part = [&](const at::Tensor& x) {
      return x.narrow(0, offsets[s - 1], count * length);
    };
    const auto apart = [&](const at::Tensor& x) {
      return part(x).view({count, length, x.size(1), x.size(2)});
    };
    parts.push_back(blocked ? equal_attention(apart(query), apart(key), apart(value))
                            : plain_attention(part(query), part(key), part(value),
                                              branched ? part(layout.holes) : layout.holes));
    s = end;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

}  // namespace candor
