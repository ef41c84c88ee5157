"""A worker without a gateway: it does what the file ``behaviour`` in its folder says, and writes down what it is told.

python fake_worker.py FOLDER --as-worker=NUMBER,LISTENER,LINK
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

LONG_SECONDS = 60
ENDS = {"fails": 3, "crashes": 4, "dies when asked": 5}  # exit codes
SAYS = {"drains": "drain", "goes": "leaving", "collects": "collect"}  # as soon as it is ready


class FakeWorker:
    def __init__(self, folder, option):
        self._folder = Path(folder)
        self._behaviour = (self._folder / "behaviour").read_text()
        self._number, _, link = map(int, option.removeprefix("--as-worker=").split(","))
        self._parent = socket.socket(fileno=link)

    def run(self):
        signal.signal(signal.SIGTERM, self.on_signal)
        self.note("starts")
        if self._behaviour == "fails":
            sys.exit(ENDS["fails"])
        if self._behaviour == "hangs":
            time.sleep(LONG_SECONDS)
        self.say("ready")
        if self._behaviour == "crashes":
            sys.exit(ENDS["crashes"])
        if self._behaviour == "freezes":
            time.sleep(LONG_SECONDS)
        if self._behaviour in SAYS:
            self.say(SAYS[self._behaviour], id=7, accept="text")
        if self._behaviour == "stays":
            self._parent.settimeout(0.02)
        self.listen()

    def listen(self):
        lines = b""
        while True:
            try:
                received = self._parent.recv(65_536)
            except TimeoutError:
                self.say("alive")
                continue
            if not received:
                sys.exit()
            *whole, lines = (lines + received).split(b"\n")
            for line in whole:
                self.hear(json.loads(line))

    def hear(self, message):
        match message["say"]:
            case "end":
                self.note("ends")
                sys.exit()
            case "collect" if self._behaviour == "dies when asked":
                sys.exit(ENDS["dies when asked"])
            case "collect":
                self.say("collected", id=message["id"], text=f"{message['accept']} of {self._number}")
            case "collected":
                self.note(f"collected_{message['id']}_{'+'.join(message['texts']).replace(' ', '_')}")

    def on_signal(self, *_):
        if self._behaviour == "stays":
            self.note("stays")
        else:
            self.note("leaves")
            os._exit(0)

    def say(self, kind, **fields):
        self._parent.sendall(json.dumps({"say": kind, **fields}).encode() + b"\n")

    def note(self, what):
        with (self._folder / "notes").open("a") as file:
            file.write(f"{self._number} {what} {os.getpid()}\n")


FakeWorker(*sys.argv[1:]).run()
