#include "study/divergence_spec.h"

#include <algorithm>

namespace candor {

Divergence read_divergence(JsonReader& in) {
  JsonReader fields = in.object("divergence");
  Divergence out;
  const std::vector<std::string>& names = divergence_names();
  const std::string name = fields.choice("name", names);
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) out.kind = static_cast<DivergenceKind>(found - names.begin());
  out.regularization = fields.number("lambda", 0.0);
  if (fields.ok() && !(out.regularization > 0)) {
    fields.fail("lambda", "found 0; expected a number above 0");
  }
  if (out.kind == DivergenceKind::kAlpha) {
    out.alpha = fields.number("alpha");
    if (fields.ok() && (out.alpha == 0 || out.alpha == 1)) {
      fields.fail("alpha",
                  "found the limit that is named reverse_kl (0) or kl (1); expected another "
                  "number");
    }
  } else if (fields.has("alpha")) {
    fields.fail("alpha", "belongs to the divergence \"alpha\" alone");
  }
  in.adopt(fields.finish());
  return out;
}

Json divergence_json(const Divergence& divergence) {
  Json out = {{"name", divergence_name(divergence.kind)}, {"lambda", divergence.regularization}};
  if (divergence.kind == DivergenceKind::kAlpha) out["alpha"] = divergence.alpha;
  return out;
}

}  // namespace candor
