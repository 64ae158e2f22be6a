"""What Hydra finds by itself: the nodes of this package, stored when Hydra starts.

Installs as `hydra_plugins.dreamer_plugin_nodes`. Hydra imports every module of that namespace at
every start of every program, so this one loads no torch.
"""

from __future__ import annotations

import warnings

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from dreamer_plugin.doors.hydra import store_nodes


class DreamerNodes(SearchPathPlugin):
    """Stores the nodes; leaves the search path as it is."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Store what is not taken; of what is, the program may have no use, so only warn."""
        _, taken = store_nodes()
        if taken:
            message = f"dreamer-plugin leaves alone what exists: {', '.join(taken)}"
            warnings.warn(message, stacklevel=2)
