"""Parameter groups, and the optimizers and schedules that torch lacks."""

from senet_lab.optim.groups import parameter_groups
from senet_lab.optim.lion import Lion
from senet_lab.optim.muon import Muon
from senet_lab.optim.schedules import Cosine, Linear

__all__ = ["Cosine", "Linear", "Lion", "Muon", "parameter_groups"]
