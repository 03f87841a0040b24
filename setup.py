from setuptools import find_packages, setup

# These folders lie at the top; there is one import name.
TOP = ("commands", "configs", "datasets", "sweeps", "trainers")
FOLDERS = [f"ccli.{name}" for name in find_packages() if name.split(".")[0] in TOP]

setup(
    name="ccli",
    version="0.1.0",
    description="Cross-Modal Concept Learning and Inference for Vision-Language Models, as a Dassl trainer",
    license="MIT",
    python_requires=">=3.11",
    packages=[*FOLDERS, *(name for name in find_packages() if name.split(".")[0] == "ccli")],
    package_dir={name: name.removeprefix("ccli.").replace(".", "/") for name in FOLDERS},
    package_data={
        "ccli.concepts": ["vocabulary.txt"],
        "ccli.clip": ["imagenet80.txt"],
        "ccli.clip.demo_clip": ["open_clip_config.json", "open_clip_model.safetensors"],
        "ccli.pages.report": ["page.html.jinja", "page.css", "page.js"],
        "ccli.pages.concepts": ["page.html.jinja", "page.css", "bars.js", "page.js"],
        "ccli.datasets.downloads": ["sources.yaml"],
        "ccli.configs": ["datasets/*.yaml", "trainers/*/*.yaml"],
    },
    install_requires=[
        *("numpy>=1.26", "torch>=2.6", "open_clip_torch>=3.0", "safetensors>=0.4", "filelock>=3.12", "PyYAML>=6"),
        *("pillow>=10", "scikit-learn>=1.6", "threadpoolctl>=3", "scipy>=1.10", "tabulate>=0.9", "tqdm>=4.66"),
        *("yacs>=0.1.8", "gdown>=6.5", "msgspec>=0.19"),
    ],
    entry_points={"console_scripts": ["ccli = ccli.cli:main"]},
    extras_require={
        "ray": ["ray>=2.52"],  # sweeps on a cluster; older ones have no token that keeps strangers out
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],  # ccli export
        "report": ["matplotlib>=3.8", "jinja2>=3.1"],  # ccli report
        "test": [
            "pytest>=8",
            "pytest-xdist==3.8.0",
            "ruff>=0.6",
            "ray==2.60.0",
            "scikit-image==0.26.0",
            "hypothesis==6.170.17",
            "import-linter==2.17",
        ],
    },
)
