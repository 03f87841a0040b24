"""A data set is lists of Datum; this module draws the few shots from them."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence


class Datum:
    """One image: path, label, domain and class name, all read-only.

    Raises:
        FileNotFoundError: there is no file at `impath`.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        impath = os.fspath(impath)
        if not os.path.isfile(impath):
            raise FileNotFoundError(f'No image at "{impath}"')
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        return self._impath

    @property
    def label(self) -> int:
        return self._label

    @property
    def domain(self) -> int:
        return self._domain

    @property
    def classname(self) -> str:
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self.impath!r}, label={self.label}, domain={self.domain}, classname={self.classname!r})"


class DatasetBase:
    """Labelled and unlabelled training data, validation data, test data.

    Args:
        train_x: labelled training data; classes are read off it.
        train_u: unlabelled training data, or None.
        val: validation data, or None.
        test: test data.
    """

    dataset_dir = ""  # its folder under DATASET.ROOT
    domains: Sequence[str] = ()  # names of its domains, where it has several

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        if train_x is None or not len(train_x):
            raise ValueError(f"{type(self).__name__}: train_x is empty, so there are no classes")
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self) -> list[Datum]:
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in the order of their labels."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum]) -> int:
        """The highest label + 1."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """The mapping from labels to class names, and the class names in the order of their labels."""
        mapping: dict[int, str] = {}
        for item in data_source:
            known = mapping.setdefault(item.label, item.classname)
            if known != item.classname:
                raise ValueError(f"Label {item.label} has two class names: {known!r} and {item.classname!r}")
        mapping = dict(sorted(mapping.items()))
        return mapping, list(mapping.values())

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        """Raise ValueError for a domain that this data set does not have."""
        self.is_input_domain_valid(source_domains)
        self.is_input_domain_valid(target_domains)

    def is_input_domain_valid(self, input_domains: Sequence[str]) -> None:
        """The same for one list of domains."""
        for domain in input_domains:
            if domain not in self.domains:
                raise ValueError(f"Unknown domain {domain!r}. Known: {', '.join(self.domains)}")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | Sequence[list[Datum]]:
        """Draw `num_shots` images per class from each source, with Python's global `random`.

        Labels take their turn in the order in which they first appear in the source, so that one seed always gives the
        same images.

        Args:
            num_shots: below 1 returns the sources as they are.
            repeat: where a class has fewer images, draw with replacement to fill up; otherwise take all it has.

        Returns:
            a list for one source, a sequence of lists for several.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")

        drawn = []
        for source in data_sources:
            dataset: list[Datum] = []
            for items in self.split_dataset_by_label(source).values():
                if len(items) >= num_shots:
                    dataset += random.sample(items, num_shots)
                else:
                    dataset += random.choices(items, k=num_shots) if repeat else items
            drawn.append(dataset)
        return drawn[0] if len(drawn) == 1 else drawn

    @staticmethod
    def split_dataset_by_label(data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Items by label, labels in the order of first appearance."""
        return _group(data_source, lambda item: item.label)

    @staticmethod
    def split_dataset_by_domain(data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Items by domain, domains in the order of first appearance."""
        return _group(data_source, lambda item: item.domain)


def _group(items: Sequence[Datum], key: Callable[[Datum], Hashable]) -> dict:
    groups: dict[Hashable, list[Datum]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
