"""A guest machine: QEMU with KVM where there is one, a root file system of Debian's packages (tests/guest/image), which
is never written, and a shell on a forwarded port."""
import os
import pathlib
import random
import select
import shutil
import socket
import subprocess
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
IMAGES = TREE / "build/guest"
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_intel", "crc32c_generic", "crc32_pclmul",
           "xxhash_generic", "ext4", "xfs", "btrfs", "overlay", "quota_v2"]


def make_image(name, suite, packages):
    subprocess.run([HERE / "image", name, suite, *packages], check=True)


def free_port():
    """Below the range from which the kernel takes ports of its own."""
    while True:
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", random.randrange(10000, 30000)))
                return one.getsockname()[1]
            except OSError:
                pass


def _module_files(modules):
    """The files of the modules, each behind those that it needs."""
    needs, order = {}, []
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()

    def add(path):
        for other in reversed(needs[path]):
            if other not in order:
                add(other)
        if path not in order:
            order.append(path)

    for name in MODULES:
        for path in needs:
            if pathlib.Path(path).name in (f"{name}.ko", f"{name}.ko.xz"):
                add(path)
    return order


def make_initrd(name, out, payload):
    """What boots the image: busybox, modules, and the payload (path in the guest: file here), copied over the root."""
    tree = pathlib.Path(f"{out}.tree")
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "modules").mkdir(parents=True)
    shutil.copy(IMAGES / f"{name}.busybox", tree / "busybox")
    shutil.copy(HERE / "boot", tree / "init")
    order = []
    for path in _module_files(IMAGES / f"{name}.modules"):
        source, target = IMAGES / f"{name}.modules" / path, pathlib.Path(path).name
        if target.endswith(".xz"):
            target = target[:-3]
            with open(tree / "modules" / target, "wb") as file:
                subprocess.run(["xz", "-dc", source], check=True, stdout=file)
        else:
            shutil.copy(source, tree / "modules" / target)
        order.append(target)
    (tree / "modules/order").write_text("\n".join(order) + "\n")
    for path, source in payload.items():
        target = tree / "payload" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    with open(out, "wb") as file:
        names = subprocess.run(["find", ".", "-print0"], cwd=tree, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree, input=names, stdout=file,
                       check=True)
    shutil.rmtree(tree)


def kvm_works(name, initrd):
    """Whether a stock kernel runs under /dev/kvm: on some hosts that device only takes kernels made for it."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    log = IMAGES / "kvm.log"
    log.write_text("")
    guest = Guest(name, initrd, log, kvm=True, errors=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end and guest.process.poll() is None:
            if "Linux version" in log.read_text(errors="replace"):
                return True
            time.sleep(0.1)
        return False
    finally:
        guest.cut()


class Guest:
    """One machine, from start to cut."""

    def __init__(self, name, initrd, log, ports=(), disks=(), init="/guest/init", kvm=False, state=None, append="",
                 memory="512M", errors=None):
        """ports: those of the guest that can be reached here, at self.ports[port]. disks: QEMU's -drive texts. state: a
        file of `save`, from which it goes on, instead of booting."""
        self.ports = {port: free_port() for port in (9000, *ports)}
        self.name, self.log = name, log
        # Without KVM all takes some twenty times longer, and what the host's other work leaves it is less.
        self.patience = 1 if kvm else 10
        self.monitor_path = f"{log}.monitor"
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in self.ports.items())
        words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-machine", "q35", "-smp", "2" if kvm else "1", "-m", memory,
                 "-kernel", IMAGES / f"{name}.kernel", "-initrd", initrd,
                 "-append", f"console=ttyS0 panic=-1 net.ifnames=0 random.trust_cpu=on mitigations=off "
                            "no_timer_check "  # an emulator on a busy machine is too late for it
                            f"guest_init={init} guest_time={int(time.time())} {append}",
                 "-serial", f"file:{log}", "-monitor", f"unix:{self.monitor_path},server=on,wait=off",
                 "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile=",
                 "-device", "virtio-rng-pci",
                 "-drive", f"file={IMAGES / name}.img,format=raw,if=virtio,readonly=on,cache=unsafe"]
        words += ["-accel", "kvm", "-cpu", "host,arch-capabilities=off"] if kvm else \
            ["-accel", "tcg,thread=multi", "-cpu", "max"]
        for disk in disks:
            words += ["-drive", disk]
        if state is not None:
            words += ["-incoming", f"exec:cat {state}"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=errors)
        if state is not None:
            self.monitor("cont", until="running")

    def monitor(self, command, until=None, seconds=600):
        """Types a command into QEMU's monitor; until: again, until `info status` has the word."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(30)
                    one.connect(self.monitor_path)
                    self._prompt(one)
                    answers = []
                    for line in (command, "info status"):
                        one.sendall(line.encode() + b"\n")
                        answers.append(self._prompt(one))
                    if until is None or f"status: {until}" in answers[1]:
                        return answers[0]
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"the guest's monitor does not take {command}: {self.log} may say why")

    @staticmethod
    def _prompt(one):
        got = b""
        while not got.endswith(b"(qemu) "):
            piece = one.recv(65536)
            if not piece:
                raise OSError("the monitor ended")
            got += piece
        return got.decode(errors="replace")

    def save(self, path):
        """What it is now, memory and devices, goes into a file; it does not go on here."""
        self.monitor("stop", until="paused")
        self.monitor(f'migrate "exec:cat >{path}.new"', until="paused (postmigrate)")
        os.rename(f"{path}.new", path)
        self.cut()

    def run(self, script, seconds=60):
        """Runs a shell script as root: (exit status, what it printed). None, "": the guest does not answer."""
        text = f"(\n{script}\n) 2>&1; s=$?; echo; echo \"status=$s\"; exit\n"
        end = time.monotonic() + seconds * self.patience
        while time.monotonic() < end and self.process.poll() is None:
            answer = self._ask(text, end)
            if answer is not None:
                printed, _, status = answer.rpartition("\nstatus=")
                if status.strip().isdigit():
                    return int(status), printed.rstrip("\n")
            time.sleep(0.05)
        return None, ""

    def _ask(self, text, end):
        """None: nobody was there, and the script did not begin."""
        got = b""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[9000]), timeout=5) as one:
                one.sendall(text.encode())
                while time.monotonic() < end and self.process.poll() is None:
                    if select.select([one], [], [], 0.5)[0]:
                        piece = one.recv(65536)
                        if not piece:
                            break
                        got += piece
        except OSError:
            pass
        return got.decode(errors="replace") if got else None

    def cut(self):
        """As when the power fails; what its disks make of that is theirs."""
        self.process.kill()
        self.process.wait()
