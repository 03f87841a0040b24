"""Images of a colour, in a folder per class; splits in a json file, few-shot draws in pickles."""

import json
import math
import os
import pickle
import random

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import listdir_nohidden, mkdir_if_missing, read_json, write_json

PARTS = ("train", "val", "test")


@DATASET_REGISTRY.register()
class Shades(DatasetBase):
    dataset_dir = "shades"

    def __init__(self, cfg):
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
        self.dataset_dir = os.path.join(root, self.dataset_dir)
        self.image_dir = os.path.join(self.dataset_dir, "images")
        self.split_path = os.path.join(self.dataset_dir, "split_shades.json")
        self.split_fewshot_dir = os.path.join(self.dataset_dir, "split_fewshot")
        mkdir_if_missing(self.split_fewshot_dir)
        if not os.path.exists(self.split_path):
            write_json(self.split(), self.split_path)
        parts = {
            part: [Datum(os.path.join(self.image_dir, path), label, classname=name) for path, label, name in rows]
            for part, rows in read_json(self.split_path).items()
        }
        if cfg.DATASET.NUM_SHOTS >= 1:
            parts.update(self.few_shot(parts, cfg.DATASET.NUM_SHOTS, cfg.SEED))
        print("train_x:", json.dumps([os.path.basename(item.impath) for item in parts["train"]]))
        train, val, test = (subsample(parts[part], parts["test"], cfg.DATASET.SUBSAMPLE_CLASSES) for part in PARTS)
        super().__init__(train_x=train, val=val, test=test)

    def split(self):
        """Of each class, half to train on, a quarter to validate, a quarter to test."""
        split = {part: [] for part in PARTS}
        for label, name in enumerate(sorted(listdir_nohidden(self.image_dir))):
            files = listdir_nohidden(os.path.join(self.image_dir, name), sort=True)
            random.shuffle(files)
            ends = (0, len(files) // 2, 3 * len(files) // 4, len(files))
            for part, start, end in zip(PARTS, ends, ends[1:]):
                split[part] += [(f"{name}/{file}", label, name) for file in files[start:end]]
        return split

    def few_shot(self, parts, shots, seed):
        path = os.path.join(self.split_fewshot_dir, f"shot_{shots}-seed_{seed}.pkl")
        if os.path.exists(path):
            print(f"Loading few-shot data from {path}")
            with open(path, "rb") as file:
                return pickle.load(file)
        drawn = {
            "train": self.generate_fewshot_dataset(parts["train"], num_shots=shots),
            "val": self.generate_fewshot_dataset(parts["val"], num_shots=min(shots, 4)),
        }
        print(f"Saving few-shot data to {path}")
        with open(path, "wb") as file:
            pickle.dump(drawn, file, protocol=pickle.HIGHEST_PROTOCOL)
        return drawn


def subsample(items, of_all, which):
    """The items whose class is in the first or second half of the classes, with labels from 0."""
    assert which in ("all", "base", "new")
    labels = sorted({item.label for item in of_all})
    half = math.ceil(len(labels) / 2)
    kept = {"all": labels, "base": labels[:half], "new": labels[half:]}[which]
    return [
        Datum(impath=item.impath, label=kept.index(item.label), classname=item.classname)
        for item in items
        if item.label in kept
    ]
