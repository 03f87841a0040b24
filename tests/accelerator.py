"""A pretend accelerator: its tensors compute on the CPU, and are as far from the CPU's as a GPU's are.

As on CUDA, an operation that is given tensors of both is refused, unless those of the CPU are scalars or indices, and
numpy reads none of them. Whatever would have the program wait for a GPU is counted. The device is torch's "lazy", for
which no build of torch has kernels, so that a tensor that is made on it by other means is an error, too.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("lazy", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten
# their result's size, or Python's next step, depends on the numbers
WAITING = {
    aten._local_scalar_dense, aten.bincount, aten.equal, aten.masked_select, aten.nonzero, aten._unique2,
    aten.unique_consecutive, aten.unique_dim,
}  # fmt: skip
FROM_LISTS = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)  # they make a tensor without asking a mode


class Far(torch.Tensor):
    """A tensor of the pretend accelerator, with its numbers in `held`, a tensor of the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        facts = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, layout=held.layout, **facts)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return Accelerator.current.run(func, args, kwargs or {})

    def tolist(self):  # this and the next torch has for its own class alone
        return self.cpu().tolist()

    def numpy(self, **_):
        raise TypeError("can't convert a pretend accelerator's tensor to numpy; use Tensor.cpu()")

    def __reduce_ex__(self, protocol):
        Accelerator.current.pickled += 1
        return self.held.__reduce_ex__(protocol)

    def __repr__(self):
        return f"Far({self.held!r})"


class Accelerator(TorchDispatchMode):
    """While it is entered, DEVICE is a device.

    waits: how often the program would have waited for a GPU, by operation; pickled: how many tensors were pickled.
    """

    current: "Accelerator"

    def __init__(self):
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.pickled, self._lists = 0, _FromLists()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch need not import its compiler

    def __enter__(self):
        Accelerator.current = self
        self._lists.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._lists.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args, kwargs):
        tensors = _tensors([*args, *kwargs.values()])
        far = any(isinstance(x, Far) for x in tensors)
        device = kwargs.get("device")
        lands = device.type == DEVICE.type if device is not None else far
        if not far and not lands:
            return func(*args, **kwargs)
        kind = func.overloadpacket
        if far and kind is not aten.copy_:
            self._refuse_two_devices(kind, args, tensors)
        if kind in WAITING or (kind is aten.index and _by_mask(args)):
            self.waits[str(kind)] += 1
        between = len({isinstance(x, Far) for x in tensors}) == 2 if kind is aten.copy_ else lands != far
        if between and kind in (aten.copy_, aten._to_copy) and not (kwargs.get("non_blocking") or args[2:] == (True,)):
            self.waits["copy between devices" if lands else "copy to the CPU"] += 1
        near = _near(kwargs | ({} if device is None else {"device": CPU}))
        found = func(*_near(args), **near)
        given = {id(x.held): x for x in tensors if isinstance(x, Far)}  # what is changed in place is returned itself
        return _mapped(lambda x: given[id(x)] if id(x) in given else Far(x), found) if lands else found

    @staticmethod
    def _refuse_two_devices(kind, args, tensors) -> None:
        if kind in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
            tensors = [args[0], *args[2:3]] if isinstance(args[0], Far) else tensors
        tensors = [x for x in tensors if isinstance(x, torch.Tensor)]
        if any(not isinstance(x, Far) and x.dim() > 0 for x in tensors):
            found = [f"{tuple(x.shape)} on {x.device}" for x in tensors]
            raise RuntimeError(f"{kind}: tensors of two devices, {', '.join(found)}")


class _FromLists(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.__getitem__ and isinstance(args[0], Far) and isinstance(args[1], list):
            args = args[0], torch.tensor(args[1]).to(DEVICE)
        if func not in FROM_LISTS:
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        if func is torch.Tensor.new_tensor:
            like, *args = args
            func, device = torch.tensor, device or like.device
            kwargs.setdefault("dtype", like.dtype)
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


def _by_mask(args) -> bool:
    return any(x is not None and (x.dtype == torch.bool or not isinstance(x, Far)) for x in args[1])


def _tensors(x) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [one for part in x for one in _tensors(part)] if isinstance(x, list | tuple) else []


def _mapped(change: Callable, x):
    if isinstance(x, torch.Tensor):
        return change(x)
    if isinstance(x, dict):
        return {name: _mapped(change, part) for name, part in x.items()}
    return type(x)(_mapped(change, part) for part in x) if isinstance(x, list | tuple) else x


def _near(x):
    return _mapped(lambda one: one.held if isinstance(one, Far) else one, x)
