"""Libraries of this package's extras."""

from importlib.util import find_spec

from senet_lab.errors import UsageError


def require_extra(package: str, extra: str, user: str = "this launcher") -> None:
    """Refuse a launcher or tracker whose library is not installed, without importing it.

    Raises:
        UsageError: names the command that installs it.
    """
    if find_spec(package) is None:
        raise UsageError(f"{user} needs {package}, which is not installed: pip install 'senet-lab[{extra}]'")
