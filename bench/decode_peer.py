"""The peer of bench/decode.py: llama.cpp through llama-cpp-python, run by the peer's own Python.

    decode_peer.py convert IN.gguf OUT.gguf BF16|F16     the same weights, de-quantised
    decode_peer.py serve MODEL.gguf THREADS              work from standard input, as bench/decode.cc takes it

No sampling and no softmax: tokens are random, only llama_decode with its logits is timed.
"""
import json
import random
import sys
import time


def convert(source, target, kind):
    import gguf
    from gguf.quants import dequantize, quantize
    reader = gguf.GGUFReader(source)
    wanted = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values.astype("float32"))
        else:
            writer.add_tensor(tensor.name, quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Peer:
    def __init__(self, path, threads):
        import llama_cpp
        self.lib, self.threads = llama_cpp, threads
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def context(self, tokens, sequences):
        options = self.lib.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = tokens, 512, 512
        options.n_seq_max = sequences
        options.n_threads = options.n_threads_batch = self.threads
        return self.lib.llama_init_from_model(self.model, options)

    def run(self, context, rows):
        """rows: (token, position, sequence, wants logits), at most 512."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, logits) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, logits
        if self.lib.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.lib.llama_get_logits(context)  # waits

    def decode(self, sequences, prompt, new):
        draw = random.Random(1)
        self.batch = self.lib.llama_batch_init(512, 0, 1)
        context = self.context(sequences * (prompt + new), sequences)
        rows = [(draw.randrange(self.vocabulary), t, s, t == prompt - 1) for s in range(sequences) for t in range(prompt)]
        begin = time.perf_counter()
        for first in range(0, len(rows), 512):
            self.run(context, rows[first:first + 512])
        prefill = time.perf_counter()
        for step in range(new - 1):
            self.run(context, [(draw.randrange(self.vocabulary), prompt + step, s, True) for s in range(sequences)])
        end = time.perf_counter()
        self.lib.llama_free(context)
        return {"tokens_per_second": sequences * (new - 1) / (end - prefill), "with_prefill_tokens_per_second": sequences * new / (end - begin)}

    def score(self, sequences, tokens):
        draw = random.Random(1)
        self.batch = self.lib.llama_batch_init(512, 0, 1)
        together = max(1, 512 // (tokens - 1))
        context = self.context(together * tokens, together)
        begin = time.perf_counter()
        for first in range(0, sequences, together):
            self.lib.llama_memory_clear(self.lib.llama_get_memory(context), False)
            some = range(min(together, sequences - first))
            self.run(context, [(draw.randrange(self.vocabulary), t, s, True) for s in some for t in range(tokens - 1)])
        end = time.perf_counter()
        self.lib.llama_free(context)
        return {"tokens_per_second": sequences * (tokens - 1) / (end - begin)}


def serve(path, threads):
    peer = Peer(path, threads)
    print(json.dumps({"work": "load", "llama_cpp_python": peer.lib.__version__, "system": peer.lib.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        work, *numbers = line.split()
        result = {"decode": peer.decode, "score": peer.score}[work](*map(int, numbers))
        print(json.dumps({"work": work, **result}), flush=True)


if sys.argv[1] == "convert":
    convert(*sys.argv[2:5])
else:
    serve(sys.argv[2], int(sys.argv[3]))
