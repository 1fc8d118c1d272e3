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

# shellcheck source=scripts/install.sh
source "$root/scripts/install.sh"

main() {
    if is_ready; then
        return
    fi
    echo "Setting up .venv-bench with $("$python" --version) ..."
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || fail "$python cannot make a virtual environment (see above)"
    SECONDS=0
    install_lock "$python" "$lock"
    wanted >"$stamp"
    echo "Ready after ${SECONDS} s."
}

main
