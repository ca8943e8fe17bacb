# Shared set-up of the project's scripts: installs what is missing, quickly when it is all there.
# Sourced, never run. Callers have set -eu and stand anywhere.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
VENV=$ROOT/.venv
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename -- "$0"): $*"; exit 2; }

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root. Next: sudo $0"
}

# need_packages PACKAGE...: apt-get installs those that are missing, starting no service.
need_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    need_root
    say "Installing:$missing"
    [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ] || apt-get update -q >&2
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2 ||
        { apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2; }
}

# need_venv: the development environment in .venv, remade when the pins change.
need_venv() {
    stamp=$(cat "$ROOT/requirements/dev.txt" "$ROOT/script/lib.sh" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$VENV/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    need_packages python3-venv
    say "Making the development environment in .venv"
    rm -rf "$VENV"
    /usr/bin/python3 -m venv "$VENV"
    "$VENV/bin/pip" install -qq --disable-pip-version-check --require-hashes -r "$ROOT/requirements/dev.txt" >&2
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n%s\n' "$ROOT/src" "$ROOT" >"$site/mailseal-checkout.pth"
    printf '#!%s\nimport sys\nfrom mailseal.cli.main import main\nsys.exit(main())\n' "$VENV/bin/python" >"$VENV/bin/mailseal"
    chmod 755 "$VENV/bin/mailseal"
    printf '%s\n' "$stamp" >"$VENV/.stamp"
}
