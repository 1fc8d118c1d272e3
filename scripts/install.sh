# How both set-ups fill an environment from a lock of hashes: uv when it is there, else a pip from outside, since
# Debian's Python has no ensurepip. Sourced; needs `venv` (the environment's folder) and `fail` of the caller.

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
    local python=$1
    if command -v uv >/dev/null 2>&1; then
        installer=(uv pip sync --quiet --python "$venv/bin/python" --require-hashes --no-build --compile-bytecode)
        return
    fi
    use_pip "$python" -m pip || use_pip python3 -m pip || use_pip pip3 || use_pip pip || use_ensurepip ||
        fail "pip 22.3 or newer (or uv) is needed, and none was found for $python." \
            "On Debian or Ubuntu: apt install python3-pip"
}

# Install what stands in the lock file $2 with the Python $1; on a failure the installer's words are shown.
install_lock() {
    local python=$1 lock=$2 log
    log=$(mktemp)
    choose_installer "$python"
    if ! "${installer[@]}" "$lock" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "the packages of ${lock#"$root"/} could not be installed (see above)"
    fi
    rm -f "$log"
}
