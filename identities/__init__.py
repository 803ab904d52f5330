"""Who one can be: NAME.txt (a prompt) and NAME.yaml (facts), and the code that reads and writes them.

`identities.load("finance-advisor").prompt`; without a folder the ones shipped here are meant. See `files`, `facts` and `sides`.
"""

from identities.facts import LANGS, Facts, IdentityError, Lang, Who, facts_from_dict, read_facts, to_plain, to_yaml
from identities.files import (
    FOLDER,
    NONE,
    OWN,
    Identity,
    check_name,
    create,
    delete,
    facts_path,
    from_line,
    load,
    names,
    own_file,
    rename,
    save,
    save_whole,
    text_path,
    to_line,
    usual_mode,
    with_prompt,
)
from identities.order import natural_key
from identities.sides import DEFAULT_NEW, DEFAULT_OLD

__all__ = [
    "DEFAULT_NEW",
    "DEFAULT_OLD",
    "FOLDER",
    "LANGS",
    "NONE",
    "OWN",
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
    "own_file",
    "read_facts",
    "rename",
    "save",
    "save_whole",
    "text_path",
    "to_line",
    "to_plain",
    "to_yaml",
    "usual_mode",
    "with_prompt",
]
