"""Orders in which a loader goes through a data set."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from dassl.utils import check_availability


class _BalancedSampler(Sampler[int]):
    """Batches with as many images of each group (a domain or a class).

    One pass may come out shorter than another, depending on which groups are drawn. The length of an epoch is that of
    the first pass; a shorter one is followed by another, so that `len()` is always what an epoch gives.
    """

    def __init__(self, groups: Sequence[Any], groups_per_batch: int, group_size: int) -> None:
        self._members: dict[Any, list[int]] = {}
        for index, group in enumerate(groups):
            self._members.setdefault(group, []).append(index)
        if groups_per_batch > len(self._members):
            raise ValueError(f"A batch needs {groups_per_batch} groups, the data set has {len(self._members)}")
        self.groups_per_batch = groups_per_batch
        self.group_size = group_size
        self.length = len(self._one_pass())

    def _one_pass(self) -> list[int]:
        raise NotImplementedError

    def _chunks(self) -> dict[Any, list[list[int]]]:
        """Each group's members, shuffled and cut into chunks of `group_size`; a rest is left out."""
        chunks = {}
        for group, members in self._members.items():
            shuffled = random.sample(members, len(members))
            ends = range(self.group_size, len(shuffled) + 1, self.group_size)
            chunks[group] = [shuffled[end - self.group_size : end] for end in ends]
        return chunks

    def __iter__(self) -> Iterator[int]:
        order: list[int] = []
        while len(order) < self.length:
            order += self._one_pass()
        return iter(order[: self.length])

    def __len__(self) -> int:
        return self.length


class _DomainSampler(_BalancedSampler):
    """A pass ends as soon as one domain cannot fill its part of a batch."""

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_domain: int) -> None:
        domains = [item.domain for item in data_source]
        n_domain = n_domain if n_domain and n_domain > 0 else len(set(domains))
        if batch_size % n_domain:
            raise ValueError(f"Batch size {batch_size} is not a multiple of the {n_domain} domains in a batch")
        super().__init__(domains, n_domain, batch_size // n_domain)
        if self.length == 0:
            raise ValueError(f"A domain has fewer than the {self.group_size} images that it gives to a batch")

    def _choose(self, domains: list[Any]) -> list[Any]:
        raise NotImplementedError

    def _one_pass(self) -> list[int]:
        chunks = self._chunks()
        order: list[int] = []
        while all(chunks.values()):
            for domain in self._choose(list(chunks)):
                order += chunks[domain].pop()
        return order


class RandomDomainSampler(_DomainSampler):
    """Batches of `n_domain` domains drawn at random (0 or less: all), with as many images of each."""

    def _choose(self, domains: list[Any]) -> list[Any]:
        return random.sample(domains, self.groups_per_batch)


class SeqDomainSampler(_DomainSampler):
    """Batches with as many images of every domain, domains in ascending order."""

    def __init__(self, data_source: Sequence[Any], batch_size: int) -> None:
        super().__init__(data_source, batch_size, 0)

    def _choose(self, domains: list[Any]) -> list[Any]:
        return sorted(domains)


class RandomClassSampler(_BalancedSampler):
    """Batches of batch_size // n_ins classes drawn at random, `n_ins` images of each.

    A class with fewer images gives some of them several times. A pass ends when fewer classes are left than a batch
    needs.
    """

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_ins: int) -> None:
        if batch_size < n_ins:
            raise ValueError(f"Batch size {batch_size} is smaller than the {n_ins} images per class (N_INS)")
        super().__init__([item.label for item in data_source], batch_size // n_ins, n_ins)

    def _one_pass(self) -> list[int]:
        chunks = self._chunks()
        for label, members in self._members.items():
            if not chunks[label]:
                chunks[label] = [random.choices(members, k=self.group_size)]
        order: list[int] = []
        while len(chunks) >= self.groups_per_batch:
            for label in random.sample(list(chunks), self.groups_per_batch):
                order += chunks[label].pop()
                if not chunks[label]:
                    del chunks[label]
        return order


_SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "RandomSampler": lambda source, batch_size, n_domain, n_ins: RandomSampler(source),
    "SequentialSampler": lambda source, batch_size, n_domain, n_ins: SequentialSampler(source),
    "RandomDomainSampler": lambda source, batch_size, n_domain, n_ins: RandomDomainSampler(
        source, batch_size, n_domain
    ),
    "SeqDomainSampler": lambda source, batch_size, n_domain, n_ins: SeqDomainSampler(source, batch_size),
    "RandomClassSampler": lambda source, batch_size, n_domain, n_ins: RandomClassSampler(source, batch_size, n_ins),
}


def build_sampler(
    sampler_type: str,
    cfg: Any = None,
    data_source: Sequence[Any] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler:
    """Build the sampler of that name.

    Args:
        cfg: not used; upstream's callers pass it.
        data_source: items with `label` and `domain`.
        batch_size: of the loader; balanced samplers fill batches of this size.
        n_domain: domains per batch, for RandomDomainSampler.
        n_ins: images per class in a batch, for RandomClassSampler.
    """
    check_availability(sampler_type, _SAMPLERS)
    return _SAMPLERS[sampler_type](data_source, batch_size, n_domain, n_ins)
