"""Who may come in: a file of names, roles and argon2 hashes, looked after with `python -m ui.accounts add NAME --role ROLE`.

The program reads the file again when it has changed: who is removed, or gets another role, is so at once.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError
from store import StoreError
from store.names import person

ROLES = ("viewer", "labeler", "researcher")  # each may do what those before it may
FILE = Path(__file__).parent.parent / "runs" / "accounts.json"
PASSWORD = "MIRROR_PASSWORD"  # the environment variable that a password is taken from instead of being asked for
SHORTEST, LONGEST = 8, 256  # characters of a password (NIST SP 800-63B: 8 at least); hashing has no bound of its own
LARGEST = 1_000_000  # bytes of the file
_hasher = PasswordHasher()  # its defaults are RFC 9106's: argon2id, 64 MiB, about 0.1 s
_hashing = threading.Lock()  # one at a time: so guesses cost one core and 64 MiB, however many come at once


class AccountError(UserError):
    """Something a person can put right; its text is one sentence for that person."""


class Account(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    role: Literal["viewer", "labeler", "researcher"]
    hash: Annotated[str, Field(pattern=r"^\$argon2id?\$", max_length=500)]


class Accounts:
    """Names and what each may do: those of a file, and those given on the command line."""

    def __init__(self, file: str | Path | None = None, once: Mapping[str, str] | None = None):
        """once: name -> password of people who may do everything for as long as the program runs. AccountError."""
        self.file = Path(file) if file else None
        self.once = {name: Account(role="researcher", hash=hash_password(password)) for name, password in (once or {}).items()}
        self.seen: tuple[int, ...] | None = None
        self.read: dict[str, Account] = {}
        self.lock = threading.Lock()  # guards `seen` and `read`, which belong together
        if self.file:
            self.read, self.seen = read(self.file), stamp(self.file)
            if both := sorted(set(self.read) & set(self.once)):
                raise AccountError(f"--auth names {both[0]}, who has an account in {self.file}; leave one of them out.")

    def get(self, name: str) -> Account | None:
        return self.once.get(name) or self._of_file().get(name)

    def role(self, name: str) -> str | None:
        known = self.get(name)
        return known and known.role

    def verify(self, name: str, password: str) -> Account | None:
        """The account if the password is its own. An unknown name takes as long as a wrong password."""
        known = self.get(name)
        if len(password) > LONGEST:
            return None
        try:
            with _hashing:
                _hasher.verify(known.hash if known else _nobodys(), password)
        except (VerificationError, InvalidHashError):
            return None
        return known

    def _of_file(self) -> dict[str, Account]:
        if self.file is None:
            return {}
        with self.lock:
            now = stamp(self.file)
            if now != self.seen:
                try:
                    self.read = read(self.file)
                except AccountError as error:
                    print(error, file=sys.stderr)
                    self.read = {}  # nobody, rather than whoever it was before
                self.seen = now
            return self.read


def _nobodys() -> str:
    global _nobody
    _nobody = _nobody or _hasher.hash(os.urandom(16))
    return _nobody


_nobody = ""


def hash_password(password: str) -> str:
    with _hashing:
        return _hasher.hash(password)


def stamp(file: Path) -> tuple[int, ...]:
    """Differs when the file does; the file that is not there has one, too."""
    try:
        about = file.stat()
    except OSError:
        return ()
    return (about.st_mtime_ns, about.st_size, about.st_ino)


def read(file: Path) -> dict[str, Account]:
    """The accounts of a file by name. AccountError if it is not there or is not one."""
    try:
        if not file.is_file():
            raise AccountError(f"There is no file of accounts {file}; make one with: python -m ui.accounts add NAME --role ROLE.")
        with file.open("rb") as opened:
            text = opened.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise AccountError(f"{file} is too large for a file of accounts.")
        plain = json.loads(text)
        if not isinstance(plain, dict) or not isinstance(plain.get("accounts"), dict):
            raise AccountError(f'{file} is no file of accounts; it holds {{"accounts": {{NAME: {{"role": ..., "hash": ...}}}}}}.')
        return {check_name(name): Account.model_validate(one) for name, one in plain["accounts"].items()}
    except OSError as error:
        raise AccountError(f"{file} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "entry"
        raise AccountError(f"{file}: an account's {where} is wrong: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise AccountError(f"{file} is no file of accounts ({error}).") from error


def write(file: Path, accounts: Mapping[str, Account]) -> None:
    """The whole file or the one before; readable by its owner alone."""
    plain = {"accounts": {name: account.model_dump() for name, account in sorted(accounts.items())}}
    handle, beside = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(plain, out, ensure_ascii=False, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, file)
    except BaseException:
        os.unlink(beside)
        raise


@contextmanager
def open_to_change(file: Path) -> Iterator[dict[str, Account]]:
    """The accounts to change; written when the block ends well. Two commands at once wait for each other."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file.with_name(f".{file.name}.lock"), "a") as lock:
            try:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            except ImportError:  # not on Windows, where nobody runs two of these at once
                pass
            accounts = read(file) if file.exists() else {}
            yield accounts
            write(file, accounts)
    except OSError as error:
        raise AccountError(f"{file} cannot be written ({error.strerror}); nothing was changed.") from error


def check_name(name: str) -> str:
    """The name as it is kept beside labels and decisions: one spelling for what looks alike."""
    try:
        plain = person(name)
    except StoreError as error:
        raise AccountError(str(error)) from None
    if not plain:
        raise AccountError("An account needs a name.")
    return plain


def check_password(password: str, whose: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise AccountError(f"The password of {whose} has {len(password)} characters; it takes {SHORTEST} to {LONGEST}.")
    return password


def ask_password(whose: str, *, twice: bool = False) -> str:
    """From the environment variable, else from whoever sits at the terminal. AccountError if there is neither."""
    if given := os.environ.get(PASSWORD):
        return given
    if not sys.stdin.isatty():
        raise AccountError(f"{whose} has no password: set {PASSWORD}, or start this in a terminal to be asked for it.")
    password = getpass.getpass(f"Password of {whose}: ")
    if twice and getpass.getpass("Once more: ") != password:
        raise AccountError("The two passwords differ; nothing was changed.")
    return password


def add(file: Path, name: str, role: str, password: str) -> None:
    name = check_name(name)
    with open_to_change(file) as accounts:
        if same := next((known for known in accounts if known.casefold() == name.casefold()), None):
            raise AccountError(f"There is an account {same} already; change it with: python -m ui.accounts password {same}.")
        accounts[name] = Account(role=role, hash=hash_password(check_password(password, name)))


def change(file: Path, name: str, *, role: str | None = None, password: str | None = None) -> None:
    with open_to_change(file) as accounts:
        known = _known(accounts, name)
        new = {"role": role} if role else {}
        if password is not None:
            new["hash"] = hash_password(check_password(password, name))
        accounts[name] = known.model_copy(update=new)


def remove(file: Path, name: str) -> None:
    with open_to_change(file) as accounts:
        _known(accounts, name)
        del accounts[name]


def _known(accounts: Mapping[str, Account], name: str) -> Account:
    if name not in accounts:
        raise AccountError(f"There is no account {name}; there are: {', '.join(sorted(accounts)) or 'none'}.")
    return accounts[name]


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ui.accounts", description="Who may use the page, and for what.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--accounts", type=Path, default=FILE, metavar="FILE", help="default: runs/accounts.json")
    doing = parser.add_subparsers(dest="doing", required=True, metavar="add|list|role|password|remove")
    roles = "viewers see and chat, labelers label too, researchers do everything"
    adding = doing.add_parser("add", parents=[common], help="a new account; its password is asked for, or " + PASSWORD)
    adding.add_argument("name")
    adding.add_argument("--role", choices=ROLES, required=True, help=roles)
    doing.add_parser("list", parents=[common], help="every account and its role")
    turning = doing.add_parser("role", parents=[common], help="another role")
    turning.add_argument("name")
    turning.add_argument("role", choices=ROLES)
    for command, help in (("password", "another password"), ("remove", "takes the account away; who is logged in is out")):
        doing.add_parser(command, parents=[common], help=help).add_argument("name")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = flags().parse_args(arguments)
    try:
        if args.doing == "list":
            for name, account in sorted(read(args.accounts).items()):
                print(f"{account.role:<11} {name}")
        elif args.doing == "add":
            add(args.accounts, args.name, args.role, ask_password(args.name, twice=True))
            print(f"{args.name} is a {args.role} in {args.accounts}")
        elif args.doing == "password":
            change(args.accounts, args.name, password=ask_password(args.name, twice=True))
        elif args.doing == "role":
            change(args.accounts, args.name, role=args.role)
        else:
            remove(args.accounts, args.name)
    except AccountError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nNothing was changed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
