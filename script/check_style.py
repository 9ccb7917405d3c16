#!/usr/bin/env python3
"""Fails on what no compiler finds and no reviewer should have to: see docs/style notes in ARCHITECTURE.md.

    check_style.py [repository root]
"""

import pathlib
import re
import subprocess
import sys

# (what is banned, where it is allowed, why)
BANNED = [
    (r"\bstd::(jthread|thread)\b", ("src/runtime/", "test/", "bench/"), "threads belong to runtime/"),
    (r"\bsystem_clock\b|\bsteady_clock\b", ("src/runtime/", "src/base/time", "test/", "bench/"), "time comes from a Loop"),
    (r"\bclock_gettime\b|\bgettimeofday\b", ("src/runtime/", "test/", "bench/"), "time comes from a Loop"),
    (r"\bstd::(mt19937|random_device|rand)\b|\bgetrandom\b", ("src/runtime/", "test/", "bench/"), "chance comes from a Random"),
    (r"\bepoll_(wait|ctl|create)", ("src/runtime/", "bench/"), "sockets belong to runtime/"),
    (r"\b(TODO|FIXME|XXX)\b", (), "finish it, or open an issue and name it"),
    (r"using namespace std\b", (), "name what is used"),
    (r"\bthrow\b(?! by)", ("src/app/", "test/", "bench/"), "return a Result"),
    (r"(?<![\w])assert\(", (), "use MERIDIAN_ASSERT"),
]

SIZE_MAX = 700  # Lines of a source file. Split at about 500.
COLUMNS_MAX = 100


def strip_comments(line: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def check_source(root: pathlib.Path, path: pathlib.Path) -> list[str]:
    name = path.relative_to(root).as_posix()
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) > SIZE_MAX:
        found.append(f"{name}: {len(lines)} lines; split it (at most {SIZE_MAX})")
    if path.suffix == ".h":
        if not lines or lines[0] != "#pragma once":
            found.append(f"{name}:1: a header begins with #pragma once")
        elif len(lines) < 2 or not lines[1].startswith("//"):
            found.append(f"{name}:2: the line after #pragma once says what this is")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            found.append(f"{name}:{number}: {len(line)} columns; at most {COLUMNS_MAX}")
        code = strip_comments(line)
        for pattern, allowed, why in BANNED:
            text = line if "TODO" in pattern else code
            if re.search(pattern, text) and not name.startswith(allowed or ("\0",)):
                found.append(f"{name}:{number}: {re.search(pattern, text).group(0)!r}: {why}")
    return found


def check_folders(root: pathlib.Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: no folder of that name; name the thing instead"
        for path in (root / "src").rglob("*")
        if path.is_dir() and path.name in ("utils", "util", "common", "misc", "helpers")
    ]


def check_scripts(root: pathlib.Path) -> list[str]:
    """What is executable says how it is run."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "script", ".ci"], capture_output=True, text=True, check=False
    ).stdout.split()
    found = []
    for name in listed:
        path = root / name
        if path.suffix == "" and path.is_file() and not path.stat().st_mode & 0o100:
            found.append(f"{name}: not executable")
    return found


def check_security(root: pathlib.Path) -> list[str]:
    """Every test that docs/security.md names is there."""
    tests = set()
    for folder in ("src", "test"):
        for path in (root / folder).rglob("*.cc"):
            for suite, name in re.findall(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", path.read_text(encoding="utf-8"), re.M):
                tests |= {f"{suite}.{name}", f"{suite}.*"}
    words = set()
    for path in (root / "test").rglob("*.py"):
        words |= set(re.findall(r"^\s*(?:class|def) (\w+)", path.read_text(encoding="utf-8"), re.M))
        words.add(path.name)
    found = []
    suite = ""
    page = root / "docs/security.md"
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for text in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"[A-Z]\w+\.([A-Z]\w+|\*)", text):
                suite = text.split(".")[0]
                there = text in tests
            elif re.fullmatch(r"\.[A-Z]\w+", text):
                there = suite + text in tests
            elif re.fullmatch(r"test_\w+|\w+_test\.py|[A-Z]\w+Test(\.test_\w+)?", text):
                there = f"{text}.*" in tests or all(word in words for word in ([text] if text.endswith(".py") else text.split(".")))
            elif re.fullmatch(r"(postgres|redis|nats)/\w+\.txt", text):
                there = (root / "test/transcripts" / text).exists()
            elif text.endswith((".cc", ".h")) and "*" not in text:
                there = (root / "src" / text).exists()
            else:
                continue
            if not there:
                found.append(f"docs/security.md:{number}: {text} is not there")
    return found


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]).resolve()
    found = check_folders(root) + check_scripts(root) + check_security(root)
    for folder in ("src", "test", "bench"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc") and path.is_file():
                found += check_source(root, path)
    print("\n".join(found) if found else "style: ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
