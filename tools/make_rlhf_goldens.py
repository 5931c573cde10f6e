"""Writes tests/golden/rlhf.json and rlhf_*.safetensors (run by `make parity`, after make_training_goldens.py).

Ten steps of RLOO and of PPO on the tiny Llama, full parameters, with fixed replies and scores, two passes over
each step. RLOO's loss is TRL's own code (RLOOTrainer._compute_loss on a stand-in trainer), its
log-probabilities transformers'. TRL 1.16 has no PPO: its loss is written here from the
paper (Schulman et al. 2017; GAE: Schulman et al. 2016) with the whitening and masks of TRL's former PPOTrainer.
"""
import collections
import json
import os
import types

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from trl import RLOOTrainer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden")
STEPS, PROMPTS, GENERATIONS, LONGEST = 10, 4, 2, 6
SETTINGS = {"learning_rate": 2e-3, "kl_coefficient": 0.1, "max_grad_norm": 0.5, "cliprange": 0.05, "num_ppo_epochs": 2,
            "num_generations": GENERATIONS, "per_device_train_batch_size": PROMPTS * GENERATIONS,
            "gradient_accumulation_steps": 1, "lr_scheduler_type": "constant", "total_steps": STEPS, "use_peft": False}
PPO = {"value_coefficient": 0.3, "cliprange_value": 0.1, "gamma": 0.98, "gae_lambda": 0.9, "value_trains_policy": True,
       "value_learning_rate": 2e-3, "whiten_advantages": True}



def fixed_data():
    generator = torch.Generator().manual_seed(23)

    def ids(low, high):
        return torch.randint(1, 100, (int(torch.randint(low, high, (1,), generator=generator)),),
                             generator=generator).tolist()
    prompts = [ids(1, 7) for _ in range(PROMPTS)]
    steps = []
    for _ in range(STEPS):
        replies = [{"prompt": p, "token_ids": ids(1, LONGEST + 1)} for p in range(PROMPTS) for _ in range(GENERATIONS)]
        steps.append({"replies": replies, "scores": torch.rand(len(replies), generator=generator).tolist()})
    return prompts, steps


def tensors_of(prompts, replies):
    """Prompts padded on the left, replies on the right, as TRL's trainers have them."""
    widest = max(len(p) for p in prompts)
    longest = max(len(r["token_ids"]) for r in replies)
    rows = [prompts[r["prompt"]] for r in replies]
    pad = lambda row, width: [0] * (width - len(row))  # noqa: E731
    return {
        "prompt_ids": torch.tensor([pad(p, widest) + p for p in rows]),
        "prompt_mask": torch.tensor([[0] * (widest - len(p)) + [1] * len(p) for p in rows]),
        "completion_ids": torch.tensor([r["token_ids"] + pad(r["token_ids"], longest) for r in replies]),
        "completion_mask": torch.tensor([[1] * len(r["token_ids"]) + [0] * (longest - len(r["token_ids"])) for r in replies]),
    }


def stand_in(model):
    """What RLOOTrainer._compute_loss reads of a trainer."""
    accelerator = types.SimpleNamespace(reduce=lambda x, reduction=None: x, gather=lambda x: x, gather_for_metrics=lambda x: x,)
    trainer = types.SimpleNamespace(
        model=model, temperature=1.0, model_kwarg_keys=set(), accelerator=accelerator, aux_loss_enabled=False,
        epsilon_low=SETTINGS["cliprange"], epsilon_high=SETTINGS["cliprange"],
        _metrics={"train": collections.defaultdict(list), "eval": collections.defaultdict(list)})
    trainer._get_per_token_logps_and_entropies = lambda model, ids, mask, kept, **_: (*scores_of(model, ids, mask, kept), None)
    return trainer


def scores_of(model, ids, mask, kept):
    """Log-probabilities and entropies of the last `kept` tokens, by transformers and log_softmax."""
    rows = model(input_ids=ids, attention_mask=mask).logits[:, -kept - 1:-1].log_softmax(-1)
    return rows.gather(2, ids[:, -kept:].unsqueeze(2)).squeeze(2), -(rows.exp() * rows).sum(-1).detach()


def logprobs_of(model, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    return scores_of(model, ids, mask, batch["completion_ids"].shape[1])[0]


def optimizer_step(optimizer, groups):
    norms = [float(torch.nn.utils.clip_grad_norm_(g, SETTINGS["max_grad_norm"])) for g in groups]
    optimizer.step()
    optimizer.zero_grad()
    return norms[0]


def new_model():
    return LlamaForCausalLM.from_pretrained(os.path.join(GOLDEN, "tiny_llama"), dtype=torch.float32)


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=SETTINGS["learning_rate"], weight_decay=0.0)


def rloo(prompts, steps):
    model, reference = new_model().train(), new_model().eval()
    optimizer = adam(model.parameters())
    logs = []
    for step in steps:
        batch = tensors_of(prompts, step["replies"])
        mask = batch["completion_mask"]
        with torch.no_grad():
            old = logprobs_of(model, batch)
            kl = ((old - logprobs_of(reference, batch)) * mask).sum(1)
        rewards = torch.tensor(step["scores"]) - SETTINGS["kl_coefficient"] * kl
        grouped = rewards.view(-1, GENERATIONS)
        advantages = (grouped - (grouped.sum(1, keepdim=True) - grouped) / (GENERATIONS - 1)).flatten()
        batch.update(advantages=advantages, old_logps=(old * mask).sum(1))
        log = {"kl": float(kl.mean()), "advantages": advantages.tolist(), "loss": 0.0, "grad_norm": 0.0}
        for _ in range(SETTINGS["num_ppo_epochs"]):
            loss = RLOOTrainer._compute_loss(stand_in(model), model, batch)
            loss.backward()
            log["grad_norm"] += optimizer_step(optimizer, [list(model.parameters())]) / SETTINGS["num_ppo_epochs"]
            log["loss"] += float(loss) / SETTINGS["num_ppo_epochs"]
        logs.append(log)
    return logs, {n: p.detach().clone() for n, p in model.named_parameters()}


def masked_mean(values, mask):
    return (values * mask).sum() / mask.sum()


def advantages_of(rewards, values, lengths):
    """GAE, reply by reply, in plain loops."""
    advantages = torch.zeros_like(rewards)
    for row, length in enumerate(lengths):
        carried = 0.0
        for t in reversed(range(length)):
            following = values[row, t + 1] if t + 1 < length else 0.0
            delta = rewards[row, t] + PPO["gamma"] * following - values[row, t]
            carried = delta + PPO["gamma"] * PPO["gae_lambda"] * carried
            advantages[row, t] = carried
    return advantages


def ppo_forward(model, head, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    start = batch["prompt_ids"].shape[1] - 1
    hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, start:-1]
    logprobs = model.lm_head(hidden).log_softmax(-1).gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    return logprobs, head(hidden).squeeze(2)


def ppo(prompts, steps):
    model, reference = new_model().train(), new_model().eval()
    head = torch.nn.Linear(model.config.hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = adam([*model.parameters(), *head.parameters()])
    groups = [list(model.parameters()), list(head.parameters())]
    logs = []
    for step in steps:
        batch = tensors_of(prompts, step["replies"])
        mask = batch["completion_mask"]
        lengths = mask.sum(1).tolist()
        with torch.no_grad():
            old, old_values = ppo_forward(model, head, batch)
            kl = (old - logprobs_of(reference, batch)) * mask
            rewards = -SETTINGS["kl_coefficient"] * kl
            for row, length in enumerate(lengths):
                rewards[row, length - 1] += step["scores"][row]
            raw = advantages_of(rewards, old_values, lengths)
            returns = raw + old_values
            mean = masked_mean(raw, mask)
            variance = masked_mean((raw - mean) ** 2, mask) * mask.sum() / (mask.sum() - 1)
            advantages = (raw - mean) * torch.rsqrt(variance + 1e-8)
        log = {"kl": float(kl.sum(1).mean()), "loss": 0.0, "value_loss": 0.0, "grad_norm": 0.0}
        for _ in range(SETTINGS["num_ppo_epochs"]):
            new, values = ppo_forward(model, head, batch)
            ratio = torch.exp(new - old)
            held = torch.clamp(ratio, 1 - SETTINGS["cliprange"], 1 + SETTINGS["cliprange"])
            policy_loss = masked_mean(torch.maximum(-advantages * ratio, -advantages * held), mask)
            near = torch.clamp(values, old_values - PPO["cliprange_value"], old_values + PPO["cliprange_value"])
            value_loss = 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (near - returns) ** 2), mask)
            (policy_loss + PPO["value_coefficient"] * value_loss).backward()
            log["grad_norm"] += optimizer_step(optimizer, groups) / SETTINGS["num_ppo_epochs"]
            log["loss"] += float(policy_loss) / SETTINGS["num_ppo_epochs"]
            log["value_loss"] += float(value_loss) / SETTINGS["num_ppo_epochs"]
        logs.append(log)
    after = {n: p.detach().clone() for n, p in model.named_parameters()}
    after["v_head.summary.weight"] = head.weight.detach().clone()
    after["v_head.summary.bias"] = head.bias.detach().clone()
    return logs, after


def main():
    torch.set_num_threads(1)
    prompts, steps = fixed_data()
    golden = {"prompts": prompts, "steps": steps, "settings": SETTINGS, "ppo_settings": PPO}
    for name, run in (("rloo", rloo), ("ppo", ppo)):
        golden[name], after = run(prompts, steps)
        save_file({k: v.contiguous() for k, v in after.items()}, os.path.join(GOLDEN, f"rlhf_{name}.safetensors"))
    with open(os.path.join(GOLDEN, "rlhf.json"), "w", encoding="utf-8") as out:
        json.dump(golden, out, separators=(",", ":"))
        out.write("\n")
    print("wrote rlhf.json")


if __name__ == "__main__":
    main()
