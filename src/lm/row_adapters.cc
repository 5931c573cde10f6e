#include "lm/row_adapters.h"

#include <algorithm>

#include "lm/decoder_weights.h"

namespace candor {

namespace {

constexpr int64_t kGroup = 16;  // ranks of one adapter that share a coefficient

// A module's rows among the outputs of the product it belongs to.
struct Placement {
  LinearModule module;
  int64_t first = 0;
  bool interleaved = false;  // as gate and up rows are
  [[nodiscard]] int64_t output(int64_t row) const {
    return first + (interleaved ? gate_row(row) : row);
  }
};

// One adapter's factors for one module, and where its ranks begin.
struct Share {
  const Placement* placement;
  const LoraAdapter* adapter;
  const LoraFactors* factors;
  int32_t adapter_index;
  int64_t first_rank;
};

int64_t padded(int64_t rank) { return (rank + kGroup - 1) / kGroup * kGroup; }

std::vector<Share> shares_of(const std::vector<Placement>& placements,
                             std::span<const LoraAdapter> adapters, int64_t layer) {
  std::vector<Share> out;
  int64_t rank = 0;
  for (const Placement& placement : placements) {
    const std::string name = layer_name(layer, placement.module.name);
    for (size_t i = 0; i < adapters.size(); ++i) {
      const auto found = adapters[i].modules.find(name);
      if (found == adapters[i].modules.end()) continue;
      out.push_back({&placement, &adapters[i], &found->second, static_cast<int32_t>(i), rank});
      rank += padded(adapters[i].rank);
    }
  }
  return out;
}

// B as [N, R] row-major with zeros where a module's outputs do not meet a share's ranks.
void fill_b(const Share& share, int64_t rank, std::vector<float>& b,
            std::vector<RowRange>& ranks_of_block) {
  const int64_t own = share.adapter->rank;
  for (int64_t row = 0; row < share.factors->outputs; ++row) {
    const int64_t output = share.placement->output(row);
    std::copy_n(share.factors->b.begin() + row * own, own,
                b.begin() + output * rank + share.first_rank);
    RowRange& range = ranks_of_block[static_cast<size_t>(output / PackedMatrix::kColumns)];
    const int64_t end = share.first_rank + padded(own);
    range = range.count() == 0
                ? RowRange{share.first_rank, end}
                : RowRange{std::min(range.begin, share.first_rank), std::max(range.end, end)};
  }
}

LowRankProduct pack_product(const std::vector<Share>& shares, int64_t outputs, Dtype dtype) {
  LowRankProduct out;
  if (shares.empty()) return out;
  const int64_t rank = shares.back().first_rank + padded(shares.back().adapter->rank);
  const int64_t inputs = shares[0].factors->inputs;
  out.a = PackedMatrix(rank, inputs, dtype);
  std::vector<float> b(static_cast<size_t>(outputs * rank));
  out.ranks_of_block.resize(
      static_cast<size_t>((outputs + PackedMatrix::kColumns - 1) / PackedMatrix::kColumns));
  for (const Share& share : shares) {
    out.a.set_rows(share.first_rank, share.factors->a);
    fill_b(share, rank, b, out.ranks_of_block);
    for (int64_t group = 0; group < padded(share.adapter->rank) / kGroup; ++group) {
      out.adapter_of_group.push_back(share.adapter_index);
      out.scale_of_group.push_back(static_cast<float>(share.adapter->scale));
    }
  }
  out.b = PackedMatrix(b, outputs, rank, dtype);
  return out;
}

}  // namespace

Result<RowAdapters> pack_row_adapters(const DecoderConfig& config,
                                      std::span<const LoraAdapter> adapters, Dtype dtype,
                                      int threads) {
  for (const LoraAdapter& adapter : adapters) {
    CANDOR_RETURN_IF_ERROR(check_adapter(config, adapter));
  }
  const std::vector<LinearModule> modules = linear_modules(config);
  const int64_t queries = modules[0].outputs;
  const int64_t keys = modules[1].outputs;
  const std::vector<Placement> qkv = {
      {modules[0], 0}, {modules[1], queries}, {modules[2], queries + keys}};
  const std::vector<Placement> attention_output = {{modules[3], 0}};
  const std::vector<Placement> gate_up = {{modules[4], gate_row(0), true},
                                          {modules[5], up_row(0), true}};
  const std::vector<Placement> down = {{modules[6], 0}};
  RowAdapters out{.count = static_cast<int64_t>(adapters.size()), .layers = {}};
  out.layers.resize(static_cast<size_t>(config.layer_count));
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t index = 0; index < config.layer_count; ++index) {
    LayerAdapters& layer = out.layers[static_cast<size_t>(index)];
    const auto pack = [&](const std::vector<Placement>& placements, int64_t outputs) {
      return pack_product(shares_of(placements, adapters, index), outputs, dtype);
    };
    layer.query_key_value = pack(qkv, queries + 2 * keys);
    layer.attention_output = pack(attention_output, config.width);
    layer.gate_up = pack(gate_up, gate_up_outputs(config.ffn_width));
    layer.down = pack(down, config.width);
  }
  for (const LayerAdapters& layer : out.layers) {
    for (const LowRankProduct* product :
         {&layer.query_key_value, &layer.attention_output, &layer.gate_up, &layer.down}) {
      out.largest_rank = std::max(out.largest_rank, product->rank());
    }
  }
  return out;
}

}  // namespace candor
