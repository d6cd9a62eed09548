"""A login manager on a bus of the test's own, as far as sleep goes, over another implementation of D-Bus (jeepney).

    python logind.py ADDRESS

Says "ready"; "inhibit WHAT WHO WHY MODE" when somebody wants to hold sleep up. Understands on standard input:

- "impostor": somebody else on the bus says to those who hold it up that the computer is going to sleep;
- "awake": says that it has woken up, which is no reason to do anything;
- "sleep PID": says that it is going to sleep, waits until the last who held it up has let go, and says "released" with the state of that
  process at this moment as /proc has it, or "gone".
"""

import os
import select
import sys

from jeepney import DBusAddress, HeaderFields, MessageType, message_bus, new_method_return, new_signal
from jeepney.io.blocking import Proxy, open_dbus_connection

NAME = "org.freedesktop.login1"
MANAGER = DBusAddress("/org/freedesktop/login1", bus_name=NAME, interface=NAME + ".Manager")

bus = open_dbus_connection(sys.argv[1], enable_fds=True)
Proxy(message_bus, bus).RequestName(NAME)
impostor = open_dbus_connection(sys.argv[1])
held = []
holders = []


def say(*words):
    print(*words, flush=True)


def is_gone(file):
    """Whether whoever had the other end has closed it."""
    return bool(select.select([file], [], [], 0)[0])


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return "gone"


def called(message):
    fields = message.header.fields
    if message.header.message_type is not MessageType.method_call or fields.get(HeaderFields.member) != "Inhibit":
        return
    ours, theirs = os.pipe()
    bus.send(new_method_return(message, "h", (theirs,)))
    os.close(theirs)
    held.append(ours)
    holders.append(fields[HeaderFields.sender])
    say("inhibit", *message.body)


def told(order, *rest):
    if order == "impostor":
        for holder in holders:
            signal = new_signal(MANAGER, "PrepareForSleep", "b", (True,))
            signal.header.fields[HeaderFields.destination] = holder
            impostor.send(signal)
        say("done")
    elif order == "awake":
        bus.send(new_signal(MANAGER, "PrepareForSleep", "b", (False,)))
        say("done")
    elif order == "sleep":
        early = is_gone(held[-1])
        bus.send(new_signal(MANAGER, "PrepareForSleep", "b", (True,)))
        select.select([held[-1]], [], [], 60)
        say("early" if early else "released", state(rest[0]))


say("ready")
while True:
    try:
        called(bus.receive(timeout=0.05))
    except TimeoutError:
        pass
    if select.select([sys.stdin], [], [], 0)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        told(*line.split())
