#!/usr/bin/env bash
# Which branches of the consensus core do scripts and simulation take?  Compiled
# without assertions, whose other side is never taken.
#
#     coverage.sh        COVERAGE_RUNS: schedules
#
# Prints lines and branches per file, and each line with a branch that nothing takes.
set -eu
cd "$(dirname "$0")"
here=$(pwd)
root=$(cd ../.. && pwd)
runs=${COVERAGE_RUNS:-10000}
work=$(mktemp -d "${TMPDIR:-/tmp}/baton-coverage.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

flags="-std=c99 -D_POSIX_C_SOURCE=200809L -DNDEBUG -O0 -I$root/src"
for f in "$root"/src/consensus/*.c; do
	# shellcheck disable=SC2086
	${CC:-cc} $flags --coverage -c "$f" -o "$(basename "$f" .c).o"
done
# shellcheck disable=SC2086
${CC:-cc} $flags --coverage -o simulate "$here"/*.c -I"$here" ./*.o
# shellcheck disable=SC2086
${CC:-cc} $flags --coverage -o run "$root"/test/consensus/*.c ./*.o
./run "$root"/test/consensus/scripts/*.txt | tail -n 1
./simulate --runs "$runs" | tail -n 1

gcov -b -c ./*.gcda >summary 2>/dev/null
awk '
	/^File / { split($0, q, "\047"); file = q[2]; show = file ~ /src\/consensus\/.*\.c$/; sub(/.*\//, "", file) }
	show && /^Lines executed/ { lines = $2; sub(/executed:/, "", lines); total_lines = $4 }
	show && /^Taken at least once/ {
		taken = $4; sub(/once:/, "", taken)
		printf "%-14s lines %7s of %4d   branches %7s of %4d\n", file, lines, total_lines, taken, $6
		all += $6; sum += taken / 100 * $6; all_lines += total_lines; sum_lines += lines / 100 * total_lines; show = 0
	}
	END { printf "%-14s lines %6.2f%% of %4d   branches %6.2f%% of %4d\n", "all", 100 * sum_lines / all_lines, all_lines, 100 * sum / all, all }
' summary
echo "not taken:"
for f in "$root"/src/consensus/*.c; do
	gcov_file=$(basename "$f").gcov
	awk -v name="$(basename "$f")" '
		/^ *[-#0-9=*]+:/ { line = $0; number = $0; sub(/^[^:]*: */, "", number); sub(/:.*/, "", number)
			text = $0; sub(/^[^:]*:[^:]*:[ \t]*/, "", text); said = 0
			if ($0 ~ /^ *#####:/) { printf "  %s:%s never reached: %s\n", name, number, text; said = 1 } }
		/^branch/ && (/never executed/ || /taken 0( |$)/) && !said { printf "  %s:%s %s\n", name, number, text; said = 1 }
	' "$gcov_file"
done
