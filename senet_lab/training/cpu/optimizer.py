"""Adam without layout copies."""

from typing import Any

import torch
from torch import Tensor


class FastAdam(torch.optim.Adam):
    """Adam that passes channels_last tensors to the fused kernel in memory order.

    The kernel copies non-contiguous tensors back and forth: the weights of convolutions, their gradients and
    both moments.
    """

    def _init_group(self, group: dict[str, Any], params: list[Tensor], *lists: list[Tensor]) -> bool:
        """Collect the group's tensors: parameters, gradients, moments, and the steps, which are scalars."""
        has_complex = super()._init_group(group, params, *lists)
        turned = [
            i
            for i, parameter in enumerate(params)
            if parameter.is_contiguous(memory_format=torch.channels_last) and not parameter.is_contiguous()
        ]
        for tensors in (params, *lists[:-1]):
            for i in turned if tensors else ():
                tensors[i] = tensors[i].detach().permute(0, 2, 3, 1)
        return has_complex

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load moments in the layout of their weights: the kernel assumes equal layouts."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for key, value in state.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    state[key] = torch.empty_like(parameter).copy_(value)
