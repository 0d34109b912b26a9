"""
The whole K3s cluster, seen from the Salt master: before a change and after it.

:depends: netaddr in the Python that runs the master
:platform: a Salt master; the nodes are its minions

The nodes are the accepted minions whose cached grains have ``k3s_role``, and those that pillar
pins, as in the pillar of every node. Each function returns ``{retcode, outputter, data}``, and
``salt-run`` exits with that code.
"""

import sys

# Salt's loader offers every public function of this module, so whatever is imported here has a name
# that begins with an underscore, or is a class.
try:
    from k3sfw_engine.errors import EngineError
    from k3sfw_engine.master.returned import could_not as _could_not

    _FAILURE = None
except Exception as error:  # Any exception is possible if files are missing or outdated.
    _FAILURE = error

__version__ = "0.3.0.dev0"
__virtualname__ = "k3sfw"


def __virtual__():
    """
    Load only on a master, if the engine is complete and of the same version, and the package that
    it imports is installed.
    """
    if globals().get("__opts__", {}).get("__role", "master") != "master":
        return (
            False,
            "k3sfw: its runner needs the keys and the grains cache of a master, and this is a "
            "minion. Fix: run salt-run on the master",
        )
    engine = sys.modules.get("k3sfw_engine")
    version = getattr(engine, "__version__", None)
    # First, because an engine of another version also lacks much of what is imported here.
    if version not in (None, __version__):
        return (
            False,
            f"k3sfw: this runner is {__version__} and its engine is {version} "
            f"({engine.__file__}). Fix: run salt-run saltutil.sync_all on the master, remove the "
            "copy that is not wanted, and restart the master",
        )
    if _FAILURE is None:
        return __virtualname__
    # The package that cannot be imported; any other failure is the engine's.
    package = (isinstance(_FAILURE, ImportError) and _FAILURE.name or "").partition(".")[0]
    if package not in ("", "k3sfw_engine"):
        return (
            False,
            f"k3sfw: the Python package {package} is missing in {sys.executable}. Fix: run "
            f"salt-pip install {package}, or {sys.executable} -m pip install {package}",
        )
    return (
        False,
        f"k3sfw: its engine is not complete on this master ({_FAILURE}). Fix: run salt-run "
        "fileserver.clear_file_list_cache, then salt-run saltutil.sync_all; or install the Python "
        f"package k3sfw into {sys.executable}",
    )


def _answer(verb, *arguments, otherwise=1, **options):
    """
    Call a verb of the master, and return its result or every reason why there is none.

    otherwise
        The return code if the verb could not do its work; 4 if the tables are bad.
    """
    try:
        returned = verb(*arguments, **options)
    except EngineError as error:
        returned = _could_not(error, otherwise)
    return returned.as_dict()
