"""A disk that loses its power: an NBD server whose writes stay in a volatile cache until the guest flushes it, as a
disk's do. At the cut of what was not flushed nothing stays, or some writes, also later ones without the earlier, or some
sectors of each.

    disk.py IMAGE SIZE SOCKET SEED

Lines on stdin: `cut` takes nothing more from this moment on, decides, and prints what became of it; `cut flush SECONDS`
does so at the next flush, before it is done, or after so many seconds. `go` then serves the next guest. `new` empties
the disk."""
import mmap
import os
import random
import socket
import struct
import sys
import threading

SECTOR = 512
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FUA = 1
FLAGS = 1 | 4 | 8  # has flags, can flush, can force unit access


class Cut(Exception):
    pass


class Disk:
    def __init__(self, path, size, seed):
        self.random = random.Random(seed)
        self.size = size
        self.images = []
        for name in (path, path + ".cache"):
            with open(name, "wb") as file:
                file.truncate(size)
            with open(name, "r+b") as file:
                self.images.append(mmap.mmap(file.fileno(), size))
        self.paths = (path, path + ".cache")
        self.durable, self.cache = self.images
        self.pending = []  # (offset, bytes) since the last flush, as they came
        self.lock = threading.Lock()
        self.is_cut = False
        self.cut_at_flush = threading.Event()
        self.flushes = self.writes = 0

    def read(self, offset, length):
        with self.lock:
            self._must_have_power()
            return self.cache[offset:offset + length]

    def write(self, offset, data, force):
        with self.lock:
            self._must_have_power()
            self.writes += 1
            self.cache[offset:offset + len(data)] = data
            if force:
                self.durable[offset:offset + len(data)] = data
                # What is older there must not come back over it.
                self.pending = [piece for old in self.pending for piece in without(old, offset, len(data))]
            else:
                self.pending.append((offset, data))

    def flush(self):
        with self.lock:
            self._must_have_power()
            if self.cut_at_flush.is_set() and self.pending:
                self.is_cut = True
                raise Cut
            self.flushes += 1
            for offset, data in self.pending:
                self.durable[offset:offset + len(data)] = data
            self.pending = []

    def _must_have_power(self):
        if self.is_cut:
            raise Cut

    def stop(self):
        with self.lock:
            self.is_cut = True

    def decide(self):
        """What stays of what was not flushed; a line of words about that."""
        how = self.random.choice(["none", "some", "some", "late", "torn", "torn", "all"])
        kept = 0
        for number, (offset, data) in enumerate(self.pending):
            kept += self._keep(how, number, offset, data)
        for offset, data in self.pending:
            self.cache[offset:offset + len(data)] = self.durable[offset:offset + len(data)]
        words = f"how={how} pending={len(self.pending)} kept={kept} writes={self.writes} flushes={self.flushes}"
        self.pending = []
        self.flushes = self.writes = 0
        return words

    def _keep(self, how, number, offset, data):
        """Writes to one place are decided in their order: a newer one never gives way to an older one that follows."""
        whole = {"none": False, "all": True, "some": self.random.random() < 0.5,
                 "late": self.random.random() < 2 * number / len(self.pending) - 0.5, "torn": None}[how]
        if whole is None:
            for at in range(0, len(data), SECTOR):
                if self.random.random() < 0.5:
                    self.durable[offset + at:offset + at + SECTOR] = data[at:at + SECTOR]
            return 1
        if whole:
            self.durable[offset:offset + len(data)] = data
        return whole

    def go(self):
        self.cut_at_flush.clear()
        self.is_cut = False

    def empty(self):
        for image, path in zip(self.images, self.paths):
            os.truncate(path, 0)
            os.truncate(path, self.size)


def without(old, offset, length):
    """What of an older write is outside of a newer one."""
    start, data = old
    if start < offset:
        yield start, data[:offset - start]
    if start + len(data) > offset + length:
        yield max(start, offset + length), data[max(0, offset + length - start):]


# ---- NBD ----

def take(connection, length):
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view)
        if got == 0:
            raise EOFError
        view = view[got:]
    return bytes(data)


def negotiate(connection, size):
    connection.sendall(b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 3))  # fixed newstyle, no zeroes
    take(connection, 4)
    while True:
        _, option, length = struct.unpack(">8sII", take(connection, 16))
        take(connection, length)

        def reply(kind, data=b""):
            connection.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)

        if option in (6, 7):  # info, go
            reply(3, struct.pack(">HQH", 0, size, FLAGS))
            reply(1)
            if option == 7:
                return
        elif option == 2:
            reply(1)
            raise EOFError
        else:
            reply(0x80000001)


def serve(connection, disk):
    negotiate(connection, disk.size)
    while True:
        _, flags, command, handle, offset, length = struct.unpack(">IHHQQI", take(connection, 28))
        answer = b""
        if command == READ:
            answer = disk.read(offset, length)
        elif command == WRITE:
            disk.write(offset, take(connection, length), flags & FUA)
        elif command == FLUSH:
            disk.flush()
        elif command == DISCONNECT:
            return
        connection.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + answer)


def listen(path, disk):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)

    def accept():
        while True:
            connection, _ = listener.accept()
            try:
                serve(connection, disk)
            except Cut:
                disk.cut_at_flush.set()
                connections.append(connection)  # the guest waits for an answer that does not come
            except (EOFError, OSError):
                pass

    connections = []
    threading.Thread(target=accept, daemon=True).start()
    return connections


def main():
    path, size, socket_path, seed = sys.argv[1:]
    disk = Disk(path, int(size), int(seed))
    connections = listen(socket_path, disk)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words == ["cut"]:
            disk.stop()
            print(disk.decide(), flush=True)
        elif words[:2] == ["cut", "flush"]:
            disk.cut_at_flush.set()
            for _ in range(int(words[2]) * 100):
                if disk.is_cut:
                    break
                threading.Event().wait(0.01)
            disk.stop()
            print(disk.decide(), flush=True)
        elif words == ["go"]:
            while connections:
                connections.pop().close()
            disk.go()
            print("ready", flush=True)
        elif words == ["new"]:
            disk.empty()
            print("ready", flush=True)


if __name__ == "__main__":
    main()
