#pragma once

#include <cstdint>

namespace candor {

// The loops of a training step that LibTorch has no single pass for. bf16 numbers are their bits
// (uint16_t); all sums are f32 in a fixed order. Threads: none of their own.

struct RmsShape {
  int64_t width = 0;
  double epsilon = 0;
};
// out = x * scale * weight with scale = 1 / sqrt(mean(x^2) + epsilon), which is kept per row.
void rms_rows(const float* x, const float* weight, const RmsShape& shape, int64_t rows,
              uint16_t* out, float* scales);
struct RmsGradient {
  const float* x;
  const float* weight;
  const float* scales;
  const uint16_t* dy;
};
// dx [rows, width]; dweight [width] is added to, unless it is null.
void rms_rows_backward(const RmsGradient& in, int64_t width, int64_t rows, float* dx,
                       float* dweight);

// out = silu(gate) * up.
void silu_values(const uint16_t* gate, const uint16_t* up, int64_t count, uint16_t* out);
struct SiluGradient {
  const uint16_t* gate;
  const uint16_t* up;
  const uint16_t* dy;
};
void silu_values_backward(const SiluGradient& in, int64_t count, uint16_t* dgate, uint16_t* dup);

// Rotates one head [width] by the angles of its position, backwards with direction -1.
void rotate_head(const uint16_t* x, const float* cosines, const float* sines, int64_t width,
                 float direction, uint16_t* out);

// Element e of a dropout mask depends on word e % 4 of philox(stream, step, place, e / 4; seed):
// below the threshold it is 0, else `kept`.
struct DropoutRule {
  uint32_t stream = 0;
  uint32_t step = 0;
  uint32_t place = 0;
  uint64_t seed = 0;
  uint32_t threshold = 0;
  float kept = 1;
};
constexpr int64_t kDropoutPiece = 64;
// Elements kDropoutPiece * piece and on.
void dropout_piece(const DropoutRule& rule, uint32_t piece, float* mask);

struct AdamRates {
  float keep = 1;  // 1 - lr * weight_decay
  float step = 0;  // lr / (1 - b1^t)
  float root = 1;  // sqrt(1 - b2^t)
  float beta1 = 0, beta2 = 0, epsilon = 0;
};
// One AdamW step of parameters p with gradients g and moments m and v.
void adam_values(float* p, const float* g, float* m, float* v, int64_t count,
                 const AdamRates& rates);

// A row of attention scores [count] of which the first `visible` count.
struct AttentionRow {
  int64_t visible = 0;
  int64_t count = 0;
  float scale = 1;
};
// The scores become softmax(scale * scores), zero beyond `visible`. Result: log sum exp.
[[nodiscard]] float softmax_row(float* scores, const AttentionRow& row);
// From the scores, their log sum and d, the gradient of the softmax: the scores become the softmax
// and d the gradient of the scores.
void softmax_row_backward(float* scores, const AttentionRow& row, float log_sum, float* d);

struct RowScore {
  float log_sum = 0;  // log sum exp(logits * inverse_temperature)
  float logprob = 0;
  float entropy = 0;
  float correct = 0;
};
[[nodiscard]] RowScore score_row(const uint16_t* logits, int64_t count, int32_t target,
                                 float inverse_temperature);
struct RowGradient {
  int32_t target = 0;
  float log_sum = 0;
  float gradient = 0;  // of the row's log-probability
  float inverse_temperature = 1;
};
// The logits become gradient * (1[v = target] - softmax_v) * inverse_temperature.
void score_row_backward(uint16_t* logits, int64_t count, const RowGradient& row);

}  // namespace candor
