"""Who one can be: NAME.txt (a prompt) and NAME.yaml (facts), and the code that reads and writes them.

`identities.load("finance-advisor").prompt`; without a folder the ones shipped here are meant. See `files`, `facts` and `sides`.
"""

from identities.facts import LANGS, Facts, IdentityError, Lang, Who, facts_from_dict, read_facts
from identities.files import (
    FOLDER,
    NONE,
    Identity,
    check_name,
    create,
    delete,
    facts_path,
    from_line,
    load,
    names,
    rename,
    save,
    to_line,
)
from identities.order import natural_key
from identities.sides import DEFAULT_NEW, DEFAULT_OLD

__all__ = [
    "DEFAULT_NEW",
    "DEFAULT_OLD",
    "FOLDER",
    "LANGS",
    "NONE",
    "Facts",
    "Identity",
    "IdentityError",
    "Lang",
    "Who",
    "check_name",
    "create",
    "delete",
    "facts_from_dict",
    "facts_path",
    "from_line",
    "load",
    "names",
    "natural_key",
    "read_facts",
    "rename",
    "save",
    "to_line",
]
