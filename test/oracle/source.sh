# shellcheck shell=bash
# PostgreSQL's source, for its regression suites: sourced by run.sh, never run.
#
# oracle_source sets SOURCE: ORACLE_SOURCE if that is given, else a tree in CACHE, which
# apt-get source fills for the server's major version.  The machine's own lists of
# packages stay as they are: entries for sources are made from those for binaries, in
# files of our own.

# deb-src lines for what the machine has deb lines for, in one-line style.
source_entries() {
  awk '
    function flush(  i, j, u, s) {
      if (types ~ /(^| )deb( |$)/)
        for (i = split(uris, u, " "); i > 0; i--)
          for (j = split(suites, s, " "); j > 0; j--)
            print "deb-src" (key != "" && key !~ /^-/ ? " [signed-by=" key "]" : "") " " u[i] " " s[j] " " components
      types = uris = suites = components = key = ""
    }
    FNR == 1 { flush() }
    FILENAME ~ /\.list$/ { if ($1 == "deb") { $1 = "deb-src"; print }; next }
    /^#/ { next }
    /^[ \t]*$/ { flush(); next }
    { value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
    tolower($1) == "types:" { types = value }
    tolower($1) == "uris:" { uris = value }
    tolower($1) == "suites:" { suites = value }
    tolower($1) == "components:" { components = value }
    tolower($1) == "signed-by:" { key = value }
    END { flush() }' "$@"
}

# fetch MAJOR DIRECTORY
fetch_source() {
  local apt=$W/apt lists=() f unpacked version found=
  command -v apt-get >/dev/null || die "no apt-get here: give PostgreSQL's source with ORACLE_SOURCE=/path"
  command -v dpkg-source >/dev/null || die "dpkg-source is missing (package dpkg-dev)"
  for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ ! -r "$f" ] || lists+=("$f")
  done
  [ ${#lists[@]} -gt 0 ] || die "apt has no sources here: give PostgreSQL's source with ORACLE_SOURCE=/path"
  mkdir -p "$apt/lists/partial" "$apt/cache" "$apt/tree"
  # only the distribution's own and PostgreSQL's archives have it
  source_entries "${lists[@]}" | grep -E 'debian|ubuntu|postgresql' | sort -u >"$apt/sources.list"
  local options=(-q -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/nonexistent
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  say "fetching the source of postgresql-$1"
  # an archive without sources is no reason to stop, as long as another has it
  apt-get "${options[@]}" update >"$apt/log" 2>&1 || true
  # newest first; an archive may list a version whose files it no longer has
  for version in $(apt-cache "${options[@]}" showsrc "postgresql-$1" 2>>"$apt/log" | sed -n 's/^Version: //p' | sort -rVu); do
    if (cd "$apt/tree" && apt-get "${options[@]}" source "postgresql-$1=$version") >>"$apt/log" 2>&1; then
      found=1
      break
    fi
    rm -rf "${apt:?}/tree/"*
  done
  [ -n "$found" ] || { tail -5 "$apt/log" >&2; die "apt-get source postgresql-$1 failed: give the source with ORACLE_SOURCE=/path"; }
  unpacked=$(find "$apt/tree" -mindepth 1 -maxdepth 1 -type d | head -1)
  mkdir -p "$2.part"
  cp -r "$unpacked/." "$2.part"
  mv "$2.part" "$2"
}

# The tree of the server's major version; sets SOURCE.
oracle_source() {
  local major
  major=$("$PG_CONFIG" --version | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p')
  SOURCE=${ORACLE_SOURCE:-$CACHE/postgresql-$major}
  if [ -z "${ORACLE_SOURCE:-}" ] && [ ! -d "$SOURCE" ]; then
    rm -rf "$SOURCE.part"
    fetch_source "$major" "$SOURCE"
  fi
  [ -f "$SOURCE/src/test/regress/parallel_schedule" ] || die "$SOURCE holds no source of PostgreSQL"
}
