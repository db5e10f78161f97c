"""A ticket service in Python, without an SDK: what `wit/` says, as componentize-py gives it to a program.

Nothing here is about snapshots: the server images the memory of the interpreter, and these variables are in it.
"""

from componentize_py_types import Err
from wit_world.imports.types import CommandSpec, Description, Kind, Token, Token_Array, Token_Integer

# The whole state.
last = 0


def ticket(args: list[bytes]) -> list[Token]:
    global last
    last += 1
    return [Token_Integer(last)]


def last_tickets(args: list[bytes]) -> list[Token]:
    wanted = args[0] if args else b"1"
    count = int(wanted) if wanted.isdigit() and len(wanted) <= 4 else 0
    if not 1 <= count <= 1000:
        raise Err("expected a number from 1 to 1000")
    tickets = range(last, max(last - count, 0), -1)
    return [Token_Array(len(tickets)), *map(Token_Integer, tickets)]


def command(name: str, kind: Kind, arity: int, summary: str) -> CommandSpec:
    return CommandSpec(name=name, kind=kind, arity=arity, summary=summary, group="", arguments=[])


COMMANDS = [
    (command("TICKET", Kind.WRITE, 1, "Returns a new ticket, greater than every ticket before"), ticket),
    (command("LAST", Kind.READ, -1, "LAST [count]: returns the last tickets, the newest first"), last_tickets),
]


class Handler:
    """The interface `uhaha:machine/handler`, found by its name."""

    def describe(self) -> Description:
        specs = [spec for spec, _ in COMMANDS]
        return Description(name="ticket-python", version="0.1.0", commands=specs, state_version=0)

    def handle(self, command: int, args: list[bytes]) -> list[Token]:
        _, run = COMMANDS[command]
        return run(args)
