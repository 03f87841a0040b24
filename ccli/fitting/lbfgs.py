"""torch's L-BFGS without its import of torch's compiler, which is slower than most fits."""

import inspect

import torch


class LBFGS(torch.optim.LBFGS):
    """torch's, without the decorator of one method, which imports the compiler."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
