#!/usr/bin/env bash
# Make .venv ready: the locked packages, the checkout on the path, a .venv/bin/batchwright.
#
# Run by `make` before everything else; when nothing changed it takes a few milliseconds and is silent.
# Needs Python 3.11 or newer and pip (or uv), nothing more: Debian's Python has no ensurepip, so the
# environment is made without pip and filled from outside. Every package is a wheel whose hash stands in
# requirements.lock. The checkout itself is put on the path by a .pth file: an editable install would
# fetch a build backend that no hash covers.
#
# PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
lock=$root/requirements.lock
stamp=$venv/.installed  # the lock that was installed, and the place it was installed in

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_new_enough "$name"; then
            command -v "$name"
            return
        fi
        [ "$name" != "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
    done
    fail "Python 3.11 or newer is needed, and none was found (looked for python3, python3.11 to python3.14)." \
        "Install one, or name it: make PYTHON=/path/to/python3.12 run"
}

is_ready() {
    [ -x "$venv/bin/python" ] && [ -x "$venv/bin/batchwright" ] && [ -f "$stamp" ] &&
        { printf '%s\n' "$root"; cat "$lock"; } | cmp -s - "$stamp" &&
        "$venv/bin/python" -c '' 2>/dev/null
}

# shellcheck source=scripts/install.sh
source "$root/scripts/install.sh"

put_checkout_on_path() {
    local site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root" >"$site/batchwright-checkout.pth"
    local quoted=${venv//\'/\'\\\'\'}
    printf '#!/bin/sh\nexec '\''%s/bin/python'\'' -m app.cli.main "$@"\n' "$quoted" >"$venv/bin/batchwright"
    chmod +x "$venv/bin/batchwright"
}

main() {
    if is_ready; then
        return
    fi
    local python
    python=$(find_python)
    echo "Setting up .venv with $("$python" --version) (a minute or two the first time) ..."
    rm -f "$stamp"
    # An environment whose interpreter is gone, too old or of another version is made anew.
    local version='import sys; print(sys.version_info[:2])'
    if [ "$("$venv/bin/python" -c "$version" 2>/dev/null)" != "$("$python" -c "$version")" ]; then
        rm -rf "$venv"
        "$python" -m venv --without-pip "$venv" || fail "$python cannot make a virtual environment (see above)"
    fi
    SECONDS=0
    install_lock "$python" "$lock"
    put_checkout_on_path
    # The first start of the stack is several processes at once: they need not all compile the same modules.
    (cd "$root" && "$venv/bin/python" -m compileall -q app batchwright config workers)
    { printf '%s\n' "$root"; cat "$lock"; } >"$stamp"
    echo "Ready after ${SECONDS} s."
}

main
