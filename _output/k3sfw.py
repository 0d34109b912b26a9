"""
The text of any answer of k3sfw, in 80 columns and with colours where the terminal has them.

The runner chooses it by itself. On nodes it is asked for:

.. code-block:: bash

    salt '*' k3sfw.check_ports --out=k3sfw

What is not an answer of k3sfw is shown as Salt's default outputter does.
"""

import sys
from pathlib import Path

import salt.loader

# The loader tells runners and modules where the engine is, and outputters it does not: where Salt
# syncs both, and in a checkout, it lies beside this folder.
_PLACES = [str(Path(__file__).resolve().parents[1] / name) for name in ("utils", "_utils")]
sys.path += [place for place in _PLACES if place not in sys.path and Path(place).is_dir()]

try:
    from k3sfw_engine.fleet.text.render import render as _render
    from k3sfw_engine.fleet.text.style import Style

    _FAILURE = None
except Exception as error:  # Any exception is possible if files are missing or outdated.
    _FAILURE = error

__version__ = "0.3.0.dev0"
__virtualname__ = "k3sfw"


def __virtual__():
    """
    Load if the engine is complete and of the same version.
    """
    engine = sys.modules.get("k3sfw_engine")
    version = getattr(engine, "__version__", None)
    if version not in (None, __version__):
        return (
            False,
            f"k3sfw: this outputter is {__version__} and its engine is {version} "
            f"({engine.__file__}). Fix: run salt-run saltutil.sync_all on the master, and remove "
            "the copy that is not wanted",
        )
    if _FAILURE is None:
        return __virtualname__
    return (
        False,
        f"k3sfw: its engine is not complete here ({_FAILURE}). Fix: run salt-run "
        "saltutil.sync_all on the master",
    )


def output(data, **kwargs):
    """
    Return the text of an answer.

    data
        What a function returned: of the master, or of nodes by their minion ids.

    CLI Example:

    .. code-block:: bash

        salt '*' k3sfw.check_ports --out=k3sfw
    """
    answer = data
    if isinstance(data, dict) and isinstance(data.get("data"), dict) and "retcode" in data:
        answer = data["data"]
    text = _render(answer, Style(color=bool(__opts__.get("color"))))
    if text is None:
        return salt.loader.outputters(__opts__)["nested"](data)
    return text
