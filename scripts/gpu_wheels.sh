#!/usr/bin/env bash
# Downloads the packages that scripts/gpu_check.sh needs beside PyTorch into gpu_wheels/ (under 60 MB), for Python 3.12
# on Linux x86-64 without a network, in the versions of requirements.lock.
#   scripts/gpu_wheels.sh [NAME ...]    leaves out what the other machine has, such as: scipy scikit-learn
# Never there: torch, torchvision, numpy, pillow and what torch brings (filelock, typing-extensions ...), which a
# machine with PyTorch has; timm, huggingface-hub, gdown and what these need, because the check downloads no weights
# and its models need no timm; grpcio, markdown, werkzeug and the data server, because TensorBoard writes its files
# without them; onnx, jinja2 and matplotlib, because the check exports and draws nothing.
# scipy and scikit-learn are 44 of the 56 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
needed=(open-clip-torch ftfy wcwidth regex tqdm safetensors pyyaml yacs msgspec tabulate tensorboard absl-py protobuf
    packaging scikit-learn scipy joblib cloudpickle narwhals threadpoolctl)
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
pins=()
for name in "${needed[@]}"; do
    [[ " $* " == *" $name "* ]] && continue
    pin=$(grep -oE "^$name==[^ ]+" requirements.lock) || { echo "error: no $name in requirements.lock" >&2; exit 1; }
    pins+=("$pin")
done
platforms=()
for libc in _2_28 _2_27 _2_24 _2_17 2014 1; do platforms+=(--platform "manylinux${libc}_x86_64"); done
rm -rf gpu_wheels
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp "${platforms[@]}" --dest gpu_wheels "${pins[@]}"
du -b gpu_wheels/*.whl | awk '{ sum += $1 } END { printf "gpu_wheels: %d wheels, %.1f MB\n", NR, sum / 1e6 }'
