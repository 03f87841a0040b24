"""From a data set to loaders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from dassl.utils import read_image

from .datasets import build_dataset
from .samplers import build_sampler
from .transforms import build_plain_transform, build_transform


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Any] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Callable | Sequence[Callable] | None = None,
    is_train: bool = True,
    dataset_wrapper: type[Dataset] | None = None,
) -> DataLoader:
    """A loader of batches with img, label, domain, impath and index.

    In training the last partial batch is dropped where there is at least one whole one, so a training loader does not
    show every image in every epoch.
    """
    if not _any(data_source):
        raise ValueError("Cannot make a loader of no images")
    wrapper = dataset_wrapper or DatasetWrapper
    return DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )


def _any(source: Sequence[Any] | None) -> bool:
    """Whether there are items; an array of them has no truth value."""
    return source is not None and len(source) > 0


class DatasetWrapper(Dataset):
    """Reads and transforms images.

    Args:
        data_source: items with impath, label and domain.
        transform: one transform, which makes `img`; or a sequence, which makes `img`, `img2`, ...; or None, which
            hands out the PIL image. In training each is applied DATALOADER.K_TRANSFORMS times (a list where above 1).
    """

    def __init__(
        self,
        cfg: CfgNode,
        data_source: Sequence[Any],
        transform: Callable | Sequence[Callable] | None = None,
        is_train: bool = False,
    ) -> None:
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(f"DATALOADER.K_TRANSFORMS {self.k_tfm} needs a transform")
        # without augmentation, for img0; subclasses use it as well
        self.to_tensor = build_plain_transform(cfg)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        img0 = read_image(item.impath)
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        if self.transform is None:
            output["img"] = img0
        elif isinstance(self.transform, (list, tuple)):
            for i, tfm in enumerate(self.transform):
                output["img" if i == 0 else f"img{i + 1}"] = self._transform_image(tfm, img0)
        else:
            output["img"] = self._transform_image(self.transform, img0)
        if self.return_img0:
            output["img0"] = self.to_tensor(img0)
        return output

    def _transform_image(self, tfm: Callable, img0: Any) -> Any:
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if len(views) == 1 else views


class DataManager:
    """The data set that the configuration names, and its loaders.

    Args:
        custom_tfm_train, custom_tfm_test: used instead of those that INPUT.TRANSFORMS describes.
        dataset_wrapper: used instead of DatasetWrapper.
    """

    def __init__(
        self,
        cfg: CfgNode,
        custom_tfm_train: Callable | Sequence[Callable] | None = None,
        custom_tfm_test: Callable | Sequence[Callable] | None = None,
        dataset_wrapper: type[Dataset] | None = None,
    ) -> None:
        self.dataset = dataset = build_dataset(cfg)
        tfm_train = custom_tfm_train or build_transform(cfg, is_train=True)
        tfm_test = custom_tfm_test or build_transform(cfg, is_train=False)

        def train_loader(source: Sequence[Any], loader_cfg: CfgNode) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=loader_cfg.SAMPLER,
                data_source=source,
                batch_size=loader_cfg.BATCH_SIZE,
                n_domain=loader_cfg.N_DOMAIN,
                n_ins=loader_cfg.N_INS,
                tfm=tfm_train,
                is_train=True,
                dataset_wrapper=dataset_wrapper,
            )

        def test_loader(source: Sequence[Any]) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=cfg.DATALOADER.TEST.SAMPLER,
                data_source=source,
                batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
                tfm=tfm_test,
                is_train=False,
                dataset_wrapper=dataset_wrapper,
            )

        x_cfg = cfg.DATALOADER.TRAIN_X
        u_cfg = x_cfg if cfg.DATALOADER.TRAIN_U.SAME_AS_X else cfg.DATALOADER.TRAIN_U
        self.train_loader_x = train_loader(dataset.train_x, x_cfg)
        self.train_loader_u = train_loader(dataset.train_u, u_cfg) if _any(dataset.train_u) else None
        self.val_loader = test_loader(dataset.val) if _any(dataset.val) else None
        self.test_loader = test_loader(dataset.test)

        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def num_source_domains(self) -> int:
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print names and numbers, one per line."""
        rows = [("Dataset", cfg.DATASET.NAME)]
        if cfg.DATASET.SOURCE_DOMAINS:
            rows.append(("Source", ", ".join(cfg.DATASET.SOURCE_DOMAINS)))
        if cfg.DATASET.TARGET_DOMAINS:
            rows.append(("Target", ", ".join(cfg.DATASET.TARGET_DOMAINS)))
        rows.append(("# classes", f"{self.num_classes:,}"))
        for name in ("train_x", "train_u", "val", "test"):
            source = getattr(self.dataset, name)
            if _any(source):
                rows.append((f"# {name}", f"{len(source):,}"))
        rule = "-" * 9 + "  " + "-" * max(len(value) for _, value in rows)
        print("\n".join([rule, *(f"{name:<9}  {value}" for name, value in rows), rule]))
