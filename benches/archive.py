"""Runs the measurements of `benches/archive.sh` and prints them as Markdown. Standard library and the peers only."""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

PASSWORD = "benchmark"
ROUNDS_OF_DERIVATION = 10_000_000
ONE_CORE = ["taskset", "-c", "0"] if shutil.which("taskset") else []

# In a process of its own: its memory and its processor time are its own, too.
EXTRACT = """
import sys
from iphone_backup_decrypt import EncryptedBackup
backup = EncryptedBackup(backup_directory=sys.argv[1], passphrase=sys.argv[2])
print(backup.extract_files(relative_paths_like="%", domain_like="%", output_folder=sys.argv[3],
                           preserve_folders=True, domain_subfolders=True))
"""
HASHLIB = """
import hashlib, time
start = time.process_time()
first = hashlib.pbkdf2_hmac("sha256", b"0000", b"\\3" * 20, ROUNDS, 32)
hashlib.pbkdf2_hmac("sha1", first, b"\\2" * 20, 10000, 32)
print(time.process_time() - start)
"""
PYCRYPTODOME = """
import time
from Crypto.Hash import SHA1, SHA256
from Crypto.Protocol.KDF import PBKDF2
start = time.process_time()
first = PBKDF2(b"0000", b"\\3" * 20, 32, ROUNDS, hmac_hash_module=SHA256)
PBKDF2(first, b"\\2" * 20, 32, 10000, hmac_hash_module=SHA1)
print(time.process_time() - start)
"""


def run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, options):
        self.options = options
        self.files = {}
        self.ours = options.ours
        self.samples = {}

    def record(self, name, value):
        if value is not None:
            self.samples.setdefault(name, []).append(float(value))

    def median(self, name):
        found = self.samples.get(name)
        return statistics.median(found) if found else None

    def measure(self, *arguments, one_core=True):
        return json.loads(run(*(ONE_CORE if one_core else []), self.ours, *arguments))

    # -- what is measured on

    def kept(self, name, *make):
        """A folder of the cache, made once: what was cut off half way has no note and is made again."""
        folder = self.options.cache / name
        note = folder.with_suffix(".made")
        if not note.exists() or note.read_text() != " ".join(make):
            say(f"making {name}")
            shutil.rmtree(folder, ignore_errors=True)
            self.measure(make[0], folder, *make[1:], one_core=False)
            note.write_text(" ".join(make))
        return folder

    def backup(self):
        large, size, small, mean = (4, 50_000_000, 10_000, 20_000) if self.options.quick else (20, 100_000_000, 100_000, 20_000)
        name = "backup-quick" if self.options.quick else "backup"
        return self.kept(name, "build", str(large), str(size), str(small), str(mean))

    def index(self):
        rows = 130_000 if self.options.quick else 1_300_000
        return self.kept("index-quick" if self.options.quick else "index", "index", str(rows))

    # -- the rounds

    def extract(self, backup, plain):
        """Each program writes the same files to the same disk; what is written is not waited for, by none of them."""
        out = self.options.cache / "out"
        python = sys.executable
        peers = {
            "extract: cabled": lambda: self.measure("extract", backup, out, one_core=False),
            "extract: crabapple": lambda: run(self.options.crabapple, backup, PASSWORD, out),
            "extract: iphone_backup_decrypt": lambda: run(python, "-c", EXTRACT, backup, PASSWORD, out),
            "extract: cp -r": lambda: run("cp", "-r", plain, out),
        }
        for name, extract in peers.items():
            shutil.rmtree(out, ignore_errors=True)
            warm(backup if "cp" not in name else plain)
            os.sync()
            start = time.perf_counter()
            result = extract()
            self.record(name, time.perf_counter() - start)
            if name == "extract: cabled":
                self.record("extract: memory", result["peak"])
            files = sum(len(files) for _, _, files in os.walk(out))
            self.files.setdefault(name, files)
        shutil.rmtree(out, ignore_errors=True)

    def decrypt(self):
        self.record("decrypt: cabled", self.measure("decrypt", str(64 << 20))["bytes_per_second"])
        text = run(*ONE_CORE, "openssl", "speed", "-seconds", "1", "-evp", "aes-256-cbc", "-decrypt")
        line = next(line for line in text.splitlines() if line.startswith("AES-256-CBC"))
        rates = [float(word.rstrip("k")) * 1000 for word in line.split()[1:]]
        self.record("decrypt: openssl, 16 KiB", rates[-1])
        self.record("decrypt: openssl, best size", max(rates))

    def derive(self):
        rounds = ROUNDS_OF_DERIVATION // (10 if self.options.quick else 1)
        self.record("derive: cabled", self.measure("derive", rounds)["seconds"])
        self.record("derive: bare loop of SHA instructions", self.measure("bare", rounds)["seconds"])
        for name, code in [("derive: OpenSSL through hashlib", HASHLIB), ("derive: pycryptodome", PYCRYPTODOME)]:
            self.record(name, run(*ONE_CORE, sys.executable, "-c", code.replace("ROUNDS", str(rounds))))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        salt = "03" * 20
        run(*ONE_CORE, "openssl", "kdf", "-keylen", "32", "-kdfopt", "digest:SHA256", "-kdfopt", "pass:0000", "-kdfopt",
            f"hexsalt:{salt}", "-kdfopt", f"iter:{rounds}", "PBKDF2")
        self.record("derive: openssl kdf", resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)

    def rows(self, index):
        listed = self.measure("list", index)
        scanned = self.measure("scan", index)
        self.record("rows: cabled", listed["seconds"])
        self.record("rows: bare SQLite scan", scanned["seconds"])
        self.record("rows: memory", listed["peak"])
        found = self.measure("lookup", index)
        self.record("lookup: median", found["median_ms"] / 1e3)
        self.record("lookup: slowest of 10,000", found["slowest_ms"] / 1e3)

    # -- the results

    def report(self):
        median = self.median
        others = [median(name) for name in self.samples if name.startswith("derive: ") and name != "derive: cabled"]
        fastest = min(others, default=None)

        def share(of, by):
            return of / by if of and by else None

        def mebibytes(name):
            return max(self.samples[name]) / 2**20 if name in self.samples else None

        cabled = median("extract: cabled")
        # What, found, how it compares, wanted.
        results = [
            ("extraction, times as fast as iphone_backup_decrypt", share(median("extract: iphone_backup_decrypt"), cabled), ">=", 10),
            ("extraction, times as fast as crabapple", share(median("extract: crabapple"), cabled), ">=", 10),
            ("extraction, share of the speed of cp -r", share(median("extract: cp -r"), cabled), ">=", 0.6),
            ("extraction, resident memory in MiB", mebibytes("extract: memory"), "<", 96),
            ("decryption, share of openssl speed (16 KiB)", share(median("decrypt: cabled"), median("decrypt: openssl, 16 KiB")), ">=", 0.8),
            ("derivation, times the time of the fastest other", share(median("derive: cabled"), fastest), "<=", 1.1),
            ("listing, times the time of the bare scan", share(median("rows: cabled"), median("rows: bare SQLite scan")), "<=", 3),
            ("listing, resident memory in MiB", mebibytes("rows: memory"), "<", 128),
            ("lookup by path, median in ms", share(median("lookup: median"), 1e-3), "<", 1),
        ]
        print("| measured | median | lowest | highest |\n|---|---|---|---|")
        for name, values in self.samples.items():
            show = bytes_text if "memory" in name else rate_text if name.startswith("decrypt") else time_text
            print(f"| {name} | {show(median(name))} | {show(min(values))} | {show(max(values))} |")
        print("\n| target | wanted | found | |\n|---|---|---|---|")
        failed = 0
        for name, found, relation, wanted in results:
            if found is None:
                continue
            met = {">=": found >= wanted, "<=": found <= wanted, "<": found < wanted}[relation]
            failed += not met
            print(f"| {name} | {relation} {wanted} | {found:.3g} | {'met' if met else 'missed'} |")
        print(f"\n{self.options.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; "
              "files written: " + ", ".join(f"{name[9:]} {count}" for name, count in self.files.items()) + ".")
        return failed


def warm(folder):
    """Every program finds its input in memory."""
    files = subprocess.Popen(["find", folder, "-type", "f", "-print0"], stdout=subprocess.PIPE)
    subprocess.run(["xargs", "-0", "cat"], stdin=files.stdout, stdout=subprocess.DEVNULL, check=True)
    files.wait()


def time_text(seconds):
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1e3:.3f} ms"


def rate_text(rate):
    return f"{rate / 1e9:.2f} GB/s"


def bytes_text(count):
    return f"{count / 2**20:.1f} MiB"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--ours", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--crabapple", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, two rounds")
    parser.add_argument("--rounds", type=int, help="how many rounds; default 5, with --quick 2")
    parser.add_argument("--only", choices=["extract", "decrypt", "derive", "rows"], action="append", help="just these")
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    wanted = options.only or ["extract", "decrypt", "derive", "rows"]
    bench = Bench(options)
    plain = None
    if "extract" in wanted:
        backup = bench.backup()
        plain = options.cache / "plain"
        shutil.rmtree(plain, ignore_errors=True)
        bench.measure("extract", backup, plain, one_core=False)
        (plain / "manifest.jsonl").unlink()
    index = bench.index() if "rows" in wanted else None
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for name in wanted:
            start = time.perf_counter()
            {"extract": lambda: bench.extract(backup, plain), "decrypt": bench.decrypt, "derive": bench.derive,
             "rows": lambda: bench.rows(index)}[name]()
            say(f"  {name}: {time.perf_counter() - start:.0f} s")
    if plain:
        shutil.rmtree(plain, ignore_errors=True)
    failed = bench.report()
    sys.exit(1 if failed and options.check else 0)


main()
