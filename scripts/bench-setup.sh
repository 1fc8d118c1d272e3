#!/usr/bin/env bash
# Make .venv-bench ready: the peers that `make bench` measures beside Batchwright, none of which it needs itself.
#
# Run by `make bench-setup`; silent when nothing changed. It takes the interpreter of .venv, so that every
# engine of the bench runs on the same Python. Every package is a wheel whose hash stands in
# bench/requirements.lock.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv-bench
lock=$root/bench/requirements.lock
stamp=$venv/.installed  # the lock that was installed, and the Python it was installed for

fail() {
    printf 'bench-setup: %s\n' "$@" >&2
    exit 1
}

python=$root/.venv/bin/python
[ -x "$python" ] || fail "there is no .venv yet: make setup"

wanted() {
    "$python" -c 'import sys; print(sys.version)'
    cat "$lock"
}

is_ready() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && wanted | cmp -s - "$stamp" && "$venv/bin/python" -c '' 2>/dev/null
}

pip_options=(install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps
    --only-binary ':all:' -r)

# A pip from outside fills the environment; its `--python` came with version 22.3.
use_pip() {
    "$@" --python "$venv/bin/python" --version >/dev/null 2>&1 || return 1
    installer=("$@" --python "$venv/bin/python" "${pip_options[@]}")
}

use_ensurepip() {
    "$venv/bin/python" -m ensurepip >/dev/null 2>&1 || return 1
    installer=("$venv/bin/python" -m pip "${pip_options[@]}")
}

# Sets the array `installer`: a command that takes the lock file as its last argument.
choose_installer() {
    if command -v uv >/dev/null 2>&1; then
        installer=(uv pip sync --quiet --python "$venv/bin/python" --require-hashes --no-build --compile-bytecode)
        return
    fi
    use_pip python3 -m pip || use_pip pip3 || use_pip pip || use_ensurepip ||
        fail "pip 22.3 or newer (or uv) is needed, and none was found." \
            "On Debian or Ubuntu: apt install python3-pip"
}

main() {
    if is_ready; then
        return
    fi
    echo "Setting up .venv-bench with $("$python" --version) ..."
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || fail "$python cannot make a virtual environment (see above)"
    SECONDS=0
    choose_installer
    local log
    log=$(mktemp)
    if ! "${installer[@]}" "$lock" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "the packages of bench/requirements.lock could not be installed (see above)"
    fi
    rm -f "$log"
    wanted >"$stamp"
    echo "Ready after ${SECONDS} s."
}

main
