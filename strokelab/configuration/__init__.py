"""Settings: composed, checked, bound to the facts of the data, and built from an allow-list.

The only room that knows Hydra, but for the launchers of sweeps. Knows no run folders and no training.
"""

from strokelab.configuration.allowlist import check_buildable
from strokelab.configuration.arguments import check_arguments
from strokelab.configuration.building import build, build_model, build_untrusted
from strokelab.configuration.composition import (
    Settings,
    check_keys,
    compose,
    conf_folder,
    door,
    plain,
)
from strokelab.configuration.fit import check_fit, check_loss
from strokelab.configuration.late_facts import bind
from strokelab.configuration.overriding import check_choices, override
from strokelab.configuration.suggestions import exit_with_suggestions

# Parts of a saved config that rebuilding a trained model needs; the rest is read as plain data.
REBUILT = ("model", "view", "postprocess")

__all__ = [
    "REBUILT",
    "Settings",
    "bind",
    "build",
    "build_model",
    "build_untrusted",
    "check_arguments",
    "check_buildable",
    "check_choices",
    "check_fit",
    "check_keys",
    "check_loss",
    "compose",
    "conf_folder",
    "door",
    "exit_with_suggestions",
    "override",
    "plain",
]
