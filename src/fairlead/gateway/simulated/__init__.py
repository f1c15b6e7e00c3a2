"""The simulated upstream: a model server without a model, honest about it in every answer.

`SimulatedServer` serves it inside the running event loop; `fairlead upstream` runs it alone.
"""

from fairlead.gateway.simulated.options import ERROR_STATUSES, SimulatedOptions
from fairlead.gateway.simulated.script import Script, load_script
from fairlead.gateway.simulated.server import SimulatedServer
from fairlead.gateway.simulated.statistics import Statistics

__all__ = [
    "ERROR_STATUSES",
    "Script",
    "SimulatedOptions",
    "SimulatedServer",
    "Statistics",
    "load_script",
]
